"""`bakegen build`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from bakegen.commands.options import Command, Selectors, TextFormat, output_file
from bakegen.commands.selection import project_in, selected_in
from bakegen.console import is_quiet, print_json, print_lines, say, warn, width_of

if TYPE_CHECKING:
    from bakegen.build.plan import BuildPlan
    from bakegen.build.run import BuildOutcome
    from bakegen.docker.buildx import Buildx


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
    push: Annotated[bool, typer.Option("--push", help="Push the images to their registries.")] = False,
    load: Annotated[bool, typer.Option("--load", help="Load the images into the engine; one platform only.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Build all targets if none are selected.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the command and the bake file; do not build.")
    ] = False,
    builder: Annotated[str, typer.Option(metavar="NAME", help="The builder to use.", show_default=False)] = "",
    platform: Annotated[
        str,
        typer.Option(metavar="PLATFORM[,...]", help="Only these of the declared platforms.", show_default=False),
    ] = "",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Build without the cache.")] = False,
    metadata_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write bake's metadata to a file.", show_default=False)
    ] = None,
    form: Annotated[TextFormat, typer.Option("--format", help="Format of the summary.")] = TextFormat.text,
) -> None:
    """Build the selected targets with docker buildx bake.

    The bake file that bake reads contains only these targets and what they are built from. bakegen shows bake's progress
    and exits with its exit code.

    Axes can be options as well: --releases cudnn --python-version 3.9. Arguments after -- are passed to bake.
    """
    from bakegen.build.builders import choose_builder, require_as_declared
    from bakegen.build.plan import BuildOptions, plan_build
    from bakegen.build.run import run_build
    from bakegen.docker.buildx import ask_builder, ask_version, require_buildx, told_buildx
    from bakegen.docker.process import asking

    if push and load:
        context.fail("--push and --load cannot be combined")
    kept = output_file(context, metadata_file)
    with asking() as asker:  # docker takes its time to answer: meanwhile, the project is read and rendered
        version = None if dry_run else ask_version(asker)
        project = project_in(context)
        selected = selected_in(context, project, selectors, everything=everything, verb="build")
        images = {target.image for target in selected}
        choice = choose_builder((one for one in project.graph.manifests if one.image in images), builder)
        options = BuildOptions(
            push=push,
            load=load,
            platforms=platform,
            builder=choice.name,
            no_cache=no_cache,
            extra=(*(["--progress", "quiet"] if is_quiet() else []), *context.meta[_BAKE_ARGS]),
        )
        if not version:
            _show_plan(plan_build(project, selected, options), kept, form)
            return
        found = told_buildx(version)
        asked = ask_builder(asker, found, choice.name) if found else version
        plan = plan_build(project, selected, options)
        require_as_declared(choice)
        buildx = require_buildx(found, plan.least)
        outcome = run_build(plan, project.root, buildx, asked, kept)
    if outcome.code:
        _show_failure(outcome, buildx, plan.sends)
        raise typer.Exit(outcome.code)
    if form is TextFormat.json:
        print_json([asdict(result) for result in outcome.results])
    elif outcome.results:
        print_lines(_table(outcome, sys.stdout))


def _show_plan(plan: BuildPlan, kept: Path | None, form: TextFormat) -> None:
    from bakegen.docker.process import shell_line

    command, bake_file = plan.command(("docker", "buildx"), kept), plan.bake_file.decode()
    if form is TextFormat.json:
        print_json({"command": command, "environment": dict(plan.environment), "bake_file": bake_file})
        return
    say(shell_line(command, plan.environment))
    print_lines([bake_file.removesuffix("\n")])


def _show_failure(outcome: BuildOutcome, buildx: Buildx, sent: str) -> None:
    """Say what bake does not: which targets have failed, and which tags are new all the same."""
    from bakegen.docker.history import FIRST_WITH_HISTORY

    for node in outcome.silent:
        warn(f"{node} does not respond; what it has built is unknown")
    if not outcome.results:
        return
    if buildx.version < FIRST_WITH_HISTORY:
        first = ".".join(map(str, FIRST_WITH_HISTORY))
        warn(f"buildx {buildx.text} does not report which targets failed; buildx {first} or newer does")
    unchanged = "; tags of targets that were not pushed are unchanged" if sent == "pushed" else ""
    warn("\n".join([f"bake ended with exit code {outcome.code}{unchanged}:", *_table(outcome, sys.stderr)]))


def _table(outcome: BuildOutcome, stream: TextIO) -> list[str]:
    from bakegen.views.listing import folded

    rows = [
        {
            **asdict(result),
            "cached": None if result.steps is None else f"{result.cached_steps}/{result.steps}",
        }
        for result in outcome.results
    ]
    return folded(rows, ("target", "result", "seconds", "cached", "platforms", "digest", "tags"), width_of(stream))
