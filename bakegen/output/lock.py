"""One run at a time: a project is held by one process alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bakegen.output.files import blaming


@contextmanager
def lock(root: Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold the project for this process alone; `waiting` is called when another run has to end first.

    The lock lies on the root folder itself, so it leaves no file behind and ends with the process, however it ends.
    """
    with blaming(".", "locked"):
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with blaming(".", "locked"):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting:
                    waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
