"""Run the checks of a selection: of each published target, on each of its platforms.

In: a `Project` and the selected targets. Out: a `CheckResult` for each check, in the order of the manifests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bakegen.build.plan import platforms_left, published
from bakegen.docker.buildx import find_buildx, require_buildx, require_daemon
from bakegen.docker.process import ending_on_signals
from bakegen.errors import fail
from bakegen.expressions.bake_environment import PLATFORMS
from bakegen.graph.model import Target
from bakegen.project import Project
from bakegen.testing.checks import Check, evaluate_checks
from bakegen.testing.containers import DockerSession
from bakegen.testing.evidence import CheckCase, gather_evidence
from bakegen.testing.images import ImageLookup
from bakegen.testing.results import CheckResult, check_result, missing_platform_result, missing_references_result

Watch = Callable[[int], AbstractContextManager[Callable[[str], None]]]


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """What is to be tested: targets with their platforms and references, and the checks by target and platform."""

    platforms: Mapping[str, tuple[str, ...]]
    references: Mapping[str, tuple[str, ...]]
    checks: Mapping[tuple[str, str], tuple[Check, ...]]
    unchecked: int  # published targets of the selection that have no checks


def plan_checks(project: Project, selected: Sequence[Target], asked: str) -> CheckPlan:
    """Return what is to be tested on the `asked` platforms, or all; raises `BakegenError` if nothing is, or if a check cannot be evaluated."""
    graph = project.graph
    platforms = platforms_left(selected, asked or os.environ.get(PLATFORMS, ""))
    wanted = published(
        [target for target in selected if target.name in platforms], "test", "select what is built from it"
    )
    checked = [target for target in wanted if graph.manifest(target.image).release(target.release).checks]
    if not checked:
        raise fail(
            "no-checks",
            "no selected target has checks",
            hint="add them to its manifest: test: {NAME: {run: […], output: …}}",
        )
    return CheckPlan(
        {target.name: platforms[target.name] for target in checked},
        {target.name: graph.references_in(target, os.environ) for target in checked},
        evaluate_checks(project, {target.name: platforms[target.name] for target in checked}, os.environ),
        len(wanted) - len(checked),
    )


def run_checks(project: Project, plan: CheckPlan, watch: Watch, *, pull: bool, jobs: int) -> list[CheckResult]:
    """Run the checks, `jobs` at once; `watch` is told how many steps there are, and of each that is done. No container is left, whatever happens.

    Raises `BakegenError` if there is no engine here.
    """
    buildx = require_buildx(find_buildx())
    require_daemon()
    with ending_on_signals(), ThreadPoolExecutor(jobs) as pool, DockerSession() as docker:
        images = ImageLookup(docker, buildx.command, pull=pull).images(plan.references, pool)
        cases = [
            CheckCase(name, platform, image, plan.checks[name, platform])
            for name, platforms in plan.platforms.items()
            for image in images[name][0]
            for platform in platforms
        ]
        with watch(len(cases)) as done:
            found = gather_evidence(docker, cases, pool, lambda case: done(f"{case.target} {case.platform}"))
    results = {
        name: [missing_references_result(name, missing)] if (missing := images[name][1]) else []
        for name in plan.platforms
    }
    with project.evaluator.limits:  # they would bound the programs that are started, too, so none is started here
        for case, evidence in zip(cases, found, strict=True):
            if isinstance(evidence, str):
                results[case.target].append(missing_platform_result(case, evidence))
            else:
                pairs = zip(case.checks, evidence, strict=True)
                results[case.target] += [check_result(case, *pair, project.evaluator.limits) for pair in pairs]
    return [result for name in plan.platforms for result in results[name]]
