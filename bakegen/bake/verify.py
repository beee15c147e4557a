"""Judge the bake file on disk against the manifests, by what buildx reads in it.

In: a bake file, a `Graph`, a buildx. Out: how much was compared, or a `BakegenError` with a problem for every difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unicodedata import normalize

from bakegen.bake.attributes import bake_attributes
from bakegen.bake.blocks import Block, blocks_of
from bakegen.bake.model import BAKE_FILE
from bakegen.bake.platform_images import with_platform_images
from bakegen.bake.print import read_with_buildx
from bakegen.bake.reading import Attributes, Reading, canonical, mismatch
from bakegen.docker.buildx import Buildx, find_buildx
from bakegen.errors import BakegenError, Position, Problem, fail
from bakegen.expressions.text import Text
from bakegen.graph.graph import Graph
from bakegen.graph.model import Target
from bakegen.source.inputs import MOST_GENERATED, InputError, read_input
from bakegen.spec.bake_attributes import ATTRIBUTES

_BLOCK = re.compile(r'^[ \t]*(group|target)[ \t]+"?([^\s"{]+)"?[ \t]*\{', re.MULTILINE)
_ROW = re.compile(r'\{[ \t]*name[ \t]*=[ \t]*"([^"]+)"')
_NOT_FOUND = re.compile(r"failed to find target (\S+)")
_SHOWN = 8  # items of a list in a message


def read_content(root: Path) -> bytes:
    """Return the bake file of a project; raises `BakegenError`."""
    try:
        return read_input(root, BAKE_FILE, MOST_GENERATED)[0]
    except InputError as error:
        if error.code == "missing-file":
            raise fail("no-bake-file", f"{BAKE_FILE} does not exist", hint="run `bakegen generate`") from error
        raise error.at(Position(BAKE_FILE)) from error


def find_tool(graph: Graph, tool: str | None = None) -> Buildx | None:
    """Return the buildx to read with, None for python-hcl2.

    Only a buildx that knows all that the manifests may use is taken; if `tool` is `buildx` and there is none, raises
    `BakegenError`.
    """
    if tool == "hcl2":
        return None
    found = find_buildx()
    needed = needed_buildx(graph)
    if found and found.version >= needed:
        return found
    if not tool:
        return None
    least = ".".join(map(str, needed))
    raise fail("no-buildx", f"buildx {least} or newer was not found", hint="install it, or use --with hcl2")


def needed_buildx(graph: Graph) -> tuple[int, int]:
    """Return the oldest buildx that reads the bake file of a graph as it is meant."""
    return max(manifest.buildx for manifest in graph.manifests)


def judge(graph: Graph, content: bytes, buildx: Buildx) -> tuple[int, int]:
    """Compare what a buildx reads in a bake file with the graph.

    Returns how many targets and groups were compared; raises `BakegenError` with every difference.
    """
    graph = with_platform_images(graph)
    model = model_reading(graph, buildx.version)
    places = _Places(content.decode(errors="replace"), blocks_of(graph))
    targets = [resolved_attributes(graph, target) for target in graph.targets.values()]
    try:
        reading = read_with_buildx(buildx, content, places.names, targets=targets)
    except BakegenError as error:  # perhaps only because something names what is missing
        missing = _missing(model, places.reading(without=_NOT_FOUND.findall(str(error))))
        raise BakegenError([*missing, *error.problems]) from error
    model, reading = _with_implied(model), _with_implied(reading)
    problems = [*_missing(model, reading), *_differences(model, reading, places)]
    if problems:
        raise BakegenError(problems)
    return len(model.targets), len(model.groups)


def model_reading(graph: Graph, version: tuple[int, int]) -> Reading:
    """Return what a version of buildx should read: all that is in the graph, variables at their defaults."""
    return Reading(
        {
            target.name: canonical(
                {
                    name: value
                    for name, value in resolved_attributes(graph, target).items()
                    if ATTRIBUTES[name].since <= version
                }
            )
            for target in graph.targets.values()
        },
        {group.name: group.members for group in graph.groups},
    )


def resolved_attributes(graph: Graph, target: Target) -> dict[str, Any]:
    """Return the attributes of a target as it would stand alone in a bake file without variables."""

    def plain(value: Any) -> Any:
        if isinstance(value, str | Text):
            text = value if isinstance(value, str) else value.with_defaults()
            return normalize("NFC", text)  # as HCL does when it puts texts together
        if isinstance(value, Mapping):
            return {plain(key): plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    description = graph.manifest(target.image).release(target.release).description
    tags = {"tags": target.references} if target.publish else {}
    attributes = {"description": description, **bake_attributes(target), **tags}
    return {name: plain(value) for name, value in attributes.items()}


def _with_implied(reading: Reading) -> Reading:
    """Return a reading with the entitlements that some versions of bake add: of the host's network, and of parents."""
    entitled = {
        name: {*attributes.get("entitlements", ()), *(["network.host"] if attributes.get("network") == "host" else [])}
        for name, attributes in reading.targets.items()
    }
    if not any(entitled.values()):
        return reading
    parents = {
        name: [link.removeprefix("target:") for link in attributes.get("contexts", {}).values()]
        for name, attributes in reading.targets.items()
    }
    changed = True
    while changed:
        changed = False
        for name, links in parents.items():
            more = set().union(*(entitled.get(link, ()) for link in links)) - entitled[name]
            entitled[name] |= more
            changed |= bool(more)
    targets = {
        name: {**attributes, **({"entitlements": tuple(sorted(entitled[name]))} if entitled[name] else {})}
        for name, attributes in reading.targets.items()
    }
    return Reading(targets, reading.groups)


