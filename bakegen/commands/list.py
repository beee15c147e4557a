"""`bakegen list`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from bakegen.commands.options import Format
from bakegen.commands.selection import project_in
from bakegen.console import print_json, print_lines

WHAT = {
    "targets": ("target", "platforms", "dockerfile"),
    "groups": ("group", "kind", "targets"),
    "tags": ("tag", "platforms", "target", "repositories"),
    "dockerfiles": ("dockerfile", "template", "targets"),
}


def list_(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[targets|groups|tags|dockerfiles] [SELECTOR]...",
            help="What to list (targets by default), and which.",
        ),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.table,
) -> None:
    """List targets, groups, tags or Dockerfiles.

    Like bake, it reads BAKEGEN_REGISTRY, BAKEGEN_PLATFORMS and the variables of the manifests, such as APP_VERSION, from
    the environment.
    """
    from bakegen.views import listing

    what, *selectors = words if words and words[0] in WHAT else ["targets", *(words or [])]
    graph = project_in(context).graph
    targets = listing.built_targets(graph.select(selectors), os.environ)
    match what:
        case "groups":
            rows = listing.group_rows(graph, targets, os.environ)
        case "tags":
            rows = listing.tag_rows(graph, targets, os.environ)
        case "dockerfiles":
            rows = listing.dockerfile_rows(targets)
        case _:
            rows = [listing.target_row(graph, target, os.environ) for target in targets]
    columns = WHAT[what]
    match form:
        case Format.json:
            print_json(rows)
        case Format.names:
            print_lines(row["references"][0] if what == "tags" else row[columns[0]] for row in rows)
        case Format.table:
            if what in {"groups", "dockerfiles"}:
                rows = [{**row, "targets": len(row["targets"])} for row in rows]
            print_lines(listing.table(rows, columns))
