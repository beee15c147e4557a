"""What a command line selects: selectors, also as options that are called like an axis.

A command that takes them has `SELECTING` as its settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from bakegen.graph.graph import Graph

SELECTING: dict[str, Any] = {
    "context_settings": {"ignore_unknown_options": True},
    "options_metavar": "[OPTIONS] [--AXIS VALUE]...",
}


def selectors_in(context: typer.Context, graph: Graph, words: Sequence[str] | None) -> list[str]:
    """Return the selectors among the words of a command line; an option that is none ends the command as misused."""
    from bakegen.commands.axis_options import selectors_of
    from bakegen.errors import MisuseError
    from bakegen.graph.select import FIXED_KEYS

    axes = [axis.name for manifest in graph.manifests for axis in manifest.axes]
    options = [name for option in context.command.params for name in option.opts if name.startswith("--")]
    try:
        return selectors_of(words or [], [*FIXED_KEYS, *axes], options)
    except MisuseError as error:
        context.fail(str(error))
