"""Which targets share a block of the bake file: those of one release of an image, and their images of one platform.

In: a `Graph`. Out: its `Block`s. A block of several targets is a matrix, and bake makes a group of its targets that is
called like the block. Where the graph has that group, the block needs no other; else its name begins with `_`, by which
bake knows what is not for the command line.
"""

from __future__ import annotations

from dataclasses import dataclass

from bakegen.graph.graph import Graph
from bakegen.graph.model import Target
from bakegen.graph.names import release_name, word


@dataclass(frozen=True, slots=True)
class Block:
    """Targets of one release of an image, and what they are called together; a single one has its own name."""

    name: str
    targets: tuple[Target, ...]

    @property
    def is_uniform(self) -> bool:
        """Whether all targets are for the same platforms."""
        return all(target.platforms == self.targets[0].platforms for target in self.targets)


def blocks_of(graph: Graph) -> tuple[Block, ...]:
    """Return a block for each release of each image, in the order of the graph."""
    groups = {
        group.members: group.name
        for kind in ("image", "image release")  # of groups with the same members, the last
        for group in graph.groups
        if group.kind == kind
    }
    taken = {*graph.targets, *(group.name for group in graph.groups)}
    releases: dict[str, list[Target]] = {}
    for target in graph.targets.values():
        name = release_name(target)
        releases.setdefault(name if target.dockerfile else f"{name}_platforms", []).append(target)
    blocks = []
    for name, targets in releases.items():
        block = Block(targets[0].name, tuple(targets))
        if len(targets) > 1:
            group = groups.get(tuple(target.name for target in targets), "") if block.is_uniform else ""
            block = Block(group or free_name(f"_{name}", taken), block.targets)
        blocks.append(block)
    return tuple(blocks)


def constant(text: str) -> str:
    """Return text as the name of a constant."""
    name = word(text).lower().replace("-", "_").strip("_")
    return f"image_{name}" if name[0].isdigit() else name


def free_name(name: str, taken: set[str]) -> str:
    """Return `name`, or `name-2` and so on where something else is called so; from then on it is `taken`."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}-{count}"
    taken.add(found)
    return found
