"""`docker login`: log in to a registry, or try a login that is not kept.

In: a registry and `Credentials`. Out: a `LoginOutcome`, from what docker says. No registry is asked but by docker: it knows
the certificates, the proxies and the registries without TLS of this machine, and what it says is what a push will find.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory

from bakegen.docker.buildx import engine_complaint, no_engine
from bakegen.docker.config import DockerConfig, RunProgram, config_folder, missing_helper
from bakegen.errors import BakegenError, fail
from bakegen.registries.credentials import Credentials
from bakegen.registries.destinations import Destination
from bakegen.registries.login_outcome import PLAIN_HTTP, LoginOutcome, is_passing, patiently

NOBODY = "nobody@bakegen.invalid"  # no user of any registry: RFC 2606 keeps the domain from existing
_TO_THE_ENGINE = ("contexts", "ca.pem", "cert.pem", "key.pem")  # where the engine is, and how it knows us
_NO_STORE = "bakegen-keeps-no-login"  # no credential helper is called so
_STATUS = re.compile(r"status(?: code)?:? (\d{3})\b")
_HELPER = re.compile(r'exec: "(docker-credential-[^"]+)": executable file not found')
_START = re.compile(r"^(?:error response from daemon: )?(?:get \"[^\"]*\": )?(?:error: )?", re.IGNORECASE)
_REFUSED = re.compile(r"unauthorized|incorrect username or password|(?<!permission )denied|forbidden", re.IGNORECASE)
# What another try would find again. Docker has waited for half a minute before it gives up.
_LASTING = re.compile(
    r"x509|tls:|no such host|timeout|deadline exceeded|no response within|invalid port|unable to parse server address"
    rf"|{PLAIN_HTTP.pattern}",
    re.IGNORECASE,
)
_PASSING = re.compile(
    r"dial |connection (?:refused|reset)|\bEOF\b|network is unreachable|no route to host", re.IGNORECASE
)


def log_in(
    registry: Destination, credentials: Credentials, run: RunProgram, folder: Path | None = None
) -> LoginOutcome:
    """Log docker in; with a `folder` of `keeping_no_login`, the login is not kept.

    Raises `BakegenError` if something else than the registry stands in the way.
    """
    options = ("--config", str(folder)) if folder else ()
    command = ["docker", *options, "login", registry.host, "--username", credentials.user, "--password-stdin"]

    def once() -> LoginOutcome:
        reply = run(command, credentials.password)
        if reply.code == 0 or (folder and _NO_STORE in reply.said):
            return LoginOutcome("logged in")
        try:
            outcome = read_refusal(registry.host, reply.said)
        except BakegenError as error:
            hidden = (replace(one, message=credentials.hidden_in(one.message)) for one in error.problems)
            raise BakegenError(hidden) from None
        return replace(outcome, reason=credentials.hidden_in(outcome.reason))

    return patiently(once)


@contextmanager
def keeping_no_login(config: DockerConfig) -> Iterator[Path]:
    """Yield a folder of docker's configuration that is like the user's, but knows no login and can keep none.

    Docker asks the registry first, and keeps the login then. So a credential helper that does not exist lets it ask, and
    no password reaches a disk or a keychain.
    """
    with TemporaryDirectory(prefix="bakegen-") as name:
        folder = Path(name)
        for part in _TO_THE_ENGINE:
            if os.path.lexists(own := config_folder().absolute() / part):
                (folder / part).symlink_to(own)
        settings = {"currentContext": config.context, "credsStore": _NO_STORE}
        (folder / "config.json").write_text(json.dumps(settings))
        yield folder


def read_refusal(host: str, said: str) -> LoginOutcome:
    """Return what docker says of a login that failed; raises `BakegenError` if that was not because of the registry."""
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith(("WARNING", "time="))]
    last = lines[-1].strip() if lines else "no error message"
    reason = _START.sub("", last)
    found = _STATUS.search(last)
    status = int(found[1]) if found else 0
    if helper := _HELPER.search(said):
        raise missing_helper(helper[1])
    if "saving credentials" in last or "storing credentials" in last:
        raise fail(
            "docker-config",
            f"docker cannot store the login for {host}: {reason.removeprefix('Error saving credentials: ')}",
            hint=f"make {config_folder()} writable, or set DOCKER_CONFIG to another folder",
        )
    # Amazon refuses by 400; so does, in the end, a registry with TLS that docker may ask without it, too.
    if status and status not in (400, 401, 403):
        return LoginOutcome("failing", _status_words(status), is_passing(status))
    if "toomanyrequests" in last:
        return LoginOutcome("failing", reason, passing=True)
    if status or _REFUSED.search(last):
        return LoginOutcome("refused", _status_words(status) if status else reason)
    if PLAIN_HTTP.search(last) and (complaint := engine_complaint()):  # the client itself takes TLS only
        raise no_engine(complaint, f"log in to {host}, which has no TLS")
    if _LASTING.search(last) or _PASSING.search(last):
        return LoginOutcome("unreachable", reason, passing=not _LASTING.search(last))
    raise fail(
        "login-failed", f"docker cannot log in to {host}: {reason}", hint=f"run it to see why: docker login {host}"
    )


def _status_words(status: int) -> str:
    """Return an HTTP status with its name.

    >>> _status_words(429), _status_words(599)
    ('429 Too Many Requests', '599')
    """
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
