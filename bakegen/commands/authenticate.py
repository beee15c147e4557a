"""`bakegen authenticate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bakegen.commands.options import Images, TextFormat
from bakegen.console import print_json, print_lines, progress, say

if TYPE_CHECKING:
    from bakegen.registries.authenticate import State


def authenticate(
    context: typer.Context,
    images: Images = None,
    registry: Annotated[str, typer.Option("--registry", metavar="HOST", help="Only this registry.")] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Do not log in; ask the registries whether docker is logged in.")
    ] = False,
    form: Annotated[TextFormat, typer.Option("--format", help="How the result is printed.")] = TextFormat.text,
) -> None:
    """Log docker in to the registries of images.

    Users and passwords come from environment variables, or from .env at the root of the project. The manifest names the
    variables, or they are those of the kind of registry, such as QUAY_USER and QUAY_PASSWORD. Docker gets the password on
    its standard input.
    """
    from bakegen.project import load_project
    from bakegen.registries import authenticate as authentication
    from bakegen.registries.environment import read_environment
    from bakegen.registries.logins import logins
    from bakegen.source.paths import find_root
    from bakegen.views.listing import table

    root = find_root(context.obj)
    found = logins(load_project(root).graph, images or (), registry)
    with progress(len(found)) as done:
        if check:
            states = authentication.check(found, done)
        else:
            states = authentication.log_in(found, read_environment(root), root, done)
    rows = [_row(state) for state in states]
    if form is TextFormat.json:
        print_json(rows)
    elif rows:
        print_lines(table([{**row, "user": row["user"] or "-"} for row in rows], ("registry", "user", "result")))
    else:
        say("nothing is pushed to any registry")
    authentication.stop_if_any(states)


def _row(state: State) -> dict[str, Any]:
    return {
        "registry": state.login.host,
        "kind": state.login.kind.name,
        "user": state.user or None,
        "result": state.result,
        "repositories": list(state.login.repositories),
    }
