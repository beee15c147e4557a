"""Read YAML files into plain data that remembers where every value was written.

In: a YAML file. Out: a `Source`: dictionaries, lists, strings, integers, booleans and None, with the position of
each value and each key. One pass over the nodes that libyaml composes gives both, and refuses what YAML would
silently change: duplicate keys, `1.10` (the number 1.1), `no` (false), `010` (8), dates.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from bakegen.errors import BakegenError, Code, Position, Problem, fail
from bakegen.source.inputs import InputError, read_input
from bakegen.source.paths import path_mistake
from bakegen.source.yaml_errors import YamlMistake, explain_yaml

KeyPath = tuple[str | int, ...]
Parts = Mapping[str | int, "Place"]

_NONE: Parts = {}

MAX_DEPTH = 200
LONGEST_NUMBER = 100  # characters
MAX_NODES = 500_000  # what aliases may unfold to

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")  # text may have tabs and several lines
_CURLY = "“”„‟‘’‚‛«»"  # noqa: RUF001 - look-alikes are what this is about
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)\Z")
# What YAML 1.1 or 1.2 reads as something else than a string: numbers with a point, exponent, underscore, other base
# or colon, special floats, dates, and the many spellings of true, false and null.
_AMBIGUOUS = re.compile(
    r"""(?:
      [-+]?(?:[0-9][0-9_]*)?\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    | [-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+
    | [-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?
    | [-+]?\.(?:inf|Inf|INF) | \.(?:nan|NaN|NAN)
    | [-+]?0[0-9_]+ | \+[0-9_]+ | [-+]?0[xX][0-9a-fA-F_]+ | [-+]?0[oO][0-7_]+ | [-+]?0[bB][01_]+
    | -?[0-9]+_[0-9_]*
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt\ ].*)?
    | yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|True|TRUE|False|FALSE|Null|NULL
    )\Z""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key and its value were written, and all that is in the value; a list item's key is its value."""

    value: Position
    key: Position
    key_length: int = 1
    value_length: int = 1
    parts: Parts = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Source:
    """The content of one file (with what it includes) and the place of everything in it."""

    file: str
    content: Any
    places: Place
    lines: Mapping[str, tuple[str, ...]] = field(repr=False)  # file -> its lines, for messages

    def place(self, path: KeyPath) -> Place:
        """Return the place of `path`, or of the nearest thing around it."""
        place = self.places
        for part in path:
            if part not in place.parts:
                break
            place = place.parts[part]
        return place

    def holds(self, path: KeyPath) -> bool:
        """Return whether something is written at `path`."""
        place: Place | None = self.places
        for part in path:
            place = place and place.parts.get(part)
        return place is not None

    def line(self, position: Position) -> str:
        """Return the text of the line at `position`, or an empty string."""
        lines = self.lines.get(position.file, ())
        return lines[position.line - 1] if 0 < position.line <= len(lines) else ""

    def problem(self, code: Code, message: str, path: KeyPath, *, hint: str = "", at_key: bool = False) -> Problem:
        """Return a `Problem` that points at the value (or the key) of `path`."""
        place = self.place(path)
        position, length = (place.key, place.key_length) if at_key else (place.value, place.value_length)
        return Problem(
            code=code, message=message, position=position, source=self.line(position), length=length, hint=hint
        )

    def failure(self, code: Code, message: str, path: KeyPath, *, hint: str = "", at_key: bool = False) -> BakegenError:
        """Return that problem as the only one of an error, to be raised."""
        return BakegenError([self.problem(code, message, path, hint=hint, at_key=at_key)])


def load_source(root: Path, path: str) -> Source:
    """Read the YAML file at a path from the root; raises `BakegenError` with every problem found."""
    if mistake := path_mistake(path):  # outputs name their manifest, so its name must not hold, say, a line break
        raise fail("unsafe-path", f'the path "{path}" {mistake}', position=Position(path), hint="rename the file")
    return parse_source(read_bytes(root, path), path)


def read_text(root: Path, path: str) -> str:
    """Return the text of a file without its byte order mark; raises `BakegenError` if it cannot be read, or is no UTF-8."""
    return decoded(read_bytes(root, path), path)


