"""Endpoints: where docker and BuildKit listen.

In: the environment, an endpoint as buildx keeps it. Out: the default endpoint; whether something listens at one.
"""

from __future__ import annotations

import os
import re
import socket
from urllib.parse import urlsplit

from bakegen.docker.config import read_docker_config

_LOCAL = "unix:///var/run/docker.sock"
_CONNECTING = 1  # seconds


def default_endpoint() -> str:
    """Return the endpoint that buildx gives a node for which none is named: the name of a context, or a host.

    Raises `BakegenError` if docker's configuration cannot be read. The rules are those of docker's client: DOCKER_HOST
    goes before DOCKER_CONTEXT, and that before its configuration.
    """
    host = os.environ.get("DOCKER_HOST", "")
    context = os.environ.get("DOCKER_CONTEXT") or read_docker_config().context
    if not host:
        return _LOCAL if context in {"", "default"} else context
    host = host if "://" in host else f"tcp://{host}"
    return f"{host}:2375" if re.fullmatch(r"tcp://[^:]+", host) else host


def is_silent(endpoint: str) -> bool:
    """Return whether nothing listens at an endpoint; False where that cannot be told (`ssh://`, a context).

    buildx would wait twenty seconds to find out.
    """
    url = urlsplit(endpoint)
    try:
        if url.scheme == "tcp":
            socket.create_connection((url.hostname or "", url.port or 0), _CONNECTING).close()
        elif url.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_CONNECTING)
                connection.connect(url.path)
    except (OSError, ValueError):
        return True
    return False
