"""Problems: what is wrong in the user's input, where, and how to fix it.

In: facts about a mistake. Out: `Problem`s, the exceptions that carry them, and their text for a terminal.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self
from unicodedata import combining, east_asian_width

# Every kind of problem. docs/errors.md explains each; tests/errors has an example of each.
Code = Literal[
    "absent-target",
    "alias-loop",
    "ambiguous-parent",
    "ambiguous-scalar",
    "bake-mismatch",
    "bake-unreadable",
    "builder-mismatch",
    "cache-collision",
    "cannot-write",
    "computed-name",
    "control-character",
    "definition-loop",
    "docker-config",
    "dockerfile-syntax",
    "duplicate-item",
    "duplicate-key",
    "edited-output",
    "empty-file",
    "empty-release",
    "empty-selection",
    "empty-text",
    "empty-value",
    "env-syntax",
    "failing-registry",
    "file-exists",
    "fixed-version",
    "foreign-output",
    "foreign-variable",
    "group-collision",
    "invalid-reference",
    "invalid-tag",
    "login-clash",
    "login-failed",
    "missing-file",
    "missing-helper",
    "missing-key",
    "missing-parent",
    "name-clash",
    "name-collision",
    "narrower-platforms",
    "nested-include",
    "newer-attribute",
    "no-bake-file",
    "no-buildx",
    "no-checks",
    "no-credentials",
    "no-docker",
    "no-effect",
    "no-login",
    "no-manifests",
    "no-platform",
    "no-project",
    "no-pushrm",
    "no-readme",
    "no-version",
    "not-available",
    "not-published",
    "not-utf8",
    "output-clash",
    "owned-attribute",
    "parent-cycle",
    "path-conflict",
    "readme-clash",
    "readme-refused",
    "reserved-name",
    "several-builders",
    "several-documents",
    "several-platforms",
    "several-targets",
    "shared-dockerfile",
    "stale-output",
    "tag-collision",
    "template-failed",
    "template-missing",
    "template-refused",
    "template-syntax",
    "too-expensive",
    "too-large",
    "too-many-targets",
    "uncovered-platform",
    "undeclared-parent",
    "undefined-name",
    "unknown-attribute",
    "unknown-axis",
    "unknown-builder",
    "unknown-image",
    "unknown-key",
    "unknown-platform",
    "unknown-registry",
    "unknown-release",
    "unknown-selector",
    "unknown-tag",
    "unknown-value",
    "unlisted-platform",
    "unordered-values",
    "unreachable-registry",
    "unreadable-file",
    "unsafe-expression",
    "unsafe-path",
    "unset-arg",
    "unused-arg",
    "unused-parent",
    "wrong-type",
    "wrong-value",
    "yaml-syntax",
    "yaml-tag",
]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file: the path as the user knows it (relative to the project root), line and column from 1.

    Line 0 means the file as a whole; column 0 means that the line is known but not the column (Jinja has none).
    """

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        parts = [printable(self.file)]
        if self.line:
            parts.append(str(self.line))
            if self.column:
                parts.append(str(self.column))
        return ":".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake of the user: `code` is stable (kebab-case, documented in docs/errors.md)."""

    code: Code
    message: str
    position: Position | None = None
    source: str = ""  # the line of the file that `position` names, without its newline
    length: int = 1  # columns to underline
    hint: str = ""

    @property
    def remedy(self) -> str:
        """How to fix it: what is known of this mistake, else what helps with all of its code."""
        return self.hint or _REMEDIES.get(self.code, "")

    @property
    def sort_key(self) -> tuple[str, int, int, str, str]:
        """Order by place, then code, so that output never depends on the order of discovery."""
        where = self.position or Position("")
        return (where.file, where.line, where.column, self.code, self.message)


class BakegenError(Exception):
    """The user's input cannot be used; carries every problem found, sorted, each once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        unique: dict[tuple[Position | None, str, str], Problem] = {}
        for problem in problems:
            unique.setdefault((problem.position, problem.code, problem.message), problem)
        self.problems: tuple[Problem, ...] = tuple(sorted(unique.values(), key=lambda p: p.sort_key))
        super().__init__(
            "\n".join(f"{p.position or 'bakegen'}: {printable(p.message)} [{p.code}]" for p in self.problems)
        )


class MisuseError(Exception):
    """The command line makes no sense."""


class Collector:
    """Keeps the first problem at each place, since one mistake in a manifest shows in many targets and files."""

    def __init__(self) -> None:
        self._found: dict[tuple[Position | None, str], Problem] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def keep(self, problem: Problem) -> None:
        """Keep a problem, unless one of its code is kept at its place."""
        self._found.setdefault((problem.position, problem.code), problem)

    def collecting(self) -> Collector:
        """Go on after a mistake in a `with` block: its problems are kept, and what was being made is left out."""
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, BakegenError):
            return False
        for problem in error.problems:
            self.keep(problem)
        return True

    def stop_if_any(self) -> None:
        """Raise `BakegenError` with all that is kept."""
        if self._found:
            raise BakegenError(self._found.values())


_LISTED = 12  # known words that a hint lists
_WINDOW = 160  # characters of a line that are shown


