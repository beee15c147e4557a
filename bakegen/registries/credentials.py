"""Who logs in to a registry, and by which password.

In: a `Destination` and an `Environment`. Out: `Credentials`, or a `BakegenError` that says what is missing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bakegen.errors import BakegenError
from bakegen.registries.destinations import Destination
from bakegen.registries.env_file import FILE, Environment
from bakegen.spec.registry_kinds import CredentialSource

_KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password, which no message shows."""

    user: str
    password: str = field(repr=False)

    def hidden_in(self, text: str) -> str:
        """Return what a program said without the password: plain, in JSON as Python or Go write it, and in base64."""
        quoted = [json.dumps(self.password, ensure_ascii=only_ascii)[1:-1] for only_ascii in (True, False)]
        of_go = quoted[1].translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})
        both = base64.b64encode(f"{self.user}:{self.password}".encode(errors="replace")).decode()
        for spelt in sorted({self.password, both, *quoted, of_go}, key=len, reverse=True):
            text = text.replace(spelt, "***")
        return text


def find_credentials(registry: Destination, environment: Environment, root: Path) -> Credentials:
    """Return who logs in to a registry; raises `BakegenError` if that cannot be told.

    `root` is where relative paths of key files begin.
    """
    return _WAYS[registry.kind.source](registry, environment, root)


def _from_environment(registry: Destination, environment: Environment, _root: Path) -> Credentials:
    names = [name for name in registry.variables if name]
    found = {name: (environment.get(name) or "").rstrip("\r\n") for name in names}  # docker cuts off line ends, too
    missing = [name for name in names if not found[name].strip()]  # and spaces, so that nothing would be left of these
    if missing:
        raise _missing(registry, environment, missing)
    return Credentials(found.get(registry.variables.user, registry.kind.user), found[registry.variables.password])


def _from_google(registry: Destination, environment: Environment, root: Path) -> Credentials:
    """Tell the user from the password, as https://cloud.google.com/artifact-registry/docs/docker/authentication says."""
    key_file = environment.get(_KEY_FILE)
    if environment.get(registry.variables.password) is None and key_file:
        password = _google_key(registry, root, key_file)
    else:
        password = (environment.get(registry.variables.password) or "").strip()
    if not password:
        raise _missing(registry, environment, [registry.variables.password])
    return Credentials(environment.get(registry.variables.user) or _google_user(password), password)


def _google_key(registry: Destination, root: Path, file: str) -> str:
    try:
        text = (root / Path(file).expanduser()).read_text().strip()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: ~ stands for no home
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _fail(  # without what the variable says: it may be the key itself, by mistake
            registry,
            f"{_KEY_FILE} cannot be read: {reason}",
            f"set it to the path of a service account key, or set {registry.variables.password}",
        ) from None
    if not _is_key(text):
        raise _fail(
            registry,
            f"{_KEY_FILE} is not a service account key",
            f'use an access token instead: {registry.variables.password}="$(gcloud auth print-access-token)"',
        )
    return text


def _google_user(password: str) -> str:
    if _is_key(password):
        return "_json_key"
    try:
        decoded = base64.b64decode("".join(password.split()), validate=True).decode()
    except ValueError:
        decoded = ""
    return "_json_key_base64" if _is_key(decoded) else "oauth2accesstoken"


def _is_key(text: str) -> bool:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("type") == "service_account"


def _from_aws(registry: Destination, environment: Environment, root: Path) -> Credentials:
    """Ask AWS for a password, unless a manifest names a variable that holds one."""
    if registry.variables.password:
        return _from_environment(registry, environment, root)
    from bakegen.registries.aws import password

    return Credentials(registry.kind.user, password(registry, environment))


def _missing(registry: Destination, environment: Environment, names: Sequence[str]) -> BakegenError:
    unset = [name for name in names if environment.get(name) is None]
    told = [f"{name} is {'not set' if name in unset else 'empty'}" for name in names]
    hint = f"set {' and '.join(names)} in the environment or in {FILE} in the project root"
    return _fail(registry, f"no credentials for {registry.host}: {' and '.join(told)}", hint)


def _fail(registry: Destination, message: str, hint: str) -> BakegenError:
    return BakegenError([registry.problem("no-credentials", message, hint=hint)])


_WAYS: Mapping[CredentialSource, Callable[[Destination, Environment, Path], Credentials]] = {
    "environment": _from_environment,
    "google": _from_google,
    "aws": _from_aws,
}
