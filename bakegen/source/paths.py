"""Paths: the rules for those that a manifest names, and where the root of a project is.

All paths of a project are text, relative to its root, with `/` between their parts.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from pathlib import Path

from bakegen.errors import Position, fail

MANIFESTS = "manifest"
TEMPLATES = "templates"

LONGEST = 1000  # bytes of a path from its folder; Linux takes 4,095 with everything above


def path_mistake(text: str) -> str:
    """Return why `text` is not a plain relative path, or an empty string."""
    if not text:
        return "is empty"
    if hidden := next((c for c in text if not c.isprintable()), ""):
        return f"contains the invisible character U+{ord(hidden):04X}"
    if text.startswith(("/", "~")):
        return "must be relative"
    if "\\" in text:
        return "contains a backslash; use /"
    parts = text.split("/")
    if ".." in parts:
        return "must not contain `..`"
    if "" in parts or "." in parts:
        return "contains an empty or `.` part"
    if len(text.encode()) > LONGEST:
        return f"is longer than {LONGEST:,} bytes"
    if any(len(part.encode()) > 255 for part in parts):  # noqa: PLR2004 - NAME_MAX of Linux's file systems
        return "contains a part longer than 255 bytes"
    return ""


def find_root(start: Path) -> Path:
    """Return the nearest folder upwards that holds `manifest/`; raises `BakegenError` if none does."""
    start = absolute(start)
    for folder in (start, *start.parents):
        if _is_folder(folder / MANIFESTS):
            return folder
    raise fail(
        "no-project",
        f"no {MANIFESTS}/ folder found in {start} or any parent folder",
        hint="change to the project, use -C DIR, or create one with `bakegen init IMAGE`",
    )


def absolute(path: Path) -> Path:
    """Return a folder as an absolute path without links; raises `BakegenError` if the working directory is gone."""
    try:
        return Path(os.path.realpath(path))
    except FileNotFoundError as error:  # only a relative path asks for it
        raise fail(
            "no-project", "the working directory no longer exists", hint="change to another folder, or use -C DIR"
        ) from error


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise fail("unreadable-file", f"cannot be read: {error.strerror}", position=Position(str(path))) from error


def folders_of(path: str) -> Iterator[str]:
    """Yield the folders above `path`, the nearest first; the root itself is not among them."""
    while path := path.rpartition("/")[0]:
        yield path


def path_from(folder: str, path: str) -> str:
    """Return the way from a folder to a path; both are from the root, which is "." too.

    >>> path_from("generated/app", "manifest/app.yml"), path_from(".", "a/b")
    ('../../manifest/app.yml', 'a/b')
    """
    return posixpath.relpath(f"/{path}", f"/{folder}")  # absolute, so that the working directory does not matter


def relative(path: Path, root: Path) -> str:
    """Return `path` from the project root."""
    return path.relative_to(root).as_posix()