def read_bytes(root: Path, path: str) -> bytes:
    """Return the content of a file; raises `BakegenError`, at the file, if it cannot be read."""
    try:
        return read_input(root, path)[0]
    except InputError as error:
        raise error.at(Position(path)) from error


def parse_source(raw: bytes, name: str) -> Source:
    """Turn the bytes of a YAML file into a `Source`; raises `BakegenError` with every problem found."""
    text = decoded(raw, name)
    lines = tuple(text.splitlines())
    node = _compose(text, name, lines)
    if node is None:
        raise fail(
            "empty-file", "this file is empty", position=Position(name), hint="a manifest starts with `image: NAME`"
        )
    reader = _Reader(name, lines)
    content, places = reader.read(node)
    if reader.problems:
        raise BakegenError(reader.problems)
    return Source(name, content, places, {name: lines})


def decoded(raw: bytes, name: str) -> str:
    """Return the text that `raw` holds, without a byte order mark; raises `BakegenError` if it is not UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()  # not of `raw`, which may begin with a mark
        raise fail(
            "not-utf8",
            f"byte 0x{error.object[error.start]:02x} is not UTF-8",
            position=Position(name, before.count("\n") + 1, len(before) - before.rfind("\n")),
            hint="save the file as UTF-8",
        ) from error


def _loader() -> Any:
    loader = getattr(yaml, "CSafeLoader", None)
    if loader is None:
        warnings.warn(
            "PyYAML was built without libyaml: reading manifests takes ten times as long "
            "(install libyaml's development files and reinstall PyYAML)",
            RuntimeWarning,
            stacklevel=2,
        )
        loader = yaml.SafeLoader
    return loader


def _compose(text: str, name: str, lines: Sequence[str]) -> yaml.Node | None:
    loader = _loader()
    try:
        _check_depth(text, name, loader)
        documents = list(islice(yaml.compose_all(text, Loader=loader), 2))
    except yaml.MarkedYAMLError as error:
        mistake = explain_yaml(error, lines)
        mistake = replace(mistake, message=f"invalid YAML: {mistake.message}")
        raise _failure("yaml-syntax", mistake, name, lines) from error
    except yaml.reader.ReaderError as error:
        before = text.encode()[: error.position].decode(errors="ignore")  # libyaml counts bytes
        message = f"YAML does not allow the character U+{ord(text[len(before)]):04X}"
        mistake = YamlMistake(before.count("\n"), len(before) - before.rfind("\n") - 1, message, "remove it")
        raise _failure("yaml-syntax", mistake, name, lines) from error
    if len(documents) > 1:
        mark = documents[1].start_mark
        hint = "remove the `---` line, or move what follows to another file"
        mistake = YamlMistake(mark.line, mark.column, "a second YAML document starts here", hint)
        raise _failure("several-documents", mistake, name, lines)
    return documents[0] if documents else None


def _failure(code: Code, mistake: YamlMistake, name: str, lines: Sequence[str]) -> BakegenError:
    return fail(
        code,
        mistake.message,
        position=Position(name, mistake.line + 1, mistake.column + 1),
        source=lines[mistake.line] if mistake.line < len(lines) else "",
        length=mistake.length,
        hint=mistake.hint,
    )


def _check_depth(text: str, name: str, loader: Any) -> None:
    """Refuse nesting that would exhaust the C stack: libyaml's composer recurses, and dies without an exception."""
    flow = text.count("[") + text.count("{")
    block = max((len(line) - len(line.lstrip(" -?")) for line in text.splitlines()), default=0)
    if flow + block <= MAX_DEPTH:  # cannot be deeper than that; counting is cheaper than a second parse
        return
    depth = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                mark: Any = event.start_mark
                raise fail(
                    "yaml-syntax",
                    f"nested more than {MAX_DEPTH} levels deep",
                    position=Position(name, mark.line + 1, mark.column + 1),
                    hint="remove repeated brackets, or close them",
                )
    except yaml.MarkedYAMLError as error:
        if "nesting depth" not in str(error):
            raise
        # Since 0.2.6, libyaml has a limit too, a higher one. It looks ahead, and so fails before ours is reached.
        _check_depth(text, name, yaml.SafeLoader)


