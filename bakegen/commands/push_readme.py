"""`bakegen push-readme`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bakegen.commands.options import TextFormat
from bakegen.console import print_json, print_lines, progress, say

if TYPE_CHECKING:
    from bakegen.registries.pushrm import Order, Page


def push_readme(
    context: typer.Context,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Image families.", show_default=False)],
    registry: Annotated[str, typer.Option("--registry", metavar="HOST", help="Only this registry.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Push nothing; print the commands.")] = False,
    form: Annotated[TextFormat, typer.Option("--format", help="How the result is printed.")] = TextFormat.text,
) -> None:
    """Push READMEs to the registries that show them.

    They are pushed to repositories with `readme: true`, by the docker plugin pushrm. It takes the login that docker has
    stored, or the variables of the registry, such as DOCKER_USER and DOCKER_PASSWORD. Quay wants a key in APIKEY__QUAY_IO.
    """
    from bakegen.errors import BakegenError
    from bakegen.project import load_project
    from bakegen.registries import pushrm
    from bakegen.registries.environment import read_environment
    from bakegen.source.paths import find_root
    from bakegen.views.listing import table

    root = find_root(context.obj)
    project = load_project(root)
    environment = read_environment(root)
    pages = pushrm.find_pages(project, images, registry)
    pushrm.check_current(project, pages)
    orders = pushrm.make_orders(pages, environment, root)
    states = {page: page.state for page in pages}
    problems = []
    if orders and not dry_run:
        with progress(len(orders)) as done:
            for result in pushrm.push(orders, environment, root, done):
                states[result.page] = result.state
                problems += [result.problem] if result.problem else []
    by_page = {order.page: order for order in orders}
    if form is TextFormat.json:
        print_json([_row(page, state, by_page.get(page) if dry_run else None) for page, state in states.items()])
    elif dry_run:
        for page, state in states.items():
            if page in by_page:
                print_lines([_line(by_page[page])])
            else:
                say(f"{page.repository}: {state}")
    elif pages:
        print_lines(table([_row(page, state) for page, state in states.items()], ("image", "repository", "readme")))
    if not pages:
        say("nothing is pushed to any registry")
    if problems:
        raise BakegenError(problems)


def _row(page: Page, state: str, order: Order | None = None) -> dict[str, Any]:
    call = {"command": list(order.command), "environment": dict(order.variables)} if order else {}
    return {
        "image": page.image,
        "repository": page.repository,
        "registry": page.login.host,
        "kind": page.login.kind.name,
        "readme": state,
        **call,
    }


def _line(order: Order) -> str:
    """Return a command as a shell takes it, each secret by the name of its variable."""
    return " ".join([*(f'{name}="${ours}"' for name, ours in order.variables.items()), shlex.join(order.command)])
