"""Paths that a manifest names: pure checks of their text, and a look at the disk that refuses symlinks out of the tree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bakegen.errors import fail

MANIFESTS = "manifest"
TEMPLATES = "templates"

LONGEST = 1000  # bytes of a path from its folder; Linux takes 4,095 with everything above


def path_mistake(text: str) -> str:
    """Return why `text` is not a plain relative path, or an empty string."""
    if not text:
        return "is empty"
    if any(ord(c) < 32 or ord(c) == 127 for c in text):  # noqa: PLR2004 - the bounds of ASCII control characters
        return "holds a control character"
    if text.startswith(("/", "~")):
        return "is absolute; paths are relative"
    if "\\" in text:
        return "holds a backslash; folders are separated by /"
    parts = text.split("/")
    if ".." in parts:
        return "climbs out of its folder with `..`"
    if "" in parts or "." in parts:
        return "has an empty or `.` part"
    if len(text.encode()) > LONGEST:
        return f"is longer than {LONGEST:,} bytes"
    if any(len(part.encode()) > 255 for part in parts):  # noqa: PLR2004 - NAME_MAX of Linux's file systems
        return "has a part of more than 255 bytes"
    return ""


def find_root(start: Path) -> Path:
    """Return the nearest folder upwards that holds `manifest/`; raises `BakegenError` if none does."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / MANIFESTS).is_dir():
            return folder
    raise fail(
        "no-project",
        f"there is no {MANIFESTS}/ folder in {start} or above it",
        hint="go to the project, name it with -C DIR, or start one with `bakegen init IMAGE`",
    )


def folders_of(path: str) -> Iterator[str]:
    """Yield the folders above `path`, the nearest first; the root itself is not among them."""
    while path := path.rpartition("/")[0]:
        yield path


def leaves(root: Path, path: Path) -> bool:
    """Return whether `path` leads out of `root` once its symlinks are followed."""
    return not path.resolve().is_relative_to(root.resolve())


def relative(path: Path, root: Path) -> str:
    """Return `path` as messages show it: from the project root, or as it is when it lies elsewhere."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.as_posix()