@dataclass(frozen=True)
class _Places:
    """Where the blocks of a file begin, found without a parser; and the blocks in which targets should stand."""

    text: str
    blocks: Sequence[Block]

    @cached_property
    def found(self) -> Mapping[str, Mapping[str, int]]:
        """The lines of groups, targets and rows of tables by their names."""
        found: dict[str, dict[str, int]] = {"group": {}, "target": {}, "row": {}}
        for number, line in enumerate(self.text.split("\n"), 1):
            for match in _BLOCK.finditer(line):
                found[match[1]].setdefault(match[2], number)
            for match in _ROW.finditer(line):
                found["row"].setdefault(match[1], number)
        return found

    @cached_property
    def block_of(self) -> Mapping[str, str]:
        """The names of the blocks of targets."""
        return {target.name: block.name for block in self.blocks for target in block.targets}

    @property
    def names(self) -> list[str]:
        """The names of all groups and targets; of a matrix, that of its block."""
        return [*self.found["group"], *self.found["target"]]

    def line(self, kind: str, name: str) -> int:
        """Return where a group or target stands: a target in its row, or else in its block; 0 if that is unknown."""
        if kind == "group":
            return self.found["group"].get(name, 0)
        block = self.found["target"].get(self.block_of.get(name, name), 0)
        return self.found["target"].get(name) or self.found["row"].get(name) or block

    def reading(self, without: Iterable[str]) -> Reading:
        """Return what there seems to be, without what is known not to be there."""
        targets = {name for name, block in self.block_of.items() if {name, block} & self.found["target"].keys()}
        return Reading(
            {name: {} for name in targets.difference(without)},
            dict.fromkeys({*self.names}, ()),
        )


def _missing(model: Reading, read: Reading) -> Iterator[Problem]:
    for kind, said, found in _kinds(model, read):
        for name in said:
            if name not in found:
                yield mismatch(f'{kind} "{name}" is missing')


def _differences(model: Reading, read: Reading, places: _Places) -> Iterator[Problem]:
    for kind, said, found in _kinds(model, read):
        for name in found:
            if name not in said and not name.startswith("_"):  # which is not for the command line
                yield mismatch(f'{kind} "{name}" is not in the manifests', places.line(kind, name))
    for name, attributes in model.targets.items():
        if name in read.targets:
            for field, here, there in _differing(read.targets[name], attributes):
                message = f'target "{name}", {field}: found {here}, expected {there}'
                yield mismatch(message, places.line("target", name))
    for name in model.groups:
        if name in read.groups:
            for _, here, there in _differing({"targets": read.members(name)}, {"targets": model.members(name)}):
                message = f'group "{name}", targets: found {here}, expected {there}'
                yield mismatch(message, places.line("group", name))


def _kinds(model: Reading, read: Reading) -> tuple[tuple[str, Collection[str], Collection[str]], ...]:
    return ("target", model.targets, read.targets), ("group", model.groups, read.groups)


def _differing(read: Attributes, model: Attributes) -> Iterator[tuple[str, str, str]]:
    """Yield name and both values, spelt, where attributes differ: of mappings key by key."""
    for field in sorted({*read, *model}):
        here, there = read.get(field), model.get(field)
        if here == there:
            continue
        if isinstance(here or there, Mapping) and isinstance(there or here, Mapping):
            for key, found, said in _differing(here or {}, there or {}):
                yield f"{field}.{key}", found, said
        else:
            yield field, _spelt(here, there), _spelt(there, here)


def _spelt(value: Any, other: Any) -> str:
    """Return a value as a message shows it; of long lists what the other lacks."""
    if not isinstance(value, tuple | set):
        return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    items = sorted(value)
    if len(items) > _SHOWN:
        items = sorted({*value} - {*(other or ())})
    shown = ", ".join(json.dumps(item, ensure_ascii=False) for item in items[:_SHOWN])
    more = len(value) - min(len(items), _SHOWN)
    return (shown + (f" and {more} more" if more else "")).removeprefix(" and ") or "nothing"
