"""`bakegen build`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bakegen.commands.options import Command, Selectors, TextFormat, output_file
from bakegen.commands.selection import selectors_in
from bakegen.console import is_quiet, print_json, print_lines, say, warn

if TYPE_CHECKING:
    from bakegen.build.bake import Order
    from bakegen.build.history import Row


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
    from bakegen.build import bake as building
    from bakegen.build.builders import choose_builder, require_as_declared
    from bakegen.docker.buildx import ask_builder, ask_version, require_buildx, told_buildx
    from bakegen.docker.process import asking
    from bakegen.project import load_project
    from bakegen.source.paths import find_root

    if push and load:
        context.fail("--push and --load exclude each other")
    kept = output_file(context, metadata_file)
    with asking() as asker:  # docker takes its time to answer: meanwhile, the project is read and rendered
        version = None if dry_run else ask_version(asker)
        project = load_project(find_root(context.obj))
        words = selectors_in(context, project.graph, selectors)
        if not words and not everything:
            there_is = "\n".join(building.choices(project.graph))
            context.fail(f"say what to build, or --all for everything:\n{there_is}")
        selected = project.graph.select(words)
        images = {target.image for target in selected}
        choice = choose_builder((one for one in project.graph.manifests if one.image in images), builder)
        request = building.Request(
            push=push,
            load=load,
            platforms=platform,
            builder=choice.name,
            no_cache=no_cache,
            extra=(*(["--progress", "quiet"] if is_quiet() else []), *context.meta[_BAKE_ARGS]),
        )
        if not version:
            _show_order(building.make_order(project, selected, request), kept, form)
            return
        found = told_buildx(version)
        asked = ask_builder(asker, found, choice.name) if found else version
        order = building.make_order(project, selected, request)
        require_as_declared(choice)
        buildx = require_buildx(found, order.least)
        code, rows = building.carry_out(order, project.root, buildx, asked, kept)
    if code:
        _show_failure(code, rows, order.sends)
        raise typer.Exit(code)
    if form is TextFormat.json:
        print_json(rows)
    elif rows:
        print_lines(_table(rows))


def _show_order(order: Order, kept: Path | None, form: TextFormat) -> None:
    from bakegen.docker.process import shell_line

    command, bake_file = order.command(("docker", "buildx"), kept), order.bake_file.decode()
    if form is TextFormat.json:
        print_json({"command": command, "environment": dict(order.environment), "bake_file": bake_file})
        return
    say(shell_line(command, order.environment))
    print_lines([bake_file.removesuffix("\n")])


def _show_failure(code: int, rows: Sequence[Row], sent: str) -> None:
    """Say what bake does not: which targets have failed, and which tags are new all the same."""
    if rows:
        untouched = "; the tags of what was not pushed are as they were" if sent == "pushed" else ""
        warn("\n".join([f"bake ended with exit code {code}{untouched}:", *_table(rows)]))


def _table(rows: Sequence[Row]) -> list[str]:
    from bakegen.views.listing import table

    shown = [{column: "-" if value in (None, []) else value for column, value in row.items()} for row in rows]
    return table(shown, tuple(shown[0]))
