"""What buildx keeps on this machine: its builders, and the builds that it has begun (its package `localstate`).

In: the environment. Out: plain data. Only read, and copied to scratch folders; what changes it is `docker buildx`.

A builder is a file of JSON, the same since the first buildx that we know. `docker buildx ls` would tell the same, but
asks every node of every builder first, and waits for those that do not answer. `refs/__group__/GROUP` holds what a run
of bake was asked for and the references of its builds, and `refs/BUILDER/NODE/REFERENCE` what each of them builds, on
each of its nodes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakegen.docker.config import config_folder
from bakegen.errors import Position, fail

Record = dict[str, Any]

_GROUPS = "__group__"
_DOUBT = 60  # seconds that the clocks of a file system and of this machine may differ


@dataclass(frozen=True, slots=True)
class Instance:
    """A builder that exists: its name, driver and nodes, as buildx keeps them."""

    name: str
    driver: str
    nodes: tuple[Record, ...]


def read_instance(name: str) -> Instance | None:
    """Return the builder of a name, None if there is none; raises `BakegenError` if its file cannot be read."""
    file = buildx_folder() / "instances" / name
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
            "this is not a valid buildx builder",
            position=Position(str(file)),
            hint="remove the file",
        ) from error


def write_instance(folder: Path, instance: Instance) -> Mapping[str, str]:
    """Keep a builder in a folder; return the environment in which buildx knows it, and no other."""
    file = folder / "instances" / instance.name
    file.parent.mkdir(parents=True)
    content = {"Name": instance.name, "Driver": instance.driver, "Nodes": instance.nodes}
    file.write_text(json.dumps(content), encoding="utf-8")
    return {**os.environ, "BUILDX_CONFIG": str(folder)}


@dataclass(frozen=True, slots=True)
class BegunBuild:
    """A build that has begun: the reference that it has on each of the nodes of a builder."""

    reference: str
    builder: str
    nodes: tuple[str, ...]


def begun_builds(asked: str, since: float) -> dict[str, BegunBuild]:
    """Return the builds of the run of bake that was `asked` for something, by target; it began at a time of `time.time`.

    There are none if bake did not come so far as to build.
    """
    folder = buildx_folder() / "refs"
    found: dict[str, BegunBuild] = {}
    for reference in _references(folder / _GROUPS, asked, since):
        for file in folder.glob(f"[!_]*/*/{reference}"):
            builder, node, _ = file.parts[-3:]
            target = read_object(file).get("Target", "")
            nodes = found[target].nodes if target in found else ()
            found[target] = BegunBuild(reference, builder, (*nodes, node))
    return found


def _references(folder: Path, asked: str, since: float) -> list[str]:
    for file in folder.glob("*"):  # there may be one for each run of years
        with suppress(OSError):  # buildx clears up just now
            if file.stat().st_mtime > since - _DOUBT:
                group = read_object(file)
                if asked in (group.get("Targets") or ()):
                    return list(group.get("Refs") or ())
    return []


def read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file, an empty one if there is none."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def buildx_folder() -> Path:
    """Return the folder where buildx keeps what it knows."""
    own = os.environ.get("BUILDX_CONFIG")
    return Path(own) if own else config_folder() / "buildx"
