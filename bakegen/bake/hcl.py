"""Write values in HCL, so that bake reads exactly what was meant.

In: strings (with marked variables), truth values, lists, mappings, calls. Out: HCL text. The rules for strings are
those of HCL's native syntax (https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md, "Template Expressions").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bakegen.expressions.text import Text, Variable

WIDTH = 110
_MANY = WIDTH // 3  # a list of more items is longer than a line, since an item takes a character, a comma and a space
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_TABLE = str.maketrans(_ESCAPES | {chr(c): f"\\u{c:04x}" for c in (*range(32), 127) if chr(c) not in _ESCAPES})
_SPECIAL = re.compile(r'[\x00-\x1f\x7f"\\]|[$%]\{')  # what cannot stand in a quoted string as it is; most text has none
_OPENING = re.compile(r'(?P<marks>[$%]+)\{(?:(?P<name>[^{}$%"\\]*)\})?')


@dataclass(frozen=True, slots=True)
class Call:
    """A call of an HCL function."""

    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a variable or constant."""

    name: str


def literal(text: str) -> str:
    """Return the inside of a quoted string that means `text`; `${` and `%{` would otherwise interpolate."""
    return _OPENING.sub(_escaped, text.translate(_TABLE)) if _SPECIAL.search(text) else text


def _escaped(opening: re.Match[str]) -> str:
    marks, name = opening["marks"], opening["name"]
    if name is None:  # python-hcl2 would take all up to a `}` for the name, wherever that is
        return f'${{"{marks}"}}{{'
    return f"{marks}{marks[-1]}{{{name}}}"


def quoted(text: Text | str) -> str:
    """Return a string with its variables, by the names that they have in the bake file; a lone variable stands bare."""
    if isinstance(text, str):
        return f'"{literal(text)}"'
    if len(text.parts) == 1 and isinstance(variable := text.parts[0], Variable):
        return variable.bake_name
    written = []
    for index, part in enumerate(text.parts):
        if isinstance(part, Variable):
            written.append(f"${{{part.bake_name}}}")
        else:
            # `$` before `${V}` would read as the escape `$${`: the last characters become an expression of their own.
            marks = part[len(part.rstrip("$%")) :] if index + 1 < len(text.parts) else ""
            written.append(literal(part.removesuffix(marks)) + (f'${{"{marks}"}}' if marks else ""))
    return f'"{"".join(written)}"'


def write(value: Any, indent: int = 0) -> str:
    """Return `value` as an HCL expression, on one line if it fits, that starts at column `indent`."""
    match value:
        case Name():
            return value.name
        case bool():
            return "true" if value else "false"
        case str() | Text():
            return quoted(value)
        case Call():
            if not any(map(_is_long, value.arguments)):
                flat = f"{value.function}({', '.join(write(item) for item in value.arguments)})"
                if _fits(flat, indent):
                    return flat
            *first, last = value.arguments
            if isinstance(last, Call) and not first:
                return f"{value.function}({write(last, indent)})"
            opening = "".join([f"{value.function}(", *(f"{write(item)}, " for item in first)])
            if isinstance(last, list | tuple) and _fits(f"{opening}[", indent):
                return f"{opening}{_lines('[', last, ']', indent)})"
            return _lines(f"{value.function}(", value.arguments, ")", indent)
        case list() | tuple():
            if not _is_long(value):
                flat = f"[{', '.join(write(item) for item in value)}]"
                if _fits(flat, indent):
                    return flat
            return _lines("[", value, "]", indent)
        case Mapping():
            inner = " " * (indent + 2)
            lines = [f"{inner}{_key(key)} = {write(item, indent + 2)}" for key, item in value.items()]
            return "\n".join(["{", *lines, f"{' ' * indent}}}"])
    raise TypeError(f"{type(value).__name__} has no HCL form")


def _is_long(value: Any) -> bool:
    """Return whether a list cannot fit on a line: that is known without writing its thousands of items twice."""
    return isinstance(value, list | tuple) and len(value) > _MANY


def _fits(text: str, indent: int) -> bool:
    return indent + len(text) <= WIDTH and "\n" not in text


def _key(key: str) -> str:
    # A bare variable as a key would be the name itself: keys are always quoted.
    text = quoted(key)
    return text if text.startswith('"') else f'"${{{text}}}"'


def _lines(before: str, items: Any, after: str, indent: int) -> str:
    inner = " " * (indent + 2)
    lines = [f"{inner}{write(item, indent + 2)}," for item in items]
    return "\n".join([before, *lines, f"{' ' * indent}{after}"])
