"""What doctor finds out, and what it says of that: frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bakegen.docker.buildx import Buildx
from bakegen.docker.inspect import InspectedBuilder
from bakegen.output.compare import Changes
from bakegen.registries.authenticate import RegistryState

Severity = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question without an answer, and what was said instead."""

    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """A docker engine: its version, and the folder where it keeps its data.

    `free` is how many bytes are left there; None if that is not on this machine. `several` tells whether it can keep an
    image of several platforms.
    """

    version: str
    several: bool
    folder: str
    free: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerFacts:
    """The docker program, and the engine at `address` that it talks to.

    `plugins` are the versions of its plugins by their names, None if it did not tell.
    """

    version: str
    plugins: Mapping[str, str] | None
    address: str
    engine: EngineFacts | Unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderUse:
    """A builder that `build` would use, and what for: the platforms of its images, in their order.

    `name` is what manifests or the environment call it, empty for the current one. `declared` is whether a manifest names
    it; then `mismatch` says how it is not as declared. `several` tells whether a target is for several platforms.
    `builder` is what buildx tells of it, None without buildx; `platforms` of its nodes are those that BuildKit offers
    there, without those that settings claim.
    """

    name: str = ""
    declared: bool = False
    mismatch: str = ""
    platforms: tuple[str, ...] = ()
    several: bool = False
    builder: InspectedBuilder | Unanswered | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFacts:
    """What the manifests declare: the oldest buildx, and whether READMEs are shown somewhere."""

    manifests: int
    targets: int
    buildx: tuple[int, int]
    readmes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that doctor judges.

    `docker` and `buildx` are None where there is no such program, `project` outside of one, and `outputs` where there was
    nothing to compare. `settings` are the variables of the environment that choose engine and builder, `system` is
    Python's name of this one, and `bakegen` is how this program is called here.
    """

    system: str
    settings: frozenset[str]
    bakegen: str
    docker: DockerFacts | Unanswered | None
    buildx: Buildx | None
    uses: tuple[BuilderUse, ...]
    project: ProjectFacts | Unanswered | None
    registries: tuple[RegistryState, ...] | Unanswered = ()
    outputs: Changes | Unanswered | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; unless it is ok, `fix` is a command for a shell."""

    check: str
    state: Severity
    found: str
    fix: str = ""


def unknown(check: str, cause: Finding) -> Finding:
    """Return the finding for what is not known because of something else that is wrong."""
    return Finding(check, "warning", f"unknown, see {cause.check}", cause.fix)
