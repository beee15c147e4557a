"""What a user sees: results go to stdout; talk goes to stderr, and `--quiet` silences it.

Nothing that is shown can steer a terminal: in talk, whatever cannot be seen is spelt out, and so it is in results that
a terminal shows. Results that a program reads stay as they are. Colours are for terminals only, and for those who did
not set NO_COLOR (https://no-color.org).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TextIO

import typer

from bakegen.errors import Problem, fail, format_problem, printable

Colours = Mapping[str, str]  # a pattern with one group -> the colour of that group

_NONE: Colours = MappingProxyType({})
_MARKS: Colours = {r"^ *\| +(\^~*)$": typer.colors.RED, r"^  = (help:)": typer.colors.GREEN}


class _Manner:
    """How this process talks."""

    quiet = False


def be_quiet(wanted: bool) -> None:
    """Say nothing from now on but what is wrong, or talk again."""
    _Manner.quiet = wanted


def is_quiet() -> bool:
    """Return whether nothing is to be said but what is wrong."""
    return _Manner.quiet


def say(text: str) -> None:
    """Tell how things go."""
    if not _Manner.quiet:
        warn(text)


def warn(text: str) -> None:
    """Tell what even the quiet must know."""
    typer.echo(visible(text), err=True)


def show_problems(problems: Sequence[Problem]) -> None:
    """Tell what is wrong."""
    texts = []
    for problem in problems:
        first, newline, rest = format_problem(problem).partition("\n")
        if _shows_colours(sys.stderr):
            first = typer.style(first, bold=True)
        texts.append(first + newline + "\n".join(_coloured(line, _MARKS, sys.stderr) for line in rest.split("\n")))
    typer.echo("\n\n".join(texts), err=True)
    if len(problems) > 1:
        warn(count(len(problems), "problem"))


def print_lines(lines: Iterable[str], colours: Colours = _NONE) -> None:
    """Print a result as lines; raises `BakegenError` if they cannot be written."""
    if sys.stdout and sys.stdout.isatty():
        lines = (_coloured(visible(line), colours, sys.stdout) for line in lines)
    _print("".join(f"{line}\n" for line in lines))


def print_json(data: Any) -> None:
    """Print a result as JSON; raises `BakegenError` if it cannot be written."""
    is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf") if sys.stdout else True
    text = json.dumps(data, indent=2, ensure_ascii=not is_unicode)
    unseen = {c for c in set(text) if not c.isprintable() and c != "\n"}  # JSON itself spells out only U+0000 to U+001F
    _print(text.translate({ord(c): json.dumps(c)[1:-1] for c in unseen}) + "\n")


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "file"), count(2, "file")
    ('1 file', '2 files')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Show how far `total` steps have come; what is yielded is called with a word on each step that is done.

    A terminal shows one line that changes and goes away at the end; anything else gets a line for each step.
    """
    numbers = iter(range(1, total + 1))
    if not sys.stderr.isatty():
        yield lambda step: say(f"[{next(numbers)}/{total}] {step}")
        return
    width = shutil.get_terminal_size().columns - 1
    try:
        yield lambda step: _show_line(printable(f"[{next(numbers)}/{total}] {step}")[:width])
    finally:
        _show_line("")


def _show_line(text: str) -> None:
    if not _Manner.quiet:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def visible(text: str) -> str:
    """Return text of several lines with every character spelt out that is not seen, as `printable` does with one."""
    return "\n".join(map(printable, text.split("\n")))


def _coloured(line: str, colours: Colours, stream: TextIO) -> str:
    if _shows_colours(stream):
        for pattern, colour in colours.items():
            if found := re.search(pattern, line):
                start, end = found.span(1)
                line = line[:start] + typer.style(found[1], fg=colour) + line[end:]
    return line


def _shows_colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _print(text: str) -> None:
    if not sys.stdout:  # it was closed before we began
        return
    try:
        encoding = sys.stdout.encoding or "utf-8"  # an old locale may lack characters, which are spelt out then
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads it has enough; typer ends the program
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries again when it ends
        raise fail("cannot-write", f"cannot write to standard output: {error.strerror}") from error


def width_of(stream: TextIO) -> int | None:
    """Return how many columns the terminal has that shows a stream, as COLUMNS or itself says; None if that is not known."""
    if not stream.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() else os.get_terminal_size(stream.fileno()).columns or None
