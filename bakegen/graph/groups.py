"""Which bake groups there are: everything, each image, release and axis value, and the manifests' own.

In: a `Graph` without groups. Out: its groups. A group holds the publishable parents of its members too, so that what
is pushed together was built together. Those of one image's release do not: their names are what the names of their
members begin with, and mean no more than these. Nor do those of a manifest's own that ask for no parents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from bakegen.errors import BakegenError, Problem
from bakegen.graph.graph import Graph
from bakegen.graph.model import Group, GroupKind, Target
from bakegen.graph.names import release_name, value_word, word
from bakegen.graph.select import parse_selectors
from bakegen.manifest.model import Manifest
from bakegen.source.yaml import KeyPath

_OPTIONAL: frozenset[GroupKind] = frozenset({"image release"})  # left out where something has the name


@dataclass(frozen=True, slots=True)
class _Wish:
    """A target that belongs to a group, and the place in a manifest that says so."""

    kind: GroupKind
    name: str
    target: str
    manifest: Manifest
    path: KeyPath
    description: str = ""
    parents: bool = True


def make_groups(graph: Graph) -> tuple[Group, ...]:
    """Return all groups; raises `BakegenError` where two things want one group name."""
    wishes: dict[tuple[GroupKind, str], list[_Wish]] = {}
    for wish in (*_implied(graph), *_own(graph)):
        wishes.setdefault((wish.kind, wish.name), []).append(wish)
    order = {name: index for index, name in enumerate(graph.targets)}
    kinds = get_args(GroupKind)
    groups: dict[str, Group] = {}
    origins: dict[str, Sequence[_Wish]] = {}
    problems: list[Problem] = []
    for (kind, name), wanted in sorted(wishes.items(), key=lambda item: kinds.index(item[0][0])):
        names = [wish.target for wish in wanted]
        members = tuple(names) if kind in _OPTIONAL else _members(graph, wanted, order)
        descriptions = {wish.description for wish in wanted}
        group = Group(name, kind, members, descriptions.pop() if len(descriptions) == 1 else "")
        if members == (name,) or set(names) == {name}:
            continue  # a lone target goes by this name already, and a group with its parents would hide it
        hidden = name in graph.targets
        clash = groups.get(name, group)
        if kind in _OPTIONAL and (hidden or clash is not group):
            continue
        if hidden and name not in groups:
            problems.append(_hiding(graph, group, wanted[0]))
        elif clash.members != members and not hidden:
            problems.append(_collision(group, wanted, origins[name]))
        groups.setdefault(name, group)
        origins.setdefault(name, wanted)
    if problems:
        raise BakegenError(problems)
    return tuple(groups.values())


def _implied(graph: Graph) -> Iterator[_Wish]:
    """Yield the groups that every project has."""
    for manifest in graph.manifests:
        targets = graph.by_image[manifest.image]
        descriptions = {release.name: release.description for release in manifest.releases}
        for target in targets:
            if target.publish:
                yield _Wish("default", "default", target.name, manifest, ("image",))
            yield _Wish("image", word(manifest.image), target.name, manifest, ("image",), manifest.description)
            told = descriptions[target.release]
            yield _Wish("release", word(target.release), target.name, manifest, target.path, told)
        at: dict[tuple[str, str], list[Target]] = {}
        for target in targets:
            for point in target.values.items():
                at.setdefault(point, []).append(target)
        for axis in manifest.axes:
            for value in axis.values if axis.has_groups else ():
                for target in at.get((axis.name, value.name), ()):
                    name = value_word(axis.name, value.label)
                    yield _Wish("axis value", name, target.name, manifest, value.path)
        yield from _parts(graph, manifest)


def _parts(graph: Graph, manifest: Manifest) -> Iterator[_Wish]:
    """Yield the groups of the releases of an image: what the blocks of the bake file are."""
    releases: dict[str, list[Target]] = {}
    for target in graph.by_image[manifest.image]:
        releases.setdefault(target.release, []).append(target)
    for release, targets in releases.items():
        if len(targets) > 1 and targets[0].path[0] == "releases":
            told = manifest.release(release).description
            for target in targets:
                yield _Wish("image release", release_name(target), target.name, manifest, target.path, told)


def _own(graph: Graph) -> Iterator[_Wish]:
    """Yield the groups that manifests declare by selectors."""
    for manifest in graph.manifests:
        for name, rule in manifest.groups.items():
            for target in _picked(graph, manifest, name, rule.selectors):
                yield _Wish("own", name, target.name, manifest, ("groups", name), parents=rule.parents)


def _picked(graph: Graph, manifest: Manifest, name: str, words: Sequence[str]) -> tuple[Target, ...]:
    """Return what the selectors of a group pick; raises `BakegenError` at the group's place."""
    try:
        return parse_selectors(words, graph.by_image[manifest.image], (), graph.absent).pick()
    except BakegenError as error:
        raise BakegenError(
            manifest.source.problem(problem.code, problem.message, ("groups", name), hint=problem.hint)
            for problem in error.problems
        ) from error


