"""The README of a family → the pages of its repositories, by the docker plugin pushrm.

In: a `Project`, images, `Environment`. Out: a `Page` for each repository, and what came of pushing it. What the plugin
takes is told at https://github.com/christian-korneck/docker-pushrm: options in its arguments, secrets in its environment.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakegen.docker.config import config_folder
from bakegen.docker.process import ask, ending_on_signals
from bakegen.errors import BakegenError, Problem, fail
from bakegen.output.compare import compare
from bakegen.output.files import OutputFile
from bakegen.project import Project
from bakegen.registries.credentials import Credentials
from bakegen.registries.environment import Environment
from bakegen.registries.logins import Login, logins
from bakegen.render.files import readme_path, render_readme
from bakegen.spec.references import registry_host
from bakegen.spec.registry_kinds import KINDS

_SHORT = {"dockerhub": 100}  # provider -> characters of the short description that it takes besides
_KEYED = {"quay"}  # providers that take a key instead of user and password
_OWN = re.compile(r"DOCKER_USER(__.*)?|DOCKER_PASS(__.*)?|DOCKER_APIKEY|APIKEY__.*|PUSHRM_.*")  # what steers the plugin
_ERROR = re.compile(r'level=(?:error|fatal) msg=("(?:[^"\\]|\\.)*"|\S+)')
_PATIENCE = 60  # seconds that docker gets to list its plugins


@dataclass(frozen=True, slots=True)
class Page:
    """The page of one repository, and whether the README of an image is wanted there."""

    image: str
    description: str
    login: Login
    repository: str
    wanted: bool

    @property
    def target(self) -> str:
        """The repository as the plugin takes it: HOST/NAMESPACE/NAME."""
        named = registry_host(self.repository) == "docker.io" and not self.repository.startswith("docker.io/")
        return f"docker.io/{self.repository.removeprefix('index.docker.io/')}" if named else self.repository

    @property
    def state(self) -> str:
        """What is to be done."""
        if self.wanted:
            return "to be pushed"
        return "not declared" if self.login.kind.readme else "shows no README"


@dataclass(frozen=True, slots=True)
class Order:
    """One call of the plugin: its command, and which of our variables become which of its own."""

    page: Page
    command: tuple[str, ...]
    variables: Mapping[str, str]  # as the plugin calls it -> as we do


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a page."""

    page: Page
    state: str
    problem: Problem | None = None


def find_pages(project: Project, images: Sequence[str], registry: str) -> list[Page]:
    """Return the pages of images, perhaps in one registry only; raises `BakegenError` if that one is to show none."""
    hosts = {login.host for login in logins(project.graph, images, registry)}
    pages = [
        Page(manifest.image, manifest.description, login, repository, repository in login.readmes)
        for manifest in project.graph.restrict(images)
        for login in logins(project.graph, [manifest.image])
        if login.host in hosts
        for repository in login.repositories
    ]
    if registry and not any(page.wanted for page in pages):
        raise BakegenError([_unwanted(pages[0])])
    return pages


def check_current(project: Project, pages: Iterable[Page]) -> None:
    """Raise `BakegenError` if a README that is wanted is not what the manifests make of it now."""
    with project.evaluator.limits:
        made = {
            readme_path(image): OutputFile(render_readme(project, project.graph.manifest(image)))
            for image in dict.fromkeys(page.image for page in pages if page.wanted)
        }
    stale = compare(project.root, made, made.__contains__).differing
    if stale:
        raise fail(
            "stale-output",
            f"what is to be pushed is not what the manifests make: {', '.join(stale)}",
            hint="write it: bakegen generate --docs",
        )


def make_orders(pages: Iterable[Page], environment: Environment, root: Path) -> list[Order]:
    """Return the calls for the pages that are wanted."""
    config = ("--config", str(config_folder() / "config.json")) if "DOCKER_CONFIG" in os.environ else ()
    orders = []
    for page in pages:
        if page.wanted:
            provider = page.login.kind.readme
            file = str(root / readme_path(page.image))
            short = _short(page.description, provider)
            described = ("--short", short) if short else ()
            command = ("docker", "pushrm", "--provider", provider, "--file", file, *described, *config, page.target)
            orders.append(Order(page, command, dict(_variables(page.login, environment))))
    return orders


