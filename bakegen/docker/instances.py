"""What buildx keeps on this machine: its builders, and which builds it has begun.

In: the environment. Out: plain data. Only read; what makes and changes it is `docker buildx`.

A builder is a file of JSON, the same since the first buildx that we know. `docker buildx ls` would tell the same, but
asks every node of every builder first, and waits for those that do not answer.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakegen.docker.config import config_folder, read_docker_config
from bakegen.errors import Position, fail

Record = dict[str, Any]

_LOCAL = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Instance:
    """A builder that exists: its name, driver and nodes, as buildx keeps them."""

    name: str
    driver: str
    nodes: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Build:
    """A build that has begun: the reference that it has on each of the nodes of a builder."""

    builder: str
    nodes: tuple[str, ...]
    reference: str


def read_instance(name: str) -> Instance | None:
    """Return the builder of a name, None if there is none; raises `BakegenError` if its file cannot be read."""
    file = _folder() / "instances" / name
    try:
        content = json.loads(file.read_bytes())
        nodes = tuple(content["Nodes"] or ())
        for node in nodes:  # what it is asked for later
            _ = (
                node["Name"],
                node["Endpoint"],
                [(one["os"], one["architecture"]) for one in node.get("Platforms") or ()],
            )
        return Instance(name, content["Driver"], nodes)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise fail(
            "unreadable-file",
            f'is not what buildx keeps of a builder: "{name}" cannot be read',
            position=Position(str(file)),
            hint="remove the file",
        ) from error


def endpoint_at_hand() -> str:
    """Return the endpoint that buildx gives a node for which none is said: the name of a context, or a host.

    Raises `BakegenError` if docker's configuration cannot be read. The rules are those of docker's client: DOCKER_HOST goes before DOCKER_CONTEXT, and that before its configuration.
    """
    host = os.environ.get("DOCKER_HOST", "")
    context = os.environ.get("DOCKER_CONTEXT") or read_docker_config().context
    if not host:
        return _LOCAL if context in {"", "default"} else context
    host = host if "://" in host else f"tcp://{host}"
    return f"{host}:2375" if re.fullmatch(r"tcp://[^:]+", host) else host


def builds_known() -> frozenset[Path]:
    """Return what is known of builds by now."""
    return frozenset(_references())


def builds_since(known: frozenset[Path], targets: Iterable[str]) -> Mapping[str, Build]:
    """Return the builds of targets that have begun since the rest was `known`."""
    wanted = set(targets)
    found: dict[str, Build] = {}
    for file in sorted(_references() - known):
        try:
            target = json.loads(file.read_bytes())["Target"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if target in wanted:
            builder, node, reference = file.parts[-3:]
            nodes = found[target].nodes if target in found else ()
            found[target] = Build(builder, (*nodes, node), reference)
    return found


def _references() -> set[Path]:
    return set((_folder() / "refs").glob("[!_]*/*/*"))  # those that begin with `_` are of groups


def _folder() -> Path:
    own = os.environ.get("BUILDX_CONFIG")
    return Path(own) if own else config_folder() / "buildx"
