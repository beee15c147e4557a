"""Start programs, ask them, and stop them. No other module starts a process.

In: command lines. Out: a `Reply`, whatever becomes of the program; the exit code of one that writes to the terminal.

A program whose output is read gets a session of its own: the Ctrl-C of a terminal reaches bakegen alone, which then stops
the program with everything that it has started, such as docker's plugins.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import Event, Lock, Thread
from types import FrameType
from typing import IO, Any, NoReturn, Self, TypeVar, cast
from weakref import WeakSet

T = TypeVar("T")

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOPPING = 15  # seconds that a program gets to stop after an interrupt
_STARTING = 5  # seconds that a program may take to begin to read its input
_PARTING = 1  # seconds that threads get to notice that their programs have been killed
_CHUNK = 1 << 16  # bytes


class EndedError(Exception):
    """The `Asker` has ended: it starts nothing any more."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a program wrote, and its exit code: None if it could not be run, or was stopped for taking too long."""

    code: int | None
    out: str = ""
    said: str = ""


class Program:
    """A program that runs while other work goes on, and reads `text`; a context manager at whose end it is killed.

    If `merged`, stderr is part of what it writes. When an `Asker` ends, it gets `grace` seconds to finish.
    """

    def __init__(
        self,
        command: Sequence[str],
        text: str = "",
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        merged: bool = False,
        grace: float = 0,
    ) -> None:
        self.grace = grace
        self._input = text.encode(errors="surrogateescape")
        self._reply: Reply | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reading = Lock()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if text else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merged else subprocess.PIPE,
                cwd=cwd,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            self._reply = Reply(None, said=f"{command[0]}: {error.strerror}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def reply(self, patience: float | None = None) -> Reply:
        """Wait for its end and return its reply; after `patience` seconds it is killed."""
        with self._reading:
            if not self._reply and self._process:
                try:
                    out, said = self._process.communicate(self._input or None, patience)
                except subprocess.TimeoutExpired:
                    _kill(self._process)
                    self._process.communicate()
                    self._reply = Reply(None, said=f"no response within {patience:g} seconds")
                else:
                    self._reply = Reply(self._process.returncode, _text(out), _text(said))
        return self._reply or Reply(None)

    def chunks(self, seconds: float = inf) -> Iterator[bytes]:
        """Yield what it writes, as it comes, until its end or for `seconds` at most."""
        if not self._process:
            return
        end = time.monotonic() + seconds
        stream = cast("IO[bytes]", self._process.stdout)
        with self._reading, selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while (left := end - time.monotonic()) > 0:
                if selector.select(None if left == inf else left):
                    data = os.read(stream.fileno(), _CHUNK)
                    if not data:
                        return
                    yield data

    def wait(self, seconds: float) -> None:
        """Wait for its end, `seconds` at most."""
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)

    def kill(self) -> None:
        """End it at once, with all that it has started."""
        if self._process:
            _kill(self._process)
            if self._reading.acquire(blocking=False):  # else the thread that reads its pipes closes them
                try:
                    self._process.communicate()
                finally:
                    self._reading.release()

    def stop(self) -> None:
        """Interrupt it as Ctrl-C does, which docker answers by undoing what it has begun; kill what has not ended then."""
        if self._process and self._process.poll() is None:
            _signal_group(self._process, signal.SIGINT)
            self.wait(_STOPPING)
            _signal_group(self._process, signal.SIGKILL)  # also a plugin that began just when docker ended
            self._process.communicate()


def ask(
    command: Sequence[str],
    text: str = "",
    *,
    patience: float | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Reply:
    """Run a program that reads `text`, and return its reply; after `patience` seconds it is killed.

    Whatever interrupts us stops it first.
    """
    program = Program(command, text, cwd=cwd, environment=environment)
    try:
        return program.reply(patience)
    finally:
        program.stop()


def run(command: Sequence[str], stdin: Path, *, cwd: Path, environment: Mapping[str, str]) -> int:
    """Run a program that reads a file and writes to the terminal; return its exit code, as a shell does.

    Whatever interrupts us stops it first. The file is ours to change then.
    """
    with (
        stdin.open("rb") as content,
        subprocess.Popen(command, cwd=cwd, stdin=content, env=environment) as process,
    ):
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                # Docker that is interrupted while its plugin begins loses it, and that would go on to the end. But one
                # that finds nothing to read ends by itself. The place up to where it has read is ours, too.
                os.truncate(stdin, 0)
                if not os.lseek(content.fileno(), 0, os.SEEK_CUR):
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_STARTING)
                process.send_signal(signal.SIGINT)  # BuildKit cancels the build
                try:
                    process.wait(_STOPPING)
                except subprocess.TimeoutExpired:
                    process.kill()
    return code if code >= 0 else 128 - code


class Asker:
    """Asks programs, several at once; each gets as many seconds as `patience`. What still runs when it ends is killed."""

    def __init__(self, patience: float | None = None) -> None:
        self._patience = patience
        self._lock = Lock()
        self._programs: WeakSet[Program] = WeakSet()
        self._begun: list[Future[Any]] = []
        self._ended = Event()

    def __call__(self, command: Sequence[str], text: str = "", **options: Any) -> Reply:
        """Run a program and return its reply; see `start`."""
        with self.start(command, text, **options) as program:
            return program.reply(self._patience)

    def start(self, command: Sequence[str], text: str = "", **options: Any) -> Program:
        """Start a program that reads `text`, with the options of `Program`; raises `EndedError` after the end."""
        with self._lock:
            if self._ended.is_set():
                raise EndedError
            program = Program(command, text, **options)
            self._programs.add(program)
        return program

    def begin(self, work: Callable[[], T]) -> Future[T]:
        """Let work go on in another thread, until the end at the latest; it does not keep Python from ending."""
        future: Future[T] = Future()

        def carry_on() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
                future.set_exception(error)

        Thread(target=carry_on, daemon=True).start()
        self._begun.append(future)
        return future

    def pause(self, seconds: float) -> None:
        """Wait; raises `EndedError` if all ends meanwhile."""
        if self._ended.wait(seconds):
            raise EndedError

    def end(self) -> None:
        """End what still runs, and start nothing more."""
        with self._lock:
            self._ended.set()
            programs = sorted(self._programs, key=lambda program: program.grace)
        for program in programs:
            program.wait(program.grace)
            program.kill()
        wait(list(self._begun), _PARTING)  # Python may crash if it ends just when they notice


@contextmanager
def asking(patience: float | None = None) -> Iterator[Asker]:
    """Yield an `Asker` whose programs end with the block."""
    asker = Asker(patience)
    try:
        yield asker
    finally:
        asker.end()


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end this program as an exception does, so that all that was begun is undone.

    The first one does; more are ignored, so that they do not interrupt the undoing.
    """

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        for one in _ENDING:
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)

    with _handling(end):
        yield


@contextmanager
def holding_signals() -> Iterator[None]:
    """Let signals that end this program wait until the block is over; no program may be started in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def ignoring_signals() -> Iterator[None]:
    """Let nothing interrupt the block, which cleans up."""
    with _handling(signal.SIG_IGN):
        yield


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _ENDING}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def shell_line(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a command with its environment as a shell takes it."""
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in environment.items()), shlex.join(command)])


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        _signal_group(process, signal.SIGKILL)


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")
