"""A builder as `docker buildx inspect` tells of it, and how it would build for a platform.

In: the text that buildx prints; there is no other form of it in buildx 0.13. Out: a `Builder` with its nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bakegen.spec.platforms import Platform

Way = Literal["native", "emulated", "unknown"]

_FIELD = re.compile(r"^(\w[\w ]*):[ \t]*(.*)$", re.MULTILINE)
_KIN = {("linux/amd64", "386")}  # what a processor runs beside its own architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine of a builder.

    `platforms` are those that it says it can build for; `claimed` are those among them that its settings give it, asked
    or not. `own` is the platform of the machine, empty if that cannot be known.
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
class Builder:
    """A builder of buildx; `complaint` is what is wrong with it as a whole."""

    name: str
    driver: str = ""
    complaint: str = ""
    nodes: tuple[Node, ...] = ()


def read_builder(text: str) -> Builder:
    """Return the builder that `docker buildx inspect` describes."""
    head, _, rest = text.partition("\nNodes:\n")
    fields = _fields(head)
    parts = re.split(r"^(?=Name:)", rest, flags=re.MULTILINE)
    return Builder(
        name=fields.get("Name", ""),
        driver=fields.get("Driver", ""),
        complaint=fields.get("Error", ""),
        nodes=tuple(_node(_fields(part)) for part in parts if part.strip()),
    )


def node_for(nodes: Iterable[Node], platform: str) -> Node | None:
    """Return the node that builds for a platform, None if none offers it.

    As buildx chooses (build/driver.go): whoever was given the platform by its settings, else the first that has it.
    """
    usable = [node for node in nodes if node.runs]
    return next(
        (node for node in usable if _covers(node.claimed, platform)),
        next((node for node in usable if _covers(node.platforms, platform)), None),
    )


def needed_nodes(nodes: Sequence[Node], platforms: Iterable[str]) -> list[Node]:
    """Return the nodes without which bake cannot build for platforms.

    As buildx has it (build/driver.go): the first that was given each platform by its settings; all of them if a platform
    was given to none, as it asks all then.
    """
    chosen = {platform: next((node for node in nodes if platform in node.claimed), None) for platform in platforms}
    return [node for node in nodes if None in chosen.values() or node in chosen.values()]


def way_of(node: Node, platform: str) -> Way:
    """Return how a node builds for a platform that it offers.

    An arm64 processor may or may not run 32-bit programs itself, and what was given to a node by its settings hides
    what it said.
    """
    if not node.own:
        return "unknown"
    wanted, own = Platform(platform), Platform(node.own)
    if (wanted.os, wanted.arch) == (own.os, own.arch) or (f"{own.os}/{own.arch}", wanted.arch) in _KIN:
        return "native"
    if _covers(node.claimed, platform) or (own.arch, wanted.arch) == ("arm64", "arm"):
        return "unknown"
    return "emulated"


def _covers(listed: Iterable[str], platform: str) -> bool:
    """Return whether a list holds a platform, or 32-bit ARM of a later version."""
    return any(one == platform or (one.startswith("linux/arm/") and "linux/arm/" < platform < one) for one in listed)


def _fields(text: str) -> Mapping[str, str]:
    """Return what stands at the beginning of lines; what belongs to a field is indented."""
    return {name: value.strip() for name, value in _FIELD.findall(text)}


def _node(fields: Mapping[str, str]) -> Node:
    listed = [word for word in fields.get("Platforms", "").split(", ") if word]
    return Node(
        name=fields.get("Name", ""),
        endpoint=fields.get("Endpoint", ""),
        status=fields.get("Status", ""),
        complaint=fields.get("Error", ""),
        platforms=tuple(word.removesuffix("*") for word in listed),
        claimed=tuple(word.removesuffix("*") for word in listed if word.endswith("*")),
    )
