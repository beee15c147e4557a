"""The attributes that a bake target can have: their types, and the first buildx that knows them.

Older clients drop an unknown attribute without a word, so bakegen refuses one that is newer than the manifest's
`buildx:`. The releases were read from the `Target` struct at each tag of https://github.com/docker/buildx.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

OLDEST_BUILDX = (0, 13)

# Before, a target for several of its parent's several platforms, but not for all of them, is refused
# (https://github.com/docker/buildx/pull/2877).
NARROWING_BUILDX = (0, 20)

AttributeKind = Literal["text", "flag", "list", "map"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: its type in a bake file, its first release, the manifest key that sets it if not `bake:`."""

    kind: AttributeKind
    since: tuple[int, int]
    key: str = ""


ATTRIBUTES = {
    "annotations": Attribute("list", (0, 12), "annotations"),
    "args": Attribute("map", (0, 2), "args"),
    "attest": Attribute("list", (0, 10), "attest"),
    "cache-from": Attribute("list", (0, 2), "cache-from"),
    "cache-to": Attribute("list", (0, 2), "cache-to"),
    "call": Attribute("text", (0, 16)),
    "context": Attribute("text", (0, 2), "context"),
    "contexts": Attribute("map", (0, 8), "contexts"),
    "description": Attribute("text", (0, 16), "description"),
    "dockerfile": Attribute("text", (0, 2), "dockerfile"),
    "dockerfile-inline": Attribute("text", (0, 5), "template"),
    "entitlements": Attribute("list", (0, 17)),
    "extra-hosts": Attribute("map", (0, 25)),
    "inherits": Attribute("list", (0, 2), "releases"),
    "labels": Attribute("map", (0, 2), "labels"),
    "matrix": Attribute("map", (0, 11), "axes"),
    "name": Attribute("text", (0, 11), "axes"),
    "network": Attribute("text", (0, 17)),
    "no-cache": Attribute("flag", (0, 4)),
    "no-cache-filter": Attribute("list", (0, 8)),
    "output": Attribute("list", (0, 2)),
    "platforms": Attribute("list", (0, 2), "platforms"),
    "policy": Attribute("list", (0, 31)),
    "pull": Attribute("flag", (0, 4)),
    "resources": Attribute("map", (0, 35)),
    "secret": Attribute("list", (0, 2), "secrets"),
    "shm-size": Attribute("text", (0, 13)),
    "ssh": Attribute("list", (0, 2), "ssh"),
    "tags": Attribute("list", (0, 2), "tags"),
    "target": Attribute("text", (0, 2)),
    "ulimits": Attribute("list", (0, 13)),
}


def fits(attribute: Attribute, value: Any) -> bool:
    """Return whether a value of a manifest has the attribute's type."""
    match attribute.kind:
        case "text":
            return isinstance(value, str)
        case "flag":
            return isinstance(value, bool)
        case "list":
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case "map":
            return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
