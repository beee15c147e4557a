"""Hold images against their checks: one container to look at for each image and platform, and one for each command.

In: images, and the checks of their targets. Out: `Evidence` of every check, gathered in parallel. What it means is
said by `testing.verdict`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass, field
from typing import Any

from bakegen.testing.checks import Check
from bakegen.testing.containers import Docker, DockerError, Said
from bakegen.testing.images import Image

_ANY_COMMAND = "/"  # a container needs a command to be made; this one is never started


@dataclass(frozen=True, slots=True)
class Case:
    """The checks of a target, to be held against one of its images for one platform."""

    target: str
    platform: str
    image: Image
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found for a check; `said` is of its command, and `refused` why docker could not even look."""

    seconds: float
    said: Said | None = None
    missing: Mapping[str, str] = field(default_factory=dict)  # path -> what docker says
    config: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    refused: str = ""


def gather(
    docker: Docker, cases: Sequence[Case], pool: Executor, done: Callable[[Case], None]
) -> list[list[Evidence] | str]:
    """Return the evidence for the checks of each case, or what is wrong with its image. `done` hears of each case."""
    together: dict[tuple[str, str], list[int]] = {}
    for number, case in enumerate(cases):  # what several targets share is pulled and removed once
        together.setdefault((case.image.name(case.platform), case.platform), []).append(number)
    tasks = {
        pool.submit(_look_at, docker, [cases[number] for number in numbers]): numbers for numbers in together.values()
    }
    found: dict[int, list[Evidence] | str] = {}
    for task in as_completed(tasks):
        for number, evidence in zip(tasks[task], task.result(), strict=True):
            found[number] = evidence
            done(cases[number])
    return [found[number] for number in range(len(cases))]


def _look_at(docker: Docker, cases: Sequence[Case]) -> Sequence[list[Evidence] | str]:
    image, platform = cases[0].image, cases[0].platform
    if image.platforms is None:
        try:
            return _probed(docker, cases)
        except DockerError as error:
            return [f"cannot be tested as the engine has it: {error}"] * len(cases)
    if platform not in image.platforms:
        return [f"is for {', '.join(image.platforms) or 'no platform'} only"] * len(cases)
    try:
        with docker.pulled(image.name(platform), platform):
            return _probed(docker, cases)
    except DockerError as error:
        return [f"cannot be tested as its registry has it: {error}"] * len(cases)


def _probed(docker: Docker, cases: Sequence[Case]) -> list[list[Evidence] | str]:
    container = docker.create(cases[0].image.name(cases[0].platform), cases[0].platform, [_ANY_COMMAND])
    facts = docker.inspect(container)
    found: list[list[Evidence] | str] = [
        [_evidence(docker, case, check, container, facts) for check in case.checks] for case in cases
    ]
    docker.remove(container)
    return found


def _evidence(docker: Docker, case: Case, check: Check, container: str, facts: Mapping[str, Any]) -> Evidence:
    start = time.monotonic()
    missing = {path: why for path in check.files if (why := docker.missing(container, path))}
    said, refused = None, ""
    if check.run is not None:
        try:
            said = _said(docker, case, check, check.run)
        except DockerError as error:
            refused = str(error)
    size = facts["SizeRootFs"] - facts["SizeRw"]
    return Evidence(time.monotonic() - start, said, missing, facts["Config"], size, refused)


def _said(docker: Docker, case: Case, check: Check, words: Sequence[str]) -> Said:
    container = docker.create(case.image.name(case.platform), case.platform, words, check.entrypoint)
    try:
        return docker.start(container, check.timeout)
    finally:
        docker.remove(container)
