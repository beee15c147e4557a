"""What a command line is about: its project, and what its selectors pick, also as options that are called like an axis.

A command that takes selectors as options has `SELECTING` as its settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from bakegen.graph.model import Target
    from bakegen.project import Project

SELECTING: dict[str, Any] = {
    "context_settings": {"ignore_unknown_options": True},
    "options_metavar": "[OPTIONS] [--AXIS VALUE]...",
}


def project_in(context: typer.Context) -> Project:
    """Return the project that a command is about; raises `BakegenError` with every problem found."""
    from bakegen.project import load_project
    from bakegen.source.paths import find_root

    return load_project(find_root(context.obj))


def selected_in(
    context: typer.Context, project: Project, words: Sequence[str] | None, *, everything: bool, verb: str
) -> Sequence[Target]:
    """Return the targets that the words of a command line pick, or all if it says so.

    An option that is no selector, or no word at all, ends the command as misused.
    """
    from bakegen.build.plan import choices
    from bakegen.commands.axis_options import selectors_of
    from bakegen.errors import MisuseError
    from bakegen.graph.select import FIXED_KEYS

    graph = project.graph
    axes = [axis.name for manifest in graph.manifests for axis in manifest.axes]
    options = [name for option in context.command.params for name in option.opts if name.startswith("--")]
    try:
        selectors = selectors_of(words or [], [*FIXED_KEYS, *axes], options)
    except MisuseError as error:
        context.fail(str(error))
    if not selectors and not everything:
        there_is = "\n".join(choices(graph))
        context.fail(f"say what to {verb}, or --all for everything:\n{there_is}")
    return graph.select(selectors)
