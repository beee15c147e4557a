"""The kinds of registries, and what is particular to each.

In: the host of a registry. Out: its `Kind`. All that one kind does differently from others is an entry of `KINDS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Source = Literal["environment", "google", "aws"]  # where user and password come from; `credentials` has a way for each


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of registry. `hosts` matches its hosts; empty if a host does not tell it, and a manifest has to."""

    name: str  # as `kind:` in a manifest says it
    title: str
    hosts: str = ""
    variables: tuple[str, str] = ("", "")  # those of the environment for user and password, if a manifest names none
    source: Source = "environment"
    user: str = ""  # who logs in, if that is always the same
    server: str = ""  # what docker's configuration calls the registry, if not by its host
    api: str = ""  # the host that answers for the registry, if that is another
    readme: str = ""  # how `docker pushrm` calls what shows READMEs there; empty if nothing does
    readme_limit: int = 0  # bytes of a README; 0 if there is no limit


# The first whose `hosts` matches, or the last.
KINDS = (
    Kind(
        name="dockerhub",
        title="Docker Hub",
        hosts=r"docker\.io",
        variables=("DOCKER_USER", "DOCKER_PASSWORD"),
        server="https://index.docker.io/v1/",
        api="registry-1.docker.io",
        readme="dockerhub",
        readme_limit=25_000,
    ),
    Kind(
        name="quay",
        title="Quay",
        hosts=r"quay\.io",
        variables=("QUAY_USER", "QUAY_PASSWORD"),
        readme="quay",
    ),
    Kind(
        name="ghcr",
        title="GitHub",
        hosts=r"ghcr\.io",
        variables=("GHCR_USER", "GHCR_PASSWORD"),
    ),
    Kind(
        name="harbor",
        title="Harbor",
        hosts=r"(.+\.)?goharbor\.io",
        variables=("HARBOR_USER", "HARBOR_PASSWORD"),
        readme="harbor2",
    ),
    Kind(
        name="google",
        title="Google",
        hosts=r"(.+\.)?gcr\.io|.+-docker\.pkg\.dev",
        variables=("GCR_USER", "GCR_PASSWORD"),
        source="google",
    ),
    Kind(
        name="ecr",
        title="Amazon ECR",
        hosts=r".+\.dkr[.-]ecr(-fips)?\.[^.]+\.(amazonaws\.com(\.cn)?|on\.aws)|public\.ecr\.aws",
        source="aws",
        user="AWS",
    ),
    Kind(
        name="other",
        title="any other",
        hosts=r".+",
        variables=("REGISTRY_USER", "REGISTRY_PASSWORD"),
    ),
)


def kind_of(host: str) -> Kind:
    """Return the kind of the registry at a host (with a port, if need be).

    >>> [kind_of(host).name for host in ("docker.io", "eu.gcr.io", "1.dkr.ecr.eu-west-1.amazonaws.com", "localhost:5000")]
    ['dockerhub', 'google', 'ecr', 'other']
    """
    return next(kind for kind in KINDS if kind.hosts and re.fullmatch(kind.hosts, host))


def kind_for(name: str, host: str) -> Kind:
    """Return the kind that a manifest names, or that of the host if it names none; raises KeyError."""
    return kind_called(name) if name else kind_of(host)


def kind_called(name: str) -> Kind:
    """Return a kind by its name; raises KeyError."""
    return {kind.name: kind for kind in KINDS}[name]