def fail(
    code: Code, message: str, *, position: Position | None = None, source: str = "", length: int = 1, hint: str = ""
) -> BakegenError:
    """Return (not raise) a `BakegenError` of one problem."""
    return BakegenError(
        [Problem(code=code, message=message, position=position, source=source, length=length, hint=hint)]
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return 'did you mean "x"?' for the nearest known word, or a short list of them all."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{near[0]}"?'
    if not names:
        return ""
    shown = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
    return f"available: {shown}"


def some(names: Sequence[str], most: int = 3) -> str:
    """Return names in a line; those above `most` are only counted.

    >>> some(["a", "b"]), some(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def narrowed(problem: Problem, *patterns: str) -> Problem:
    """Return the problem with only the first match of a pattern (or of its group) underlined.

    Only what is underlined now is searched; without a match, or with a problem of several lines, nothing changes.
    """
    where = problem.position
    if not (where and problem.source):
        return problem
    start = max(0, where.column - 1)
    end = start + problem.length if where.column else len(problem.source)
    for pattern in filter(None, patterns):
        found = re.compile(pattern).search(problem.source, start, end)
        if found:
            start, end = found.span(found.re.groups)
            return replace(problem, position=Position(where.file, where.line, start + 1), length=max(1, end - start))
    return problem


def printable(text: str) -> str:
    r"""Return one line of text with every character spelt out that is not seen, or changes how others are seen.

    No name and no value may steer a terminal (ESC, U+009B), turn text around (U+202E, U+2066) or hide in it (U+200B).
    They are what Unicode counts as "other" or "separator", but for space and tab:
    https://docs.python.org/3/library/stdtypes.html#str.isprintable

    >>> printable("a\x1b[31m b\u202e")
    'a\\x1b[31m b\\u202e'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


def line_at(text: str, number: int) -> str:
    """Return a line by its number from 1, or an empty string. Lines end where Docker and Jinja end them: at a newline."""
    lines = text.split("\n")
    return lines[number - 1].removesuffix("\r") if 0 < number <= len(lines) else ""


_REMEDIES: dict[Code, str] = {  # where nothing more particular can be said
    "absent-target": "remove what excludes it, or choose another target: `bakegen list`",
    "builder-mismatch": "`docker buildx inspect` shows the state of a builder",
    "cannot-write": "check the free space and the permissions",
    "dockerfile-syntax": "see https://docs.docker.com/reference/dockerfile/",
    "duplicate-item": "remove one of them",
    "empty-selection": "`bakegen list` lists all targets",
    "template-failed": "docs/manifest.md describes what expressions can do",
    "template-missing": "create one under templates/, or use another template",
    "template-refused": "the template calls fail() here: change the value, or the template",
    "template-syntax": "see https://jinja.palletsprojects.com/en/stable/templates/",
    "too-expensive": "docs/manifest.md lists the limits of expressions",
    "undefined-name": "docs/templates.md lists the available names",
    "unknown-tag": "`bakegen list tags` lists all tags",
    "unreadable-file": "replace it with a readable regular file",
    "unsafe-expression": "docs/manifest.md lists what expressions can read",
    "unsafe-path": "use a relative path inside the project, with `/` and without `..`",
    "yaml-syntax": "check quotes, brackets and indentation",
}


def format_problem(problem: Problem) -> str:
    """Return the problem as several lines: place and message, the source line underlined, the hint."""
    where = f"{problem.position}: " if problem.position else ""
    lines = [f"{where}{_shortened(printable(problem.message))} [{problem.code}]"]
    if problem.position and problem.position.line and problem.source.strip():
        number = str(problem.position.line)
        gutter = " " * len(number)
        shown, mark = underlined(problem.source, problem.position.column, problem.length)
        lines += [f"{gutter} |", f"{number} | {shown}"]
        if problem.position.column:
            lines.append(f"{gutter} | {mark}")
    if problem.remedy:
        lines.append(f"  = help: {_shortened(printable(problem.remedy))}")
    return "\n".join(lines)


def underlined(source: str, column: int, length: int) -> tuple[str, str]:
    """Return a line of input as a terminal shows it, and the line below that marks `length` characters from `column`.

    >>> underlined("runtime,CUDNN", 9, 5)
    ('runtime,CUDNN', '        ^~~~~')
    """
    start = max(0, column - 1)
    end = start + min(length, _WINDOW)
    parts = source[max(0, start - _WINDOW) : start], source[start:end], source[end : end + _WINDOW]
    before, marked, after = (printable(part).replace("\t", " ") for part in parts)
    shown, at = _clip(before + marked + after, len(before) + 1)
    space, width = _width(shown[: at - 1]), _width(shown[at - 1 : at - 1 + len(marked)])
    return shown, f"{' ' * space}^{'~' * (width - 1)}"


def _shortened(text: str, most: int = 800) -> str:
    """Return text that fits on a screen: the middle of a very long one is left out."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 4 :]}"


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes: none for what combines, two for wide characters."""
    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)


def _clip(source: str, column: int, width: int = _WINDOW) -> tuple[str, int]:
    """Return a window of at most `width` characters around `column`, and the column inside that window."""
    if len(source) <= width:
        return source, column
    start = max(0, column - width // 2)
    return source[start : start + width], column - start
