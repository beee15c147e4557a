"""Ask programs, several at once, and none of them for ever.

In: command lines. Out: a `Reply` each, whatever becomes of the program.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any, TypeVar

Result = TypeVar("Result")

_PARTING = 1  # seconds that work gets to end after an interrupt


@dataclass(frozen=True, slots=True)
class Reply:
    """What a program wrote, and its exit code: None if it could not be run, or was stopped for taking too long."""

    code: int | None
    out: str = ""
    said: str = ""


class Asker:
    """Asks programs, and does other work side by side; a program gets as many seconds as `patience`."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lock = Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._begun: list[Future[Any]] = []
        self._ended = False

    def __call__(self, command: Sequence[str], text: str = "") -> Reply:
        """Run a command that reads `text`, and return its reply."""
        try:
            started = self._start(command)
        except OSError as error:
            return Reply(None, said=f"{command[0]}: {error.strerror}")
        with started as process:
            try:
                out, said = process.communicate(text, self._patience)
            except subprocess.TimeoutExpired:
                return Reply(None, said=f"no answer within {self._patience:g} seconds")
            finally:
                with self._lock:
                    self._running.discard(process)
                    _kill(process)
        return Reply(process.returncode, out, said)

    def begin(self, work: Callable[[], Result]) -> Future[Result]:
        """Let work go on beside this thread, until the end at the latest."""
        future = begin(work)
        self._begun.append(future)
        return future

    def end(self) -> None:
        """Stop whatever still runs, and run nothing more."""
        with self._lock:
            self._ended = True
            for process in self._running:
                _kill(process)
        wait(list(self._begun), _PARTING)  # Python may crash if it ends just when they notice

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        with self._lock:
            if self._ended:
                raise InterruptedError
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # so that plugins of docker, which outlive it, can be stopped with it
            )
            self._running.add(process)
        return process


@contextmanager
def asking(patience: float) -> Iterator[Asker]:
    """Yield an `Asker` whose programs end with the block."""
    asker = Asker(patience)
    try:
        yield asker
    finally:
        asker.end()


def begin(work: Callable[[], Result]) -> Future[Result]:
    """Let work go on beside this thread; it does not keep the program from ending."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
