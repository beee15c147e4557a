"""Log in to registries one after the other, or ask who is logged in.

In: `Login`s. Out: a `State` of each, with its problems: none of them keeps the others from their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bakegen.docker.buildx import require_docker
from bakegen.docker.config import DockerConfig, read_docker_config
from bakegen.docker.process import Asker, asking, ending_on_signals
from bakegen.errors import BakegenError, Problem, printable
from bakegen.registries.answers import Answer, patiently, problem_of
from bakegen.registries.credentials import Credentials, find_credentials
from bakegen.registries.environment import Environment
from bakegen.registries.login import docker_login
from bakegen.registries.logins import Login
from bakegen.registries.probe import probe

_PATIENCE = 30  # seconds that a credential helper gets: it may ask its user for leave


@dataclass(frozen=True, slots=True)
class State:
    """How it stands with one registry: who is logged in or should be, what came of it, and what is wrong."""

    login: Login
    user: str
    result: str
    problems: tuple[Problem, ...] = ()


def log_in(
    logins: Sequence[Login], environment: Environment, root: Path, done: Callable[[str], None] = lambda _: None
) -> list[State]:
    """Log in to each registry; `done` is called with each host.

    Raises `BakegenError` if there is no docker, or if its configuration cannot be read: it would be overwritten, with
    all other logins.
    """
    found: dict[str, Credentials] = {}
    states: dict[str, State] = {}
    with ending_on_signals():
        for login in logins:
            try:
                found[login.host] = find_credentials(login, environment, root)
            except BakegenError as error:
                states[login.host] = State(login, "", "failed", error.problems)
        if found:
            try:
                require_docker()
                read_docker_config()
            except BakegenError as error:
                known = [problem for state in states.values() for problem in state.problems]
                raise BakegenError([*known, *error.problems]) from None
        hidden = {login.password for login in logins}
        for login in logins:
            if login.host in found:
                states[login.host] = _log_in(login, found[login.host], hidden)
            done(f"{login.host}: {states[login.host].result}")
    return [states[login.host] for login in logins]


def check(logins: Sequence[Login], done: Callable[[str], None] = lambda _: None) -> list[State]:
    """Ask all registries at once whether they take the login that docker has stored; `done` is called with each host.

    Raises `BakegenError` if docker's configuration cannot be read.
    """
    config = read_docker_config()
    states = []
    with ending_on_signals(), asking(_PATIENCE) as ask:
        for asked in [ask.begin(partial(_check, login, config, ask)) for login in logins]:
            state = asked.result()
            states.append(state)
            done(f"{state.login.host}: {state.result}")
    return states


def stop_if_any(states: Sequence[State]) -> None:
    """Raise `BakegenError` with the problems of all registries, if there are any."""
    problems = [problem for state in states for problem in state.problems]
    if problems:
        raise BakegenError(problems)


def _check(login: Login, config: DockerConfig, ask: Asker) -> State:
    try:
        stored = config.stored(login.server, ask)
    except BakegenError as error:
        return State(login, "", "failed", error.problems)
    answer = patiently(lambda: probe(login.kind.api or login.host, stored))
    return _state(login, stored.user if stored else "", answer)


def _log_in(login: Login, credentials: Credentials, hidden: set[str]) -> State:
    try:
        answer = patiently(lambda: docker_login(login.host, credentials, hidden))
    except BakegenError as error:
        return State(login, printable(credentials.user), "failed", error.problems)
    return _state(login, credentials.user, answer)


def _state(login: Login, user: str, answer: Answer) -> State:
    problem = problem_of(login, user, answer)
    return State(login, printable(user), answer.result, (problem,) if problem else ())
