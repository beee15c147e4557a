"""Files of the output: what they hold, where they may lie, and what is there now.

In: paths from the project's root. Out: `OutputFile`s, or `BakegenError`s that name the path.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bakegen.errors import BakegenError, Code, Position, Problem
from bakegen.source.inputs import MOST_GENERATED
from bakegen.source.open_folder import OpenFolder, Seen
from bakegen.source.paths import folders_of, path_mistake

RECORDS = "generated/bakegen.sums"
STAGING = "generated/.bakegen-staging"


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file, as wanted or as found on disk."""

    content: bytes
    executable: bool = False


@contextmanager
def open_root(root: Path) -> Iterator[OpenFolder]:
    """Open the root of a project."""
    with blaming(".", "opened"):
        folder = OpenFolder.at(root)
    with folder:
        yield folder


def read_output(folder: OpenFolder, path: str) -> OutputFile | None:
    """Return the regular file at a path of the project, None if there is none."""
    if not look(folder, path).is_file:
        return None
    with blaming(path, "read"):
        return OutputFile(*folder.read(path, MOST_GENERATED))


def look(folder: OpenFolder, path: str) -> Seen:
    """Return what a path of the project leads to."""
    with blaming(path, "read"):
        return folder.look(path)


@contextmanager
def blaming(path: str, action: str) -> Iterator[None]:
    """Turn an error of the operating system into a problem of `path`."""
    try:
        yield
    except OSError as error:
        message = f'"{path}" cannot be {action}: {error.strerror or error}'
        hint = "fix this and run bakegen again; no file was left incomplete"
        raise BakegenError([output_problem("cannot-write", path, message, hint)]) from error


def output_problem(code: Code, path: str, message: str, hint: str) -> Problem:
    """Return a problem of the file at a path of the project."""
    return Problem(code=code, message=message, position=Position(path), hint=hint)


def path_problems(paths: Iterable[str]) -> Iterator[Problem]:
    """Find paths that cannot be used, and those that one disk cannot hold side by side, be it a Mac's.

    There, neither case nor Unicode form tells two files apart.
    """
    files = {_folded(path): path for path in (RECORDS, STAGING)}  # bakegen's own
    for path in sorted(paths):
        if mistake := path_mistake(path):
            yield output_problem(
                "unsafe-path", path, f'the path "{path}" {mistake}', "rename the images or files in it"
            )
        elif (key := _folded(path)) in files:
            yield _conflict(path, files[key], "are the same file on case-insensitive file systems")
        else:
            files[key] = path
    for key, path in files.items():
        for folder in folders_of(key):
            if folder in files:
                yield _conflict(path, files[folder], "cannot both exist: one is a folder of the other")


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def _conflict(path: str, other: str, why: str) -> Problem:
    hint = "rename one of the images or files in these paths"
    return output_problem("path-conflict", path, f'"{path}" and "{other}" {why}', hint)
