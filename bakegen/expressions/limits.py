"""Bounds on the time and memory that manifests and templates may take.

Jinja's sandbox keeps templates away from the machine, but it is no limit on time or memory
(https://jinja.palletsprojects.com/en/stable/sandbox/). There are three, each for what gets past the one before:

- No value is larger than `plain` allows, so that no single operation takes long.
- A timer of the kernel ends what takes too long in all, at its place in the input. Python runs the handler between two
  operations, so this needs the first limit.
- The kernel ends a process that takes `STUCK` seconds for a single operation. It should never come to that.

Signals reach the main thread only, so that is where all expressions are evaluated.
"""

from __future__ import annotations

import math
import resource as rlimit
import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from bakegen.errors import BakegenError, Problem, fail

SECONDS = 5  # of processor time, for one expression or one rendered file
ALL_SECONDS = 300  # of processor time, for all that is done within one `Limits`
STUCK = 20  # seconds of processor time in which not one operation ends
BYTES = 3 * 1024**3 // 2  # of address space, beyond what the process has when the limits begin
TICK = 1.0  # how long one of these seconds lasts; tests make it shorter
TOO_LONG = Problem(
    code="too-expensive",
    message=f"needs more than {SECONDS} seconds of CPU time",
    hint="use smaller loops",
)


class OverrunError(BaseException):
    """The time is up. It ends the run, since what follows may take as long: no `except Exception` stops it.

    `problem` is what to tell the user; whoever knows the place of the work sets one with that place.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Piece:
    """A context manager around one piece of work; where such pieces nest, the outermost one counts."""

    __slots__ = ("depth", "serial")

    def __init__(self) -> None:
        self.serial = 0  # of the piece that was begun last
        self.depth = 0

    def __enter__(self) -> None:
        if not self.depth:
            self.serial += 1
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        self.depth -= 1


def _address_space() -> int:
    """Return the bytes of address space that this process has; 0 where only macOS knows, which has no such limit."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * rlimit.getpagesize()
    except OSError:
        return 0


class Limits:
    """A context manager that bounds all that is done within it, and each `piece` of work.

    Works in the main thread only. Raises `BakegenError` if time or memory was not enough.

    A ticking timer notices when one piece has lasted `SECONDS` ticks. Announcing costs one addition, where arming
    a timer for each of a hundred thousand expressions would cost two system calls each.
    """

    def __init__(self) -> None:
        self.piece = Piece()
        self._seen = 0  # the piece that the last tick saw
        self._ticks = 0  # in a row that saw it
        self._all_ticks = 0
        self._active = False

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("limits are kept by signals, which reach the main thread only")
        self._active = True
        self._all_ticks = 0
        self._handler = signal.signal(signal.SIGPROF, self._tick)
        self._before = {kind: rlimit.getrlimit(kind) for kind in (rlimit.RLIMIT_AS, rlimit.RLIMIT_CPU)}
        self._lower(rlimit.RLIMIT_AS, _address_space() + BYTES)
        self._expect_progress()
        signal.setitimer(signal.ITIMER_PROF, TICK, TICK)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._active = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, self._handler)
        for limit in self._before:
            self._lower(limit, rlimit.RLIM_INFINITY)
        if isinstance(error, OverrunError):
            raise BakegenError([error.problem]) from error
        if isinstance(error, MemoryError):
            raise fail(
                "too-expensive",
                f"the project needs more than {BYTES / 1024**3:.1f} GiB of memory",
                hint="reduce its output, or split it",
            ) from error

    def _lower(self, limit: int, most: int) -> None:
        """Set a limit of the process to `most`, or to what it was before, if that is less."""
        soft, hard = self._before[limit]
        bounds = [bound for bound in (soft, most) if bound != rlimit.RLIM_INFINITY]
        try:
            rlimit.setrlimit(limit, (min(bounds, default=rlimit.RLIM_INFINITY), hard))
        except (ValueError, OSError):  # macOS knows the name of the limit on memory but refuses it
            return

    def _expect_progress(self) -> None:
        self._lower(rlimit.RLIMIT_CPU, math.ceil(time.process_time()) + STUCK)

    def _tick(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._active:
            return
        self._expect_progress()
        self._all_ticks += 1
        if self._all_ticks >= ALL_SECONDS:
            message = f"the project needs more than {ALL_SECONDS} seconds of CPU time"
            raise OverrunError(Problem(code="too-expensive", message=message, hint="split it, or use smaller loops"))
        if not self.piece.depth or self.piece.serial != self._seen:
            self._seen, self._ticks = self.piece.serial, 0
            return
        self._ticks += 1
        if self._ticks >= SECONDS:
            raise OverrunError(TOO_LONG)
