"""Log in to registries: `docker login`, with the password on its standard input and nowhere else.

In: a `Login` and `Credentials`. Out: an `Answer`, from what docker says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import replace

from bakegen.docker.buildx import engine_complaint, no_engine
from bakegen.docker.config import config_folder, missing_helper
from bakegen.docker.process import ask
from bakegen.errors import BakegenError, fail
from bakegen.registries.answers import PLAIN_HTTP, Answer, is_passing
from bakegen.registries.credentials import Credentials
from bakegen.registries.probe import status_words

_STATUS = re.compile(r"status(?: code)?:? (\d{3})\b")
_HELPER = re.compile(r'exec: "(docker-credential-[^"]+)": executable file not found')
_START = re.compile(r"^(?:error response from daemon: )?(?:get \"[^\"]*\": )?(?:error: )?", re.IGNORECASE)
_REFUSED = re.compile(r"unauthorized|incorrect username or password|(?<!permission )denied|forbidden", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"dial |no such host|connection (?:refused|reset)|timeout|deadline exceeded|\bEOF\b|x509|tls:"
    rf"|{PLAIN_HTTP}|network is unreachable|no route to host",
    re.IGNORECASE,
)
# Docker waits for half a minute before it gives up.
_LASTING = re.compile(rf"x509|tls:|no such host|timeout|deadline exceeded|{PLAIN_HTTP}", re.IGNORECASE)


def docker_login(host: str, credentials: Credentials, hidden: Collection[str] = ()) -> Answer:
    """Log in once; the environment variables that are `hidden` hold passwords, and docker does not get them.

    Raises `BakegenError` if something else than the registry stands in the way.
    """
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = ["docker", "login", host, "--username", credentials.user, "--password-stdin"]
    reply = ask(command, credentials.password, environment=environment)
    if reply.code == 0:
        return Answer("logged in")
    try:
        answer = read_refusal(host, reply.said)
    except BakegenError as error:
        raise BakegenError(replace(one, message=credentials.hidden_in(one.message)) for one in error.problems) from None
    return replace(answer, reason=credentials.hidden_in(answer.reason))


def read_refusal(host: str, said: str) -> Answer:
    """Return what docker tells of a registry that did not log in; raises `BakegenError` if it tells of something else."""
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith(("WARNING", "time="))]
    told = lines[-1].strip() if lines else "it says nothing"
    reason = _START.sub("", told)
    status = _STATUS.search(told)
    if helper := _HELPER.search(said):
        raise missing_helper(helper[1])
    if "saving credentials" in told or "storing credentials" in told:
        raise fail(
            "docker-config",
            f"docker cannot keep the login to {host}: {reason.removeprefix('Error saving credentials: ')}",
            hint=f"it writes into {config_folder()}; DOCKER_CONFIG names another folder",
        )
    if status and (int(status[1]) not in (401, 403)):
        return Answer("failing", status_words(int(status[1])), is_passing(int(status[1])))
    if "toomanyrequests" in told:
        return Answer("failing", reason, passing=True)
    if status or _REFUSED.search(told):
        return Answer("refused", status_words(int(status[1])) if status else reason)
    if PLAIN_HTTP in told and (complaint := engine_complaint()):  # the client itself takes TLS only
        raise no_engine(complaint, f"log in to {host}, which has no TLS")
    if _UNREACHABLE.search(told):
        return Answer("unreachable", reason, passing=not _LASTING.search(told))
    raise fail("login-failed", f"docker cannot log in to {host}: {reason}", hint=f"try it by hand: docker login {host}")
