"""Say in plain words why a file is no YAML, and point where the mistake was made.

In: the exception of libyaml and the lines of the file. Out: line and column from 0, length, message, hint. libyaml
names the place where it gave up, and its own rules; the place to mend is often where a quote or bracket was opened,
or the line above.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class YamlMistake:
    """Where and what; line and column count from 0."""

    line: int
    column: int
    message: str
    hint: str = ""
    length: int = 1


def explain_yaml(error: yaml.MarkedYAMLError, lines: Sequence[str]) -> YamlMistake:
    """Return what is wrong."""
    end: Any = error.problem_mark
    start: Any = error.context_mark or end
    problem = str(error.problem)
    line = lines[end.line] if end.line < len(lines) else ""
    if odd := _odd_character(lines, end.line):
        return odd
    at = YamlMistake(end.line, end.column, " ".join(str(part) for part in (error.context, error.problem) if part))
    here = line[end.column : end.column + 1]
    if "cannot start any token" in problem:
        return _bad_start(at, here)
    if "unknown escape" in problem:
        message = f'unknown escape sequence in double quotes: "{line[end.column : end.column + 2]}"'
        hint = "use single quotes, where backslashes are literal"
        return YamlMistake(end.line, end.column, message, hint, length=2)
    if "quoted" in str(error.context) and ("end of stream" in problem or "document indicator" in problem):
        return YamlMistake(start.line, start.column, "this quote is never closed", "close it, or remove it")
    if "expected ',' or" in problem:
        return _open_quote(at, lines) or _open_bracket(at, start, problem, line)
    if "expected key" in problem or "block end" in problem or "expected '-'" in problem:
        return _open_quote(at, lines) or _odd_line(at, line)
    if "mapping values are not allowed" in problem:
        return _odd_colon(at, lines)
    if "could not find expected ':'" in problem:
        text = lines[start.line].strip() if start.line < len(lines) else ""
        message = "expected `key: value`"
        return YamlMistake(start.line, start.column, message, "put a colon and a space after the key", len(text) or 1)
    if "undefined alias" in problem:
        name = re.match(r"\*\S+", line[end.column :])
        shown = name[0].rstrip(",]}") if name else "*"
        message = f"there is no anchor {shown.replace('*', '&', 1)} above"
        hint = f'define the anchor, or quote text that begins with *: "{shown}"'
        return YamlMistake(end.line, end.column, message, hint, len(shown))
    return replace(at, hint="check quotes, brackets and indentation near here")


_MERGE = re.compile(r"(<{7}|={7}|>{7}|\|{7})( |$)")
_SPACE = re.compile(r"[ -]*([^\S \t])")  # white space that is no space of YAML's, in an indentation


def _odd_character(lines: Sequence[str], last: int) -> YamlMistake | None:
    """Look for what makes whatever follows odd: the marks of a merge, or spaces that are none."""
    for number, line in enumerate(lines[: last + 1]):
        if merge := _MERGE.match(line):
            return YamlMistake(
                number, 0, "unresolved merge conflict", "keep one side, and remove the markers", len(merge[1])
            )
        if space := _SPACE.match(line):
            message = f"U+{ord(space[1]):04X} in the indentation; only spaces are allowed"
            return YamlMistake(number, space.start(1), message, "replace it with a space")
    return None


def _bad_start(at: YamlMistake, here: str) -> YamlMistake:
    if here == "\t":
        return YamlMistake(at.line, at.column, "tabs are not allowed here", "indent with spaces")
    return YamlMistake(at.line, at.column, f'an unquoted value cannot begin with "{here}"', "quote the value")


def _open_quote(at: YamlMistake, lines: Sequence[str]) -> YamlMistake | None:
    """Look for a quote above that the one before this place has closed, although it opens a value of its own."""
    before = lines[at.line][: at.column] if at.line < len(lines) else ""
    quote = before[-1:]
    if not quote or quote not in "\"'" or before.count(quote) % 2 == 0:
        return None
    for number in range(at.line - 1, -1, -1):
        if lines[number].count(quote) % 2:
            hint = f"close it here; as written, the text ends on line {at.line + 1}"
            return YamlMistake(number, lines[number].rfind(quote), "this quote is not closed on its line", hint)
    return None


def _open_bracket(at: YamlMistake, start: yaml.Mark, problem: str, line: str) -> YamlMistake:
    """Explain a bracket: closed on its own line, it holds something odd; else it is rather not closed at all."""
    close = "]" if "]" in problem else "}"
    braces = line.find("{{", start.column, at.column) if at.line == start.line else -1
    if braces >= 0:
        hint = "quote the whole value"
        return YamlMistake(at.line, braces, "a value that begins with {{ must be quoted", hint, at.column - braces)
    quoted = re.search(r"[\"'][^\"']*[\"']\s*$", line[: at.column])
    if at.line == start.line and quoted:
        message = "unexpected text after a quoted value"
        hint = "add the missing quote, or remove the extra one"
        return YamlMistake(at.line, quoted.start(), message, hint, len(quoted[0].rstrip()))
    if at.line == start.line:
        message = f'expected "," or "{close}" here'
        return YamlMistake(at.line, at.column, message, "quote values that contain `: `, brackets, braces or commas")
    opened = "[" if close == "]" else "{"
    hint = f'close it with "{close}"; YAML read on to line {at.line + 1}'
    return YamlMistake(start.line, start.column, f'this "{opened}" is not closed', hint)


def _odd_line(at: YamlMistake, line: str) -> YamlMistake:
    before = line[: at.column]
    if not before.strip(" -"):
        message = "the indentation matches none of the lines above"
        return YamlMistake(at.line, at.column, message, "indent all keys of a mapping equally")
    rest = line[at.column :].strip()
    braces = re.search(r"(?:^|[\s:])(\{\{.*)", before)
    if braces:
        value = line[braces.start(1) :].strip()
        hint = f'quote the whole value: "{value}"' if '"' not in value else f"quote the whole value: '{value}'"
        return YamlMistake(at.line, braces.start(1), "a value that begins with {{ must be quoted", hint, len(value))
    message = f'unexpected "{rest}" after the value'
    hint = "use one pair of quotes for the whole value"
    if before.endswith("'"):
        hint = "write '' for a quote inside single quotes, or use double quotes"
    return YamlMistake(at.line, at.column, message, hint, len(rest) or 1)


def _odd_colon(at: YamlMistake, lines: Sequence[str]) -> YamlMistake:
    """Explain `a: b: c`, or a `key: value` line below one that lacks the space after its colon."""
    line = lines[at.line]
    earlier = re.match(r"\s*(?:- +)*[^\s:]+: +(?=\S)", line[: at.column])
    if earlier:
        value = line[earlier.end() :].rstrip()
        hint = f'quote the value: "{value}"' if '"' not in value else f"quote the value: '{value}'"
        return YamlMistake(at.line, at.column, "a value that contains `: ` must be quoted", hint)
    above = next(
        (n for n in range(at.line - 1, -1, -1) if lines[n].strip() and not lines[n].lstrip().startswith("#")), -1
    )
    text = lines[above].strip() if above >= 0 else ""
    if text and not re.search(r":(?:\s|$)", text):
        column = len(lines[above]) - len(lines[above].lstrip())
        return YamlMistake(above, column, "expected `key: value`", "put a colon and a space after the key", len(text))
    message = "a key is not allowed here"
    return YamlMistake(at.line, at.column, message, "check the indentation of this line and the line above")
