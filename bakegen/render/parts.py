"""Which of the outputs a run answers for: those of some images, or some kinds of them; all others it leaves alone.

In: what the command line says. Out: an `Extent`, which is a scope of `output`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from bakegen.bake.model import BAKE_FILE
from bakegen.graph.expand import OUTPUT

Part = Literal["dockerfiles", "docs", "bake"]
PARTS: tuple[Part, ...] = get_args(Part)

# What lies right in the folder of a family; all else there is a Dockerfile or a side file.
_PARTS: dict[str, Part] = {
    "README.md": "docs",
    "versions": "bake",
    "images.json": "bake",
    "dockerfiles.json": "dockerfiles",
}


@dataclass(frozen=True, slots=True)
class Extent:
    """The paths that a run answers for; without `images` those of all, and of families that are no more."""

    images: tuple[str, ...] = ()
    parts: frozenset[Part] = frozenset(PARTS)
    also: frozenset[str] = frozenset()

    def __call__(self, path: str) -> bool:
        """Return whether the run answers for a path."""
        if path == BAKE_FILE:
            return "bake" in self.parts
        image, _, name = path.removeprefix(f"{OUTPUT}/").partition("/")
        if self.images and image not in self.images:
            return False
        return path in self.also or _PARTS.get(name, "dockerfiles") in self.parts
