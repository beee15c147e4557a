"""Say in one block of the bake file what several targets are.

In: the names of the targets, their axis values, and their attributes. Out: a `Matrix`: the attributes of the block, with
expressions where the targets differ, and the values that bake puts in there for each of them.

Where targets differ by one axis only, `matrix` is the list of its values. Else it is a table with a row for each target:
its name, its axis values, and what cannot be put together from these.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bakegen.bake.blocks import free_name
from bakegen.bake.hcl import Call, Code, Each, Row, Template, Words, is_name
from bakegen.expressions.text import Text, Variable
from bakegen.spec.bake_attributes import ATTRIBUTES

ROW = "t"  # what the row of a target is called
LINK = "target:"

# How an attribute is left out for one target of several: bake drops keys of these whose value is null.
_EMPTY = {"list": "[]", "map": "{}", "text": "null", "flag": "null"}
_NULLABLE = frozenset({"args", "labels", "extra-hosts"})
_PARAMETERS = {"tags": ("repositories", "tags"), "under_registry": ("repositories",)}
_LONG = 400  # characters of a text that nobody puts together from axis values
_WORD_BEGINS = re.compile(r"[A-Za-z0-9]+\Z")


@dataclass(frozen=True, slots=True)
class Matrix:
    """A block of several targets, in values that `hcl.write` takes.

    `over` are the values of an axis by its name; where these do not do, there is a `table`.
    """

    over: Any
    table: Any
    name: Any
    attributes: Mapping[str, Any]


def matrix_of(
    names: Sequence[str],
    begin: str,
    axes: Mapping[str, Sequence[str]],
    attributes: Sequence[Mapping[str, Any]],
    *,
    platforms: Sequence[Any] | None,
    taken: Iterable[str],
) -> Matrix:
    """Return what makes one block of several targets.

    `begin` is what their names begin with, `axes` the value of each on each axis. `platforms` are given if rows have to say
    them. `taken` are the names of constants and variables, which the name of an axis must not hide.
    """
    differing = [axis for axis, values in axes.items() if len(set(values)) > 1]
    if platforms is None and len(differing) == 1 and is_name(axis := differing[0]) and axis not in taken:
        try:
            return _list_of_values(names, axis, axes[axis], attributes)
        except _TableNeededError:
            pass
    table = _Table(names, begin, axes)
    if platforms is not None:
        table.cells["platforms"] = platforms
    folded = table.fold_attributes(attributes)
    return Matrix(None, table.made(), Template((Code(f"{ROW}.name"),)), folded)


def _list_of_values(
    names: Sequence[str], axis: str, values: Sequence[str], attributes: Sequence[Mapping[str, Any]]
) -> Matrix:
    folder = _Folder()
    folder.know(values, axis)
    name = folder.fold(names, "name")
    return Matrix({axis: Words(values)}, None, name, folder.fold_attributes(attributes))


def axis_column(axis: str) -> str:
    """Return how the column of an axis is called; no axis has a hyphen in its name."""
    return axis if is_name(axis) and axis not in ("name", "platforms") else f"axis-{axis}"


class _Absent:
    """What one target does not have, and another does."""


_ABSENT = _Absent()


class _TableNeededError(Exception):
    """What targets differ in cannot be put together from what is known of each."""


class _Folder:
    """Folds the values that several targets have into one, with expressions where they differ."""

    def __init__(self) -> None:
        self.known: list[tuple[tuple[str, ...], Code]] = []  # the value of an expression for each target

    def know(self, values: Sequence[str], code: str) -> None:
        """Have texts put together from an expression, and from how its values are written in names."""
        self.known.append((tuple(values), Code(code)))
        if any("." in value for value in values):
            self.known.append((tuple(value.replace(".", "-") for value in values), Code(f'replace({code}, ".", "-")')))

    def fold_attributes(self, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return attributes that are right for every target."""
        names = dict.fromkeys(itertools.chain.from_iterable(cells))
        folded = {
            name: self.fold([cell.get(name, _ABSENT) for cell in cells], name, _EMPTY[ATTRIBUTES[name].kind])
            for name in sorted(names, key=lambda name: name != "tags")  # which say most about how values are called
        }
        return {name: folded[name] for name in names}

    def fold(self, values: Sequence[Any], hint: str, absent: str = "null") -> Any:
        """Return one value; `hint` is a name for what differs, `absent` what stands for no value."""
        first = values[0]
        if all(value == first for value in values):
            return first
        if all(isinstance(value, str | Text) for value in values):
            return self.fold_texts(values) or self.column(hint, values, absent)
        if all(isinstance(value, Mapping) for value in values):
            return self.fold_mappings(values, hint)
        if all(isinstance(value, list) for value in values):
            return self.fold_lists(values, hint)
        if all(isinstance(value, Call) for value in values):
            arguments = zip(_PARAMETERS[first.function], *(value.arguments for value in values), strict=True)
            return Call(first.function, tuple(self.fold(items, name) for name, *items in arguments))
        return self.column(hint, values, absent)

    def fold_texts(self, texts: Sequence[str | Text]) -> Any:
        """Return one text, None if that cannot be."""
        split = [_literals(text) for text in texts]
        variables = split[0][1]
        if any(others != variables for _, others in split):
            return None
        parts: list[str | Variable | Code] = []
        for index, literals in enumerate(zip(*(literals for literals, _ in split), strict=True)):
            folded = self.fold_literals(literals)
            if folded is None:
                return None
            parts += [*folded, *variables[index : index + 1]]
        return Template(tuple(filter(None, parts)))

    def fold_literals(self, texts: tuple[str, ...]) -> list[str | Code] | None:
        """Return text without variables in parts, None if that cannot be."""
        return _aligned(texts, self.known)

    def fold_mappings(self, mappings: Sequence[Mapping[Any, Any]], hint: str) -> Any:
        keys = dict.fromkeys(itertools.chain.from_iterable(mappings))
        if hint in _NULLABLE:
            return {key: self.fold([each.get(key, _ABSENT) for each in mappings], key) for key in keys}
        if all(len(each) == len(keys) for each in mappings):
            return {key: self.fold_link([each[key] for each in mappings]) for key in keys}
        if hint == "contexts" and len({len(each) for each in mappings}) == 1:  # the keys name parents that differ
            entries = zip(*(each.items() for each in mappings), strict=True)
            return dict(self.fold_parent(*zip(*entry, strict=True)) for entry in entries)
        return self.column(hint, mappings, "{}")

    def fold_parent(self, references: Sequence[Text], values: Sequence[Any]) -> tuple[Any, Any]:
        return self.fold(references, "from"), self.fold_link(values)

    def fold_link(self, values: Sequence[Any]) -> Any:
        """Return one value of a mapping, which may name another target."""
        return self.fold(values, "parent")

    def fold_lists(self, lists: Sequence[list[Any]], hint: str) -> Any:
        """Return one list; what it begins with in all targets is folded item by item, the rest differs as a whole."""
        head: list[Any] = []
        for items in zip(*lists, strict=False):
            folded = self.fold_texts(items)
            if folded is None:
                break
            head.append(folded)
        if not head:
            return self.column(hint, lists, "[]")
        rest = [each[len(head) :] or _ABSENT for each in lists]
        if all(each is _ABSENT for each in rest):
            return head
        return Call("concat", (head, self.column(f"more_{hint}", rest, "[]")))

    def column(self, _hint: str, _values: Sequence[Any], _absent: str) -> Any:
        """Return an expression for what each target has of its own."""
        raise _TableNeededError


