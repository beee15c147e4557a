"""Docker's configuration, and the logins that it keeps: https://docs.docker.com/reference/cli/docker/login/.

In: its files, DOCKER_AUTH_CONFIG and, where it says so, credential helpers. Out: a `DockerConfig`, a `StoredLogin`.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakegen.docker.process import Reply
from bakegen.errors import BakegenError, fail

RunProgram = Callable[[Sequence[str], str], Reply]  # a command, and the text that it reads

_TOKEN_USER = "<token>"  # noqa: S105 - by this name a helper says that its secret is an identity token


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """Who is logged in, by a password or by an identity token; no message shows either."""

    user: str
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """Docker's configuration as far as logins go, and the context that is in use (empty: the default one)."""

    context: str
    auths: Mapping[str, Mapping[str, str]] = field(repr=False)
    given: Mapping[str, Mapping[str, str]] = field(repr=False)  # in DOCKER_AUTH_CONFIG, which goes before the rest
    helper: str
    helpers: Mapping[str, str]

    def stored(self, server: str, run: RunProgram) -> StoredLogin | None:
        """Return the login to a server, which is called as docker does; None if there is none.

        Raises `BakegenError` if a credential helper does not answer.
        """
        if server in self.given:
            return _login_in(self.given[server])
        if helper := self.helpers.get(server, self.helper):
            return _from_helper(helper, server, run)
        older = (entry for name, entry in self.auths.items() if _host(name) == _host(server))
        return _login_in(self.auths.get(server) or next(older, {}))


def config_folder() -> Path:
    """Return the folder of docker's configuration."""
    if folder := os.environ.get("DOCKER_CONFIG"):
        return Path(folder)
    try:
        return Path.home() / ".docker"
    except RuntimeError:  # this user has no home
        return Path(".docker")  # as docker has it


def portable_environment() -> dict[str, str]:
    """Return the environment for docker in another working directory, where relative folders of its own would be lost."""
    folders = [name for name in ("DOCKER_CONFIG", "BUILDX_CONFIG") if os.environ.get(name)]
    return {**os.environ, **{name: str(Path(os.environ[name]).absolute()) for name in folders}}


def read_docker_config() -> DockerConfig:
    """Return docker's configuration, an empty one if there is none; raises `BakegenError` if it cannot be read."""
    file = config_folder() / "config.json"
    try:
        content: Any = json.loads(file.read_bytes())
    except FileNotFoundError:
        content = {}
    except OSError as error:
        raise _broken(file, error.strerror or str(error)) from None
    except (ValueError, RecursionError):
        raise _broken(file, "not valid JSON") from None
    try:
        return DockerConfig(
            context=content.get("currentContext") or "",
            auths=_auths(content),
            given=_given(),
            helper=content.get("credsStore") or "",
            helpers={**(content.get("credHelpers") or {})},
        )
    except (AttributeError, TypeError):
        raise _broken(file, "not a Docker configuration") from None


def _given() -> dict[str, dict[str, str]]:
    """Return the logins in DOCKER_AUTH_CONFIG, which docker reads since 28.3, and ignores if it cannot."""
    try:
        return _auths(json.loads(os.environ.get("DOCKER_AUTH_CONFIG") or "{}"))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _auths(content: Any) -> dict[str, dict[str, str]]:
    return {
        name: {key: value for key, value in (entry or {}).items() if isinstance(value, str)}
        for name, entry in (content.get("auths") or {}).items()
    }


def _login_in(entry: Mapping[str, str]) -> StoredLogin | None:
    user, _, password = _decoded(entry.get("auth", "")).partition(":")
    user, password = user or entry.get("username", ""), password or entry.get("password", "")
    return _login(user, password, entry.get("identitytoken", ""))


def _login(user: str, password: str, token: str = "") -> StoredLogin | None:
    """Return a login, None if it is none: docker takes a user without a password for that."""
    # What JSON can hold and no program can be given
    user, password = (text.replace("\0", "").encode(errors="replace").decode() for text in (user, password))
    return StoredLogin(user, password, token) if token or (user and password) else None


def _broken(file: Path, reason: str) -> BakegenError:
    return fail(
        "docker-config",
        f"the Docker configuration {file} cannot be read: {reason}",
        hint="fix it, or remove it and log in again",
    )


def _from_helper(name: str, server: str, run: RunProgram) -> StoredLogin | None:
    """Ask a credential helper, as https://github.com/docker/docker-credential-helpers#development lays down."""
    program = f"docker-credential-{name}"
    if not shutil.which(program):
        raise missing_helper(program)
    reply = run([program, "get"], server)
    if reply.code and "not found" in reply.out:
        return None
    try:
        answer: Any = json.loads(reply.out) if reply.code == 0 else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        message = f"credential helper {program} fails for {server}"
        raise fail("docker-config", message, hint=f"run it to see why: echo {server} | {program} get")
    user, secret = str(answer.get("Username", "")), str(answer.get("Secret", ""))
    return _login("", "", secret) if user == _TOKEN_USER else _login(user, secret)


def missing_helper(program: str) -> BakegenError:
    """Return the error for a credential helper that docker's configuration names and that is not there."""
    return fail(
        "missing-helper",
        f"credential helper {program} not found on PATH",
        hint=f"install it, or remove it from {config_folder() / 'config.json'} (`credsStore`, `credHelpers`)",
    )


def _decoded(auth: str) -> str:
    try:
        return base64.b64decode(auth).decode()
    except ValueError:
        return ""


def _host(server: str) -> str:
    """Return the host of a server, which older logins store as a URL."""
    return server.removeprefix("https://").removeprefix("http://").partition("/")[0]
