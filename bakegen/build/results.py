"""What came of a build: a result for each target that was asked for.

In: a `BuildPlan`, the builds that bake has begun, what BuildKit remembers of them, bake's metadata. Out: `TargetResult`s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bakegen.build.plan import BuildPlan, Sent
from bakegen.docker.history import History
from bakegen.docker.instances import BegunBuild

Outcome = Literal["pushed", "loaded", "built", "failed", "canceled", "unknown"]
Builds = Mapping[str, BegunBuild]
ReadTags = Callable[[], Mapping[str, Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """How it went with a target; None for what cannot be known.

    A build on several nodes took as long as on the slowest of them; its steps are those on all of them.
    """

    target: str
    result: Outcome
    seconds: float | None
    steps: int | None
    cached_steps: int | None
    platforms: Sequence[str]
    digest: str | None
    tags: Sequence[str]


def results_of_success(
    plan: BuildPlan, builds: Builds, history: History, metadata: Mapping[str, Mapping[str, Any]], read_tags: ReadTags
) -> list[TargetResult]:
    """Return a result for each target that was asked for; `metadata` are bake's."""
    facts = {name: metadata.get(name, {}) for name in plan.asked if name in builds}
    # Bake names no tags for what several nodes have built.
    unnamed = {name for name in facts if "containerimage.digest" in facts[name] and "image.name" not in facts[name]}
    tags = read_tags() if unnamed else {}
    results = []
    for name, told in facts.items():
        own = tags.get(name, []) if name in unnamed else [tag for tag in told.get("image.name", "").split(",") if tag]
        digest = told.get("containerimage.digest")
        results.append(_result(plan, name, plan.sends, builds[name], history, tags=own, digest=digest))
    return results


def results_of_failure(plan: BuildPlan, builds: Builds, history: History, read_tags: ReadTags) -> list[TargetResult]:
    """Return a result for each target that was asked for, and for others that have failed; none if no build has begun."""
    if not builds:
        return []
    tags = read_tags()
    results = []
    for name in [*sorted(builds.keys() - set(plan.asked)), *plan.asked]:
        build = builds.get(name)
        outcome = _outcome(build, history, plan.sends) if build else "canceled"
        if name in plan.asked or outcome == "failed":
            results.append(_result(plan, name, outcome, build, history, tags=tags.get(name, [])))
    return results


def _outcome(build: BegunBuild, history: History, sends: Sent) -> Outcome:
    states = set()
    for node in build.nodes:
        record = history.records.get((node, build.reference))
        # What a node that answers does not know, it has not begun: it waited for what it is built from.
        states.add(record.status if record else "canceled" if node in history.nodes else "unknown")
    if "failed" in states:
        return "failed"
    if "unknown" in states:
        return "unknown"
    if states != {"completed"}:
        return "canceled"
    # Several nodes push their parts first, and the tag last: that they are done does not tell whether it is there.
    return "unknown" if len(build.nodes) > 1 and sends == "pushed" else sends


def _result(
    plan: BuildPlan,
    name: str,
    outcome: Outcome,
    build: BegunBuild | None,
    history: History,
    *,
    tags: Sequence[str],
    digest: str | None = None,
) -> TargetResult:
    records = [history.records.get((node, build.reference)) for node in build.nodes] if build else []
    known = [record for record in records if record]
    whole = bool(known) and len(known) == len(records)
    return TargetResult(
        target=name,
        result=outcome,
        seconds=round(max(record.duration for record in known).total_seconds(), 1) if whole else None,
        steps=sum(record.steps for record in known) if whole else None,
        cached_steps=sum(record.cached_steps for record in known) if whole else None,
        platforms=plan.platforms[name],
        digest=digest,
        tags=tags,
    )
