"""Turn the graph into `docker-bake.hcl`.

In: a `Graph`. Out: the text of the bake file, from the template `docker-bake.hcl.j2`. What targets have in common
stands once, in blocks that they inherit: one for an image, one for the targets of one Dockerfile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bakegen.bake import hcl
from bakegen.bake.hcl import Call, Name
from bakegen.expressions.text import Text
from bakegen.graph.graph import Graph
from bakegen.graph.model import Group, Target
from bakegen.graph.names import dockerfile_word, word
from bakegen.manifest.model import Manifest
from bakegen.source.paths import path_from

BAKE_FILE = "docker-bake.hcl"

# Bake merges these key by key when a target inherits; everything else is replaced or appended whole
# (https://docs.docker.com/build/bake/inheritance/), so only these are shared in part.
_MERGED = frozenset({"args", "labels", "contexts"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One attribute of a block, as HCL."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Block:
    """One `target` block, or a shared one that others inherit (its name begins with `_`)."""

    name: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """What one image family adds to the bake file."""

    image: str
    manifest: str
    description: str
    constants: tuple[Entry, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class BakeVariable:
    """A `variable` block."""

    name: str
    default: str
    description: str


@dataclass(frozen=True, slots=True)
class BakeModel:
    """All that the bake template writes."""

    variables: tuple[BakeVariable, ...]
    groups: tuple[Entry, ...]
    sections: tuple[Section, ...]


def bake_attributes(target: Target) -> dict[str, Any]:
    """Return the attributes of a bake target as they would stand in it without inheritance."""
    attributes: dict[str, Any] = {}
    if target.context.with_defaults() != ".":
        attributes["context"] = target.context
    attributes["dockerfile"] = dockerfile_attribute(target)
    links = {parent.reference: Text.literal(f"target:{parent.target}") for parent in target.parents if parent.target}
    named = {Text.literal(name): value for name, value in target.contexts.items()}
    attributes |= {
        "contexts": links | named,
        "args": dict(target.args),
        "labels": dict(target.labels),
        "annotations": [Text.joined([f"{name}=", value]) for name, value in target.annotations.items()],
        "platforms": list(target.platforms),
        "secret": list(target.secrets),
        "ssh": list(target.ssh),
        "cache-from": list(target.cache_from),
        "cache-to": list(target.cache_to),
        "attest": list(target.attest),
    }
    attributes |= target.bake
    if not target.publish:
        attributes["output"] = ["type=cacheonly"]  # whatever the family says: no flag can push it then
    if target.publish:
        attributes["tags"] = list(target.tags)
    return {name: value for name, value in attributes.items() if value not in ({}, [], "", Text())}


def dockerfile_attribute(target: Target) -> str:
    """Return where bake finds the Dockerfile: from the context, as bake reads it, or from the working directory."""
    context = target.context.with_defaults()
    if context == ".":
        return target.dockerfile
    if "://" in context:
        return f"cwd://{target.dockerfile}" if target.template else target.dockerfile
    return path_from(context, target.dockerfile)


def bake_model(graph: Graph) -> BakeModel:
    """Return the content of the bake file."""
    variables = [
        BakeVariable(
            variable.bake_name,
            hcl.quoted(variable.default),
            variable.description or f"{variable.name} of {manifest.image}",
        )
        for manifest in graph.manifests
        for variable in manifest.variables.values()
    ]
    members = {group.name: group.members for group in graph.groups}
    taken = set(graph.targets)
    return BakeModel(
        variables=tuple(variables),
        groups=tuple(_group_entry(graph, group, members) for group in graph.groups),
        sections=tuple(_section(graph, manifest, taken) for manifest in graph.manifests),
    )


def _group_entry(graph: Graph, group: Group, members: Mapping[str, Sequence[str]]) -> Entry:
    """Return a group, given the `members` of all groups; what lacks every platform that is asked for leaves it.

    So do groups inside it that are left empty: buildx 0.13 takes the name of an empty group for that of a target.
    """
    covered = {member for part in group.parts for member in members[part]}
    loose = [member for member in group.members if member not in covered]
    by_platforms: dict[tuple[str, ...], list[str]] = {}
    for part in group.parts:
        by_platforms.setdefault(_platforms(graph, members[part]), []).append(part)
    for member in loose:
        by_platforms.setdefault(graph.targets[member].platforms, []).append(member)
    having = tuple(Call("having", (list(platforms), names)) for platforms, names in by_platforms.items())
    return Entry(group.name, hcl.write(Call("members", having), indent=2))


def _platforms(graph: Graph, names: Iterable[str]) -> tuple[str, ...]:
    """Return the platforms that any of the targets is for, in the order of the manifests."""
    found = {platform for name in names for platform in graph.targets[name].platforms}
    known = dict.fromkeys(platform for manifest in graph.manifests for platform in manifest.platforms)
    return tuple(platform for platform in known if platform in found)


def _section(graph: Graph, manifest: Manifest, taken: set[str]) -> Section:
    """Return what an image adds; the names that it gives to shared blocks and constants are added to `taken`."""
    targets = graph.by_image[manifest.image]
    repositories = _Constants(manifest.image, targets, taken)
    left = {target.name: bake_attributes(target) for target in targets}
    blocks: list[Block] = []

    def block(
        name: str, inherits: Sequence[str], attributes: Mapping[str, Any], repositories_name: Name | None = None
    ) -> None:
        entries = [Entry("inherits", hcl.write(list(inherits), indent=2))] if inherits else []
        for key, value in attributes.items():
            written: Any = value
            if key == "platforms":
                written = Call("platforms", (value,))
            elif key == "tags":
                written = Call("tags", (repositories_name, value))
            entries.append(Entry(key, hcl.write(written, indent=2)))
        blocks.append(Block(name, tuple(entries)))

    common = _take_common([left[target.name] for target in targets])
    above: list[str] = []
    if common:
        above = [_free_name(f"_{word(manifest.image)}", taken)]
        block(above[0], [], common)
    shared: dict[str, list[str]] = {}
    for target in targets:
        if target.dockerfile not in shared:
            common = _take_common([left[user.name] for user in graph.by_dockerfile[target.dockerfile]])
            shared[target.dockerfile] = above
            if common:
                name = _free_name(f"_{dockerfile_word(target.dockerfile)}", taken)
                block(name, above, common)
                shared[target.dockerfile] = [name]
        block(target.name, shared[target.dockerfile], left[target.name], repositories.of(target))
    return Section(manifest.image, manifest.source.file, manifest.description, repositories.entries(), tuple(blocks))


class _Constants:
    """Names for the repositories of a family, so that no target repeats them."""

    def __init__(self, image: str, targets: Iterable[Target], taken: set[str]) -> None:
        kinds = dict.fromkeys(target.repositories for target in targets if target.publish)
        base = word(image).lower().replace("-", "_")
        base = f"image_{base}" if base[0].isdigit() else base
        self._names: dict[tuple[Text, ...], str] = {}
        for repositories in kinds:
            last = word(repositories[0].with_defaults().rsplit("/", 1)[-1]).lower().replace("-", "_")
            full = last if last.startswith(base) else f"{base}_{last}"
            self._names[repositories] = _free_name(f"{base if len(kinds) == 1 else full}_repositories", taken)

    def of(self, target: Target) -> Name | None:
        return Name(self._names[target.repositories]) if target.publish else None

    def entries(self) -> tuple[Entry, ...]:
        return tuple(Entry(name, hcl.write(list(repositories))) for repositories, name in self._names.items())


def _take_common(all_attributes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Remove what all of several targets have in common from each, and return it."""
    if len(all_attributes) < 2:  # noqa: PLR2004 - one target has nobody to share with
        return {}
    first = all_attributes[0]
    common: dict[str, Any] = {}
    for name, value in first.items():
        if name == "tags":
            continue
        if name in _MERGED:
            same = {
                key: item
                for key, item in value.items()
                if all(other.get(name, {}).get(key) == item for other in all_attributes)
            }
            if same:
                common[name] = same
        elif all(other.get(name) == value for other in all_attributes):
            common[name] = value
    for attributes in all_attributes:
        for name, value in common.items():
            if name in _MERGED:
                attributes[name] = {key: item for key, item in attributes[name].items() if key not in value}
                if not attributes[name]:
                    del attributes[name]
            else:
                del attributes[name]
    return common


def _free_name(name: str, taken: set[str]) -> str:
    """Return `name`, or `name-2` and so on, as long as something else is called so."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}-{count}"
    taken.add(found)
    return found
