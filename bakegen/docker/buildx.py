"""Run buildx: find it, ask whether its engine answers, and let it build.

In: command lines. Out: exit codes and answers, or a `BakegenError` that says what is missing and how to get it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self

from bakegen.errors import BakegenError, fail
from bakegen.spec.bake_attributes import OLDEST_BUILDX

COMMANDS = (("docker", "buildx"), ("docker-buildx",), ("buildx",))
_VERSION = re.compile(r"\bv?((\d+)\.(\d+)\.\d\S*)")
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 15  # seconds that a build gets to stop
_STARTING = 5  # seconds that bake may take to read its file
_COMPLAINT = re.compile(r"^\s*error:\s*(.+)", re.IGNORECASE | re.MULTILINE)
_USABLE = re.compile(r"^Status:\s*(running|inactive|stopped)", re.MULTILINE)
_HINTS = {  # what docker says -> what helps
    "permission denied": "join the group that owns the socket, `sudo usermod -aG docker $USER`, and log in again",
    "no builder": "`docker buildx ls` lists the builders",
    "nothing answers": "start BuildKit there, or leave out the platforms that are built there",
    "connect to the docker": "start the engine, `sudo systemctl start docker`, or let DOCKER_HOST say where it is",
}


@dataclass(frozen=True, slots=True)
class Buildx:
    """A buildx: the command that runs it, and its version."""

    command: tuple[str, ...]
    version: tuple[int, int]
    text: str


def find_buildx(commands: Iterable[tuple[str, ...]] = COMMANDS) -> Buildx | None:
    """Return the first buildx that answers, None if there is none."""
    for command in commands:
        try:
            done = subprocess.run(
                [*command, "version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0 and (found := buildx_of(command, done.stdout)):
            return found
    return None


def buildx_of(command: tuple[str, ...], said: str) -> Buildx | None:
    """Return the buildx that said its version, None if that is not what it said."""
    match = _VERSION.search(said)
    return Buildx(command, (int(match[2]), int(match[3])), match[1]) if match else None


def require_docker() -> None:
    """Raise `BakegenError` if there is no docker client on this machine."""
    if not shutil.which("docker"):
        raise fail(
            "no-docker", "there is no docker here", hint="https://docs.docker.com/engine/install/ tells how to get it"
        )


class Question:
    """A command that docker answers while other work goes on; leaving the context gives it up."""

    def __init__(self, *command: str) -> None:
        self._answer: Answer | None = None
        self._process: subprocess.Popen[str] | None
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        except OSError:
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and not self._answer:
            self._process.kill()
            self._process.communicate()  # closes its pipes, too, of a process that has ended already

    def answer(self) -> Answer:
        """Wait for the answer; there is none if there is no such program."""
        if not self._process:
            return Answer(127, "", "")
        if not self._answer:
            stdout, stderr = self._process.communicate()
            self._answer = Answer(self._process.returncode, stdout, stderr)
        return self._answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said, and its exit code."""

    code: int
    stdout: str
    stderr: str


def ask_version() -> Question:
    """Begin to ask the usual buildx for its version."""
    return Question(*COMMANDS[0], "version")


def told_buildx(asked: Question) -> Buildx | None:
    """Return the buildx of this machine, None if there is none; `asked` is the usual one's version."""
    return buildx_of(COMMANDS[0], asked.answer().stdout) or find_buildx(COMMANDS[1:])


def require_buildx(found: Buildx | None, least: tuple[int, int] = OLDEST_BUILDX) -> Buildx:
    """Return the buildx that was found; raises `BakegenError` if there is none, or none of version `least`."""
    if not found:
        require_docker()
    if not found or found.version < least:
        raise fail(
            "no-buildx",
            f"there is no buildx of version {'.'.join(map(str, least))} or newer here",
            hint="https://github.com/docker/buildx#installing tells how to get it",
        )
    return found


def ask_builder(buildx: Buildx, builder: str) -> Question:
    """Begin to ask a builder (the current one if none is named) how it is."""
    return Question(*buildx.command, "inspect", *([builder] if builder else []))


def require_builder(asked: Question, platforms: Iterable[str]) -> None:
    """Raise `BakegenError` if the builder that was asked cannot build for these platforms, with what docker says."""
    answer = asked.answer()
    if answer.code or (_COMPLAINT.search(answer.stdout) and not _USABLE.search(answer.stdout)):
        raise no_engine(answer.stderr + answer.stdout)
    for endpoint in _silent(answer.stdout, set(platforms)):
        raise no_engine(f"error: nothing answers at {endpoint}")


