"""`bakegen explain`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from bakegen.commands.options import TextFormat
from bakegen.commands.selection import project_in
from bakegen.console import print_json, print_lines


def explain(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(metavar="TARGET|TAG|SELECTOR...", help="A target, a tag, or selectors that match one target."),
    ],
    form: Annotated[TextFormat, typer.Option("--format", help="Output format.")] = TextFormat.text,
) -> None:
    """Explain what a target or tag is made of, and why.

    Shows which manifest line sets each value: tags, platforms, parents, groups and build args. Also shows the commands
    that build it. Like bake, it reads BAKEGEN_REGISTRY, BAKEGEN_PLATFORMS and the variables of the manifests from the
    environment.

    For a target that does not exist, explains why.
    """
    from bakegen.views.explain import explain as explain_target

    found = explain_target(project_in(context), words, os.environ)
    if form is TextFormat.json:
        data = [explanation.as_data() for explanation in found]
        print_json(data if len(data) > 1 else data[0])
    else:
        print_lines("\n\n".join("\n".join(explanation.as_text()) for explanation in found).split("\n"))
