"""The registries that images are pushed to, and the environment variables that log in to them.

In: the graph, and the environment in which bake reads the bake file. Out: a `Destination` for each registry.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bakegen.errors import BakegenError, Code, Problem, did_you_mean, fail
from bakegen.expressions.bake_environment import REGISTRY, under_registry
from bakegen.graph.graph import Graph
from bakegen.source.yaml import KeyPath, Source
from bakegen.spec.references import is_repository, registry_host
from bakegen.spec.registry_kinds import LoginVariables, RegistryKind, kind_for, kind_of

_OTHER_NAMES = {"docker.io": ("index.docker.io",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository as one entry of a manifest declares it."""

    image: str
    name: str
    kind: RegistryKind
    variables: LoginVariables
    readme: bool
    source: Source = field(compare=False)
    path: KeyPath

    @property
    def host(self) -> str:
        """The registry that it lies in."""
        return registry_host(self.name)

    def problem(self, code: Code, message: str, *, hint: str) -> Problem:
        """Return a `Problem` at the entry in the manifest."""
        return self.source.problem(code, message, self.path, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A registry, and the repositories there that are pushed to.

    `declared` is the entry of a manifest that first names it, None if only BAKEGEN_REGISTRY does.
    """

    host: str
    kind: RegistryKind
    variables: LoginVariables
    repositories: tuple[str, ...]
    declared: Repository | None

    @property
    def server(self) -> str:
        """What docker's configuration calls the registry."""
        return self.kind.server or self.host

    def problem(self, code: Code, message: str, *, hint: str) -> Problem:
        """Return a `Problem` at the entry in the manifest, if there is one."""
        if self.declared:
            return self.declared.problem(code, message, hint=hint)
        return Problem(code=code, message=message, hint=hint)


def find_destinations(
    graph: Graph, environment: Mapping[str, str], images: Sequence[str] = (), only: str = ""
) -> tuple[Destination, ...]:
    """Return the registries that images (all if none is named) are pushed to, in the order of the manifests.

    BAKEGEN_REGISTRY in the environment replaces the declared ones; `only` picks one of them by its host. Raises
    `BakegenError` for an image or registry that does not exist or cannot be, and if entries of one host disagree about
    its login: docker keeps one login per host.
    """
    declared = find_repositories(graph, environment, images)
    prefix = environment.get(REGISTRY)
    if prefix and not is_repository(f"{prefix}/app"):
        hint = "use HOST or HOST/NAMESPACE, such as ghcr.io/me"
        raise fail("invalid-reference", f"{REGISTRY}={prefix} is not a registry", hint=hint)
    by_host: dict[str, dict[str, None]] = {}
    for repository in declared:
        name = under_registry(repository.name, prefix, graph.registry_rule) if prefix else repository.name
        by_host.setdefault(registry_host(name), {})[name] = None
    hosts = pick_hosts(by_host, only, images, prefix)
    entries = {host: [repository for repository in declared if repository.host == host] for host in hosts}
    problems = [problem for found in entries.values() for problem in _clashes(found)]
    if problems:
        raise BakegenError(problems)
    destinations = []
    for host in hosts:
        first = next(iter(entries[host]), None)
        kind = first.kind if first else kind_of(host)
        variables = first.variables if first else kind.variables
        names = tuple(by_host[host])
        destinations.append(Destination(host=host, kind=kind, variables=variables, repositories=names, declared=first))
    return tuple(destinations)


def find_repositories(
    graph: Graph, environment: Mapping[str, str], images: Sequence[str] = ()
) -> tuple[Repository, ...]:
    """Return the repositories of published targets as manifests declare them; raises `BakegenError` for no such image."""
    chosen = {manifest.image: manifest.source for manifest in graph.restrict(images)}
    found: dict[Repository, None] = {}
    for target in graph.targets.values():
        if target.image in chosen and target.publish:
            for text, entry in zip(target.repositories, target.registries, strict=False):
                name = text.at_bake_time(environment)
                kind = kind_for(entry.kind, registry_host(name))
                repository = Repository(
                    image=target.image,
                    name=name,
                    kind=kind,
                    variables=LoginVariables(
                        entry.username or kind.variables.user, entry.password or kind.variables.password
                    ),
                    readme=entry.readme,
                    source=chosen[target.image],
                    path=entry.path,
                )
                found[repository] = None
    return tuple(found)


def pick_hosts(hosts: Collection[str], only: str, images: Sequence[str] = (), prefix: str | None = None) -> list[str]:
    """Return the hosts, or just the one called `only`; raises `BakegenError` if there is none of that name."""
    found = [host for host in hosts if only in ("", host, *_OTHER_NAMES.get(host, ()))]
    if only and not found:
        whose = f"of {', '.join(images)}" if images else "of the manifests"
        hint = f"{REGISTRY} is set: all images go to {prefix}" if prefix else did_you_mean(only, hosts)
        raise fail(
            "unknown-registry",
            f'no image {whose} is pushed to "{only}"',
            hint=hint or "add it to `registries`",
        )
    return found


def _clashes(entries: Sequence[Repository]) -> Iterator[Problem]:
    for entry in entries:
        first = entries[0]
        if (entry.kind, entry.variables) != (first.kind, first.variables):
            where = first.source.place(first.path).value
            kinds = entry.kind != first.kind
            yield entry.problem(
                "login-clash",
                f"different logins for {entry.host}: {_said(entry, kinds=kinds)} here, and {_said(first, kinds=kinds)} at {where}",
                hint="use the same variables, or log in for one IMAGE at a time: docker keeps one login per host",
            )


def _said(entry: Repository, *, kinds: bool) -> str:
    parts = [f"as {entry.kind.name}"] if kinds else []
    if any(entry.variables):
        parts.append(f"with {' and '.join(filter(None, entry.variables))}")
    return " ".join(parts)
