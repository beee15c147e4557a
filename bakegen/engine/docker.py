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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bakegen.bake.buildx import Buildx, find_buildx
from bakegen.errors import BakegenError, fail

_PATIENCE = 15  # seconds that a build gets to stop
_COMPLAINT = re.compile(r"^\s*error:\s*(.+)", re.IGNORECASE | re.MULTILINE)
_USABLE = re.compile(r"^Status:\s*(running|inactive|stopped)", re.MULTILINE)
_HINTS = {  # what docker says -> what helps
    "permission denied": "join the group that owns the socket, `sudo usermod -aG docker $USER`, and log in again",
    "no builder": "`docker buildx ls` lists the builders",
    "connect to the docker": "start the engine, `sudo systemctl start docker`, or let DOCKER_HOST say where it is",
}


def require_buildx(least: tuple[int, int]) -> Buildx:
    """Return the buildx of this machine; raises `BakegenError` if there is none, or none of version `least`."""
    found = find_buildx()
    if not found and not shutil.which("docker"):
        raise fail(
            "no-docker", "there is no docker here", hint="https://docs.docker.com/engine/install/ tells how to get it"
        )
    if not found or found.version < least:
        version = ".".join(map(str, least))
        raise fail(
            "no-buildx",
            f"there is no buildx of version {version} or newer here",
            hint="https://github.com/docker/buildx#installing tells how to get it",
        )
    return found


def require_engine(buildx: Buildx, builder: str = "") -> None:
    """Raise `BakegenError` if the builder (the current one if none is named) cannot build, with what docker says."""
    done = subprocess.run(
        [*buildx.command, "inspect", *([builder] if builder else [])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and (_USABLE.search(done.stdout) or not _COMPLAINT.search(done.stdout)):
        return
    raise no_engine(done.stderr + done.stdout)


def no_engine(said: str) -> BakegenError:
    """Return the error for what docker said of an engine that does not answer."""
    complaint = _COMPLAINT.search(said)
    message = complaint[1] if complaint else said.strip() or "it says nothing"
    hint = next(
        (hint for words, hint in _HINTS.items() if words in message.lower()), "`docker buildx inspect` tells more"
    )
    return fail("no-docker", f"docker cannot build here: {message}", hint=hint)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end this program as an exception does, so that all that was begun is undone."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_bake(command: Sequence[str], root: Path, bake_file: Path, environment: Mapping[str, str]) -> int:
    """Run bake in `root` with the bake file on its standard input, its progress for all to see; return its exit code.

    Whatever interrupts us stops it first.
    """
    with (
        bake_file.open("rb") as content,
        subprocess.Popen(command, cwd=root, stdin=content, env={**os.environ, **environment}) as process,
    ):
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                _stop(process)
    return code if code >= 0 else 128 - code


def shell_line(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a command with its environment as a shell takes it."""
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in environment.items()), shlex.join(command)])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a build as Ctrl-C does, which BuildKit answers by cancelling it; then wait, whoever else interrupts."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
