"""The drivers of buildx builders: the options that they take, and where their nodes can be.

In: text from a manifest. Out: what is wrong with it. The options were read from the `factory.go` of each driver, and
tried with buildx 0.29 (https://docs.docker.com/build/builders/drivers/). buildx itself refuses those that it is too old for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bakegen.errors import did_you_mean

_HOST = r"(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])"
# The host of ssh:// becomes a word of ssh's command line: it must never begin with a dash. The path becomes a word of a
# shell over there, after its escapes are undone (BuildKit's connhelper/ssh): it must hold nothing that a shell acts on.
_URLS = re.compile(
    rf"tcp://{_HOST}:[0-9]+|unix:///[^\s?#]+|ssh://(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?{_HOST}(?::[0-9]+)?(?:/[\w./@+-]+)?",
    re.ASCII,
)
_CONTEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")  # the name of a docker context
_SECRET = re.compile(r"//[^/@]*:[^/@]*@")
_FORMS = "tcp://HOST:PORT, unix:///PATH or ssh://USER@HOST"


@dataclass(frozen=True, slots=True)
class Driver:
    """What a driver takes: options; those that are paths of this machine; `env.NAME` as an option, buildkitd's flags."""

    options: frozenset[str]
    paths: frozenset[str] = frozenset()
    environment: bool = True
    flags: bool = True


DRIVERS = {
    "docker-container": Driver(
        frozenset(
            "cgroup-parent cpu-period cpu-quota cpu-shares cpuset-cpus cpuset-mems default-load image memory memory-swap "
            "network restart-policy".split()
        )
    ),
    "kubernetes": Driver(
        frozenset(
            "annotations buildkit-root-volume-memory default-load image labels limits.cpu limits.ephemeral-storage "
            "limits.memory loadbalance namespace nodeselector qemu.image qemu.install replicas requests.cpu "
            "requests.ephemeral-storage requests.memory rootless schedulername serviceaccount timeout tolerations".split()
        )
    ),
    "remote": Driver(
        frozenset(["cacert", "cert", "default-load", "key", "servername"]),
        paths=frozenset(["cacert", "cert", "key"]),
        environment=False,
        flags=False,
    ),
}


def option_mistake(driver: str, option: str) -> str:
    """Return what to write instead of an option that a driver does not take, or an empty string if it takes it."""
    known = DRIVERS[driver]
    if option in known.options or (known.environment and re.fullmatch(r"env\.[^\s=]+", option)):
        return ""
    return did_you_mean(option, known.options)


def endpoint_mistake(driver: str, endpoint: str) -> str:
    """Return what is wrong with the endpoint of a node, or an empty string; an empty endpoint is one left out."""
    if driver == "kubernetes":
        return "remove it: the cluster comes from the current kubeconfig" if endpoint else ""
    if driver == "remote":
        return "" if _URLS.fullmatch(endpoint) else f"set the address of BuildKit: {_FORMS}"
    if not endpoint or _URLS.fullmatch(endpoint) or _CONTEXT.fullmatch(endpoint):
        return ""
    return f"set the address of Docker: {_FORMS}, or the name of a Docker context"


def holds_secret(endpoint: str) -> bool:
    """Return whether an endpoint holds a password, which no message may show."""
    return bool(_SECRET.search(endpoint))
