"""What comes of a login, and asking again.

In: a question to a registry. Out: a `LoginOutcome`, the first that is not about to pass; the `Problem` that it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from bakegen.errors import Problem
from bakegen.registries.destinations import Destination

LoginResult = Literal[
    "logged in",
    "no login needed",
    "no login",  # one is needed, and docker has none
    "refused",  # user and password are not accepted
    "failing",  # the registry answers, but not as one should
    "unreachable",
]

PAUSES = (0.5, 1.0, 2.0)  # seconds before another try
# What docker says of a registry that it expects to have TLS
PLAIN_HTTP = re.compile(r"server gave HTTP response to HTTPS client|first record does not look like a TLS handshake")


@dataclass(frozen=True, slots=True)
class LoginOutcome:
    """What came of a login, and why; `passing` is what another try may find gone."""

    result: LoginResult
    reason: str = ""
    passing: bool = False


def patiently(ask: Callable[[], LoginOutcome]) -> LoginOutcome:
    """Ask until the outcome is not a passing one, with a pause before each further try; return the last outcome."""
    outcome = ask()
    for pause in PAUSES:
        if outcome.passing:
            time.sleep(pause)
            outcome = ask()
    return outcome


def is_passing(status: int) -> bool:
    """Return whether an HTTP status is that of a server which may do better soon.

    >>> [is_passing(status) for status in (401, 404, 429, 500, 503)]
    [False, False, True, True, True]
    """
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def problem_of(registry: Destination, user: str, outcome: LoginOutcome, *, stored: bool = False) -> Problem | None:
    """Return what is wrong with the login of a user, None if nothing is; `stored` tells whether docker had it already."""
    host, reason = registry.host, f": {outcome.reason}" if outcome.reason else ""
    again = f"bakegen authenticate --registry {host}"
    match outcome.result:
        case "unreachable":
            return registry.problem(
                "unreachable-registry",
                f"{host} is unreachable{reason}",
                hint="it has no TLS: add it to `insecure-registries` in daemon.json of the engine"
                if PLAIN_HTTP.search(outcome.reason)
                else f"to trust it, copy its CA certificate to /etc/docker/certs.d/{host}/ca.crt"
                if "x509:" in outcome.reason
                else "check the host name, the network and the proxy",
            )
        case "failing":
            return registry.problem(
                "failing-registry",
                f"{host} is not a working registry{reason}",
                hint="try again later" if outcome.passing else "check the host name",
            )
        case "refused":
            variables = " and ".join(filter(None, registry.variables))
            return registry.problem(
                "login-failed",
                f"{host} rejected the login of {user}{reason}",
                hint=f"log in again: `{again}`"
                if stored
                else f"check {variables}: the password may have expired, and some registries require a token"
                if variables
                else "check your AWS permissions",
            )
        case "no login":
            return registry.problem("no-login", f"not logged in to {host}", hint=f"log in: `{again}`")
    return None
