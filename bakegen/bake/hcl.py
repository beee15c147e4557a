"""Write values in HCL, so that bake reads exactly what was meant.

In: texts, booleans, lists, mappings, and nodes for what HCL computes. Out: HCL text. The rules for strings are those
of HCL's native syntax (https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md, "Template Expressions").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bakegen.expressions.text import Text, Variable

WIDTH = 160  # as the rows of tables, which are never broken
_MANY = WIDTH // 3  # a list of more items is longer than a line, since an item takes a character, a comma and a space
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_TABLE = str.maketrans(_ESCAPES | {chr(c): f"\\u{c:04x}" for c in (*range(32), 127) if chr(c) not in _ESCAPES})
_SPECIAL = re.compile(r'[\x00-\x1f\x7f"\\]|[$%]\{')  # what cannot stand in a quoted string as it is; most text has none
_OPENING = re.compile(r"([$%])\{")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_KEYWORDS = frozenset({"for", "if", "in", "true", "false", "null"})


@dataclass(frozen=True, slots=True)
class Code:
    """HCL as it stands: the name of a constant, `item.python`."""

    text: str


@dataclass(frozen=True, slots=True)
class Template:
    """Text in which expressions stand, as `Text` is text in which variables stand."""

    parts: tuple[str | Variable | Code, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of an HCL function."""

    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Each:
    """A list made from another: `[for item in COLLECTION : RESULT if CONDITION]`."""

    variable: str
    collection: Any
    result: Any
    condition: Any = None


@dataclass(frozen=True, slots=True)
class Grouping:
    """Lists by a key, made from another list: `{ for item in COLLECTION : KEY => RESULT... if CONDITION }`."""

    variable: str
    collection: Any
    key: Any
    result: Any
    condition: Any = None


@dataclass(frozen=True, slots=True)
class Row:
    """An object that stays on one line: a row of a table."""

    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Words:
    """A list of short items, which fill lines like the words of a paragraph."""

    items: Sequence[Any]


def is_name(text: str) -> bool:
    """Return whether text can stand in HCL as the name of a variable."""
    return bool(_IDENTIFIER.fullmatch(text)) and text not in _KEYWORDS


def literal(text: str) -> str:
    """Return the inside of a quoted string that means `text`; `${` and `%{` would otherwise interpolate."""
    return _OPENING.sub(r"\1\1{", text.translate(_TABLE)) if _SPECIAL.search(text) else text


def quoted(text: str | Text | Template) -> str:
    """Return a string with its variables and expressions; one that stands alone stands bare."""
    if isinstance(text, str):
        return f'"{literal(text)}"'
    if len(text.parts) == 1 and not isinstance(text.parts[0], str):
        return _expression(text.parts[0])
    written = []
    for index, part in enumerate(text.parts):
        if isinstance(part, str):
            # `$` before `${V}` would read as the escape `$${`: the last characters become an expression of their own.
            marks = part[len(part.rstrip("$%")) :] if index + 1 < len(text.parts) else ""
            written.append(literal(part.removesuffix(marks)) + (f'${{"{marks}"}}' if marks else ""))
        else:
            written.append(f"${{{_expression(part)}}}")
    return f'"{"".join(written)}"'


def _expression(part: Variable | Code) -> str:
    return part.bake_name if isinstance(part, Variable) else part.text


def write(value: Any, indent: int = 0, before: str = "") -> str:
    """Return `value` as an HCL expression: on one line if it fits, or on lines that are indented by `indent`.

    `before` is what stands on the first line already, and is part of what is returned.
    """
    if not _is_long(value):
        line = before + _flat(value)
        if isinstance(value, Row) or indent + len(line) <= WIDTH:
            return line
    match value:
        case Call():
            *first, last = value.arguments
            opening = f"{before}{value.function}({''.join(f'{_flat(item)}, ' for item in first)}"
            if _breaks(last) and not any(map(_is_long, first)) and indent + len(opening) < WIDTH:
                return f"{write(last, indent, opening)})"
            names = all(isinstance(item, Code) for item in value.arguments)
            items = _filled(value.arguments, WIDTH - indent - 2) if names else value.arguments
            return _lines(f"{before}{value.function}(", items, ")", indent)
        case Each():
            return _broken_each(value, indent, before)
        case Words():
            return _lines(f"{before}[", _filled(value.items, WIDTH - indent - 2), "]", indent)
        case list() | tuple():
            return _lines(f"{before}[", value, "]", indent)
        case Mapping():
            keys = _keys(value)
            inner = " " * (indent + 2)
            entries = zip(keys, value.values(), strict=True)
            lines = [f"{inner}{write(item, indent + 2, f'{key} = ')}" for key, item in entries]
            return "\n".join([f"{before}{{", *lines, f"{' ' * indent}}}"])
    return before + _flat(value)


