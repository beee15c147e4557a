"""Log in to registries one after the other, or check at once who is logged in.

In: `Destination`s. Out: a `RegistryState` of each, with its problems: none of them keeps the others from their turn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from bakegen.docker.buildx import require_docker
from bakegen.docker.config import DockerConfig, RunProgram, StoredLogin, read_docker_config
from bakegen.docker.process import ask, asking, ending_on_signals
from bakegen.errors import BakegenError, Problem
from bakegen.registries.credentials import Credentials, find_credentials
from bakegen.registries.destinations import Destination
from bakegen.registries.docker_login import NOBODY, keeping_no_login, log_in
from bakegen.registries.env_file import Environment
from bakegen.registries.login_outcome import LoginOutcome, LoginResult, problem_of

_PATIENCE = 30  # seconds: a credential helper may ask its user for leave, and docker waits 25 for a silent registry


@dataclass(frozen=True, slots=True)
class RegistryState:
    """Who is logged in to a registry, or should be; whether that works, and what is wrong."""

    registry: Destination
    user: str
    result: LoginResult | Literal["failed"]
    reason: str = ""
    problems: tuple[Problem, ...] = ()


def log_in_to_all(
    registries: Sequence[Destination],
    environment: Environment,
    root: Path,
    done: Callable[[str], None] = lambda _: None,
) -> list[RegistryState]:
    """Log docker in to each registry; `done` is called with each host.

    Raises `BakegenError` if there is no docker, or if its configuration cannot be read: it would be overwritten, with
    all other logins.
    """
    found: dict[str, Credentials] = {}
    states: dict[str, RegistryState] = {}
    with ending_on_signals():
        for registry in registries:
            try:
                found[registry.host] = find_credentials(registry, environment, root)
            except BakegenError as error:
                states[registry.host] = RegistryState(registry, "", "failed", problems=error.problems)
        if found:
            try:
                require_docker()
                read_docker_config()
            except BakegenError as error:
                known = [problem for state in states.values() for problem in state.problems]
                raise BakegenError([*known, *error.problems]) from None
        run = partial(ask, environment=environment_of_docker(registries))
        for registry in registries:
            if registry.host in found:
                credentials = found[registry.host]
                states[registry.host] = _state(registry, credentials.user, partial(log_in, registry, credentials, run))
            done(f"{registry.host}: {states[registry.host].result}")
    return [states[registry.host] for registry in registries]


def check_all(registries: Sequence[Destination], done: Callable[[str], None] = lambda _: None) -> list[RegistryState]:
    """Check at once whether all registries take the login that docker has; `done` is called with each host.

    Raises `BakegenError` if there is no docker, or if its configuration cannot be read.
    """
    config = read_docker_config()
    require_docker()
    environment = environment_of_docker(registries)
    states = []
    with ending_on_signals(), keeping_no_login(config) as folder, asking(_PATIENCE) as asker:
        run = partial(asker, environment=environment)
        for checked in [asker.begin(partial(check, one, config, run, folder)) for one in registries]:
            state = checked.result()
            states.append(state)
            done(f"{state.registry.host}: {state.result}")
    return states


def check(registry: Destination, config: DockerConfig, run: RunProgram, folder: Path) -> RegistryState:
    """Check whether a registry takes the login that docker has; `folder` is that of `keeping_no_login`."""
    try:
        stored = config.stored(registry.server, run)
    except BakegenError as error:
        return RegistryState(registry, "", "failed", problems=error.problems)
    if stored and not stored.token:
        login = partial(log_in, registry, Credentials(stored.user, stored.password), run, folder)
        return _state(registry, stored.user, login, stored=True)
    return _state(registry, stored.user if stored else "", partial(_without_password, registry, stored, run, folder))


def environment_of_docker(registries: Sequence[Destination]) -> dict[str, str]:
    """Return the environment without the passwords of registries: each reaches docker only for its own, and not by that."""
    hidden = {registry.variables.password for registry in registries}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def stop_if_any(states: Sequence[RegistryState]) -> None:
    """Raise `BakegenError` with the problems of all registries, if there are any."""
    problems = [problem for state in states for problem in state.problems]
    if problems:
        raise BakegenError(problems)


def _without_password(registry: Destination, stored: StoredLogin | None, run: RunProgram, folder: Path) -> LoginOutcome:
    """Return how it stands where docker has an identity token, or nothing at all."""
    if stored:
        return LoginOutcome("logged in", "with an identity token, which docker does not check")
    if not registry.kind.may_be_open:
        return LoginOutcome("no login")
    outcome = log_in(registry, Credentials(NOBODY, NOBODY), run, folder)
    meaning = {"logged in": LoginOutcome("no login needed"), "refused": LoginOutcome("no login")}
    return meaning.get(outcome.result, outcome)


def _state(
    registry: Destination, user: str, login: Callable[[], LoginOutcome], *, stored: bool = False
) -> RegistryState:
    """Return what comes of a login; docker has it already if it is `stored`."""
    try:
        outcome = login()
    except BakegenError as error:
        return RegistryState(registry, user, "failed", problems=error.problems)
    problem = problem_of(registry, user, outcome, stored=stored)
    return RegistryState(registry, user, outcome.result, outcome.reason, (problem,) if problem else ())
