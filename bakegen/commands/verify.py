"""`bakegen verify`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from bakegen.console import count, say


class Tool(StrEnum):
    """What reads a bake file."""

    buildx = "buildx"
    hcl2 = "hcl2"


def verify(
    context: typer.Context,
    tool: Annotated[
        Tool | None, typer.Option("--with", help="What reads the file; buildx if there is one, else python-hcl2.")
    ] = None,
) -> None:
    """Compare what bake reads with what the manifests say.

    Neither a daemon nor a network is needed.
    """
    from bakegen.bake.model import BAKE_FILE
    from bakegen.bake.verify import find_tool, judge, read_content
    from bakegen.project import load_project
    from bakegen.source.paths import find_root

    project = load_project(find_root(context.obj))
    buildx = find_tool(project.graph, tool)
    content = read_content(project.root)
    say(f"{BAKE_FILE} is read by {f'buildx {buildx.text}' if buildx else 'python-hcl2'}")
    targets, groups = judge(project.graph, content, buildx)
    say(f"{count(targets, 'target')} and {count(groups, 'group')} are what the manifests say")