def _flat(value: Any) -> str:
    """Return `value` on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str() | Text() | Template():
            return quoted(value)
        case Code():
            return value.text
        case Call():
            return f"{value.function}({_joined(value.arguments)})"
        case Each():
            condition = f" if {_flat(value.condition)}" if value.condition else ""
            return f"[for {value.variable} in {_flat(value.collection)} : {_flat(value.result)}{condition}]"
        case Grouping():
            head = f"for {value.variable} in {_flat(value.collection)} : {_flat(value.key)} => {_flat(value.result)}..."
            return f"{{ {head}{f' if {_flat(value.condition)}' if value.condition else ''} }}"
        case Words():
            return f"[{_joined(value.items)}]"
        case list() | tuple():
            return f"[{_joined(value)}]"
        case Row():
            return _flat(value.cells)
        case Mapping():
            entries = zip(_keys(value), value.values(), strict=True)
            return f"{{ {', '.join(f'{key} = {_flat(item)}' for key, item in entries)} }}" if value else "{}"
    raise TypeError(f"{type(value).__name__} has no HCL form")


def _joined(items: Iterable[Any]) -> str:
    return ", ".join(map(_flat, items))


def _is_long(value: Any) -> bool:
    """Return whether a value cannot fit on a line: that is known without writing its thousands of items twice."""
    match value:
        case list() | tuple():
            return len(value) > _MANY
        case Words():
            return len(value.items) > _MANY
        case Call():
            return any(map(_is_long, value.arguments))
        case Each():
            return isinstance(value.result, Each) or _is_long(value.collection) or _is_long(value.condition)
        case Mapping():
            return any(map(_is_long, value.values()))
    return False


def _breaks(value: Any) -> bool:
    """Return whether a value may go over several lines, and opens with a bracket."""
    return isinstance(value, list | tuple | Words | Each | Call | Mapping)


def _broken_each(value: Each, indent: int, before: str) -> str:
    inner = " " * (indent + 2)
    head = f"{write(value.collection, indent + 2, f'for {value.variable} in ')} :"
    if isinstance(value.result, Each):
        lines = [inner + write(value.result, indent + 2, f"{head} ")]
    else:
        result = _flat(value.result)
        lines = [
            inner + head,
            inner + (write(value.condition, indent + 2, f"{result} if ") if value.condition else result),
        ]
    return "\n".join([f"{before}[", *lines, f"{' ' * indent}]"])


def _filled(items: Iterable[Any], width: int) -> list[Code]:
    """Return items as lines of at most `width` characters."""
    lines: list[str] = []
    for item in map(_flat, items):
        if lines and len(lines[-1]) + len(item) + 3 <= width:  # a comma and a space before, a comma after
            lines[-1] += f", {item}"
        else:
            lines.append(item)
    return [Code(line) for line in lines]


def _keys(mapping: Mapping[Any, Any]) -> list[str]:
    """Return the keys of an object: bare where that is possible for all of them."""
    if all(isinstance(key, str) and is_name(key) for key in mapping):
        return list(mapping)
    texts = map(quoted, mapping)  # a bare variable as a key would be its name
    return [text if text.startswith('"') else f'"${{{text}}}"' for text in texts]


def _lines(before: str, items: Iterable[Any], after: str, indent: int) -> str:
    inner = " " * (indent + 2)
    lines = [f"{inner}{write(item, indent + 2)}," for item in items]
    return "\n".join([before, *lines, f"{' ' * indent}{after}"])
