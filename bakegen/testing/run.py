"""Run the checks of a selection: of each published target, on each of its platforms.

In: a `Project`, the selected targets and `CheckOptions`. Out: a `CheckResult` for each check, in the order of the manifests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bakegen.build.plan import narrowed, published
from bakegen.docker.buildx import find_buildx, require_buildx, require_daemon
from bakegen.docker.process import ending_on_signals
from bakegen.errors import fail
from bakegen.expressions.bake_environment import PLATFORMS
from bakegen.expressions.limits import Limits
from bakegen.graph.model import Target
from bakegen.project import Project
from bakegen.testing.checks import Check, evaluate_checks
from bakegen.testing.containers import DockerSession
from bakegen.testing.evidence import CheckCase, Evidence, gather_evidence
from bakegen.testing.images import ImageLookup
from bakegen.testing.results import CheckResult, check_result, missing_platform_result, missing_references_result

Watch = Callable[[int], AbstractContextManager[Callable[[str], None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """How the selection is to be tested."""

    platforms: str = ""
    pull: bool = False
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """What is to be tested: targets with their platforms and references, and the checks by target and platform."""

    platforms: Mapping[str, tuple[str, ...]]
    references: Mapping[str, tuple[str, ...]]
    checks: Mapping[tuple[str, str], tuple[Check, ...]]
    unchecked: int  # published targets of the selection that have no checks


def plan_checks(project: Project, selected: Sequence[Target], options: CheckOptions) -> CheckPlan:
    """Return what is to be tested; raises `BakegenError` if nothing is, or if a check cannot be evaluated."""
    graph = project.graph
    platforms = narrowed(selected, options.platforms or os.environ.get(PLATFORMS, ""))
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


def run_checks(project: Project, plan: CheckPlan, options: CheckOptions, watch: Watch) -> list[CheckResult]:
    """Run the checks; `watch` is told how many steps there are, and of each that is done. No container is left, whatever happens.

    Raises `BakegenError` if there is no engine here.
    """
    buildx = require_buildx(find_buildx())
    require_daemon()
    with ending_on_signals(), ThreadPoolExecutor(options.jobs) as pool, DockerSession() as docker:
        images = ImageLookup(docker, buildx.command, pull=options.pull).images(plan.references, pool)
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
            results[case.target] += _judged(case, evidence, project.evaluator.limits)
    return [result for name in plan.platforms for result in results[name]]


def _judged(case: CheckCase, evidence: Sequence[Evidence] | str, limits: Limits) -> list[CheckResult]:
    if isinstance(evidence, str):
        return [missing_platform_result(case, evidence)]
    return [check_result(case, check, seen, limits) for check, seen in zip(case.checks, evidence, strict=True)]
