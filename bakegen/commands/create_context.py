"""`bakegen create-context`."""

from __future__ import annotations

from typing import Annotated

import typer

from bakegen.commands.changes import changes_data, say_changes, say_waiting
from bakegen.commands.options import TextFormat
from bakegen.console import count, print_json, say


def create_context(
    context: typer.Context,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Image families.", show_default=False)],
    validate: Annotated[
        bool, typer.Option("--validate", help="Also check the files against the published schemas.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that were edited by hand.")] = False,
    form: Annotated[TextFormat, typer.Option("--format", help="Output format.")] = TextFormat.text,
) -> None:
    """Write dockerfiles.json and images.json of an image.

    They describe what is rendered and what is built. If any manifest or template has a problem, nothing is written.
    """
    from bakegen.output.lock import lock
    from bakegen.output.write import write
    from bakegen.project import load_project
    from bakegen.render.files import render
    from bakegen.render.metadata import check_metadata, metadata, metadata_paths
    from bakegen.source.paths import find_root

    root = find_root(context.obj)
    with lock(root, waiting=say_waiting):
        project = load_project(root)
        paths = [path for manifest in project.graph.restrict(images) for path in metadata_paths(manifest.image)]
        made = metadata(project, render(project), paths)
        if validate:
            check_metadata(made)
        changes = write(root, made, made.__contains__, force=force)
    if form is TextFormat.json:
        print_json(changes_data(changes))
    say_changes(changes, done=True)
    if validate:
        say(f"{count(len(made), 'file')} match the schemas")
