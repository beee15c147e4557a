"""Turn the graph into `docker-bake.hcl`.

In: a `Graph`. Out: what the template `docker-bake.hcl.j2` writes, as HCL. What targets have in common stands once: in the
block of their release, or in a block for their image that those inherit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bakegen.bake import hcl
from bakegen.bake.attributes import bake_attributes
from bakegen.bake.blocks import Block, blocks_of, constant, free_name
from bakegen.bake.groups import GroupWriter, Platforms, Table
from bakegen.bake.hcl import Call, Code
from bakegen.bake.matrix import ROW, matrix_of
from bakegen.bake.platform_images import with_platform_images
from bakegen.expressions.bake_environment import PLATFORMS, REGISTRY
from bakegen.expressions.text import Text
from bakegen.graph.graph import Graph
from bakegen.graph.model import Target
from bakegen.graph.names import release_name, word
from bakegen.manifest.model import Manifest

BAKE_FILE = "docker-bake.hcl"

# Bake merges these key by key when a target inherits; everything else is replaced or appended whole
# (https://docs.docker.com/build/bake/inheritance/), so only these are shared in part.
_MERGED = frozenset({"args", "labels", "contexts"})
_OWN = frozenset({"description", "tags"})  # `bake --list` does not look for a description in what a target inherits
_LEVEL = 3  # lines of an inherited block besides its attributes


@dataclass(frozen=True, slots=True)
class Entry:
    """An attribute of a block, or a constant, as HCL."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class HclBlock:
    """A `target` or `group` block; before a target stands the table that its `matrix` takes rows from, if it has one."""

    name: str
    entries: tuple[Entry, ...]
    table: Entry | None = None

    @property
    def one_line(self) -> str:
        """What stands in the block, if that is one attribute on one line."""
        first, *others = self.entries
        return "" if others or "\n" in first.value else f"{first.name} = {first.value}"


@dataclass(frozen=True, slots=True)
class Section:
    """What one image family adds to the bake file; its own groups are those of its releases and Dockerfiles."""

    image: str
    manifest: str
    description: str
    constants: tuple[Entry, ...]
    blocks: tuple[HclBlock, ...]
    groups: tuple[HclBlock, ...]


@dataclass(frozen=True, slots=True)
class BakeVariable:
    """A `variable` block."""

    name: str
    default: str
    description: str


@dataclass(frozen=True, slots=True)
class BakeModel:
    """All that the bake template writes.

    `platforms` are those of all targets. Where targets differ in platforms, `platform_lists` names each list instead.
    """

    variables: tuple[BakeVariable, ...]
    publishes: bool
    platforms: str
    platform_lists: tuple[Entry, ...]
    groups: tuple[HclBlock, ...]
    sections: tuple[Section, ...]


def bake_model(graph: Graph) -> BakeModel:
    """Return the content of the bake file."""
    graph = with_platform_images(graph)
    names = _Names(graph)
    blocks = blocks_of(graph)
    names.blocks.update(block.name for block in blocks)
    writers = [
        _SectionWriter(manifest, [block for block in blocks if block.targets[0].image == manifest.image], names)
        for manifest in graph.manifests
    ]
    for writer in writers:
        writer.write_blocks()
    tables = {writer.manifest.image: writer.tables for writer in writers}
    members = GroupWriter(graph, blocks, tables, names.constants, names.platforms)
    free = {block.name for block in blocks if len(block.targets) > 1}  # the targets of a matrix are a group already
    groups: dict[str, list[HclBlock]] = {"": [], **{image: [] for image in tables}}
    for group in graph.groups:
        if group.name not in free:
            image = graph.targets[group.members[0]].image if group.kind == "image release" else ""
            groups[image].append(
                _block(group.name, {"description": group.description, "targets": members.targets(group)})
            )
    return BakeModel(
        variables=tuple(
            BakeVariable(variable.bake_name, hcl.quoted(variable.default), variable.description)
            for manifest in graph.manifests
            for variable in manifest.variables.values()
        ),
        publishes=any(target.publish for target in graph.targets.values()),
        platforms="" if names.lists else hcl.write(list(next(iter(graph.targets.values())).platforms), 2),
        platform_lists=tuple(
            Entry(name, hcl.write(Call("filter_platforms", (list(platforms),))))
            for platforms, name in names.lists.items()
        ),
        groups=tuple(groups[""]),
        sections=tuple(
            writer.section(groups[writer.manifest.image], members.constants(writer.manifest.image))
            for writer in writers
        ),
    )


class _Names:
    """The names of the bake file: of blocks and groups, and of constants, such as lists of platforms."""

    def __init__(self, graph: Graph) -> None:
        self.blocks = {*graph.targets, *(group.name for group in graph.groups)}
        self.constants = {REGISTRY, PLATFORMS, "platforms", "no_platform"}
        self.constants.update(name.bake_name for each in graph.manifests for name in each.variables.values())
        different = list(dict.fromkeys(target.platforms for target in graph.targets.values()))
        self.lists = {
            platforms: free_name(_list_name(platforms), self.constants) for platforms in different if len(different) > 1
        }

    def platforms(self, platforms: Platforms) -> Any:
        """Return those of some platforms that are asked for at bake time, or what bake fails with if there are none."""
        if not self.lists:
            return Code("platforms")
        if platforms in self.lists:
            return Code(self.lists[platforms])
        return Call("filter_platforms", (list(platforms),))


def _list_name(platforms: Sequence[str]) -> str:
    """Name a list of platforms: `linux_amd64_arm64`."""
    systems: dict[str, list[str]] = {}
    for platform in platforms:
        system, _, architecture = platform.partition("/")
        systems.setdefault(system, []).append(architecture)
    return constant("_".join(part for system, found in systems.items() for part in (system, *found)))


