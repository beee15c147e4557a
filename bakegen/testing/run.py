"""Test a selection: what is published of it, on each of its platforms, against the checks of its manifests.

In: a `Project`, the selected targets and a `Request`. Out: the `Result` of every check, in the order of the manifests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bakegen.build.plan import PLATFORMS, narrowed, published
from bakegen.docker.buildx import find_buildx, require_buildx, require_daemon
from bakegen.docker.process import ending_on_signals
from bakegen.errors import fail
from bakegen.expressions.limits import Limits
from bakegen.graph.model import Target
from bakegen.project import Project
from bakegen.testing.checks import Check, evaluate_checks
from bakegen.testing.containers import Docker
from bakegen.testing.images import Lookup
from bakegen.testing.trial import Case, Evidence, gather
from bakegen.testing.verdict import Result, absent_result, judge, lost_result

Watch = Callable[[int], AbstractContextManager[Callable[[str], None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """How the selection is to be tested."""

    platforms: str = ""
    pull: bool = False
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be tested: targets with their platforms and references, and the checks by target and platform."""

    platforms: Mapping[str, tuple[str, ...]]
    references: Mapping[str, tuple[str, ...]]
    checks: Mapping[tuple[str, str], tuple[Check, ...]]
    unchecked: int  # published targets of the selection that have no checks


def make_order(project: Project, selected: Sequence[Target], request: Request) -> Order:
    """Return what is to be tested; raises `BakegenError` if nothing is, or if a check cannot be evaluated."""
    graph = project.graph
    platforms = narrowed(selected, request.platforms or os.environ.get(PLATFORMS, ""))
    wanted = published(
        [target for target in selected if target.name in platforms], "test", "name what is built from it"
    )
    checked = [target for target in wanted if graph.manifest(target.image).release(target.release).checks]
    if not checked:
        raise fail(
            "no-checks",
            "nothing of what is selected has checks",
            hint="declare them in its manifest: test: {NAME: {run: […], output: …}}",
        )
    return Order(
        {target.name: platforms[target.name] for target in checked},
        {target.name: target.references_in(os.environ) for target in checked},
        evaluate_checks(project, {target.name: platforms[target.name] for target in checked}, os.environ),
        len(wanted) - len(checked),
    )


def carry_out(project: Project, order: Order, request: Request, watch: Watch) -> list[Result]:
    """Test; `watch` is told how many steps there are, and of each that is done. No container is left, come what may.

    Raises `BakegenError` if there is no engine here.
    """
    buildx = require_buildx(find_buildx())
    require_daemon()
    with ending_on_signals(), ThreadPoolExecutor(request.jobs) as pool, Docker() as docker:
        images = Lookup(docker, buildx.command, pull=request.pull).images(order.references, pool)
        cases = [
            Case(name, platform, image, order.checks[name, platform])
            for name, platforms in order.platforms.items()
            for image in images[name][0]
            for platform in platforms
        ]
        with watch(len(cases)) as done:
            found = gather(docker, cases, pool, lambda case: done(f"{case.target} {case.platform}"))
    results = {name: [lost_result(name, lost)] if (lost := images[name][1]) else [] for name in order.platforms}
    with project.evaluator.limits:  # they would bound the programs that are started, too, so none is started here
        for case, evidence in zip(cases, found, strict=True):
            results[case.target] += _judged(case, evidence, project.evaluator.limits)
    return [result for name in order.platforms for result in results[name]]


def _judged(case: Case, evidence: Sequence[Evidence] | str, limits: Limits) -> list[Result]:
    if isinstance(evidence, str):
        return [absent_result(case, evidence)]
    return [judge(case, check, seen, limits) for check, seen in zip(case.checks, evidence, strict=True)]
