"""A builder as `docker buildx inspect` tells of it, and how it would build for a platform.

In: the text that buildx prints; there is no other form of it in buildx 0.13. Out: a `InspectedBuilder` with its nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bakegen.spec.platforms import Platform

BuildsHow = Literal["native", "emulated", "unknown"]

_FIELD = re.compile(r"^(\w[\w ]*):[ \t]*(.*)$", re.MULTILINE)
_KIN = {("linux/amd64", "386")}  # what a processor runs beside its own architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedNode:
    """One machine of a builder.

    `platforms` are those that it says it can build for; `claimed` are those among them that its settings give it, asked
    or not. `own` is the platform of the machine, empty if that is not known.
    """

    name: str
    endpoint: str = ""
    status: str = ""
    complaint: str = ""
    platforms: tuple[str, ...] = ()
    claimed: tuple[str, ...] = ()
    own: str = ""

    @property
    def runs(self) -> bool:
        """Whether it can be asked what it builds for."""
        return self.status == "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedBuilder:
    """A builder of buildx; `complaint` is what is wrong with it as a whole."""

    name: str
    driver: str = ""
    complaint: str = ""
    nodes: tuple[InspectedNode, ...] = ()


def read_builder(text: str) -> InspectedBuilder:
    """Return the builder that `docker buildx inspect` describes."""
    head, _, rest = text.partition("\nNodes:\n")
    fields = _fields(head)
    parts = re.split(r"^(?=Name:)", rest, flags=re.MULTILINE)
    return InspectedBuilder(
        name=fields.get("Name", ""),
        driver=fields.get("Driver", ""),
        complaint=fields.get("Error", ""),
        nodes=tuple(_node(_fields(part)) for part in parts if part.strip()),
    )


def choose_nodes(nodes: Sequence[InspectedNode], platforms: Iterable[str]) -> dict[str, InspectedNode | None]:
    """Return the node that builds for each platform, None if none has it.

    As buildx chooses (build/driver.go): who was given a platform goes first only if each of them was given to some node.
    Else it goes by what nodes were given and what they offer alike.
    """
    given = _given(nodes, platforms)
    return given if None not in given.values() else {name: _first(nodes, name) for name in given}


def needed_nodes(nodes: Sequence[InspectedNode], platforms: Iterable[str]) -> list[InspectedNode]:
    """Return the nodes without which bake cannot build for platforms: if one was given to none, buildx asks all nodes."""
    given = _given(nodes, platforms)
    return [node for node in nodes if None in given.values() or node in given.values()]


def offers(node: InspectedNode, platform: str) -> bool:
    """Return whether a node says that it builds for a platform."""
    return _covers(node.platforms, platform)


def builds_how(node: InspectedNode, platform: str) -> BuildsHow:
    """Return how a node builds for a platform. An arm64 processor may or may not run 32-bit programs itself."""
    if not node.own:
        return "unknown"
    wanted, own = Platform(platform), Platform(node.own)
    if (wanted.os, wanted.arch) == (own.os, own.arch) or (f"{own.os}/{own.arch}", wanted.arch) in _KIN:
        return "native"
    return "unknown" if (own.arch, wanted.arch) == ("arm64", "arm") else "emulated"


def _given(nodes: Sequence[InspectedNode], platforms: Iterable[str]) -> dict[str, InspectedNode | None]:
    return {name: next((node for node in nodes if name in node.claimed), None) for name in platforms}


def _first(nodes: Sequence[InspectedNode], platform: str) -> InspectedNode | None:
    exact = (node for node in nodes if platform in (*node.claimed, *node.platforms))
    covering = (node for node in nodes if _covers((*node.claimed, *node.platforms), platform))
    return next(exact, next(covering, None))


def _covers(listed: Iterable[str], platform: str) -> bool:
    """Return whether a list holds a platform, or 32-bit ARM of a later version."""
    return any(one == platform or (one.startswith("linux/arm/") and "linux/arm/" < platform < one) for one in listed)


def _fields(text: str) -> Mapping[str, str]:
    """Return what stands at the beginning of lines; what belongs to a field is indented."""
    return {name: value.strip() for name, value in _FIELD.findall(text)}


def _node(fields: Mapping[str, str]) -> InspectedNode:
    listed = [word for word in fields.get("Platforms", "").split(", ") if word]
    return InspectedNode(
        name=fields.get("Name", ""),
        endpoint=fields.get("Endpoint", ""),
        status=fields.get("Status", ""),
        complaint=fields.get("Error", ""),
        platforms=tuple(word.removesuffix("*") for word in listed),
        claimed=tuple(word.removesuffix("*") for word in listed if word.endswith("*")),
    )
