"""Write the members of bake groups: as smaller groups, as rows of tables, as names.

In: a `Graph`, and the blocks and tables that its targets stand in. Out: what `targets` of each group is, in values that
`hcl.write` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bakegen.bake.blocks import Block, constant, free_name
from bakegen.bake.hcl import WIDTH, Call, Code, Each, Grouping, Row, Words, quoted
from bakegen.bake.matrix import ROW, axis_column, common_start
from bakegen.graph.graph import Graph
from bakegen.graph.model import Group, GroupKind, Target

Platforms = tuple[str, ...]
Condition = tuple[tuple[str, tuple[str, ...]], ...]  # axes, and which of their values are allowed

# What a group may be made of, besides blocks: never of itself.
_PARTS: Mapping[GroupKind, tuple[GroupKind, ...]] = {
    "default": ("image",),
    **dict.fromkeys(("image", "release", "axis value", "own"), ("image release",)),
    "image release": (),
}
_FEW = 4  # names that need no loop over them
_SPARSE = 10  # bake looks at every row of a table: one target of so many is better named


@dataclass(frozen=True)
class Table:
    """A constant that holds a row for each target of a block."""

    constant: str
    targets: tuple[Target, ...]

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of the targets."""
        return frozenset(target.name for target in self.targets)

    @cached_property
    def is_published(self) -> bool:
        """Whether some of the targets have tags; others are only there to be built from."""
        return any(target.publish for target in self.targets)

    @cached_property
    def at(self) -> Mapping[str, Mapping[str, frozenset[str]]]:
        """The names of the targets at each value of each axis."""
        found: dict[str, dict[str, set[str]]] = {}
        for target in self.targets:
            for axis, value in target.values.items():
                found.setdefault(axis, {}).setdefault(value, set()).add(target.name)
        return {axis: {value: frozenset(names) for value, names in values.items()} for axis, values in found.items()}

    def knows(self, condition: Condition) -> bool:
        """Return whether rows have the columns that a condition is about."""
        return all(axis in self.at for axis, _ in condition)

    def chosen(self, condition: Condition) -> frozenset[str]:
        """Return the names of the targets for which a condition is true."""
        names = self.names
        for axis, values in condition:
            names &= frozenset().union(*(self.at[axis].get(value, frozenset()) for value in values))
        return names

    def condition(self, names: frozenset[str]) -> Condition | None:
        """Return what is true for the named targets only, None if there is nothing like that."""
        allowed = ((axis, tuple(value for value in at if at[value] & names)) for axis, at in self.at.items())
        needed = [(axis, values) for axis, values in allowed if len(values) < len(self.at[axis])]
        for clause in sorted(needed, key=lambda clause: -len(clause[1])):
            fewer = [other for other in needed if other != clause]
            if self.chosen(tuple(fewer)) == names:
                needed = fewer
        return tuple(needed) if self.chosen(tuple(needed)) == names else None


@dataclass(frozen=True, slots=True)
class _Part:
    """A group or a block that larger groups may be made of; a block that is no group has no kind."""

    name: str
    kind: GroupKind | None
    members: tuple[str, ...]