def _silent(told: str, platforms: set[str]) -> Iterator[str]:
    """Yield where remote nodes that are needed do not answer: bake would wait for them, and then not name them.

    Other nodes are just not started yet. A node is needed for platforms that are fixed, as a star says, or for any.
    """
    if not re.search(r"^Driver: +remote$", told, re.MULTILINE):
        return
    for node in told.split("\nName:")[1:]:
        fixed = set(re.findall(r"([\w/.]+)\*", node))
        endpoint = re.search(r"^Endpoint: +(\S+)$", node, re.MULTILINE)
        if endpoint and re.search(r"^Status: +inactive$", node, re.MULTILINE) and (fixed & platforms or not fixed):
            yield endpoint[1]


def run_buildx(buildx: Buildx, words: Sequence[str]) -> str:
    """Run `docker buildx …`; return what it complains of, nothing if it succeeds."""
    with Question(*buildx.command, *words) as asked:
        answer = asked.answer()
    lines = [line.removeprefix("ERROR: ") for line in answer.stderr.splitlines() if line.strip()]
    return "; ".join(lines) or f"exit code {answer.code}" if answer.code else ""


def engine_complaint() -> str:
    """Return what docker says of an engine that does not answer; an empty text if it does."""
    with Question("docker", "version", "--format", "{{.Server.Version}}") as asked:
        answer = asked.answer()
    return answer.stderr if answer.code else ""


def require_daemon() -> None:
    """Raise `BakegenError` if docker has no engine that runs containers, with what docker says."""
    complaint = engine_complaint()
    if complaint:
        raise no_engine(complaint, "run anything here")


def no_engine(said: str, what: str = "build here") -> BakegenError:
    """Return the error for what docker said of an engine that does not answer, and so cannot do `what`."""
    complaint = _COMPLAINT.search(said)
    message = complaint[1] if complaint else said.strip().partition("\n")[0] or "it says nothing"
    hint = next(
        (hint for words, hint in _HINTS.items() if words in message.lower()), "`docker buildx inspect` tells more"
    )
    return fail("no-docker", f"docker cannot {what}: {message}", hint=hint)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end this program as an exception does, so that all that was begun is undone."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def holding_signals() -> Iterator[None]:
    """Let signals that end this program wait until the block is over; no program may be started in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_bake(command: Sequence[str], root: Path, bake_file: Path, environment: Mapping[str, str]) -> int:
    """Run bake in `root` with the bake file on its standard input, its progress for all to see; return its exit code.

    Whatever interrupts us stops it first. The bake file is ours to change then.
    """
    with (
        bake_file.open("rb") as content,
        subprocess.Popen(command, cwd=root, stdin=content, env={**os.environ, **environment}) as process,
    ):
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                _ignore_signals()
                # Docker that is interrupted while its plugin begins loses it, and that would build to the end. But a
                # bake that finds nothing to read ends by itself. The place up to where it has read is ours, too.
                os.truncate(bake_file, 0)
                if not os.lseek(content.fileno(), 0, os.SEEK_CUR):
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_STARTING)
                _stop(process.send_signal, process)
    return code if code >= 0 else 128 - code


def tell_docker(command: Sequence[str], text: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command of docker's that reads `text`; return its exit code, and what it said on stderr.

    Whatever interrupts us stops it first, and what it has started, which docker itself would wait for.
    """
    pipe = subprocess.PIPE
    try:
        started = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=subprocess.DEVNULL,
            stderr=pipe,
            encoding="utf-8",
            errors="surrogateescape",
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror}"
    with started as process:
        try:
            _, said = process.communicate(text)
        finally:
            if process.poll() is None:
                _stop(partial(os.killpg, process.pid), process)
                with suppress(ProcessLookupError):  # a plugin that began just when docker ended
                    os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said.encode(errors="replace").decode()


def shell_line(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a command with its environment as a shell takes it."""
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in environment.items()), shlex.join(command)])


def _stop(send: Callable[[int], None], process: subprocess.Popen[Any]) -> None:
    """Interrupt a process as Ctrl-C does, which BuildKit answers by cancelling a build; then wait, whoever else interrupts.

    `send` sends it, or all of its group, a signal.
    """
    _ignore_signals()
    send(signal.SIGINT)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        send(signal.SIGKILL)


def _ignore_signals() -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
