"""`bakegen test`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from bakegen.commands.options import Selectors, TextFormat, output_file
from bakegen.commands.selection import project_in, selected_in
from bakegen.console import count, print_json, print_lines, progress, say, warn
from bakegen.errors import fail

PROCESSORS = os.cpu_count() or 1


def run_tests(
    context: typer.Context,
    selectors: Selectors = None,
    everything: Annotated[bool, typer.Option("--all", help="Test all targets if none are selected.")] = False,
    platform: Annotated[
        str,
        typer.Option(metavar="PLATFORM[,...]", help="Only these of the declared platforms.", show_default=False),
    ] = "",
    pull: Annotated[
        bool, typer.Option("--pull", help="Test the images in the registries, not those in the engine.")
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Images to test in parallel. Defaults to one per processor.", show_default=False
        ),
    ] = PROCESSORS,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the results as JUnit XML.", show_default=False)
    ] = None,
    form: Annotated[TextFormat, typer.Option("--format", help="Output format.")] = TextFormat.text,
) -> None:
    """Run the manifest's checks on built images.

    Each selected tag is looked up in the engine, then in its registry. Each image is tested once per platform, in
    containers without network access. Exits with 1 if a check fails.

    Axes can be options as well: --releases cudnn --python-version 3.9.
    """
    from bakegen.testing import report, run
    from bakegen.views.listing import table

    project = project_in(context)
    selected = selected_in(context, project, selectors, everything=everything, verb="test")
    plan = run.plan_checks(project, selected, platform)
    if plan.unchecked:
        say(f"skipped: {count(plan.unchecked, 'target')} without checks")
    file = output_file(context, junit)
    results = run.run_checks(project, plan, progress, pull=pull, jobs=jobs)
    refusal = _write(file, report.junit(results)) if file else ""
    if form is TextFormat.json:
        print_json(report.result_rows(results))
    else:
        rows = report.text_rows(results)
        print_lines(table(rows, tuple(rows[0])))
    failed = list(report.failure_blocks(results))
    for lines in failed:
        warn("\n" + "\n".join(lines))
    platforms = {name for names in plan.platforms.values() for name in names}
    told = f"{count(len(results), 'check')} of {count(len(plan.platforms), 'target')} on {count(len(platforms), 'platform')}"
    say(f"{told}: {len(failed)} failed" if failed else f"{told}: all passed")
    if refusal:
        raise fail("cannot-write", f"cannot write {file}: {refusal}")
    if failed:
        raise typer.Exit(1)


def _write(file: Path, content: bytes) -> str:
    """Return why a file cannot be written, an empty text if it is: the results are shown all the same."""
    try:
        file.write_bytes(content)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""
