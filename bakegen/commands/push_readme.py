"""`bakegen push-readme`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bakegen.commands.options import TextFormat
from bakegen.commands.selection import project_in
from bakegen.console import print_json, print_lines, progress, say

if TYPE_CHECKING:
    from bakegen.errors import Problem
    from bakegen.registries.destinations import Repository
    from bakegen.registries.pushrm import ReadmePush


def push_readme(
    context: typer.Context,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Image families.", show_default=False)],
    registry: Annotated[str, typer.Option("--registry", metavar="HOST", help="Only this registry.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands; do not push.")] = False,
    form: Annotated[TextFormat, typer.Option("--format", help="Output format.")] = TextFormat.text,
) -> None:
    """Push READMEs to the registries that show them.

    Uses the docker plugin pushrm, for repositories with `readme: true`. It uses the login that docker has stored, or the
    variables of the registry, such as DOCKER_USER and DOCKER_PASSWORD. Quay requires an application token in
    APIKEY__QUAY_IO.
    """
    from bakegen.errors import BakegenError
    from bakegen.registries import pushrm
    from bakegen.registries.env_file import read_environment
    from bakegen.views.listing import table

    project = project_in(context)
    environment = read_environment(project.root)
    pages = pushrm.find_pages(project, images, registry)
    pushes = pushrm.plan_pushes(project, pages, environment)
    results: dict[Repository, Problem | None] = {push.repository: push.refused for push in pushes if push.refused}
    if pushes and not dry_run:
        with progress(len(pushes)) as done:
            results = pushrm.push(pushes, environment, done)
    states = {page: pushrm.state_of(page) for page in pages}
    states |= {page: "failed" if problem else "pushed" for page, problem in results.items()}
    planned = {push.repository: push for push in pushes if dry_run and not push.refused}
    if form is TextFormat.json:
        print_json([_row(page, state, planned.get(page)) for page, state in states.items()])
    elif dry_run:
        for page, state in states.items():
            if page in planned:
                print_lines([_line(planned[page])])
            else:
                say(f"{page.name}: {state}")
    elif pages:
        print_lines(table([_row(page, state) for page, state in states.items()], ("image", "repository", "readme")))
    if not pages:
        say("no image declares a registry")
    problems = [problem for problem in results.values() if problem]
    if problems:
        raise BakegenError(problems)


def _row(page: Repository, state: str, push: ReadmePush | None = None) -> dict[str, Any]:
    call = {"command": list(push.command), "environment": dict(push.variables)} if push else {}
    return {
        "image": page.image,
        "repository": page.name,
        "registry": page.host,
        "kind": page.kind.name,
        "readme": state,
        **call,
    }


def _line(push: ReadmePush) -> str:
    """Return a command as a shell takes it, each secret by the name of its variable."""
    return " ".join([*(f'{name}="${ours}"' for name, ours in push.variables.items()), shlex.join(push.command)])
