"""`bakegen verify`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from bakegen.commands.selection import project_in
from bakegen.console import count, say


class Tool(StrEnum):
    """What reads a bake file."""

    buildx = "buildx"
    hcl2 = "hcl2"


def verify(
    context: typer.Context,
    tool: Annotated[
        Tool | None,
        typer.Option("--with", help="What reads the file. Defaults to buildx, or python-hcl2 if there is no buildx."),
    ] = None,
) -> None:
    """Check that docker-bake.hcl matches the manifests.

    buildx reads the file, and every target and group is compared with the manifests. Without buildx, python-hcl2 compares
    the file with what `bakegen generate` would write. Neither needs a daemon or a network.
    """
    from bakegen.bake.model import BAKE_FILE
    from bakegen.bake.verify import find_tool, judge, read_content
    from bakegen.render.files import render_bake_file

    project = project_in(context)
    buildx = find_tool(project.graph, tool)
    content = read_content(project.root)
    say(f"reading {BAKE_FILE} with {f'buildx {buildx.text}' if buildx else 'python-hcl2'}")
    if buildx:
        targets, groups = judge(project.graph, content, buildx)
        say(f"{count(targets, 'target')} and {count(groups, 'group')} match the manifests")
    else:
        from bakegen.bake.syntax import compare  # costs a tenth of a second

        statements = compare(content, render_bake_file(project))
        say(f"{count(statements, 'block')} match the manifests")