class GroupWriter:
    """Writes the groups of one graph.

    `tables` are those of each image, `taken` the names of constants; `platforms` says how the file calls some platforms.
    """

    def __init__(
        self,
        graph: Graph,
        blocks: Iterable[Block],
        tables: Mapping[str, Sequence[Table]],
        taken: set[str],
        platforms: Callable[[Platforms], Any],
    ) -> None:
        self.graph = graph
        self.tables = tables
        self.taken = taken
        names = {image: constant(image) for image in tables}
        self.whole = {
            image: free_name(f"all_{name}" if name in taken else name, taken) for image, name in names.items()
        }
        self.mixed = {image for image in tables if self._is_mixed(image)}
        self.used: dict[str, dict[str, str]] = {}  # by image and axis: what the constant is called
        self.platforms = platforms
        self.table_of = {name: table for each in tables.values() for table in each for name in table.names}
        self.order = {name: index for index, name in enumerate(graph.targets)}
        parts = {group.name: _Part(group.name, group.kind, group.members) for group in graph.groups}
        for block in blocks:
            if len(block.targets) > 1 and block.is_uniform and block.name not in parts:
                parts[block.name] = _Part(block.name, None, tuple(target.name for target in block.targets))
        self.parts: dict[str, list[_Part]] = {}  # by first member
        for part in parts.values():
            self.parts.setdefault(part.members[0], []).append(part)

    def targets(self, group: Group) -> Any:
        """Return the members of a group; those without any platform that is asked for leave it."""
        parts, loose = self._in_parts(group)
        picked, named = self._picked(loose)
        if names_by_value := self._by_value(picked, [*parts, *named]):
            return Code(names_by_value)
        if len({self.graph.targets[name].platforms for name in group.members}) > 1:
            rows = (_rows(constants, condition, ROW) for condition, constants in picked.items())
            return Call("filter_targets", (_together([*self._with_platforms(parts, named), *rows]),))
        names = [part.name for part in parts]
        if sum(len(name) + 4 for name in (*names, *loose)) < WIDTH:
            return Words([*names, *loose])
        lists = (_rows(constants, condition, f"{ROW}.name") for condition, constants in picked.items())
        return _together([*_named([*names, *named]), *lists])

    def constants(self, image: str) -> Iterator[tuple[str, Any]]:
        """Yield the constants that the groups need of an image: its published rows, and their names by value of an axis."""
        if image in self.used:
            rows = self.whole[image]
            yield rows, _together(Code(table.constant) for table in self._published(image))
            asked = Code(f"{ROW}.platforms != no_platform") if image in self.mixed else None
            for axis, name in self.used[image].items():
                yield name, Grouping(ROW, Code(rows), Code(f"{ROW}.{axis_column(axis)}"), Code(f"{ROW}.name"), asked)

    def _in_parts(self, group: Group) -> tuple[list[_Part], list[str]]:
        """Return the largest groups and blocks that a group can be made of, and the members that are left then."""
        left = set(group.members)
        fitting = [
            part
            for name in group.members
            for part in self.parts.get(name, ())
            if part.name != group.name
            and (part.kind is None or part.kind in _PARTS[group.kind])
            and left.issuperset(part.members)
        ]
        parts = []
        for part in sorted(fitting, key=lambda part: -len(part.members)):
            if not left.isdisjoint(part.members):
                left.difference_update(part.members)
                parts.append(part)
        parts.sort(key=lambda part: self.order[part.members[0]])
        return parts, [name for name in group.members if name in left]

    def _picked(self, names: Iterable[str]) -> tuple[dict[Condition, list[str]], list[str]]:
        """Return conditions that pick targets from constants, and the names of targets that have to be named."""
        mine: dict[str, dict[str, list[str]]] = {}
        left = []
        for name in names:
            if name in self.table_of:
                tables = mine.setdefault(self.graph.targets[name].image, {})
                tables.setdefault(self.table_of[name].constant, []).append(name)
            else:
                left.append(name)
        picked: dict[Condition, list[str]] = {}
        for image, by_table in mine.items():
            wanted = [(table, frozenset(by_table.get(table.constant, ()))) for table in self.tables[image]]
            found = [
                table.condition(names) if len(names) * _SPARSE >= len(table.names) else None for table, names in wanted
            ]
            whole = self._of_whole(wanted, found)
            if whole is not None:
                self.used.setdefault(image, {})
                picked.setdefault(whole, []).append(self.whole[image])
                continue
            for (table, _), condition in zip(wanted, found, strict=True):
                if condition is not None:
                    picked.setdefault(condition, []).append(table.constant)
                else:
                    left += by_table.get(table.constant, ())
        return picked, left

    def _by_value(self, picked: Mapping[Condition, Sequence[str]], others: Sequence[Any]) -> str:
        """Return how the file has the names of an image's published targets with one value of an axis.

        Empty if others are wanted, too.
        """
        match [*picked.items(), *others]:
            case [(((axis, (value,)),), [rows])]:
                for image, by_axis in self.used.items():
                    if self.whole[image] == rows:
                        if axis not in by_axis:
                            by_axis[axis] = free_name(f"{rows}_by_{constant(axis)}", self.taken)
                        names = f"{by_axis[axis]}[{quoted(value)}]"
                        return f"try({names}, no_platform)" if image in self.mixed else names
        return ""

    def _published(self, image: str) -> list[Table]:
        return [table for table in self.tables[image] if table.is_published]

    def _is_mixed(self, image: str) -> bool:
        """Return whether published targets differ in their platforms, so that some may leave their groups."""
        return len({target.platforms for table in self._published(image) for target in table.targets}) > 1

    @staticmethod
    def _of_whole(
        wanted: Sequence[tuple[Table, frozenset[str]]], conditions: Iterable[Condition | None]
    ) -> Condition | None:
        """Return the condition by which the constant with the published rows of an image gives the wanted targets."""
        tables = [(table, names) for table, names in wanted if table.is_published]
        if len(tables) == 1 or any(names for table, names in wanted if not table.is_published):
            return None
        for condition in dict.fromkeys(filter(None, conditions)):  # without one, the tables do as they are
            if all(table.knows(condition) and table.chosen(condition) == names for table, names in tables):
                return condition
        return None

    def _with_platforms(self, parts: Iterable[_Part], names: Iterable[str]) -> Iterator[Any]:
        """Yield lists of rows that say for which platforms groups and targets are."""
        single = {part.name: self._union(part.members) for part in parts}
        loose: dict[Platforms, list[str]] = {}
        for name in names:
            loose.setdefault(self.graph.targets[name].platforms, []).append(name)
        for platforms, mine in list(loose.items()):
            if len(mine) < _FEW:
                single.update(dict.fromkeys(loose.pop(platforms), platforms))
        if single:
            yield [Row({"name": name, "platforms": self.platforms(found)}) for name, found in single.items()]
        for platforms, mine in loose.items():
            yield Each("name", Words(mine), Row({"name": Code("name"), "platforms": self.platforms(platforms)}))

    def _union(self, names: Iterable[str]) -> Platforms:
        """Return the platforms that any of the targets is for, in the order of the manifests."""
        found = {platform for name in names for platform in self.graph.targets[name].platforms}
        known = dict.fromkeys(platform for manifest in self.graph.manifests for platform in manifest.platforms)
        return tuple(platform for platform in known if platform in found)


