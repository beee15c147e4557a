"""Bounds on what one template or expression may cost, so that `range` in `range` ends in an error, not in a hang.

Jinja's sandbox keeps templates away from the machine, but it is no limit on time or memory
(https://jinja.palletsprojects.com/en/stable/sandbox/). Here the kernel's timer and address-space limit are.
"""

from __future__ import annotations

import resource as rlimit
import signal
import threading
from types import FrameType, TracebackType
from typing import Self

SECONDS = 5  # of processor time, for one expression or one rendered file
BYTES = 3 * 1024**3 // 2  # of address space, for the process while templates run


class TooExpensiveError(Exception):
    """An expression or template used more time than it may."""


class Limits:
    """A context manager that bounds each piece of work announced by `start()`; works in the main thread only.

    A ticking timer notices when one piece has lasted `SECONDS` ticks. Announcing costs one addition, where arming
    a timer for each of a hundred thousand expressions would cost two system calls each.
    """

    def __init__(self) -> None:
        self._serial = 0
        self._seen = 0
        self._ticks = 0
        self._depth = 0
        self._active = False

    def start(self) -> None:
        """Begin a piece of work (pieces may nest; the outermost one counts)."""
        if not self._depth:
            self._serial += 1
        self._depth += 1

    def stop(self) -> None:
        """End the piece of work that the last `start()` began."""
        self._depth -= 1

    def __enter__(self) -> Self:
        self._active = threading.current_thread() is threading.main_thread()
        if self._active:
            self._handler = signal.signal(signal.SIGVTALRM, self._tick)
            signal.setitimer(signal.ITIMER_VIRTUAL, 1, 1)
            self._address_space = rlimit.getrlimit(rlimit.RLIMIT_AS)
            soft = self._address_space[0]
            self._set_address_space(BYTES if soft == rlimit.RLIM_INFINITY else min(soft, BYTES))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, self._handler)
            self._set_address_space(self._address_space[0])

    def _set_address_space(self, soft: int) -> None:
        try:
            rlimit.setrlimit(rlimit.RLIMIT_AS, (soft, self._address_space[1]))
        except (ValueError, OSError):  # macOS knows the name but refuses the limit
            return

    def _tick(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._depth or self._serial != self._seen:
            self._seen, self._ticks = self._serial, 0
            return
        self._ticks += 1
        if self._ticks >= SECONDS:
            self._ticks = 0
            raise TooExpensiveError
