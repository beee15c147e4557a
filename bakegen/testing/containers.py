"""The docker that a run of checks uses: every program it starts and every container it makes is its own to end.

In: command lines. Out: answers, and what containers print. All containers carry the label `bakegen.test=RUN`, so that
those of an interrupted run are found and removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Self, cast

LABEL = "bakegen.test"
KEPT = 64 * 1024  # bytes that are kept of the beginning of an output, and as many of its end
_PATIENCE = 10  # seconds that a container gets to be made, when all ends
_LAST = 60  # seconds that docker gets to remove what is left: an engine that hangs must not keep us
_PROMPT = re.compile(r"^(?:error response from daemon|error|docker): ", re.IGNORECASE)


class StoppedError(Exception):
    """The run is over: nothing is started any more."""


class DockerError(Exception):
    """Docker refuses; the message is what it says."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command in a container printed, on both streams, and its exit code; None if it had to be stopped."""

    code: int | None
    parts: tuple[str, ...]  # all of it; or the beginning and the end, if too much was printed
    left_out: int = 0  # bytes between the two

    @property
    def text(self) -> str:
        """What was printed, as people are told."""
        return f"\n… {self.left_out} bytes left out …\n".join(self.parts)


class Docker:
    """Docker, as a context manager at whose end no program, container or pulled image is left."""

    def __init__(self) -> None:
        self.run = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._running: dict[subprocess.Popen[bytes], bool] = {}  # and whether it makes a container
        self._pulled: set[str] = set()  # images that are in the engine for this run only

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
        try:
            self._stop()
            self._clean_up()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self) -> None:
        """Start nothing any more, and end what runs; a container that is being made gets the time to be known."""
        with self._lock:
            self._stopped.set()
            running = dict(self._running)
        for process, makes in running.items():
            if not makes:
                process.kill()
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            process.kill()

    def _clean_up(self) -> None:
        mine = ["docker", "ps", "--all", "--quiet", f"--filter=label={LABEL}={self.run}"]
        with contextlib.suppress(DockerError):
            if left := self.call(*mine, last=True).split():
                self.call("docker", "rm", "--force", "--volumes", *left, last=True)
        for image in tuple(self._pulled):
            self._remove_image(image, last=True)

    def pause(self, seconds: float) -> None:
        """Wait; raises `StoppedError` if the run is over meanwhile."""
        if self._stopped.wait(seconds):
            raise StoppedError

    def call(self, *command: str, makes: bool = False, last: bool = False) -> str:
        """Return what a command prints; raises `DockerError` if it fails.

        It `makes` a container, or is one of the `last`, which clean up.
        """
        with self._started(command, stderr=subprocess.PIPE, makes=makes, last=last) as process:
            try:
                out, err = process.communicate(timeout=_LAST if last else None)
            except subprocess.TimeoutExpired:
                process.kill()
                raise DockerError(f"no answer within {_LAST} seconds") from None
        if process.returncode:
            raise DockerError(_complaint(err.decode(errors="replace")))
        return out.decode(errors="replace")

    def create(self, image: str, platform: str, words: Sequence[str], entrypoint: str | None = None) -> str:
        """Make a container, and return its id; it is not started. Raises `DockerError`."""
        own = ["--pull=never", "--log-driver=none", f"--label={LABEL}={self.run}"]
        return self.call(
            "docker", "create", *own, *run_options(platform, entrypoint), image, *words, makes=True
        ).strip()

    def start(self, container: str, timeout: float) -> Said:
        """Run a container to its end, for `timeout` seconds at most; then it is killed."""
        end = time.monotonic() + timeout
        output = _Output()
        with self._started(["docker", "start", "--attach", container], stderr=subprocess.STDOUT) as process:
            stream = cast("IO[bytes]", process.stdout)
            with selectors.DefaultSelector() as selector:
                selector.register(stream, selectors.EVENT_READ)
                while (left := end - time.monotonic()) > 0:
                    if selector.select(left):
                        data = os.read(stream.fileno(), 1 << 16)
                        if not data:
                            break
                        output.add(data)
            try:
                code = process.wait(max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                return output.said(None)
        # Of a program that cannot be started, docker itself ends with 1; the container knows better.
        return output.said(self.inspect(container)["State"]["ExitCode"] if code else 0)

    def inspect(self, container: str) -> Any:
        """Return all that docker knows of a container, with the size of its image."""
        return json.loads(self.call("docker", "container", "inspect", "--size", container))[0]

    def missing(self, container: str, path: str) -> str:
        """Return why a file is not in a container, or an empty string; links are followed."""
        command = ["docker", "cp", "--follow-link", f"{container}:{path}", "-"]
        with self._started(command, stderr=subprocess.PIPE) as process:
            if cast("IO[bytes]", process.stdout).read(1):  # the file begins: it need not be read to its end
                process.kill()
                process.communicate()
                return ""
            _, err = process.communicate()
        return _complaint(err.decode(errors="replace"))

    def remove(self, container: str) -> None:
        """Remove a container, running or not."""
        self.call("docker", "rm", "--force", "--volumes", container)

    @contextmanager
    def pulled(self, image: str, platform: str) -> Iterator[None]:
        """Have an image, named by its digest, in the engine; it goes again if it was not there before."""
        kept = self._has_image(image)
        if not kept:
            self._pulled.add(image)
        self.call("docker", "pull", "--quiet", f"--platform={platform}", image)
        try:
            yield
        finally:
            if not kept:
                self._remove_image(image)

    def _has_image(self, image: str) -> bool:
        try:
            self.call("docker", "image", "inspect", image)
        except DockerError:
            return False
        return True

    def _remove_image(self, image: str, *, last: bool = False) -> None:
        with contextlib.suppress(DockerError):  # somebody has begun to use it, and may keep it
            self.call("docker", "image", "rm", image, last=last)
        self._pulled.discard(image)

    @contextmanager
    def _started(
        self, command: Sequence[str], *, stderr: int, makes: bool = False, last: bool = False
    ) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            if self._stopped.is_set() and not last:
                raise StoppedError
            # In a session of its own: a Ctrl-C of the terminal is for us, and we end what we started.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
            )
            self._running[process] = makes
        try:
            with process:
                yield process
        finally:
            with self._lock:
                del self._running[process]


def run_options(platform: str, entrypoint: str | None) -> list[str]:
    """Return how a check's command is run: what it gives must depend on the image alone, so it has no network."""
    return [
        "--network=none",
        f"--platform={platform}",
        *([] if entrypoint is None else [f"--entrypoint={entrypoint}"]),
    ]


class _Output:
    """The beginning and the end of what is printed."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        room = KEPT - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 2 * KEPT:
            self._cut()

    def said(self, code: int | None) -> Said:
        self._cut()
        parts = (self._head, self._tail) if self._dropped else (self._head + self._tail,)
        return Said(code, tuple(part.decode(errors="replace") for part in parts), self._dropped)

    def _cut(self) -> None:
        surplus = max(0, len(self._tail) - KEPT)
        self._dropped += surplus
        del self._tail[:surplus]


def _complaint(said: str) -> str:
    """Return the first line of what docker says when it refuses, without its prefixes."""
    line = next((line for line in said.splitlines() if line.strip()), "docker says nothing")
    while (shorter := _PROMPT.sub("", line)) != line:
        line = shorter
    return line
