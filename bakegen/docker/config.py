"""What docker has stored about logins, as https://docs.docker.com/reference/cli/docker/login/ describes it.

In: docker's configuration and, where it says so, credential helpers. Out: a `Stored` login.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakegen.docker.process import Asker
from bakegen.errors import BakegenError, fail

_TOKEN_USER = "<token>"  # noqa: S105 - by this name a helper says that its secret is an identity token


@dataclass(frozen=True, slots=True)
class Stored:
    """Who is logged in, by a password or by an identity token; no message shows either."""

    user: str
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """Docker's configuration as far as logins go, and the context that is in use (empty: the default one)."""

    context: str
    auths: Mapping[str, Mapping[str, str]] = field(repr=False)
    helper: str
    helpers: Mapping[str, str]

    def stored(self, server: str, ask: Asker) -> Stored | None:
        """Return who is logged in to a server, which is called as docker does; None if nobody is.

        Raises `BakegenError` if a helper cannot tell.
        """
        helper = self.helpers.get(server, self.helper)
        return _from_helper(helper, server, ask) if helper else self._from_file(server)

    def _from_file(self, server: str) -> Stored | None:
        entry = self.auths.get(server) or next(
            (entry for name, entry in self.auths.items() if _host(name) == _host(server)), {}
        )
        user, _, password = _decoded(entry.get("auth", "")).partition(":")
        user, password = user or entry.get("username", ""), password or entry.get("password", "")
        token = entry.get("identitytoken", "")
        return Stored(user, password.rstrip("\0"), token) if user or token else None


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
    except (OSError, ValueError) as error:
        raise _broken(
            file, error.strerror if isinstance(error, OSError) and error.strerror else "it is no JSON"
        ) from None
    try:
        auths = {name: _texts(entry) for name, entry in (content.get("auths") or {}).items()}
        return DockerConfig(
            context=content.get("currentContext") or "",
            auths=auths,
            helper=content.get("credsStore") or "",
            helpers={**(content.get("credHelpers") or {})},
        )
    except (AttributeError, TypeError):
        raise _broken(file, "it is no configuration") from None


def _broken(file: Path, reason: str) -> BakegenError:
    return fail(
        "docker-config",
        f"docker's configuration {file} cannot be read: {reason}",
        hint="mend it, or move it away and log in again",
    )


def _from_helper(name: str, server: str, ask: Asker) -> Stored | None:
    """Ask a credential helper, as https://github.com/docker/docker-credential-helpers#development lays down."""
    program = f"docker-credential-{name}"
    if not shutil.which(program):
        raise missing_helper(program)
    reply = ask([program, "get"], server)
    if reply.code and "not found" in reply.out:
        return None
    try:
        answer: Any = json.loads(reply.out) if reply.code == 0 else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise _mute(program, server)
    user, secret = str(answer.get("Username", "")), str(answer.get("Secret", ""))
    return Stored("", token=secret) if user == _TOKEN_USER else Stored(user, secret)


def missing_helper(program: str) -> BakegenError:
    """Return the error for a credential helper that docker's configuration names and that is not there."""
    return fail(
        "missing-helper",
        f"docker keeps its logins by {program}, and there is no such program",
        hint=f"install it, or take it out of {config_folder() / 'config.json'} (`credsStore`, `credHelpers`)",
    )


def _mute(program: str, server: str) -> BakegenError:
    return fail(
        "docker-config",
        f"{program} does not tell who is logged in to {server}",
        hint=f"try it by hand: echo {server} | {program} get",
    )


def _texts(entry: Mapping[str, Any] | None) -> dict[str, str]:
    return {name: value for name, value in (entry or {}).items() if isinstance(value, str)}


def _decoded(auth: str) -> str:
    try:
        return base64.b64decode(auth).decode()
    except ValueError:
        return ""


def _host(server: str) -> str:
    """Return the host of a server, which older logins store as a URL."""
    return server.removeprefix("https://").removeprefix("http://").partition("/")[0]
