"""What BuildKit remembers of the builds of one run, as `docker buildx history ls` lists it.

In: a buildx, the builds that have begun. Out: a `History` of records, by node and reference.

The nodes that have built become a builder of their own, in a folder that is thrown away: of any other builder, buildx asks
all nodes, and waits for those that are down.
"""

from __future__ import annotations

import json
import os
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Literal

from bakegen.docker.buildx import Buildx
from bakegen.docker.endpoints import is_silent
from bakegen.docker.instances import BegunBuild, read_instance, write_instance
from bakegen.docker.process import Reply, asking

FIRST_WITH_HISTORY = (0, 23)  # the buildx that first lists it with filters
_LISTED = 50  # records of a node that buildx lists, the latest ones (recordsLimit in its commands/history/utils.go)
_EXPECTED = 40  # records of a node that each part of a longer list is to have
_PATIENCE = 20  # seconds, after which buildx itself gives a node up
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)  # buildx compares times by the second
_STATUS: Mapping[str, Status] = {"Completed": "completed", "Error": "failed", "Running": "running"}

Key = tuple[str, str]  # node, reference
Status = Literal["completed", "failed", "canceled", "running"]
Records = dict[Key, "BuildRecord"]
Page = Callable[[Sequence[str]], list[tuple[Key, "BuildRecord"]]]


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """A build on one node: how it ended, when it began by the node's clock, its length and steps, those from the cache."""

    status: Status
    began: datetime
    duration: timedelta
    steps: int
    cached_steps: int


@dataclass(frozen=True, slots=True)
class History:
    """The records of builds, by node and reference; the nodes that have told all that they know; those that are silent.

    What is silent is named for people: a node with its endpoint, or a builder.
    """

    records: Mapping[Key, BuildRecord]
    nodes: frozenset[str] = frozenset()
    silent: tuple[str, ...] = ()


def read_history(
    buildx: Buildx, builds: Collection[BegunBuild], folder: Path, *, failed: bool, lasted: timedelta
) -> History:
    """Return what is remembered of builds, all of one builder, begun in a run that lasted so long; `folder` is empty.

    If the run has failed, any node may be down, so that each is asked by itself; else all are asked at once.
    """
    wanted = {(node, build.reference) for build in builds for node in build.nodes}
    if not wanted or buildx.version < FIRST_WITH_HISTORY:
        return History({})
    builder = next(iter(builds)).builder
    command = [*buildx.command, "history", "ls", "--builder", builder, "--format", "json"]
    with asking(_PATIENCE) as asker:
        asked = [
            (group, asker.begin(partial(_read, partial(asker, environment=group.environment), command, group, lasted)))
            for group in _groups(builder, wanted, folder, each=failed)
        ]
        found = [(group, future.result()) for group, future in asked]
    return History(
        {key: record for _, records in found for key, record in (records or {}).items()},
        frozenset(node for group, records in found if records is not None for node, _ in group.wanted),
        tuple(name for group, records in found if records is None for name in group.names),
    )


@dataclass(frozen=True, slots=True)
class _NodeGroup:
    """Nodes that are asked at once: what people call them, where they listen, how buildx finds them, and for what."""

    names: Sequence[str]
    endpoints: Sequence[str]
    environment: Mapping[str, str]
    wanted: set[Key]


def _groups(builder: str, wanted: set[Key], folder: Path, *, each: bool) -> list[_NodeGroup]:
    used = {node for node, _ in wanted}
    instance = read_instance(builder)
    nodes = [node for node in instance.nodes if node["Name"] in used] if instance else []
    if not instance or len(nodes) < len(used):  # an engine, or the pods of a cluster
        return [_NodeGroup([builder], [], os.environ, wanted)]
    return [
        _NodeGroup(
            [f"{node['Name']} at {node['Endpoint']}" for node in together],
            [node["Endpoint"] for node in together],
            write_instance(folder / str(number), replace(instance, nodes=tuple(together))),
            {key for key in wanted if key[0] in {node["Name"] for node in together}},
        )
        for number, together in enumerate([[node] for node in nodes] if each else [nodes])
    ]


class _SilentError(Exception):
    """A builder does not list its history."""


def _read(
    run: Callable[[Sequence[str]], Reply], command: Sequence[str], group: _NodeGroup, lasted: timedelta
) -> Records | None:
    """Return the records that are wanted, as far as the nodes have them; None if they do not answer."""
    since: list[str] = []  # leaves out earlier runs, as soon as the clocks of the nodes are known

    def page(filters: Sequence[str]) -> list[tuple[Key, BuildRecord]]:
        reply = run([*command, *(f"--filter={one}" for one in (*since, *filters))])
        if reply.code != 0:
            raise _SilentError
        found = [parse_record(line) for line in reply.out.splitlines()]
        mine = [record.began for key, record in found if key in group.wanted]
        if mine and not since:
            since.append(f"startedAt>{min(mine) - lasted - _SECOND:%Y-%m-%dT%H:%M:%SZ}")
        return found

    if any(map(is_silent, group.endpoints)):
        return None
    try:
        found = {key: record for key, record in list_records(page, group.wanted) if key in group.wanted}
        # In all that buildx prints, a build that was canceled has failed, too; its filters tell the two apart.
        failed = {key for key, record in found.items() if record.status == "failed"}
        failures = dict(list_records(page, failed, ["status=error"]))
    except _SilentError:
        return None
    return found | {key: replace(found[key], status="canceled") for key in failed - failures.keys()}


def list_records(
    page: Page, wanted: Collection[Key], filters: Sequence[str] = (), low: int = 0, high: int | None = None
) -> Iterator[tuple[Key, BuildRecord]]:
    """Yield records, by the page, until all that are wanted are among them, or there are no more.

    Where a node has more than a page takes, those of a range of durations, in microseconds, are asked for at a time.
    """
    missing = set(wanted)
    if not missing:
        return
    # buildx reads `>=` as `=`; times are in nanoseconds.
    bounds = [*([f"duration>{low * 1000 - 1}ns"] if low else []), *([f"duration<{high * 1000}ns"] if high else [])]
    found = page([*filters, *bounds])
    yield from found
    missing -= {key for key, _ in found}
    if not missing or _most(key for key, _ in found) < _LISTED:
        return
    parts = 3 if low or high else ceil((_LISTED + _most(missing)) / _EXPECTED)
    durations = [record.duration // _MICROSECOND for _, record in found]
    cuts = {int(cut) for cut in statistics.quantiles(durations, n=parts)}
    inner = sorted(cut for cut in cuts if low < cut and (high is None or cut < high))
    for lower, upper in pairwise([low, *inner, high]) if inner else ():
        for key, record in list_records(page, missing, filters, lower or 0, upper):
            missing.discard(key)
            yield key, record


def parse_record(line: str) -> tuple[Key, BuildRecord]:
    """Return a record as `history ls --format json` prints it, with its node and reference."""
    told = json.loads(line)
    _, node, reference = told["ref"].split("/")
    start, end = (datetime.fromisoformat(told.get(key) or told["created_at"]) for key in ("created_at", "completed_at"))
    return (node, reference), BuildRecord(
        _STATUS[told["status"]], start.astimezone(UTC), end - start, told["total_steps"], told["cached_steps"]
    )


def _most(keys: Iterable[Key]) -> int:
    """Return how many keys the node has that has most of them."""
    return max(Counter(node for node, _ in keys).values(), default=0)