class _Table(_Folder):
    """The table of a block; what cannot be put together from the other columns becomes a column."""

    def __init__(self, names: Sequence[str], begin: str, axes: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.names = names
        self.begin = begin
        self.know(names, f"{ROW}.name")
        self.cells: dict[str, Sequence[Any]] = {"name": names}
        self.axes = {axis: axis_column(axis) for axis in axes}
        for axis, values in axes.items():
            self.cells[self.axes[axis]] = values
            if len(set(values)) > 1:
                self.know(values, f"{ROW}.{self.axes[axis]}")

    def made(self) -> Any:
        """Return the rows, or what makes them if they are all combinations of some values and say no more."""
        cells = dict(self.cells)
        if "platforms" in cells:
            cells["platforms"] = cells.pop("platforms")  # in the last column
        return self.combined() or [
            Row({column: values[index] for column, values in cells.items() if values[index] is not _ABSENT})
            for index in range(len(self.names))
        ]

    def combined(self) -> Any:
        """Return loops over axis values, None if rows have more to say or are fewer than the lines of the loops."""
        fixed = {name: cells[0] for name, cells in self.cells.items() if all(cell == cells[0] for cell in cells)}
        loops = {name: list(dict.fromkeys(self.cells[name])) for name in self.axes.values() if name not in fixed}
        rows = list(zip(*(self.cells[name] for name in loops), strict=True))
        lines = 2 * len(loops) + 2
        if (
            {"name", *loops, *fixed} != {*self.cells}
            or len(rows) <= lines
            or rows != [*itertools.product(*loops.values())]
        ):
            return None
        namer = _Folder()
        for name in loops:
            namer.know(self.cells[name], name)
        folded = namer.fold_texts(self.names)
        made: Any = Row({name: folded if name == "name" else fixed.get(name, Code(name)) for name in self.cells})
        for name in reversed(loops):
            made = Each(name, loops[name], made)
        return Call("flatten", (made,)) if folded else None

    def column(self, hint: str, values: Sequence[Any], absent: str) -> Any:
        same = (column for column, cells in self.cells.items() if list(cells) == list(values))
        column = next(same, "")
        if not column:
            name = re.sub(r"[^a-z0-9]+", "_", hint.lower()).strip("_")
            column = free_name(name if is_name(name) else f"the_{name}", set(self.cells))
            self.cells[column] = values
            if all(isinstance(value, str) and value for value in values):
                self.know(values, f"{ROW}.{column}")
        code = f"{ROW}.{column}"
        return Template((Code(f"try({code}, {absent})" if _ABSENT in self.cells[column] else code),))

    def fold_link(self, values: Sequence[Any]) -> Any:
        if not all(isinstance(value, str) and value.startswith(LINK) for value in values) or len(set(values)) == 1:
            return super().fold_link(values)
        parents = [value.removeprefix(LINK) for value in values]
        # Where a parent is called like its child, but for image and release, its name is made from the child's.
        ends = [name.removeprefix(self.begin) for name in self.names]
        begin = parents[0].removesuffix(ends[0])
        if parents == [begin + end for end in ends] and all(name.count(self.begin) == 1 for name in self.names):
            return Template((LINK, Code(f'replace({ROW}.name, "{self.begin}", "{begin}")')))
        folded = self.fold(parents, "parent")
        return Template((LINK, *folded.parts))

    def fold_literals(self, texts: tuple[str, ...]) -> list[str | Code] | None:
        return super().fold_literals(texts) or self.around_a_gap(texts)

    def around_a_gap(self, texts: tuple[str, ...]) -> list[str | Code] | None:
        """Return text in parts of which one is a column of its own: how an axis value is called in this text."""
        if len(texts[0]) > _LONG:
            return None
        head, texts = _ahead(texts, self.known)
        backwards = [(tuple(value[::-1] for value in values), code) for values, code in self.known]
        tail, texts = _ahead(tuple(text[::-1] for text in texts), backwards)
        gap = [text[::-1] for text in texts]
        if not any(isinstance(part, Code) for part in (*head, *tail)) and gap not in self.cells.values():
            return None
        for axis, column in sorted(self.axes.items(), key=lambda item: len(set(self.cells[item[1]]))):
            if len(set(zip(self.cells[column], gap, strict=True))) == len(set(self.cells[column])):
                filling = self.column(f"{axis}_name", gap, "null")
                tail = [part[::-1] if isinstance(part, str) else part for part in reversed(tail)]
                return [*head, *filling.parts, *tail]
        return None


def _literals(text: str | Text) -> tuple[list[str], list[Variable]]:
    """Return the literal parts of a text, one more than there are variables, and the variables between them."""
    if isinstance(text, str):
        return [text], []
    literals, variables = [""], []
    for part in text.parts:
        if isinstance(part, str):
            literals[-1] = part
        else:
            variables.append(part)
            literals.append("")
    return literals, variables


def common_start(texts: Iterable[str]) -> str:
    """Return what all texts begin with."""
    listed = list(texts)
    first, last = min(listed), max(listed)
    for index, character in enumerate(first):
        if character != last[index]:
            return first[:index]
    return first


Known = Sequence[tuple[tuple[str, ...], Code]]


def _matches(texts: tuple[str, ...], prefix: str, known: Known) -> Iterable[tuple[int, tuple[str, ...], Code]]:
    """Return where an expression has, in each text, the value that follows what all texts begin with; earliest first."""
    found = []
    first = texts[0]
    for values, code in known:
        at = first.find(values[0], 0, len(prefix) + len(values[0]))
        while at >= 0:
            if all(text.startswith(value, at) for text, value in zip(texts, values, strict=True)):
                found.append((at, values, code))
            at = first.find(values[0], at + 1, len(prefix) + len(values[0]))
    return sorted(found, key=lambda match: match[0])


def _after(texts: tuple[str, ...], at: int, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text[at + len(value) :] for text, value in zip(texts, values, strict=True))


def _aligned(texts: tuple[str, ...], known: Known) -> list[str | Code] | None:
    """Return texts as literal parts and expressions that are right for all of them, None if that cannot be.

    Of the ways to begin, the first that leads to an end is taken.
    """
    if len(texts[0]) > _LONG:
        return None
    chosen: list[str | Code] = []
    hopeless: set[tuple[str, ...]] = set()
    trail = [(texts, common_start(texts), iter(_matches(texts, common_start(texts), known)))]
    while trail:
        texts, prefix, matches = trail[-1]
        if len(prefix) == max(map(len, texts)):
            return [*chosen, prefix]
        for at, values, code in matches:
            rest = _after(texts, at, values)
            if rest not in hopeless:
                chosen += [prefix[:at], code]
                trail.append((rest, common_start(rest), iter(_matches(rest, common_start(rest), known))))
                break
        else:
            hopeless.add(texts)
            trail.pop()
            del chosen[-2:]
    return None


def _ahead(texts: tuple[str, ...], known: Known) -> tuple[list[str | Code], tuple[str, ...]]:
    """Return in parts what all texts begin with, and what is left of each text then; words stay whole."""
    parts: list[str | Code] = []
    while True:
        prefix = common_start(texts)
        match = next(iter(_matches(texts, prefix, known)), None)
        if match is None:
            break
        at, values, code = match
        parts += [prefix[:at], code]
        texts = _after(texts, at, values)
    if any(text[len(prefix) : len(prefix) + 1].isalnum() for text in texts):
        prefix = _WORD_BEGINS.sub("", prefix)
    return [*parts, prefix], tuple(text[len(prefix) :] for text in texts)
