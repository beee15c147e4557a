"""`bakegen build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bakegen.commands.options import Command, Selectors, TextFormat
from bakegen.commands.selection import selectors_in
from bakegen.console import print_json, print_lines, say


class BakeCommand(Command):
    """A command whose words after `--` are for bake."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep what stands after `--`, and parse the rest."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_BAKE_ARGS] = tuple(args[end + 1 :])
        return super().parse_args(ctx, args[:end])


_BAKE_ARGS = "bakegen.bake_args"


def build(
    context: typer.Context,
    selectors: Selectors = None,
    push: Annotated[bool, typer.Option("--push", help="Push what is built to its registries.")] = False,
    load: Annotated[
        bool, typer.Option("--load", help="Load what is built, for one platform, into the engine.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Build everything if nothing is selected.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build nothing; show the command, and print the bake file that it reads.")
    ] = False,
    builder: Annotated[str, typer.Option(metavar="NAME", help="The builder to use.", show_default=False)] = "",
    platform: Annotated[
        str,
        typer.Option(metavar="PLATFORM[,...]", help="Only these of the declared platforms.", show_default=False),
    ] = "",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Build without the cache.")] = False,
    metadata_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep what bake writes about the build.", show_default=False)
    ] = None,
    form: Annotated[TextFormat, typer.Option("--format", help="How the summary is printed.")] = TextFormat.text,
) -> None:
    """Build what the selectors pick, by docker buildx bake.

    Bake gets a bake file of just these targets and what they are built from. Its progress is shown, and its exit code
    is that of bakegen.

    An axis may be an option too: --releases cudnn --python-version 3.9. What stands after -- is for bake.
    """
    from bakegen.engine import build as building
    from bakegen.engine.docker import shell_line
    from bakegen.paths import find_root
    from bakegen.project import load_project
    from bakegen.views.listing import table

    if push and load:
        context.fail("--push and --load exclude each other")
    project = load_project(find_root(context.obj))
    words = selectors_in(context, project.graph, selectors)
    if not words and not everything:
        there_is = "\n".join(building.choices(project.graph))
        context.fail(f"say what to build, or --all for everything:\n{there_is}")
    request = building.Request(
        push=push, load=load, platforms=platform, builder=builder, no_cache=no_cache, extra=context.meta[_BAKE_ARGS]
    )
    order = building.make_order(project, project.graph.select(words), request)
    kept = (context.obj / metadata_file).absolute() if metadata_file else None
    if dry_run:
        command, bake_file = order.command(("docker", "buildx"), kept), order.bake_file.decode()
        if form is TextFormat.json:
            print_json({"command": command, "environment": dict(order.environment), "bake_file": bake_file})
            return
        say(shell_line(command, order.environment))
        print_lines([bake_file.removesuffix("\n")])
        return
    code, rows = building.carry_out(order, project.root, builder, kept)
    if code:
        raise typer.Exit(code)
    if form is TextFormat.json:
        print_json(rows)
    elif rows:
        shown = [{column: "-" if value in (None, []) else value for column, value in row.items()} for row in rows]
        print_lines(table(shown, tuple(shown[0])))
