"""`bakegen doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bakegen.commands.options import TableFormat
from bakegen.console import count, print_json, print_lines, progress, say

if TYPE_CHECKING:
    from bakegen.doctor.facts import Finding

_COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "error": typer.colors.RED}
_COLUMNS = ("check", "state", "found")


def doctor(
    context: typer.Context,
    form: Annotated[TableFormat, typer.Option("--format", help="Output format.")] = TableFormat.table,
) -> None:
    """Check this machine and project; suggest fixes.

    Checks Docker, buildx and its builders, platforms, registries, disk space, and whether the generated files are up to
    date. Changes nothing. Exits with 1 if there is an error; warnings do not count.
    """
    from dataclasses import asdict

    from bakegen.docker.process import asking, ending_on_signals
    from bakegen.doctor.collect import PATIENCE, collect
    from bakegen.doctor.findings import judge_facts

    with ending_on_signals(), asking(PATIENCE) as ask:
        findings = judge_facts(collect(context.obj, ask, progress))
    if form is TableFormat.json:
        print_json([asdict(finding) for finding in findings])
    else:
        lines = table_of(findings)
        state = lines[0].index("STATE")
        print_lines(lines, {rf"^.{{{state}}}({word})\b": colour for word, colour in _COLOURS.items()})
    errors, warnings = (sum(finding.state == state for finding in findings) for state in ("error", "warning"))
    say(f"{count(errors, 'error')}, {count(warnings, 'warning')}")
    if errors:
        raise typer.Exit(1)


def table_of(findings: list[Finding]) -> list[str]:
    """Return a table, with a line of its own for each fix; those that several findings share are said once."""
    from bakegen.views.listing import table

    rows, fixes = [], set()
    for finding in findings:
        rows.append({"check": finding.check, "state": finding.state, "found": finding.found})
        if finding.fix and finding.fix not in fixes:
            fixes.add(finding.fix)
            rows.append({"check": "", "state": "fix:", "found": finding.fix})
    return table(rows, _COLUMNS)
