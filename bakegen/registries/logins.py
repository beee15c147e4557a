"""Which registries there are to log in to, and by which environment variables.

In: the graph. Out: a `Login` for each registry that published targets go to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bakegen.errors import BakegenError, Code, Problem, did_you_mean
from bakegen.graph.graph import Graph
from bakegen.manifest.model import Registry
from bakegen.source.yaml import KeyPath, Source
from bakegen.spec.references import registry_host
from bakegen.spec.registry_kinds import Kind, kind_for

_OTHER_NAMES = {"docker.io": ("index.docker.io",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A registry, and the environment variables that hold user and password (empty where its kind needs none).

    `repositories` are those of published targets; `readmes` those of them that show a README. `source` and `path` are
    where a manifest first names the registry.
    """

    host: str
    kind: Kind
    username: str
    password: str
    repositories: tuple[str, ...]
    readmes: tuple[str, ...]
    source: Source = field(repr=False, compare=False)
    path: KeyPath = field(repr=False)

    @property
    def server(self) -> str:
        """What docker's configuration calls the registry."""
        return self.kind.server or self.host

    def problem(self, code: Code, message: str, *, hint: str) -> Problem:
        """Return a `Problem` that points at the registry in the manifest."""
        return self.source.problem(code, message, self.path, hint=hint)


@dataclass(frozen=True, slots=True)
class _Use:
    """One repository as one entry of a manifest declares it."""

    host: str
    kind: Kind
    variables: tuple[str, str]
    repository: str
    readme: bool
    source: Source = field(compare=False)
    path: KeyPath


def logins(graph: Graph, images: Sequence[str] = (), registry: str = "") -> tuple[Login, ...]:
    """Return the registries of images (of all if none is named), in the order of the manifests; or only the named one.

    Docker keeps one login per host, so a host whose entries differ in their variables is a problem. Raises
    `BakegenError` for that, and for an image or registry that there is not.
    """
    chosen = {manifest.image for manifest in graph.restrict(images)}
    uses = list(dict.fromkeys(_uses(graph, chosen)))
    hosts = list(dict.fromkeys(use.host for use in uses))
    if registry:
        hosts = [host for host in hosts if registry in (host, *_OTHER_NAMES.get(host, ()))]
        if not hosts:
            raise BakegenError([_unknown(registry, {use.host for use in uses}, images)])
    by_host = {host: [use for use in uses if use.host == host] for host in hosts}
    problems = [problem for found in by_host.values() for problem in _clashes(found)]
    if problems:
        raise BakegenError(problems)
    return tuple(_login(found) for found in by_host.values())


def _uses(graph: Graph, images: Iterable[str]) -> Iterator[_Use]:
    for target in graph.targets.values():
        if target.image in images and target.publish:
            source = graph.manifest(target.image).source
            for repository, registry in zip(target.repositories, target.registries, strict=False):
                yield _use(repository.with_defaults(), registry, source)


def _use(repository: str, registry: Registry, source: Source) -> _Use:
    host = registry_host(repository)
    kind = kind_for(registry.kind, host)
    variables = (registry.username or kind.variables[0], registry.password or kind.variables[1])
    return _Use(host, kind, variables, repository, registry.readme, source, registry.path)


def _login(uses: Sequence[_Use]) -> Login:
    first = uses[0]
    return Login(
        host=first.host,
        kind=first.kind,
        username=first.variables[0],
        password=first.variables[1],
        repositories=tuple(dict.fromkeys(use.repository for use in uses)),
        readmes=tuple(dict.fromkeys(use.repository for use in uses if use.readme)),
        source=first.source,
        path=first.path,
    )


def _clashes(uses: Sequence[_Use]) -> Iterator[Problem]:
    first = uses[0]
    for use in uses:
        if (use.kind, use.variables) != (first.kind, first.variables):
            where = first.source.place(first.path).value
            kinds = use.kind != first.kind
            yield use.source.problem(
                "login-clash",
                f"{use.host} is logged in to {_said(use, kinds=kinds)} here, and {_said(first, kinds=kinds)} at {where}",
                use.path,
                hint="docker keeps one login per host: let them agree, or log in for one IMAGE at a time",
            )


def _said(use: _Use, *, kinds: bool) -> str:
    parts = [f"as {use.kind.name}"] if kinds else []
    if any(use.variables):
        parts.append(f"with {' and '.join(filter(None, use.variables))}")
    return " ".join(parts)


def _unknown(registry: str, hosts: Collection[str], images: Sequence[str]) -> Problem:
    whose = f"of {', '.join(images)}" if images else "of the manifests"
    return Problem(
        code="unknown-registry",
        message=f'nothing {whose} is pushed to "{registry}"',
        hint=did_you_mean(registry, hosts) or "name registries under `registries:`",
    )