def _rows(constants: Iterable[str], condition: Condition, result: str) -> Any:
    """Return what is wanted of the rows for which a condition is true."""
    rows = _together(map(Code, constants))
    clauses = []
    for axis, values in condition:
        column = f"{ROW}.{axis_column(axis)}"
        several = f"contains([{', '.join(map(quoted, values))}], {column})"
        clauses.append(several if len(values) > 1 else f"{column} == {quoted(values[0])}")
    if not clauses and result == ROW:
        return rows
    return Each(ROW, rows, Code(result), Code(" && ".join(clauses)) if clauses else None)


def _together(lists: Iterable[Any]) -> Any:
    """Return several lists as one."""
    found: list[Any] = []
    for each in lists:
        found += each.arguments if isinstance(each, Call) and each.function == "concat" else [each]
    return Call("concat", tuple(found)) if len(found) > 1 else found[0]


def _named(names: Sequence[str]) -> Iterator[Any]:
    """Yield names as a list: as they are if there are few, else without what all of them begin and end with."""
    if sum(len(name) + 4 for name in names) > WIDTH:
        begin = _common_words(names)
        end = _common_words([name.removeprefix(begin)[::-1] for name in names])[::-1]
        middles = [name[len(begin) : len(name) - len(end)] for name in names]
        if (len(begin) + len(end)) * len(names) > WIDTH and all(middles):
            yield Call("formatlist", (f"{begin}%s{end}", Words(middles)))
            return
    if names:
        yield Words(names)


def _common_words(names: Sequence[str]) -> str:
    """Return what all names begin with, up to the end of a word."""
    begin = common_start(names)
    return begin[: begin.rfind("_") + 1]