def push(
    orders: Sequence[Order], environment: Environment, root: Path, done: Callable[[str], None] = lambda _: None
) -> list[Result]:
    """Push each README; none keeps the others from their turn, and `done` is called with each repository.

    Raises `BakegenError` if there is no plugin.
    """
    hidden = {order.page.login.password for order in orders}
    refused = [_too_long(order.page, root) for order in orders]
    results = []
    with ending_on_signals():
        if not all(refused):
            require_pushrm()
        for order, too_long in zip(orders, refused, strict=True):
            problem = too_long or _push(order, environment, hidden)
            results.append(Result(order.page, "failed" if problem else "pushed", problem))
            done(f"{order.page.repository}: {results[-1].state}")
    return results


def require_pushrm() -> None:
    """Raise `BakegenError` if docker has no working plugin pushrm here."""
    command = ["docker", "info", "--format", "{{json .ClientInfo.Plugins}}"]  # no engine is asked for that
    try:
        plugins: Any = json.loads(ask(command, patience=_PATIENCE).out or "[]")
    except ValueError:
        plugins = []
    if not any(plugin.get("Name") == "pushrm" and not plugin.get("Err") for plugin in plugins or ()):
        raise fail(
            "no-pushrm",
            "there is no docker with the plugin pushrm here, which pushes READMEs",
            hint="https://github.com/christian-korneck/docker-pushrm#installation tells how to get it",
        )


def _short(description: str, provider: str) -> str:
    """Return as much of a description as fits beside the name of a repository; empty if nothing is shown there."""
    return textwrap.shorten(description, _SHORT[provider], placeholder="…") if provider in _SHORT else ""


def _variables(login: Login, environment: Environment) -> Iterator[tuple[str, str]]:
    """Yield the plugin's variables with ours, if those are set; else it asks docker's own store of logins."""
    if login.kind.readme in _KEYED:
        own = f"APIKEY__{login.host.upper().replace('.', '_')}"
        found = next((name for name in (own, "DOCKER_APIKEY") if environment.get(name)), "")
        if found:
            yield own, found
    elif all(environment.get(name) for name in (login.username, login.password)):
        yield "DOCKER_USER", login.username
        yield "DOCKER_PASS", login.password


def _push(order: Order, environment: Environment, hidden: Collection[str]) -> Problem | None:
    """Push one README. The plugin sees no secrets but those for its registry: its general ones would go to any."""
    values = {name: environment.get(ours) or "" for name, ours in order.variables.items()}
    kept = {name: value for name, value in os.environ.items() if name not in hidden and not _OWN.fullmatch(name)}
    reply = ask(order.command, environment={**kept, **values})
    if reply.code == 0:
        return None
    message = _message(reply.said)
    for name, value in values.items():
        if name != "DOCKER_USER":
            message = Credentials(values.get("DOCKER_USER", ""), value).hidden_in(message)
    hint = "log in: bakegen authenticate; or set " + (
        f"APIKEY__{order.page.login.host.upper().replace('.', '_')} to a key of Quay's for applications"
        if order.page.login.kind.readme in _KEYED
        else f"{order.page.login.username} and {order.page.login.password}"
    )
    return order.page.login.problem("readme-refused", f"{order.page.repository} took no README: {message}", hint=hint)


def _message(said: str) -> str:
    """Return what the plugin complains of, in one line."""
    errors = [_unquoted(text) for text in _ERROR.findall(said)] or said.splitlines()
    return " ".join(" ".join(errors).split()) or "it says nothing"


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return text.strip('"')


def _too_long(page: Page, root: Path) -> Problem | None:
    """Return a problem if the registry takes no README as long as this one, which a template of the project's made."""
    path = readme_path(page.image)
    size, limit = (root / path).stat().st_size, page.login.kind.readme_limit
    if not limit or size <= limit:
        return None
    return page.login.problem(
        "readme-refused",
        f"{page.login.kind.title} takes READMEs of {limit:,} bytes, and {path} has {size:,}",
        hint="let templates/README.md.j2 tell less, or describe less in the manifest",
    )


def _unwanted(page: Page) -> Problem:
    kind, host = page.login.kind, page.login.host
    if kind.readme:
        message, hint = f"no repository at {host} is to show a README", "declare it: {repository: …, readme: true}"
    else:
        showing = ", ".join(kind.title for kind in KINDS if kind.readme)
        message, hint = f"{host} shows no README", f"{showing} show one; `kind:` says so where the host does not"
    return page.login.problem("no-readme", message, hint=hint)
