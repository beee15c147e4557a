"""Whether a check passes: rules on its evidence, without docker.

In: a `CheckCase` and its `Evidence`. Out: a `CheckResult` with what was expected, what was found, and the command that
shows it again.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bakegen.errors import printable
from bakegen.expressions.limits import SECONDS, TOO_LONG, Limits, OverrunError
from bakegen.manifest.checks import IMAGE, compiled
from bakegen.spec.sizes import size_text
from bakegen.testing.checks import Check
from bakegen.testing.containers import CommandOutput, run_options
from bakegen.testing.evidence import CheckCase, Evidence
from bakegen.testing.images import MissingReference

_LINES = 20  # of an output that are shown
_WIDTH = 300  # of one of them
_EMULATOR = "docker run --privileged --rm tonistiigi/binfmt --install all"


@dataclass(frozen=True, slots=True)
class CheckFailure:
    """Why a check has failed: lines that can be printed, and the command that shows it again, if there is one."""

    lines: tuple[str, ...]
    command: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check of a target on one platform (empty if it is about all), for the image of some tags."""

    target: str
    platform: str
    check: str
    references: tuple[str, ...]
    seconds: float = 0
    failures: tuple[CheckFailure, ...] = ()


def missing_references_result(target: str, missing: Sequence[MissingReference]) -> CheckResult:
    """Return the result for the tags of a target that lead to no image."""
    lines = [f"{tag.reference} {tag.reason}" for tag in missing]
    return CheckResult(target, "", IMAGE, tuple(tag.reference for tag in missing), 0, (_failure(*lines),))


def missing_platform_result(case: CheckCase, why: str) -> CheckResult:
    """Return the result for an image that cannot be tested for a platform."""
    local = case.image.platforms is None
    hints = (
        ["use --platform to test fewer platforms, or --pull to test the images in the registry"]
        if local and "platform" in why
        else []
    )
    failure = _failure(f"no {case.platform}: {case.image.references[0]} {why}", *hints)
    return CheckResult(case.target, case.platform, IMAGE, case.image.references, 0, (failure,))


def check_result(case: CheckCase, check: Check, evidence: Evidence, limits: Limits) -> CheckResult:
    """Return the result of one check of a case."""
    name = case.image.shown(case.platform)
    failures = []
    if check.run is not None:
        options = ["--rm", *run_options(case.platform, check.entrypoint)]
        command = shlex.join(["docker", "run", *options, name, *check.run])
        if evidence.refused:
            failures.append(_failure(f"docker cannot run it: {evidence.refused}", command=command))
        elif evidence.output and (lines := list(_run_lines(check, evidence.output, case.platform, limits))):
            failures.append(_failure(*lines, command=command))
    if evidence.missing:
        lines = [_missing_line(path, why) for path, why in evidence.missing.items()]
        first = next(iter(evidence.missing))
        look = f'docker cp --follow-link "$c":{shlex.quote(first)} - | tar --list'
        failures.append(_failure(*lines, command=_with_container(case, name, look)))
    if lines := list(_config_lines(check, evidence.config, evidence.size)):
        look = 'docker container inspect --size "$c"'
        failures.append(_failure(*lines, command=_with_container(case, name, look)))
    return CheckResult(case.target, case.platform, check.name, case.image.references, evidence.seconds, tuple(failures))


def _failure(*lines: str, command: str = "") -> CheckFailure:
    return CheckFailure(tuple(map(printable, lines)), printable(command))


def _with_container(case: CheckCase, name: str, look: str) -> str:
    create = shlex.join(["docker", "create", f"--platform={case.platform}", name, "/"])
    return f'c=$({create}); {look}; docker rm "$c"'


def _run_lines(check: Check, said: CommandOutput, platform: str, limits: Limits) -> Iterator[str]:
    found = list(_mismatches(check, said, limits))
    if not found:
        return
    yield from found
    if "exec format error" in said.text:
        yield f"this engine cannot run programs for {platform}; `{_EMULATOR}` installs an emulator"
    lines = said.text.splitlines()
    if not said.text.strip():
        yield "it printed nothing"
        return
    yield "it printed:" if len(lines) <= _LINES else f"the last {_LINES} lines of its output:"
    for line in lines[-_LINES:]:
        yield f"  {line if len(line) <= _WIDTH else line[:_WIDTH] + '…'}"


def _mismatches(check: Check, said: CommandOutput, limits: Limits) -> Iterator[str]:
    if said.code is None:
        yield f"timed out after {check.timeout} seconds"
    elif said.code != check.exit:
        yield f"expected exit code {check.exit}, got {said.code}"
    if check.output is not None and not any(check.output in part for part in said.parts):
        yield f'expected output "{check.output}"'
    if check.matches is not None and (mistake := _match_mistake(check.matches, said.parts, limits)):
        yield mistake


def _match_mistake(pattern: str, parts: Sequence[str], limits: Limits) -> str:
    try:
        with limits.piece:
            found = any(map(compiled(pattern).search, parts))
    except OverrunError as error:
        if error.problem is not TOO_LONG:
            raise
        return f"the regular expression {pattern} takes more than {SECONDS} seconds; simplify it"
    return "" if found else f"expected output matching {pattern}"


def _missing_line(path: str, why: str) -> str:
    known = why.startswith(("Could not find the file", "No such container:path"))
    return f"{path} is missing" if known else f"{path} cannot be read: {why}"


def _config_lines(check: Check, config: Mapping[str, Any], size: int) -> Iterator[str]:
    user = config.get("User") or "root"
    if check.user is not None and user != check.user:
        yield f'expected user "{check.user}", got "{user}"'
    variables = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
    yield from _differences("", check.environment, variables)
    yield from _differences("label ", check.labels, config.get("Labels") or {})
    if check.size is not None and size > check.size:
        yield f"expected at most {size_text(check.size)}, got {size_text(size)} ({size:,} bytes)"


def _differences(what: str, expected: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    for name, value in expected.items():
        if found.get(name) != value:
            got = f'got "{found[name]}"' if name in found else "which is not set"
            yield f'expected {what}{name}="{value}", {got}'
