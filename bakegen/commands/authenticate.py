"""`bakegen authenticate`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bakegen.commands.options import Images, TextFormat
from bakegen.commands.selection import project_in
from bakegen.console import print_json, print_lines, progress, say

if TYPE_CHECKING:
    from bakegen.registries.authenticate import RegistryState


def authenticate(
    context: typer.Context,
    images: Images = None,
    registry: Annotated[str, typer.Option("--registry", metavar="HOST", help="Only this registry.")] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Do not log in; check the logins that docker has stored.")
    ] = False,
    form: Annotated[TextFormat, typer.Option("--format", help="Output format.")] = TextFormat.text,
) -> None:
    """Log in to the registries of images with docker login.

    User names and passwords are read from environment variables, or from .env in the project root. The manifest names
    the variables; by default, they depend on the registry, such as QUAY_USER and QUAY_PASSWORD. With BAKEGEN_REGISTRY,
    only that registry is used.
    """
    from bakegen.registries.authenticate import check_all, log_in_to_all, stop_if_any
    from bakegen.registries.destinations import find_destinations
    from bakegen.registries.env_file import read_environment
    from bakegen.views.listing import table

    project = project_in(context)
    root = project.root
    found = find_destinations(project.graph, os.environ, images or (), registry)
    with progress(len(found)) as done:
        states = check_all(found, done) if check else log_in_to_all(found, read_environment(root), root, done)
    rows = [_row(state) for state in states]
    if form is TextFormat.json:
        print_json(rows)
    elif rows:
        print_lines(table([{**row, "user": row["user"] or "-"} for row in rows], ("registry", "user", "result")))
    else:
        say("no image declares a registry")
    stop_if_any(states)


def _row(state: RegistryState) -> dict[str, Any]:
    return {
        "registry": state.registry.host,
        "kind": state.registry.kind.name,
        "user": state.user or None,
        "result": state.result,
        "repositories": list(state.registry.repositories),
    }
