"""Docker and buildx on this machine: whether they are there, and whether they can build.

In: what they answer. Out: a `Buildx`, or a `BakegenError` that says what is missing and how to get it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from bakegen.docker.inspect import needed_nodes, read_builder
from bakegen.docker.process import Asker, Program, Reply, ask
from bakegen.errors import BakegenError, fail
from bakegen.spec.bake_attributes import OLDEST_BUILDX

COMMANDS = (("docker", "buildx"), ("docker-buildx",), ("buildx",))
_VERSION = re.compile(r"\bv?((\d+)\.(\d+)\.\d\S*)")
_COMPLAINT = re.compile(r"^\s*error:\s*(.+)", re.IGNORECASE | re.MULTILINE)
_USABLE = ("running", "inactive", "stopped")  # what a node is that can build, perhaps after it has been started
_HINTS = {  # what docker says -> what helps
    "permission denied": "join the group that owns the socket, `sudo usermod -aG docker $USER`, and log in again",
    "no builder": "`docker buildx ls` lists the builders",
    "no response from": "start BuildKit there, or build for other platforms with --platform",
    "connect to the docker": "start the engine, `sudo systemctl start docker`, or set DOCKER_HOST",
}
_ask_for_a_minute = partial(ask, patience=60)


@dataclass(frozen=True, slots=True)
class Buildx:
    """A buildx: the command that runs it, and its version."""

    command: tuple[str, ...]
    version: tuple[int, int]
    text: str


def find_buildx(
    commands: Iterable[tuple[str, ...]] = COMMANDS,
    ask: Callable[[Sequence[str]], Reply] = _ask_for_a_minute,
) -> Buildx | None:
    """Return the first buildx that answers, None if there is none."""
    for command in commands:
        reply = ask([*command, "version"])
        if reply.code == 0 and (found := buildx_of(command, reply.out)):
            return found
    return None


def buildx_of(command: tuple[str, ...], said: str) -> Buildx | None:
    """Return the buildx that said its version, None if that is not what it said."""
    match = _VERSION.search(said)
    return Buildx(command, (int(match[2]), int(match[3])), match[1]) if match else None


def require_docker() -> None:
    """Raise `BakegenError` if there is no docker client on this machine."""
    if not shutil.which("docker"):
        raise fail("no-docker", "docker not found on PATH", hint="install it: https://docs.docker.com/engine/install/")


def ask_version(asker: Asker) -> Program:
    """Begin to ask the usual buildx for its version."""
    return asker.start([*COMMANDS[0], "version"])


def told_buildx(asked: Program) -> Buildx | None:
    """Return the buildx of this machine, None if there is none; `asked` is the usual one's version."""
    return buildx_of(COMMANDS[0], asked.reply().out) or find_buildx(COMMANDS[1:])


def require_buildx(found: Buildx | None, least: tuple[int, int] = OLDEST_BUILDX) -> Buildx:
    """Return the buildx that was found; raises `BakegenError` if there is none, or none of version `least`."""
    if not found:
        require_docker()
    if not found or found.version < least:
        raise fail(
            "no-buildx",
            f"buildx {'.'.join(map(str, least))} or newer was not found",
            hint="install it: https://github.com/docker/buildx#installing",
        )
    return found


def ask_builder(asker: Asker, buildx: Buildx, builder: str) -> Program:
    """Begin to ask a builder (the current one if none is named) how it is."""
    return asker.start([*buildx.command, "inspect", *([builder] if builder else [])])


def require_builder(asked: Program, platforms: Iterable[str]) -> None:
    """Raise `BakegenError` if the builder that was asked cannot build for these platforms, with what docker says."""
    reply = asked.reply()
    builder = read_builder(reply.out)
    complains = builder.complaint or any(node.complaint for node in builder.nodes)
    if reply.code != 0 or (complains and not any(node.status in _USABLE for node in builder.nodes)):
        raise no_engine(reply.said + reply.out)
    # Of a remote node that does not answer, bake would wait, and then not name it. Others are just not started yet.
    if builder.driver == "remote":
        needed = needed_nodes(builder.nodes, platforms)
        silent = [f"{node.name} at {node.endpoint}" for node in needed if node.status == "inactive"]
        if silent:
            raise no_engine(f"error: no response from {', '.join(silent)}")


def run_buildx(buildx: Buildx, words: Sequence[str]) -> str:
    """Run `docker buildx …`; return what it complains of, nothing if it succeeds."""
    reply = ask([*buildx.command, *words])
    lines = [line.removeprefix("ERROR: ") for line in reply.said.splitlines() if line.strip()]
    return "; ".join(lines) or f"exit code {reply.code}" if reply.code != 0 else ""


def engine_complaint() -> str:
    """Return what docker says of an engine that does not answer; an empty text if it does."""
    reply = ask(["docker", "version", "--format", "{{.Server.Version}}"])
    return reply.said if reply.code != 0 else ""


def require_daemon() -> None:
    """Raise `BakegenError` if docker has no engine that runs containers, with what docker says."""
    complaint = engine_complaint()
    if complaint:
        raise no_engine(complaint, "run anything here")


def no_engine(said: str, what: str = "build here") -> BakegenError:
    """Return the error for what docker said of an engine that does not answer, and so cannot do `what`."""
    complaint = _COMPLAINT.search(said)
    message = complaint[1] if complaint else said.strip().partition("\n")[0] or "no error message"
    hint = next(
        (hint for words, hint in _HINTS.items() if words in message.lower()), "`docker buildx inspect` shows details"
    )
    return fail("no-docker", f"docker cannot {what}: {message}", hint=hint)
