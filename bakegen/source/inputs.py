"""Files and folders that a project is read from. Symbolic links are followed within the project, and never out of it.

In: the project's root and a path from there. Out: content, or an `InputError` that says why there is none.

A link is resolved first, and what it leads to is then opened without following links: a folder that is swapped for a
link in between leads nowhere. So links may do what they may in Go's os.Root (https://go.dev/blog/osroot).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bakegen.errors import BakegenError, Code, Position, fail
from bakegen.source.open_folder import FileTooLargeError, NotAFileError, OpenFolder

MEBIBYTE = 1024 * 1024
MOST_READ = (
    4 * MEBIBYTE
)  # of a manifest or template: 120,000 lines; more is a mistake, and reading it would take seconds
MOST_GENERATED = 512 * MEBIBYTE  # of all generated files together: they are kept in memory, and in git

_LINK = "fix the link, or remove it"


class InputError(Exception):
    """A path that cannot be read; `reason` is the rest of a sentence that begins with the path."""

    def __init__(self, code: Code, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.hint = hint

    def at(self, position: Position) -> BakegenError:
        """Return this as a problem at the file itself."""
        return fail(self.code, f"this {self.reason}", position=position, hint=self.hint)


def real_path(root: Path, path: str) -> str:
    """Return the path from the root that `path` comes to when its links are followed; the root itself is empty text."""
    top = os.path.realpath(root)
    try:
        real = Path(os.path.realpath(Path(top, path), strict=True))
    except FileNotFoundError as error:
        if Path(top, path).is_symlink():
            reason = "is a broken symbolic link"
            raise InputError("unreadable-file", reason, _LINK) from error
        raise _input_error(error) from error
    except OSError as error:
        raise _input_error(error) from error
    if not real.is_relative_to(top):
        hint = "link to a path inside the project, or copy the file"
        raise InputError("unsafe-path", "is a symbolic link to a path outside the project", hint)
    return "/".join(real.relative_to(top).parts)


def read_input(root: Path, path: str, most: int = MOST_READ) -> tuple[bytes, bool]:
    """Return the content of a file of at most `most` bytes, and whether its owner may execute it."""
    with _opened(root, path) as (folder, real):
        return folder.read(real, most)


def list_input(root: Path, path: str) -> list[str]:
    """Return the names in a folder, sorted."""
    with _opened(root, path) as (folder, real):
        return sorted(folder.names(real))


def files_below(root: Path, path: str) -> list[str]:
    """Return the paths, from a folder, of everything below it that is not a folder, in order; links are not followed."""
    with _opened(root, path) as (folder, real):
        return [here.removeprefix(f"{real}/") for here, is_folder in folder.below(real) if not is_folder]


def is_folder(root: Path, path: str) -> bool:
    """Return whether a path leads to a folder."""
    with _opened(root, path) as (folder, real):
        return not real or folder.look(real).is_folder


@contextmanager
def _opened(root: Path, path: str) -> Iterator[tuple[OpenFolder, str]]:
    real = real_path(root, path)
    try:
        with OpenFolder.at(root) as folder:
            yield folder, real
    except OSError as error:
        raise _input_error(error) from error


def _input_error(error: OSError) -> InputError:
    if isinstance(error, FileTooLargeError):
        return InputError("too-large", f"is larger than {error.most // MEBIBYTE} MiB", "split it into smaller files")
    if isinstance(error, NotAFileError):
        return InputError("unreadable-file", "is not a regular file")
    if isinstance(error, FileNotFoundError):
        return InputError("missing-file", "does not exist")
    if error.errno == errno.ELOOP:
        return InputError("unreadable-file", "is a symbolic link loop", _LINK)
    return InputError("unreadable-file", f"cannot be read: {error.strerror}")
