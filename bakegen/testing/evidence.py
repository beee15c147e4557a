"""Gather what checks need to know of images: one container for each image and platform, and one for each command.

In: images with the checks of their targets. Out: `Evidence` for each check, gathered in parallel; `testing.results` says
what it means.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from bakegen.testing.checks import Check
from bakegen.testing.containers import CommandOutput, DockerError, DockerSession
from bakegen.testing.images import Image

_ANY_COMMAND = "/"  # a container needs a command to be made; this one is never started


@dataclass(frozen=True, slots=True)
class CheckCase:
    """The checks of a target, for one of its images on one platform."""

    target: str
    platform: str
    image: Image
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found for a check: what its command printed, or why docker refused to run it."""

    seconds: float
    output: CommandOutput | None = None
    missing: Mapping[str, str] = field(default_factory=dict)  # path -> what docker says
    config: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    refused: str = ""


def gather_evidence(
    docker: DockerSession, cases: Sequence[CheckCase], pool: Executor, done: Callable[[CheckCase], None]
) -> list[list[Evidence] | str]:
    """Return the evidence for the checks of each case, or why its image cannot be tested. `done` is called with each."""
    together: dict[tuple[str, str], list[int]] = {}
    for number, case in enumerate(cases):  # what several targets share is pulled and removed once
        together.setdefault((case.image.name(case.platform), case.platform), []).append(number)
    tasks = {
        pool.submit(_examine_image, docker, [cases[number] for number in numbers]): numbers
        for numbers in together.values()
    }
    found: dict[int, list[Evidence] | str] = {}
    for task in as_completed(tasks):
        for number, evidence in zip(tasks[task], task.result(), strict=True):
            found[number] = evidence
            done(cases[number])
    return [found[number] for number in range(len(cases))]


def _examine_image(docker: DockerSession, cases: Sequence[CheckCase]) -> Sequence[list[Evidence] | str]:
    image, platform = cases[0].image, cases[0].platform
    registered = image.platforms is not None
    if image.platforms is not None and platform not in image.platforms:
        return [f"is only built for {', '.join(image.platforms) or 'no platform'}"] * len(cases)
    try:
        with docker.pulled(image.name(platform), platform) if registered else nullcontext():
            return _examine_checks(docker, cases)
    except DockerError as error:
        where = "registry" if registered else "engine"
        return [f"cannot be tested as it is in the {where}: {error}"] * len(cases)


def _examine_checks(docker: DockerSession, cases: Sequence[CheckCase]) -> list[list[Evidence] | str]:
    container = docker.create(cases[0].image.name(cases[0].platform), cases[0].platform, [_ANY_COMMAND])
    facts = docker.inspect(container)
    found: list[list[Evidence] | str] = [
        [_evidence(docker, case, check, container, facts) for check in case.checks] for case in cases
    ]
    docker.remove(container)
    return found


def _evidence(
    docker: DockerSession, case: CheckCase, check: Check, container: str, facts: Mapping[str, Any]
) -> Evidence:
    start = time.monotonic()
    missing = {path: why for path in check.files if (why := docker.missing(container, path))}
    output, refused = None, ""
    if check.run is not None:
        try:
            output = _output(docker, case, check, check.run)
        except DockerError as error:
            refused = str(error)
    size = facts["SizeRootFs"] - facts["SizeRw"]
    return Evidence(time.monotonic() - start, output, missing, facts["Config"], size, refused)


def _output(docker: DockerSession, case: CheckCase, check: Check, words: Sequence[str]) -> CommandOutput:
    container = docker.create(case.image.name(case.platform), case.platform, words, check.entrypoint)
    try:
        return docker.start(container, check.timeout)
    finally:
        docker.remove(container)
