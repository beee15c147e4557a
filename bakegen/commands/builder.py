"""`bakegen builder`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bakegen.commands.options import Command, TextFormat
from bakegen.commands.selection import project_in
from bakegen.console import print_json, print_lines, say

if TYPE_CHECKING:
    from bakegen.docker.buildx import Buildx

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Manage the builders that manifests declare.")

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Declared builders. Defaults to all.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the commands; do not run them.")]


@app.command("create", cls=Command)
def create(context: typer.Context, names: Names = None, dry_run: DryRun = False) -> None:
    """Create or update builders to match the manifests.

    A builder that matches is left alone. Missing nodes are added. Where that is not enough, the builder is replaced;
    containers keep their cache.
    """
    from bakegen.build.builders import compare_builder, pick_builders
    from bakegen.docker.buildx import ask_version, require_buildx, told_buildx
    from bakegen.docker.process import asking, ending_on_signals

    with asking() as asker, ending_on_signals():
        version = ask_version(asker)
        builders = pick_builders(project_in(context).graph.manifests, names or [])
        compared = [compare_builder(builder) for builder in builders]
        if dry_run:
            print_lines(_shown(words) for comparison in compared for words in comparison.commands)
            return
        buildx = require_buildx(told_buildx(version))
        for comparison in compared:
            name = comparison.builder.name
            if not comparison.commands:
                say(f"{name} matches the manifest")
            for difference in comparison.differences:
                say(f"{name}: {difference}")
            for words in comparison.commands:
                _run(buildx, words, f'create the builder "{name}"')


@app.command("show", cls=Command)
def show(
    context: typer.Context,
    names: Names = None,
    form: Annotated[TextFormat, typer.Option("--format", help="Output format.")] = TextFormat.text,
) -> None:
    """Show declared builders, and how the existing ones differ."""
    from bakegen.build.builders import BuilderComparison, compare_builder, pick_builders
    from bakegen.views.listing import table

    def rows(comparison: BuilderComparison) -> list[dict[str, Any]]:
        return [
            {
                "node": pair.name or None,
                "platforms": list(pair.declared.platforms) if pair.declared else [],
                "endpoint": (pair.declared.endpoint or None) if pair.declared else None,
                "options": dict(pair.declared.options) if pair.declared else {},
                "state": pair.state,
            }
            for pair in comparison.pairs
        ]

    manifests = project_in(context).graph.manifests
    compared = [compare_builder(builder) for builder in pick_builders(manifests, names or [])]
    if form is TextFormat.json:
        print_json(
            [
                {
                    "builder": comparison.builder.name,
                    "driver": comparison.builder.driver,
                    "max_parallelism": comparison.builder.max_parallelism,
                    "images": [manifest.image for manifest in manifests if comparison.builder in manifest.builders],
                    "exists": comparison.exists,
                    "differences": list(comparison.differences),
                    "nodes": rows(comparison),
                }
                for comparison in compared
            ]
        )
        return
    lines = [
        {"builder": comparison.builder.name, "driver": comparison.builder.driver, **row}
        for comparison in compared
        for row in rows(comparison)
    ]
    shown = [{column: "-" if value in (None, []) else value for column, value in line.items()} for line in lines]
    print_lines(table(shown, ("builder", "driver", "node", "platforms", "endpoint", "state")))
    print_lines(f"{comparison.builder.name}: {text}" for comparison in compared for text in comparison.differences)


@app.command("remove", cls=Command)
def remove(context: typer.Context, names: Names = None, dry_run: DryRun = False) -> None:
    """Remove builders with their containers and caches."""
    from bakegen.build.builders import pick_builders
    from bakegen.docker.buildx import ask_version, require_buildx, told_buildx
    from bakegen.docker.instances import read_instance
    from bakegen.docker.process import asking, ending_on_signals

    with asking() as asker, ending_on_signals():
        version = ask_version(asker)
        builders = pick_builders(project_in(context).graph.manifests, names or [])
        for builder in builders:
            if not read_instance(builder.name):
                say(f"{builder.name} does not exist")
                continue
            words = ("rm", builder.name)
            if dry_run:
                print_lines([_shown(words)])
            else:
                _run(require_buildx(told_buildx(version)), words, f'remove the builder "{builder.name}"')


def _run(buildx: Buildx, words: tuple[str, ...], what: str) -> None:
    from bakegen.build.builders import builder_mismatch
    from bakegen.docker.buildx import run_buildx

    say(_shown(words))
    if complaint := run_buildx(buildx, words):
        raise builder_mismatch(f"buildx cannot {what}: {complaint}", "")


def _shown(words: tuple[str, ...]) -> str:
    return shlex.join(("docker", "buildx", *words))