class _SectionWriter:
    """Writes what one image adds to the file."""

    def __init__(self, manifest: Manifest, blocks: Sequence[Block], names: _Names) -> None:
        self.manifest = manifest
        self.blocks = blocks
        self.names = names
        self.tables: list[Table] = []
        self.written: list[HclBlock] = []
        self.repositories = self.name_repositories()
        descriptions = {release.name: release.description for release in manifest.releases}
        self.cells = {
            target.name: {"description": descriptions[target.release], **self.attributes(target)}
            for block in blocks
            for target in block.targets
        }

    def write_blocks(self) -> None:
        """Write the blocks of the image; from then on there are its tables."""
        inherited = self.share()
        self.written += [self.block(block, inherited) for block in self.blocks]

    def section(self, groups: Sequence[HclBlock], constants: Iterable[tuple[str, Any]]) -> Section:
        """Return the section, with the constants that groups need."""
        repositories = [(name, Call("under_registry", (_plain(found),))) for found, name in self.repositories.items()]
        return Section(
            self.manifest.image,
            self.manifest.source.file,
            self.manifest.description,
            tuple(_entry(name, value, 0) for name, value in (*repositories, *constants)),
            tuple(self.written),
            tuple(groups),
        )

    def share(self) -> list[str]:
        """Take what all targets have in common into a block of its own, if that makes the file shorter.

        Returns what the blocks inherit.
        """
        common = _common(list(self.cells.values()))
        saved = sum(len(value) if key in _MERGED else 1 for key, value in common.items()) * (len(self.blocks) - 1)
        if saved <= _LEVEL:
            return []
        self.cells = {target: _without(attributes, common) for target, attributes in self.cells.items()}
        level = free_name(f"_{word(self.manifest.image)}", self.names.blocks)
        self.written.append(_block(level, common))
        return [level]

    def block(self, block: Block, inherited: list[str]) -> HclBlock:
        """Return the block of some targets."""
        targets = block.targets
        cells = [self.cells[target.name] for target in targets]
        if len(targets) == 1:
            return _block(block.name, _ordered({"inherits": inherited, **cells[0]}))
        found = matrix_of(
            [target.name for target in targets],
            release_name(targets[0]),
            {axis: [target.values[axis] for target in targets] for axis in targets[0].values},
            cells,
            platforms=[self.names.platforms(target.platforms) for target in targets] if self.names.lists else None,
            taken=self.names.constants,
        )
        head = {"inherits": inherited, "matrix": found.over, "name": found.name}
        if found.over:
            return _block(block.name, _ordered({**head, **found.attributes}))
        table = free_name(constant(block.name), self.names.constants)
        self.tables.append(Table(table, targets))
        head["matrix"] = {ROW: Code(table)}
        return _block(block.name, _ordered({**head, **found.attributes}), Entry(table, hcl.write(found.table)))

    def name_repositories(self) -> dict[tuple[Text, ...], str]:
        """Return names for the lists of repositories that several blocks need."""
        needed = Counter(
            repositories
            for block in self.blocks
            for repositories in dict.fromkeys(target.repositories for target in block.targets if target.publish)
        )
        several = [repositories for repositories, count in needed.items() if count > 1]
        base = constant(self.manifest.image)
        names = {}
        for repositories in several:
            last = constant(repositories[0].with_defaults().rsplit("/", 1)[-1])
            full = last if last.startswith(base) else f"{base}_{last}"
            names[repositories] = free_name(f"{base if len(several) == 1 else full}_repositories", self.names.constants)
        return names

    def attributes(self, target: Target) -> dict[str, Any]:
        """Return the attributes of a target, without inheritance, as the file has them."""
        attributes = {key: _plain(value) for key, value in bake_attributes(target).items()}
        if "platforms" in attributes:
            attributes["platforms"] = self.names.platforms(target.platforms)
        if "tags" in attributes:
            name = self.repositories.get(target.repositories)
            repositories = Code(name) if name else Call("under_registry", (_plain(target.repositories),))
            attributes["tags"] = Call("tags", (repositories, attributes["tags"]))
        return attributes


def _plain(value: Any) -> Any:
    """Return data with strings for texts without variables, and lists for tuples."""
    if isinstance(value, Text):
        return value if value.variables else value.with_defaults()
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _ordered(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes with the description first."""
    return {"description": attributes.get("description", ""), **attributes}


def _block(name: str, attributes: Mapping[str, Any], table: Entry | None = None) -> HclBlock:
    """Return a block, without a description or a list of what it inherits if these are empty."""
    entries = (
        _entry(key, value, 2) for key, value in attributes.items() if value or key not in ("description", "inherits")
    )
    return HclBlock(name, tuple(entries), table)


def _entry(name: str, value: Any, indent: int) -> Entry:
    return Entry(name, hcl.write(value, indent, f"{name} = ").removeprefix(f"{name} = "))


def _common(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what all of several targets have in common."""
    first, *others = cells
    common: dict[str, Any] = {}
    for key, value in first.items():
        if key in _MERGED:
            same = {
                name: item
                for name, item in value.items()
                if all(other.get(key, {}).get(name) == item for other in others)
            }
            common |= {key: same} if same else {}
        elif key not in _OWN and all(other.get(key) == value for other in others):
            common[key] = value
    return common


def _without(attributes: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes without what they have in common with others."""
    left = {}
    for key, value in attributes.items():
        if key not in common:
            left[key] = value
        elif key in _MERGED and (own := {name: item for name, item in value.items() if name not in common[key]}):
            left[key] = own
    return left
