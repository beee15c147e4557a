"""The README of a family → the pages of its repositories, by the docker plugin pushrm.

In: a `Project`, repositories, `Environment`. Out: a `ReadmePush` for each README, and what came of it. What the plugin
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

from bakegen.docker.config import config_folder, read_docker_config
from bakegen.docker.process import ask, ending_on_signals
from bakegen.errors import BakegenError, Problem, fail
from bakegen.output.compare import compare
from bakegen.output.files import OutputFile
from bakegen.project import Project
from bakegen.registries.credentials import Credentials
from bakegen.registries.destinations import Repository, find_repositories, pick_hosts
from bakegen.registries.env_file import Environment
from bakegen.render.files import render_readme
from bakegen.render.pages import Page, pages_of
from bakegen.spec.references import with_host
from bakegen.spec.registry_kinds import KINDS

_SHORT = {"dockerhub": 100}  # provider -> characters of the short description that it takes besides
_KEYED = {"quay"}  # providers that take a key instead of user and password
_OWN = re.compile(r"DOCKER_USER(__.*)?|DOCKER_PASS(__.*)?|DOCKER_APIKEY|APIKEY__.*|PUSHRM_.*")  # what steers the plugin
_TARGET = re.compile(r"[\w.-]+(/[\w.-]+){2}", re.ASCII)
_ERROR = re.compile(r'level=(?:error|fatal) msg=("(?:[^"\\]|\\.)*"|\S+)')
_PATIENCE = 60  # seconds that docker gets to list its plugins


@dataclass(frozen=True, slots=True)
class ReadmePush:
    """One call of the plugin: its command, and which of our variables become which of its own.

    `refused` is why the call would be in vain.
    """

    repository: Repository
    command: tuple[str, ...]
    variables: Mapping[str, str]  # as the plugin calls it -> as we do
    refused: Problem | None


def find_pages(project: Project, images: Sequence[str], registry: str) -> list[Repository]:
    """Return the repositories of images, perhaps in one registry only, each with or without a README to be pushed.

    Raises `BakegenError` if that registry is to show none, or if another image pushes its README to one of them.
    """
    everything = find_repositories(project.graph, {})
    declared = find_repositories(project.graph, {}, images)
    hosts = pick_hosts(dict.fromkeys(repository.host for repository in declared), registry, images)
    pages: dict[tuple[str, str], Repository] = {}
    for repository in sorted(declared, key=lambda one: not one.readme):  # one may be declared twice
        pages.setdefault((repository.image, repository.name), repository)
    found = [one for one in declared if one.host in hosts and pages[one.image, one.name] is one]
    if registry and not any(repository.readme for repository in found):
        raise BakegenError([_unwanted(found[0])])
    pushed = dict.fromkeys(with_host(repository.name) for repository in found if repository.readme)
    clashes = [problem for target in pushed for problem in _clashes(everything, target)]
    if clashes:
        raise BakegenError(clashes)
    return found


def state_of(repository: Repository) -> str:
    """Return what is to be done with the README of a repository."""
    if repository.readme:
        return "to be pushed"
    return "not declared" if repository.kind.readme else "shows no README"


def plan_pushes(project: Project, pages: Iterable[Repository], environment: Environment) -> list[ReadmePush]:
    """Return the calls that push READMEs; raises `BakegenError` if one is not what the manifests make of it now."""
    readmes = {
        (manifest.image, name): page  # the last of a family's READMEs that tells of a repository is its own
        for manifest in project.graph.manifests
        for page in pages_of(project.graph, manifest)
        for name in page.repositories
    }
    wanted = [(one, readmes[one.image, with_host(one.name)]) for one in pages if one.readme]
    _check_current(project, {page.path: page for _, page in wanted}.values())
    config = ("--config", str(config_folder().absolute() / "config.json")) if "DOCKER_CONFIG" in os.environ else ()
    pushes = []
    for repository, page in wanted:
        provider, file = repository.kind.readme, project.root / page.path
        description = page.manifest.description
        short = textwrap.shorten(description, _SHORT[provider], placeholder="…") if provider in _SHORT else ""
        options = ("--provider", provider, "--file", str(file), *(("--short", short) if short else ()), *config)
        command = ("docker", "pushrm", *options, with_host(repository.name))
        variables = dict(_variables(repository, environment))
        pushes.append(ReadmePush(repository, command, variables, _refusal(repository, page, file)))
    return pushes


def push(
    pushes: Sequence[ReadmePush], environment: Environment, done: Callable[[str], None] = lambda _: None
) -> dict[Repository, Problem | None]:
    """Push each README; none keeps the others from their turn, and `done` is called with each repository.

    Returns what went wrong, if anything did; raises `BakegenError` if docker has no such plugin.
    """
    hidden = {one.repository.variables.password for one in pushes}
    results = {}
    with ending_on_signals():
        if not all(one.refused for one in pushes):
            require_pushrm()
        for one in pushes:
            problem = results[one.repository] = one.refused or _push(one, environment, hidden)
            done(f"{one.repository.name}: {'failed' if problem else 'pushed'}")
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
            "the docker plugin pushrm, which pushes READMEs, is not installed",
            hint="install it: https://github.com/christian-korneck/docker-pushrm#installation",
        )


def _clashes(repositories: Iterable[Repository], target: str) -> Iterator[Problem]:
    """Yield a problem for each further image with its README on a page: the last to be pushed would be shown."""
    first, *others = [one for one in repositories if one.readme and with_host(one.name) == target]
    for one in others:
        if one.image != first.image:
            place = first.source.place(first.path).value
            yield one.problem(
                "readme-clash",
                f"{one.name} can show one README, and {first.image} declares one as well ({place})",
                hint="keep `readme: true` for only one of them",
            )


def _check_current(project: Project, pages: Iterable[Page]) -> None:
    with project.evaluator.limits:
        made = {page.path: OutputFile(render_readme(project, page)) for page in pages}
    stale = compare(project.root, made, made.__contains__).differing
    if stale:
        raise fail("stale-output", f"not up to date: {', '.join(stale)}", hint="run `bakegen generate --docs`")


def _variables(repository: Repository, environment: Environment) -> Iterator[tuple[str, str]]:
    """Yield the plugin's variables with ours, if those are set; else it asks docker's own store of logins."""
    if repository.kind.readme in _KEYED:
        own = _key_variable(repository)
        found = next((name for name in (own, "DOCKER_APIKEY") if environment.get(name)), "")
        if found:
            yield own, found
    elif all(environment.get(name) for name in repository.variables):
        yield from zip(("DOCKER_USER", "DOCKER_PASS"), repository.variables, strict=True)


def _push(one: ReadmePush, environment: Environment, hidden: Collection[str]) -> Problem | None:
    """Push one README. The plugin sees no secrets but those for its registry: its general ones would go to any."""
    values = {name: environment.get(ours) or "" for name, ours in one.variables.items()}
    kept = {name: value for name, value in os.environ.items() if name not in hidden and not _OWN.fullmatch(name)}
    reply = ask(one.command, environment={**kept, **values})
    if reply.code == 0:
        return None
    message = _message(reply.said)
    for name, value in values.items():
        if name != "DOCKER_USER":
            message = Credentials(values.get("DOCKER_USER", ""), value).hidden_in(message)
    return one.repository.problem(
        "readme-refused",
        f"cannot push the README to {one.repository.name}: {message}",
        hint=_way_in(one.repository),
    )


def _way_in(repository: Repository) -> str:
    """Return what lets the plugin in."""
    if repository.kind.readme in _KEYED:
        return (
            f"set {_key_variable(repository)} to an application token of {repository.kind.title}; a login is not enough"
        )
    variables = f"set {' and '.join(repository.variables)}"
    try:
        helper = read_docker_config().helpers.get(repository.kind.server or repository.host)
    except BakegenError:
        helper = ""
    if helper:
        return (
            f"{variables}: the plugin does not use docker-credential-{helper} (`credHelpers`), which stores the login"
        )
    return f"{variables}, or log in: `bakegen authenticate --registry {repository.host}`"


def _key_variable(repository: Repository) -> str:
    return f"APIKEY__{repository.host.upper().replace('.', '_')}"


def _message(said: str) -> str:
    """Return what the plugin complains of, in one line."""
    errors = [_unquoted(text) for text in _ERROR.findall(said)] or said.splitlines()
    return " ".join(" ".join(errors).split()) or "no error message"


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return text.strip('"')


def _refusal(repository: Repository, page: Page, file: Path) -> Problem | None:
    """Return why a README cannot get to its page, as far as that can be told before."""
    kind, size = repository.kind, file.stat().st_size
    if not _TARGET.fullmatch(name := with_host(repository.name)):
        message = f"docker-pushrm only supports HOST/NAMESPACE/NAME without a port, not {name}"
        return repository.problem("readme-refused", message, hint="remove `readme: true` here")
    if kind.readme_limit and size > kind.readme_limit:
        limit = f"{kind.title} limits READMEs to {kind.readme_limit:,} bytes"
        message = f"{limit}, but {page.path} has {size:,}"
        hint = "shorten templates/README.md.j2, or the descriptions in the manifest"
        return repository.problem("readme-refused", message, hint=hint)
    return None


def _unwanted(repository: Repository) -> Problem:
    host = repository.host
    if repository.kind.readme:
        message, hint = f"no repository at {host} declares a README", "add it: {repository: …, readme: true}"
    else:
        showing = ", ".join(kind.title for kind in KINDS if kind.readme)
        message, hint = f"{host} does not show READMEs", f"set `kind` if it is one of {showing}"
    return repository.problem("no-readme", message, hint=hint)
