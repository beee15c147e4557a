"""The containers of one run of checks.

In: images and commands. Out: what docker says, and what containers print. All containers have the label
`bakegen.test=RUN`, by which those that an interrupted run leaves are found and removed.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

from bakegen.docker.process import Asker, Reply, ask, ignoring_signals

LABEL = "bakegen.test"
KEPT = 64 * 1024  # bytes that are kept of the beginning of an output, and as many of its end
_MAKING = 10  # seconds that a container gets to be made, and so to be known, when all ends
_LAST = 60  # seconds that docker gets to remove what is left: an engine that hangs must not keep us
_PROMPT = re.compile(r"^(?:error response from daemon|error|docker): ", re.IGNORECASE)


class DockerError(Exception):
    """Docker refuses; the message is what it says."""


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """What a command in a container printed, on both streams, and its exit code; None if it had to be stopped."""

    code: int | None
    parts: tuple[str, ...]  # all of it; or the beginning and the end, if too much was printed
    left_out: int = 0  # bytes between the two

    @property
    def text(self) -> str:
        """What was printed, as people are told."""
        return f"\n… {self.left_out} bytes left out …\n".join(self.parts)


class DockerSession:
    """Docker for one run: a context manager that leaves no program, container or pulled image."""

    def __init__(self) -> None:
        self.run = uuid.uuid4().hex
        self._asker = Asker()
        self._pulled: set[str] = set()  # images that are in the engine for this run only

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with ignoring_signals():
            self._asker.end()
            mine = ["docker", "ps", "--all", "--quiet", f"--filter=label={LABEL}={self.run}"]
            if left := ask(mine, patience=_LAST).out.split():
                ask(["docker", "rm", "--force", "--volumes", *left], patience=_LAST)
            if self._pulled:
                ask(["docker", "image", "rm", *self._pulled], patience=_LAST)

    def pause(self, seconds: float) -> None:
        """Wait; raises `EndedError` if the run is over meanwhile."""
        self._asker.pause(seconds)

    def call(self, *command: str, grace: float = 0) -> str:
        """Return what a command prints, which gets `grace` seconds to finish when all ends; raises `DockerError`."""
        reply = self._asker(command, grace=grace)
        if reply.code != 0:
            raise DockerError(_complaint(reply))
        return reply.out

    def create(self, image: str, platform: str, words: Sequence[str], entrypoint: str | None = None) -> str:
        """Make a container, and return its id; it is not started. Raises `DockerError`."""
        own = ["--pull=never", "--log-driver=none", f"--label={LABEL}={self.run}"]
        return self.call(
            "docker", "create", *own, *run_options(platform, entrypoint), image, *words, grace=_MAKING
        ).strip()

    def start(self, container: str, timeout: float) -> CommandOutput:
        """Run a container to its end, for `timeout` seconds at most; then it is killed."""
        end = time.monotonic() + timeout
        output = _Output()
        with self._asker.start(["docker", "start", "--attach", container], merged=True) as program:
            for data in program.chunks(timeout):
                output.add(data)
            code = program.reply(max(0, end - time.monotonic())).code
        # Of a program that cannot be started, docker itself ends with 1; the container knows better.
        return output.said(self.inspect(container)["State"]["ExitCode"] if code else code)

    def inspect(self, container: str) -> Any:
        """Return all that docker knows of a container, with the size of its image."""
        return json.loads(self.call("docker", "container", "inspect", "--size", container))[0]

    def missing(self, container: str, path: str) -> str:
        """Return why a file is not in a container, or an empty string; links are followed."""
        command = ["docker", "cp", "--follow-link", f"{container}:{path}", "-"]
        with self._asker.start(command) as program:
            if next(program.chunks(), b""):  # the file begins: it need not be read to its end
                return ""
            return _complaint(program.reply())

    def remove(self, container: str) -> None:
        """Remove a container, running or not."""
        self.call("docker", "rm", "--force", "--volumes", container)

    @contextmanager
    def pulled(self, image: str, platform: str) -> Iterator[None]:
        """Have an image, named by its digest, in the engine; it goes again if it was not there before."""
        kept = self._asker(["docker", "image", "inspect", image]).code == 0
        if not kept:
            self._pulled.add(image)
        self.call("docker", "pull", "--quiet", f"--platform={platform}", image)
        try:
            yield
        finally:
            if not kept:
                with suppress(DockerError):  # somebody has begun to use it, and may keep it
                    self.call("docker", "image", "rm", image)
                self._pulled.discard(image)


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

    def said(self, code: int | None) -> CommandOutput:
        self._cut()
        parts = (self._head, self._tail) if self._dropped else (self._head + self._tail,)
        return CommandOutput(code, tuple(part.decode(errors="replace") for part in parts), self._dropped)

    def _cut(self) -> None:
        surplus = max(0, len(self._tail) - KEPT)
        self._dropped += surplus
        del self._tail[:surplus]


def _complaint(reply: Reply) -> str:
    """Return the first line of what docker says when it refuses, without its prefixes."""
    line = next((line for line in reply.said.splitlines() if line.strip()), "docker printed no error")
    while (shorter := _PROMPT.sub("", line)) != line:
        line = shorter
    return line
