"""What comes of asking a registry, and asking again.

In: a question. Out: an `Answer`, the first that is not about to pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeVar

from bakegen.errors import Problem
from bakegen.registries.logins import Login

T = TypeVar("T")

Result = Literal[
    "logged in",
    "no login needed",
    "no login",  # one is needed, and there is none
    "refused",  # user and password are not accepted
    "failing",  # the registry answers, and not as one
    "unreachable",
]

PLAIN_HTTP = "server gave HTTP response to HTTPS client"  # how docker says it
PAUSES = (0.5, 1.0, 2.0)  # seconds before another try


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it, and why; `passing` is what another try may find gone."""

    result: Result
    reason: str = ""
    passing: bool = False


def is_passing(status: int) -> bool:
    """Return whether an HTTP status is that of a server which may do better soon.

    >>> [is_passing(status) for status in (401, 404, 429, 500, 503)]
    [False, False, True, True, True]
    """
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def patiently(ask: Callable[[], Answer | T], pauses: Sequence[float] | None = None) -> Answer | T:
    """Ask until the answer is not a passing one, with a pause before each further try; return the last answer."""
    answer = ask()
    for pause in PAUSES if pauses is None else pauses:
        if not (isinstance(answer, Answer) and answer.passing):
            break
        time.sleep(pause)
        answer = ask()
    return answer


def problem_of(login: Login, user: str, answer: Answer) -> Problem | None:
    """Return what is wrong with an answer to a user; None if nothing is."""
    host, reason = login.host, f": {answer.reason}" if answer.reason else ""
    match answer.result:
        case "unreachable":
            return login.problem(
                "unreachable-registry",
                f"{host} does not answer{reason}",
                hint="it has no TLS: let the engine list it under `insecure-registries`, or give it a certificate"
                if PLAIN_HTTP in answer.reason
                else "check the name of the host, the network and the proxy",
            )
        case "failing":
            return login.problem(
                "failing-registry",
                f"{host} answers, and not as a registry should{reason}",
                hint="try again later" if answer.passing else "check the name of the host: is it a registry?",
            )
        case "refused":
            variables = " and ".join(filter(None, (login.username, login.password)))
            return login.problem(
                "login-failed",
                f"{host} refuses {user or 'the login'}{reason}",
                hint=f"check {variables}; a password may have run out, and some registries want a token instead"
                if variables
                else "check what AWS lets you do",
            )
        case "no login":
            return login.problem(
                "no-login",
                f"nobody is logged in to {host}",
                hint=f"bakegen authenticate --registry {host}",
            )
    return None
