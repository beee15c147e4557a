"""The builders that buildx keeps on this machine.

In: the environment. Out: plain data. Only read; what makes and changes it is `docker buildx`.

A builder is a file of JSON, the same since the first buildx that we know. `docker buildx ls` would tell the same, but
asks every node of every builder first, and waits for those that do not answer.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakegen.docker.config import config_folder
from bakegen.errors import Position, fail

Record = dict[str, Any]


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


def buildx_folder() -> Path:
    """Return the folder where buildx keeps what it knows."""
    own = os.environ.get("BUILDX_CONFIG")
    return Path(own) if own else config_folder() / "buildx"