def _members(graph: Graph, wishes: Iterable[_Wish], order: dict[str, int]) -> tuple[str, ...]:
    """Return targets, with their publishable parents where these are wanted, in order.

    What is not published is built as a parent only; a group of nothing else keeps it, to be buildable at all.
    """
    wanted = {wish.target: wish.parents for wish in wishes}
    names = [name for name, parents in wanted.items() if parents]
    above = {target for target in graph.ancestors(names) if graph.targets[target].publish}
    shown = [target for target in wanted if graph.targets[target].publish] or wanted
    return tuple(sorted({*shown, *above}, key=order.__getitem__))


_RENAME = "rename one of them: groups and targets share one namespace in bake"


def _hiding(graph: Graph, group: Group, wish: _Wish) -> Problem:
    """Return the problem of a group with the name of a target: often one whose values are left out of its name."""
    target = graph.targets[group.name]
    axes = graph.manifest(target.image).axes
    values = [axis.value(target.values[axis.name]) for axis in axes if axis.name in target.values]
    nameless = [value for value in values if value.names == ("",)]
    if group.kind != "image" or not nameless:
        message = f"{_called(group.kind, group.name)} and a target have the same name"
        hint = _RENAME + _leaving_out([wish])
        return wish.manifest.source.problem("group-collision", message, wish.path, hint=hint, at_key=True)
    name = nameless[0].name
    message = f'the target of "{name}" would be called "{group.name}", which is the group of all targets of the image'
    hint = f'give "{name}" another name as well, names: [{name}, ""], or declare `releases`'
    return wish.manifest.source.problem("group-collision", message, nameless[0].path, hint=hint, at_key=True)


def _collision(group: Group, wishes: Sequence[_Wish], others: Sequence[_Wish]) -> Problem:
    wish, first = wishes[0], others[0]
    hint = _RENAME
    if first.kind == "default":
        message, hint = '"default" is the group of all published targets', "choose another name"
    else:
        place = first.manifest.source.place(first.path).key
        message = f'{_called(group.kind, group.name)} and {_called(first.kind, "")} at {place} would both be the group "{group.name}"'
    hint += _leaving_out([*wishes, *others])
    return wish.manifest.source.problem("group-collision", message, wish.path, hint=hint, at_key=True)


def _leaving_out(wishes: Iterable[_Wish]) -> str:
    """Return a hint on how to have no groups for axis values among these; empty if there are none."""
    axes: dict[str, tuple[Manifest, set[str]]] = {}
    for wish in wishes:
        if wish.kind == "axis value":
            axes.setdefault(wish.manifest.image, (wish.manifest, set()))[1].add(str(wish.path[1]))
    said = []
    for manifest, unwanted in axes.values():
        left = [axis.name for axis in manifest.axes if axis.has_groups and axis.name not in unwanted]
        said.append(f"`axis-groups: [{', '.join(left)}]` in {manifest.source.file}")
    return f"; or write {' and '.join(said)} if you do not need the group of the axis value" if said else ""


def _called(kind: GroupKind, name: str) -> str:
    words = "the group" if kind == "own" else f"the {kind}"
    return f'{words} "{name}"' if name else words
