"""The builds that buildx has begun, as it notes them on this machine before it asks BuildKit (its package `localstate`).

In: the environment. Out: plain data. Only read.

`refs/__group__/GROUP` holds what a run of bake was asked for and the references of its builds, and
`refs/BUILDER/NODE/REFERENCE` what each of them builds, on each of its nodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakegen.docker.instances import buildx_folder

_GROUPS = "__group__"
_DOUBT = 60  # seconds that the clocks of a file system and of this machine may differ


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
            target = _read(file).get("Target", "")
            nodes = found[target].nodes if target in found else ()
            found[target] = BegunBuild(reference, builder, (*nodes, node))
    return found


def _references(folder: Path, asked: str, since: float) -> list[str]:
    for file in _recent(folder, since):
        group = _read(file)
        if asked in (group.get("Targets") or ()):
            return list(group.get("Refs") or ())
    return []


def _recent(folder: Path, since: float) -> Iterator[Path]:
    """Yield the files of a folder, which may hold one for each run of years."""
    try:
        yield from (file for file in folder.iterdir() if file.stat().st_mtime > since - _DOUBT)
    except OSError:  # there is none, or buildx clears up just now
        return


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
