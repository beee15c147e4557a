"""`bakegen explain`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from bakegen.commands.options import TextFormat
from bakegen.console import print_json, print_lines


def explain(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(metavar="TARGET|TAG|SELECTOR...", help="A target, a tag, or selectors that pick one target."),
    ],
    form: Annotated[TextFormat, typer.Option("--format", help="How it is printed.")] = TextFormat.text,
) -> None:
    """Explain a target: which manifest line sets each value.

    Its tags, platforms, parents, groups and build args, and the commands that build it. Values are those that bake reads:
    BAKEGEN_REGISTRY, BAKEGEN_PLATFORMS and the variables of the manifests count.

    For a target that does not exist, say why.
    """
    from bakegen.project import load_project
    from bakegen.source.paths import find_root
    from bakegen.views.explain import explain as explain_target

    graph = load_project(find_root(context.obj)).graph
    explanation = explain_target(graph, words, os.environ)
    if form is TextFormat.json:
        print_json(explanation.as_data())
    else:
        print_lines(explanation.as_text())
