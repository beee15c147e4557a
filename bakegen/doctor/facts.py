"""What doctor finds out, before it is judged: frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bakegen.docker.buildx import Buildx
from bakegen.docker.inspect import Builder
from bakegen.output.compare import Changes
from bakegen.registries.answers import Answer


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that could not be found out, and what was said instead."""

    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A docker engine: its version, and the folder where it keeps its data.

    `free` is how many bytes are left there; None if that is not on this machine. `several` tells whether it can keep an
    image of several platforms.
    """

    version: str
    several: bool
    folder: str
    free: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """The docker program, and the engine at `address` that it talks to.

    `plugins` are the versions of its plugins by their names, None if it did not tell.
    """

    version: str
    plugins: Mapping[str, str] | None
    address: str
    engine: Engine | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the manifests ask for: the oldest buildx, and whether READMEs are shown somewhere."""

    manifests: int
    targets: int
    buildx: tuple[int, int]
    readmes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A builder that `build` would use, and what it has to build for: the platforms of its images, in their order.

    `name` is what manifests or the environment call it, empty for the current one. `told` is what buildx tells of it,
    None without buildx. `declared` is whether a manifest names it; then `mismatch` says how it is not as declared.
    `several` tells whether a target is for several platforms.
    """

    name: str = ""
    declared: bool = False
    mismatch: str = ""
    platforms: tuple[str, ...] = ()
    several: bool = False
    told: Builder | Failure | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a registry answered at `url`; a `Failure` if docker's own record of logins could not be read."""

    host: str
    url: str
    answer: Answer | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that doctor judges.

    `docker` and `buildx` are None where there is no such program, `needs` outside of a project, and `outputs` where
    there was nothing to compare. `settings` are the variables of the environment that
    choose engine and builder, `system` is Python's name of this one, and `bakegen` is how this program is called here.
    """

    system: str
    settings: frozenset[str]
    bakegen: str
    docker: Docker | Failure | None
    buildx: Buildx | None
    sites: tuple[Site, ...]
    needs: Needs | Failure | None
    registries: tuple[Asked, ...] | Failure
    outputs: Changes | Failure | None
