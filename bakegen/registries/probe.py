"""Whether a registry answers, and whether it takes the login that docker has stored.

In: the host of a registry and a `Stored` login. Out: an `Answer`. The conversation is that of
https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/, which docker has on every push.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import urlencode, urlsplit

from bakegen.docker.config import Stored
from bakegen.docker.process import begin
from bakegen.registries.answers import Answer, is_passing

TIMEOUT = 5.0  # seconds
_CLIENT = "bakegen"
_CERTIFICATES = Path("/etc/docker/certs.d")  # https://docs.docker.com/engine/security/certificates/
_STEPS = 4  # https, http, a token, and what comes of it
_MOST = 1_000_000  # bytes that are read of an answer
_REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


def probe(host: str, stored: Stored | None, timeout: float = TIMEOUT) -> Answer:
    """Ask a registry whether it takes a login, or needs one.

    It may be silent for `timeout` seconds, and take four times as long for all that it says. Only a registry on this
    machine is asked by plain http, as docker does it.
    """
    asked = begin(lambda: _answer(host, stored, timeout))
    try:
        return asked.result(_STEPS * timeout)
    except TimeoutError:
        return Answer("unreachable", f"it has not answered within {_STEPS * timeout:g} seconds")


def _answer(host: str, stored: Stored | None, timeout: float) -> Answer:
    if not _is_host(host):
        return Answer("unreachable", "no machine can be called so")
    try:
        return _probe(host, stored, timeout)
    except (ValueError, OverflowError, RecursionError):
        return Answer("failing", "what it answers makes no sense")
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            return Answer("unreachable", f"it says nothing for {timeout:g} seconds")
        unknown = isinstance(reason, socket.gaierror) and reason.errno != socket.EAI_AGAIN
        return Answer("unreachable", _words(reason), passing=not (unknown or isinstance(reason, ssl.SSLError)))


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    challenge: str
    body: bytes


class _Staying(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a login is for the host that was asked."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        del req, fp, code, msg, headers, newurl


def _probe(host: str, stored: Stored | None, timeout: float) -> Answer:
    try:
        url = f"https://{host}/v2/"
        first = _get(url, timeout)
    except (OSError, HTTPException):
        if not is_local(host):
            raise
        url = f"http://{host}/v2/"
        first = _get(url, timeout)
    if first.status == HTTPStatus.OK:
        return Answer("no login needed")
    if first.status != HTTPStatus.UNAUTHORIZED:
        return _unexpected(first.status)
    if not stored:
        return Answer("no login")
    scheme, _, parameters = first.challenge.partition(" ")
    match scheme.lower():
        case "basic":
            return _judged(_get(url, timeout, _basic(stored)))
        case "bearer":
            return _by_token(url, dict(_PARAMETER.findall(parameters)), stored, timeout)
    return Answer("failing", f"it asks for a login by {scheme or 'nothing'}")


def _by_token(url: str, challenge: Mapping[str, str], stored: Stored, timeout: float) -> Answer:
    """Get a token for the login, and show it to the registry."""
    realm = challenge.get("realm", "")
    parts = urlsplit(realm)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local(parts.netloc)):
        return Answer("failing", "it sends logins to where they would be read by others")
    service = {"service": challenge["service"]} if "service" in challenge else {}
    if stored.token:
        form = {"grant_type": "refresh_token", **service, "client_id": _CLIENT, "refresh_token": stored.token}
        got = _get(realm, timeout, body=urlencode(form).encode())
        if got.status == HTTPStatus.BAD_REQUEST:  # OAuth's word for a token that is not good (RFC 6749, 5.2)
            return Answer("refused")
    else:
        query = urlencode({**service, "account": stored.user, "client_id": _CLIENT})
        got = _get(f"{realm}{'&' if parts.query else '?'}{query}", timeout, _basic(stored))
    if got.status != HTTPStatus.OK:
        return _judged(got)
    try:
        content = json.loads(got.body)
        token = content.get("token") or content["access_token"]
    except (ValueError, KeyError, AttributeError):
        return Answer("failing", f"{parts.netloc} gives no token")
    return _judged(_get(url, timeout, f"Bearer {token}"))


def _judged(response: _Response) -> Answer:
    if response.status == HTTPStatus.OK:
        return Answer("logged in")
    return Answer("refused") if response.status in _REFUSALS else _unexpected(response.status)


def _unexpected(status: int) -> Answer:
    return Answer("failing", status_words(status), is_passing(status))


def status_words(status: int) -> str:
    """Return an HTTP status with its name.

    >>> status_words(429), status_words(599)
    ('429 Too Many Requests', '599')
    """
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _get(url: str, timeout: float, authorization: str = "", body: bytes | None = None) -> _Response:
    headers = {"User-Agent": _CLIENT, **({"Authorization": authorization} if authorization else {})}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - the callers allow http and https only
    host = urlsplit(url).netloc
    handlers: list[urllib.request.BaseHandler] = [_Staying(), urllib.request.HTTPSHandler(context=_trust(host))]
    if is_local(host):
        handlers.append(urllib.request.ProxyHandler({}))  # no proxy knows this machine by that name
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as response:
            return _Response(response.status, "", response.read(_MOST))
    except urllib.error.HTTPError as error:
        with error:
            return _Response(error.code, error.headers.get("WWW-Authenticate", ""), b"")


def _trust(host: str) -> ssl.SSLContext:
    """Return whose certificates are good: those of this machine, and those that docker is given for a host.

    The engine takes any from a registry on this machine, and plain http as well.
    """
    context = ssl.create_default_context()
    if is_local(host):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    for file in (_CERTIFICATES / host).glob("*.crt"):
        context.load_verify_locations(file)
    return context


def is_local(host: str) -> bool:
    """Return whether a host, with or without a port, is this machine.

    >>> [is_local(host) for host in ("localhost:5000", "127.0.0.2", "[::1]:5000", "localhost.acme.com")]
    [True, True, True, False]
    """
    if not _is_host(host):
        return False
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _is_host(text: str) -> bool:
    """Return whether a port is one, and what stands in brackets is an address: Docker's grammar does not tell.

    >>> [_is_host(host) for host in ("ghcr.io", "[::1]:5000", "[abc]:5000", "localhost:99999")]
    [True, True, False, False]
    """
    try:
        _ = urlsplit(f"//{text}").port
    except ValueError:
        return False
    return True


def _basic(stored: Stored) -> str:
    return "Basic " + base64.b64encode(f"{stored.user}:{stored.password}".encode(errors="replace")).decode()


def _words(reason: object) -> str:
    """Return why a host cannot be reached, as people say it."""
    if isinstance(reason, ssl.SSLError):
        return f"TLS: {reason.reason or reason}"
    return (isinstance(reason, OSError) and reason.strerror) or str(reason) or type(reason).__name__
