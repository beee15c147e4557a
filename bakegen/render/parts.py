"""Which of the outputs a run answers for: those of some images, or some kinds of them; all others it leaves alone.

In: what the command line says. Out: an `Extent`, which is a scope of `output`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from bakegen.bake.model import BAKE_FILE
from bakegen.graph.draft import OUTPUT
from bakegen.render.pages import PAGES, README

Part = Literal["dockerfiles", "docs", "bake"]
PARTS: tuple[Part, ...] = get_args(Part)

# What bakegen itself writes right in the folder of a family; all else there is a Dockerfile or a side file.
_OWN: dict[str, Part] = {
    README: "docs",
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
        if self.images and path.removeprefix(f"{OUTPUT}/").partition("/")[0] not in self.images:
            return False
        return path in self.also or (own_part(path) or "dockerfiles") in self.parts


def own_part(path: str) -> Part | None:
    """Return the part of a path where bakegen itself writes, in the folder of any family; None for all others."""
    name = path.removeprefix(f"{OUTPUT}/").partition("/")[2]
    return "docs" if name.startswith(PAGES) and name.endswith(".md") else _OWN.get(name)
