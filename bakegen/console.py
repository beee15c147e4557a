"""What a user sees: data goes to stdout, raw; talk goes to stderr, and `--quiet` silences it.

Colours are for terminals only, and for those who did not set NO_COLOR (https://no-color.org).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import typer

from bakegen.errors import Problem, fail, format_problem

_MARKS = {  # what a line of a problem begins with -> its colour
    re.compile(r"^( *\| +)(\^~*)$", re.MULTILINE): typer.colors.RED,
    re.compile(r"^(  = )(help:)", re.MULTILINE): typer.colors.GREEN,
}


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
        typer.echo(text, err=True)


def warn(text: str) -> None:
    """Tell what even the quiet must know."""
    typer.echo(text, err=True)


def print_lines(lines: Iterable[str]) -> None:
    """Print data as lines; raises `BakegenError` if they cannot be written."""
    _print("".join(f"{line}\n" for line in lines))


def print_json(data: Any) -> None:
    """Print data as JSON; raises `BakegenError` if it cannot be written."""
    is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf") if sys.stdout else True
    _print(json.dumps(data, indent=2, ensure_ascii=not is_unicode) + "\n")


def coloured(text: str, colour: str, stream: TextIO) -> str:
    """Return `text` in a colour if the stream shows colours."""
    return typer.style(text, fg=colour) if _shows_colours(stream) else text


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "file"), count(2, "file")
    ('1 file', '2 files')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def problem_text(problem: Problem) -> str:
    """Return a problem as stderr shows it."""
    text = format_problem(problem)
    if not _shows_colours(sys.stderr):
        return text
    first, newline, rest = text.partition("\n")
    for mark, colour in _MARKS.items():
        rest = mark.sub(rf"\1{typer.style('@', fg=colour)}".replace("@", r"\2"), rest)
    return typer.style(first, bold=True) + newline + rest


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
        yield lambda step: _show_line(f"[{next(numbers)}/{total}] {step}"[:width])
    finally:
        _show_line("")


def _show_line(text: str) -> None:
    if not _Manner.quiet:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


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
