"""`bakegen generate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bakegen.commands.changes import changes_data, say_changes, say_waiting
from bakegen.commands.options import Images, TextFormat
from bakegen.console import print_json, print_lines, progress, say


def generate(
    context: typer.Context,
    images: Images = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; show what is out of date, and exit with 1 if anything is.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; show what would change.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that were edited by hand.")] = False,
    dockerfiles: Annotated[bool, typer.Option("--dockerfiles", help="Only Dockerfiles and their side files.")] = False,
    docs: Annotated[bool, typer.Option("--docs", help="Only READMEs.")] = False,
    bake: Annotated[bool, typer.Option("--bake", help="Only docker-bake.hcl and versions.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All of these. This is the default.")] = False,
    save_metadata: Annotated[
        bool, typer.Option("--save-metadata", help="Also write dockerfiles.json and images.json.")
    ] = False,
    version: Annotated[
        str | None,
        typer.Option("--target-version", metavar="V", help="Set the default of VERSION in the manifest first."),
    ] = None,
    authenticate: Annotated[
        bool, typer.Option("--authenticate", help="Afterwards, log in to the registries of the images.")
    ] = False,
    form: Annotated[TextFormat, typer.Option("--format", help="Output format.")] = TextFormat.text,
) -> None:
    """Write Dockerfiles, READMEs and docker-bake.hcl.

    Only files that differ are written, and files that are no longer generated are removed. Files that bakegen did not
    create, or that were edited by hand, are reported and not overwritten.
    """
    from bakegen.generation import Run, carry_out
    from bakegen.render.parts import PARTS
    from bakegen.source.paths import find_root

    named = {"dockerfiles": dockerfiles, "docs": docs, "bake": bake}
    parts = () if everything else tuple(part for part in PARTS if named[part])
    writes = not (check or diff)
    if authenticate and not writes:
        context.fail("--authenticate cannot be combined with --check or --diff")
    root = find_root(context.obj)
    run = Run(
        images=tuple(images or ()),
        parts=parts,
        version=version,
        save_metadata=save_metadata,
        writes=writes,
        force=force,
    )
    changes, difference = carry_out(root, run, waiting=say_waiting)
    if form is TextFormat.json:
        shown = {} if writes else {"diff": "".join(f"{line}\n" for line in difference)}
        print_json({**changes_data(changes), **shown})
    else:
        print_lines(difference)
    say_changes(changes, done=writes)
    if check and changes.drifted:
        say("run `bakegen generate` and commit the result")
        raise typer.Exit(1)
    if authenticate:
        _log_in(root, images)


def _log_in(root: Path, images: Sequence[str] | None) -> None:
    """Log docker in to the registries of images, and tell so; raises `BakegenError` with every problem found."""
    from bakegen.project import load_project
    from bakegen.registries.authenticate import log_in_to_all, stop_if_any
    from bakegen.registries.destinations import find_destinations
    from bakegen.registries.env_file import read_environment

    found = find_destinations(load_project(root).graph, os.environ, images or ())
    with progress(len(found)) as done:
        states = log_in_to_all(found, read_environment(root), root, done)
    stop_if_any(states)
