"""Judge the bake file on disk against the manifests, by what bake itself reads in it.

In: a bake file, a `Graph`, and a tool that reads bake files: buildx, or python-hcl2 where there is no buildx. Out: how
much was compared, or a `BakegenError` with a problem for every difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from unicodedata import normalize

from bakegen.bake.model import BAKE_FILE, bake_attributes
from bakegen.bake.print import Names, read_with_buildx
from bakegen.bake.reading import Attributes, Reading, canonical
from bakegen.docker.buildx import Buildx, find_buildx
from bakegen.errors import BakegenError, Position, Problem, fail
from bakegen.expressions.text import Text
from bakegen.graph.graph import Graph
from bakegen.graph.model import Target

_BLOCK = re.compile(r'^[ \t]*(group|target)[ \t]+"?([^\s"{]+)"?[ \t]*\{', re.MULTILINE)
_SHOWN = 8  # items of a list in a message
_HINT = "`bakegen generate --diff` shows the lines, `bakegen generate` writes them"


def read_content(root: Path) -> bytes:
    """Return the bake file of a project; raises `BakegenError`."""
    try:
        return (root / BAKE_FILE).read_bytes()
    except FileNotFoundError as error:
        raise fail("no-bake-file", f"there is no {BAKE_FILE}", hint="write it: bakegen generate") from error
    except OSError as error:
        raise fail("unreadable-file", f"cannot read {BAKE_FILE}: {error.strerror}") from error


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
    raise fail(
        "no-buildx", f"there is no buildx of version {least} or newer here", hint="install it, or use --with hcl2"
    )


def needed_buildx(graph: Graph) -> tuple[int, int]:
    """Return the oldest buildx that reads the bake file of a graph as it is meant."""
    return max(manifest.buildx for manifest in graph.manifests)


def judge(graph: Graph, content: bytes, buildx: Buildx | None) -> tuple[int, int]:
    """Compare a bake file with the graph, read by `buildx` or else by python-hcl2.

    Returns how many targets and groups were compared; raises `BakegenError` with every difference.
    """
    model = model_reading(graph)
    lines = _block_lines(content.decode(errors="replace"))
    try:
        reading = _read_with_buildx(buildx, graph, content, lines) if buildx else _read_with_hcl2(content)
    except BakegenError as error:  # perhaps only because a group names what is missing
        names = Reading({name: {} for name in lines["target"]}, dict.fromkeys(lines["group"], ()))
        raise BakegenError([*_missing(model, names), *error.problems]) from error
    model, reading = _with_implied(model), _with_implied(reading)
    problems = [*_missing(model, reading), *_differences(model, reading, lines)]
    if problems:
        raise BakegenError(problems)
    return len(model.targets), len(model.groups)


def model_reading(graph: Graph) -> Reading:
    """Return what bake should read: all targets and groups of the graph, variables at their defaults."""
    return Reading(
        {target.name: canonical(_attributes(target)) for target in graph.targets.values()},
        {group.name: group.members for group in graph.groups},
    )


def _attributes(target: Target) -> dict[str, Any]:
    """Return the attributes of a target as it would stand alone in a bake file without variables."""

    def plain(value: Any) -> Any:
        if isinstance(value, str | Text):
            text = value if isinstance(value, str) else value.with_defaults()
            return normalize("NFC", text)  # as HCL does when it puts texts together
        if isinstance(value, Mapping):
            return {plain(key): plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    tags = {"tags": target.references} if target.publish else {}
    return {name: plain(value) for name, value in {**bake_attributes(target), **tags}.items()}


def _read_with_buildx(buildx: Buildx, graph: Graph, content: bytes, lines: Mapping[str, Mapping[str, int]]) -> Reading:
    """Return the groups and targets of a file; a group hides the target of its name."""
    names = Names(list(lines["group"]), [name for name in lines["target"] if not name.startswith("_")])
    targets = [_attributes(target) for target in graph.targets.values()]
    return read_with_buildx(buildx, content, names, targets=targets)


def _read_with_hcl2(content: bytes) -> Reading:
    from bakegen.bake.hcl_reader import read_with_hcl2  # costs a tenth of a second

    return read_with_hcl2(content)


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


def _block_lines(text: str) -> dict[str, dict[str, int]]:
    """Return where groups and targets begin, found without a parser: buildx prints only what it is asked for."""
    found: dict[str, dict[str, int]] = {"group": {}, "target": {}}
    line, offset = 1, 0
    for match in _BLOCK.finditer(text):
        line, offset = line + text.count("\n", offset, match.start()), match.start()
        found[match[1]].setdefault(match[2], line)
    return found


def _missing(model: Reading, read: Reading) -> Iterator[Problem]:
    for kind, said, found in _kinds(model, read):
        for name in said:
            if name not in found:
                yield _mismatch(f'{kind} "{name}" is missing: bake reads nothing of that name', 0)


def _differences(model: Reading, read: Reading, lines: Mapping[str, Mapping[str, int]]) -> Iterator[Problem]:
    for kind, said, found in _kinds(model, read):
        for name in found:
            if name not in said and not (kind == "target" and name.startswith("_")):  # `_` marks what others inherit
                yield _mismatch(f'{kind} "{name}" is superfluous: no manifest makes it', lines[kind].get(name, 0))
    for name, attributes in model.targets.items():
        if name in read.targets:
            for field, here, there in _differing(read.targets[name], attributes):
                message = f'target "{name}", {field}: bake reads {here}, the manifests say {there}'
                yield _mismatch(message, lines["target"].get(name, 0))
    for name in model.groups:
        if name in read.groups:
            for _, here, there in _differing({"targets": read.members(name)}, {"targets": model.members(name)}):
                message = f'group "{name}", targets: bake reads {here}, the manifests say {there}'
                yield _mismatch(message, lines["group"].get(name, 0))


def _kinds(model: Reading, read: Reading) -> tuple[tuple[str, Collection[str], Collection[str]], ...]:
    return ("target", model.targets, read.targets), ("group", model.groups, read.groups)


def _mismatch(message: str, line: int) -> Problem:
    return Problem(code="bake-mismatch", message=message, position=Position(BAKE_FILE, line), hint=_HINT)


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
