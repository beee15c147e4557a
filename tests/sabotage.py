"""Coming between any two steps that the code under test takes in the file system."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn


class Killed(BaseException):
    """As good as `kill -9`: from then on, every further step dies too, so that nothing can be tidied up."""


class Saboteur:
    """Counts what this thread does to the file system and, from the step of a given number on, comes in between.

    An audit hook sees each call before it is made, whatever function makes it, but can never be taken off again.
    """

    STEPS = frozenset({"open", "os.chmod", "os.mkdir", "os.remove", "os.rename", "os.rmdir"})

    def __init__(self) -> None:
        self.left = 0
        self.act: Callable[[], object] | None = None
        self.thread = 0
        sys.addaudithook(self)

    def __call__(self, event: str, _args: tuple[Any, ...]) -> None:
        if self.act is None or event not in self.STEPS or threading.get_ident() != self.thread:
            return
        self.left -= 1
        if self.left <= 0:
            self.act()

    @contextmanager
    def armed(self, step: int, act: Callable[[], object]) -> Iterator[None]:
        self.left, self.act, self.thread = step, act, threading.get_ident()
        try:
            yield
        finally:
            self.act = None


def failing(error: BaseException) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


SABOTEUR = Saboteur()


class Swap:
    """Puts a link to a folder outside in the place of a folder of the project, once."""

    def __init__(self, folder: Path, outside: Path) -> None:
        self.folder = folder
        self.outside = outside
        self.is_done = False

    def __call__(self) -> None:
        if self.is_done:
            return
        self.is_done = True
        if self.folder.exists():
            self.folder.rename(self.folder.with_name(f"{self.folder.name}-was-here"))
        if self.folder.parent.is_dir():
            self.folder.symlink_to(self.outside)
