"""What came of a build: rows from bake's metadata, and from what BuildKit remembers of builds that are over.

In: the builds that have begun, bake's metadata. Out: a row for each target that was asked for.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from bakegen.docker.buildx import Buildx
from bakegen.docker.instances import Build, read_instance
from bakegen.docker.process import ask

_FIRST = (0, 20)  # the buildx that first tells about builds that are over
_STEP = re.compile(r"\[(?!internal)[^\]]*\d+/\d+\] (?!FROM )")  # what a Dockerfile does beyond naming its base
_ASKERS = 8  # builds that are asked about at once

Row = dict[str, Any]
Tags = Callable[[], Mapping[str, Sequence[str]]]
Sent = Literal["pushed", "loaded", "built"]


@dataclass(frozen=True, slots=True)
class History:
    """What nodes remember of builds; an empty `folder` is for asking each of several nodes by itself."""

    buildx: Buildx
    builds: Mapping[str, Build]
    folder: Path

    def result(self, target: str) -> tuple[str | None, float | None]:
        """Return whether a target was `cached` or `built`, and its seconds; None for what nobody knows."""
        told = [read_history(said.splitlines()) for said in self._ask(target, "logs", "--progress", "rawjson")]
        if not told or any(result is None for result, _ in told):
            return None, None
        cached = all(result == "cached" for result, _ in told)
        return "cached" if cached else "built", max(seconds or 0 for _, seconds in told)

    def state(self, target: str) -> Literal["failed", "stopped", "completed", "unknown"]:
        """Return how the build of a target ended."""
        if target not in self.builds:
            return "stopped"
        found = set()
        for said in self._ask(target, "inspect", "--format", "json"):
            try:
                found.add(json.loads(said)["Status"])
            except (ValueError, KeyError, TypeError):
                return "unknown"
        if "failed" in found:
            return "failed"
        if found & {"canceled", "running"}:
            return "stopped"
        return "completed" if found == {"completed"} else "unknown"

    def _ask(self, target: str, *words: str) -> list[str]:
        """Return what each node answers; nothing from a buildx that has no history, or about what has not begun."""
        build = self.builds.get(target)
        if not build or self.buildx.version < _FIRST:
            return []
        if len(build.nodes) == 1:
            return [self._answer([*words, "--builder", build.builder, build.reference], {})]
        # A build has one reference on all of its nodes, and buildx tells of the first that knows it.
        self._make_builders(build)
        environment = {"BUILDX_CONFIG": str(self.folder)}
        return [self._answer([*words, "--builder", node, build.reference], environment) for node in build.nodes]

    def _answer(self, words: Sequence[str], environment: Mapping[str, str]) -> str:
        reply = ask([*self.buildx.command, "history", *words], environment={**os.environ, **environment})
        return reply.out + reply.said if reply.code == 0 else ""

    def _make_builders(self, build: Build) -> None:
        """Make a builder of each node of one, where no one else sees them."""
        instance = read_instance(build.builder)
        folder = self.folder / "instances"
        folder.mkdir(parents=True, exist_ok=True)
        for node in instance.nodes if instance else ():
            content = {"Name": node["Name"], "Driver": instance.driver if instance else "", "Nodes": [node]}
            # Several threads ask at once, and each must find it whole.
            part = self.folder / f"{node['Name']}.{threading.get_ident()}"
            part.write_text(json.dumps(content), encoding="utf-8")
            part.replace(folder / str(node["Name"]))


def summary(platforms: Mapping[str, Sequence[str]], metadata: Path, told: History, tags: Tags) -> list[Row]:
    """Return a row for each target that bake says it has built; the file may be one of an earlier build, too."""
    try:
        known = json.loads(metadata.read_bytes())
    except (OSError, ValueError):  # it holds nothing, or bake was told to do something else than to build
        return []
    names = [name for name in platforms if name in known and name in told.builds]
    # Bake names no tags for what several nodes have built.
    unnamed = any("containerimage.digest" in known[name] and "image.name" not in known[name] for name in names)
    read = tags() if unnamed else {}
    with ThreadPoolExecutor(_ASKERS) as askers:
        results = askers.map(told.result, names)
        return [
            {
                "target": name,
                "tags": _tags(known[name], read.get(name, ())),
                "platforms": list(platforms[name]),
                "digest": known[name].get("containerimage.digest"),
                "result": result,
                "seconds": seconds,
            }
            for name, (result, seconds) in zip(names, results, strict=True)
        ]


def failures(platforms: Mapping[str, Sequence[str]], sent: Sent, told: History, tags: Tags) -> list[Row]:
    """Return a row for each target that was asked for, and for each that failed; none if no build has begun."""
    if not told.builds:
        return []
    names = [*(name for name in sorted(told.builds) if name not in platforms), *platforms]
    read = tags()
    with ThreadPoolExecutor(_ASKERS) as askers:
        states = dict(zip(names, askers.map(told.state, names), strict=True))
    rows = []
    for name, state in states.items():
        if name not in platforms and state != "failed":
            continue
        several = name in told.builds and len(told.builds[name].nodes) > 1
        # Several nodes push their parts first, and the tag last: that they are done does not tell whether it is there.
        done = "unknown" if several and sent == "pushed" else sent
        rows.append(
            {"target": name, "state": done if state == "completed" else state, "tags": list(read.get(name, ()))}
        )
    return rows


def read_history(lines: Iterable[str]) -> tuple[str | None, float | None]:
    """Return whether a build was `cached` or `built`, and its seconds, from BuildKit's record of its steps."""
    steps: dict[str, bool] = {}
    times: list[datetime] = []
    for line in lines:
        if not line.startswith('{"vertexes"'):
            continue
        for vertex in json.loads(line)["vertexes"]:
            times += [datetime.fromisoformat(vertex[key]) for key in ("started", "completed") if key in vertex]
            if _STEP.match(vertex.get("name", "")):
                steps[vertex["digest"]] = steps.get(vertex["digest"], False) or vertex.get("cached", False)
    if not times:
        return None, None
    return "cached" if all(steps.values()) else "built", round((max(times) - min(times)).total_seconds(), 1)


def _tags(facts: Mapping[str, Any], read: Sequence[str]) -> list[str]:
    if "image.name" in facts:
        return [tag for tag in facts["image.name"].split(",") if tag]
    return list(read) if "containerimage.digest" in facts else []