class _Reader:
    """Walks composed nodes once; collects values, places and problems."""

    def __init__(self, file: str, lines: tuple[str, ...]) -> None:
        self.file = file
        self.lines = lines
        self.problems: list[Problem] = []
        self.nodes = 0
        self.open: set[int] = set()  # nodes being read, to notice an alias inside its own anchor

    def read(self, node: yaml.Node, key: yaml.Node | None = None) -> tuple[Any, Place]:
        """Return what a node holds, and its place; `key` is the one that it is the value of."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise fail(
                "too-large",
                f"its aliases expand to more than {MAX_NODES:,} values",
                position=self._position(node),
                source=self._line(node),
                hint="an alias (*name) repeats everything in its anchor; move shared values to a data file",
            )
        content, parts = self._content(node)
        key = key or node
        return content, Place(self._position(node), self._position(key), self._length(key), self._length(node), parts)

    def _content(self, node: yaml.Node) -> tuple[Any, Parts]:
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node), _NONE
        if id(node) in self.open:
            self._report(node, "alias-loop", "this anchor contains an alias to itself", "write the values out instead")
            return None, _NONE
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                self._check_tag(node, "seq")
                items = [self.read(item) for item in node.value]
                return [content for content, _ in items], dict(enumerate(place for _, place in items))
            self._check_tag(node, "map")
            return self._mapping(node)
        finally:
            self.open.discard(id(node))

    def _mapping(self, node: yaml.Node) -> tuple[dict[str, Any], dict[str | int, Place]]:
        content: dict[str, Any] = {}
        parts: dict[str | int, Place] = {}
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        first: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key is None:
                continue
            if key == "<<" and key_node.tag == "tag:yaml.org,2002:merge":
                values = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                merged += [(key_node, value) for value in values]
            elif key in first:
                message = f'duplicate key "{key}"; the first is on line {first[key].start_mark.line + 1}'
                self._report(key_node, "duplicate-key", message, "keep one of them: YAML would silently use the last")
            else:
                first[key] = key_node
                content[key], parts[key] = self.read(value_node, key_node)
        for arrow, extra in merged:  # https://yaml.org/type/merge.html
            if not isinstance(extra, yaml.MappingNode):
                self._report(arrow, "yaml-syntax", "`<<` can only merge mappings", "use an alias of a mapping")
                break
            if id(extra) in self.open:
                self._report(extra, "alias-loop", "this mapping merges itself", "write the values out instead")
                continue
            inherited, places = self._content(extra)
            content, parts = {**inherited, **content}, {**places, **parts}  # what is merged comes first, as in PyYAML
        return content, parts

    def _key(self, node: yaml.Node) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            start = "{{" if isinstance(node, yaml.MappingNode) else "["
            message, hint = f"a value that begins with {start} must be quoted", "quote the whole value"
            if self._line(node).lstrip().startswith("?"):
                message, hint = "a key must be a single word", "write `key: value`"
            self._report(node, "yaml-syntax", message, hint)
            return None
        key = normalized(str(node.value))
        if not node.style and node.tag != "tag:yaml.org,2002:merge" and (_AMBIGUOUS.match(key) or not key):
            if key:
                self._report(node, "ambiguous-scalar", _reading(key, "the key "), f'write it in quotes: "{key}"')
            else:
                self._report(node, "ambiguous-scalar", "a key is missing before the colon", 'write a key, or ""')
        self._check_control(node, "a key", _CONTROL.search(key))
        return key

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text = str(node.value)
        if node.tag.startswith("!") or "python/" in node.tag:
            self._report(node, "yaml-tag", f"the tag {_shown_tag(node.tag)} is not supported", "remove it")
            return text
        if node.style:  # quoted or a block: text as it stands
            self._check_control(node, "a value", _CONTROL_IN_TEXT.search(text))
            return normalized(text)
        if text in {"", "~", "null"}:
            return None
        if text in {"true", "false"}:
            return text == "true"
        if (is_integer := _INTEGER.match(text)) and len(text) <= LONGEST_NUMBER:
            return int(text)
        if is_integer or _AMBIGUOUS.match(text):
            self._report(node, "ambiguous-scalar", _reading(text), _quoting(text))
        elif text[0] in _CURLY or text[-1] in _CURLY:
            message = f"YAML does not treat curly quotes as quotes: {text}"
            self._report(node, "ambiguous-scalar", message, f'write "{text.strip(_CURLY)}"')
        return normalized(text)

    def _check_tag(self, node: yaml.Node, kind: str) -> None:
        if node.tag != f"tag:yaml.org,2002:{kind}":
            self._report(node, "yaml-tag", f"the tag {_shown_tag(node.tag)} is not supported", "remove it")

    def _check_control(self, node: yaml.Node, what: str, found: re.Match[str] | None) -> None:
        if found:
            message = f"{what} contains the control character U+{ord(found[0]):04X}"
            self._report(node, "control-character", message, "remove it")

    def _report(self, node: yaml.Node, code: Code, message: str, hint: str) -> None:
        self.problems.append(
            Problem(
                code=code,
                message=message,
                position=self._position(node),
                source=self._line(node),
                length=self._length(node),
                hint=hint,
            )
        )

    def _position(self, node: yaml.Node) -> Position:
        return Position(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _line(self, node: yaml.Node) -> str:
        line = node.start_mark.line
        return self.lines[line] if line < len(self.lines) else ""

    def _length(self, node: yaml.Node) -> int:
        start, end = node.start_mark, node.end_mark
        return max(1, end.column - start.column) if start.line == end.line else 1


def normalized(text: str) -> str:
    """Return text with each character in its composed form, as bake reads strings (NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _shown_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _reading(text: str, what: str = "") -> str:
    """Say what YAML makes of an unquoted scalar."""
    if len(text) > LONGEST_NUMBER:  # the time to read a number grows with the square of its length
        return f"{what}{text[:20]}… looks like a number or a date, and is too long for that ({len(text):,} characters)"
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        value = text
    if isinstance(value, str):
        return f"{what}{text} is text for some YAML parsers, and a number for others"
    return f"YAML reads {what}{text} as {_spell(value)}, not as text"


def _quoting(text: str) -> str:
    if len(text) > LONGEST_NUMBER:
        return "write it in quotes"
    meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(text.lower(), text.lower())
    if meant in {"true", "false", "null"}:
        return f'write {meant}, or quote it if it is text: "{text}"'
    return f'write it in quotes: "{text}"'


def _spell(value: Any) -> str:
    if isinstance(value, bool):
        return "the boolean " + ("true" if value else "false")
    if value is None:
        return "nothing (null)"
    if isinstance(value, int | float):
        return f"the number {value}"
    return f"a {type(value).__name__}"


def include(base: Source, over: Source, added: Collection[str] = ()) -> Source:
    """Return `base` with `over` laid on top: mappings merge key by key, the lists `added` to at the top add up.

    Everything else is replaced.
    """
    content, places = _laid(base.content, base.places, over.content, over.places, added)
    return Source(over.file, content, places, {**base.lines, **over.lines})


def _laid(below: Any, below_place: Place, above: Any, place: Place, added: Collection[str] = ()) -> tuple[Any, Place]:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above, place
    content, parts = dict(below), dict(below_place.parts)
    for key, value in above.items():
        here = place.parts[key]
        if key in added and isinstance(below.get(key), list) and isinstance(value, list):
            content[key] = [*below[key], *value]
            parts[key] = replace(here, parts=dict(enumerate((*parts[key].parts.values(), *here.parts.values()))))
        elif key in below:
            content[key], parts[key] = _laid(below[key], parts[key], value, here)
        else:
            content[key], parts[key] = value, here
    return content, replace(place, parts=parts)


def check_mapping(source: Source) -> None:
    """Raise `BakegenError` unless the file holds a mapping."""
    if not isinstance(source.content, dict):
        kind = "a list" if isinstance(source.content, list) else "a single value"
        message = f"expected a mapping (`key: value` lines), found {kind}"
        raise source.failure("wrong-type", message, (), hint="a manifest starts with `image: NAME`")
