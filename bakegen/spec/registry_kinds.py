"""The kinds of registries, and what is particular to each.

In: the host of a registry. Out: its `RegistryKind`. What one kind does differently from others is an entry of `KINDS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

CredentialSource = Literal["environment", "google", "aws"]  # where user and password come from


class LoginVariables(NamedTuple):
    """The environment variables that hold user and password; empty where another source has them."""

    user: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryKind:
    """One kind of registry."""

    name: str  # `kind:` in a manifest
    title: str
    hosts: str  # matches its hosts
    variables: LoginVariables  # if a manifest names none
    source: CredentialSource = "environment"
    user: str = ""  # who logs in, if that is always the same
    may_be_open: bool = False  # whether there are such registries that take pushes without a login
    server: str = ""  # what docker's configuration calls the registry, if not by its host
    readme: str = ""  # the provider of `docker pushrm`; empty if such registries show no READMEs
    readme_limit: int = 0  # bytes of a README; 0 if there is no limit


# The first whose `hosts` matches, or the last.
KINDS = (
    RegistryKind(
        name="dockerhub",
        title="Docker Hub",
        hosts=r"docker\.io",
        variables=LoginVariables("DOCKER_USER", "DOCKER_PASSWORD"),
        server="https://index.docker.io/v1/",
        readme="dockerhub",
        readme_limit=25_000,
    ),
    RegistryKind(
        name="quay",
        title="Quay",
        hosts=r"quay\.io",
        variables=LoginVariables("QUAY_USER", "QUAY_PASSWORD"),
        readme="quay",
    ),
    RegistryKind(
        name="ghcr",
        title="GitHub",
        hosts=r"ghcr\.io",
        variables=LoginVariables("GHCR_USER", "GHCR_PASSWORD"),
    ),
    RegistryKind(
        name="harbor",
        title="Harbor",
        hosts=r"(.+\.)?goharbor\.io",
        variables=LoginVariables("HARBOR_USER", "HARBOR_PASSWORD"),
        readme="harbor2",
    ),
    RegistryKind(
        name="google",
        title="Google",
        hosts=r"(.+\.)?gcr\.io|.+-docker\.pkg\.dev",
        variables=LoginVariables("GCR_USER", "GCR_PASSWORD"),
        source="google",
    ),
    RegistryKind(
        name="ecr",
        title="Amazon ECR",
        hosts=r".+\.dkr[.-]ecr(-fips)?\.[^.]+\.(amazonaws\.com(\.cn)?|on\.aws)|public\.ecr\.aws",
        variables=LoginVariables(),
        source="aws",
        user="AWS",
    ),
    RegistryKind(
        name="other",
        title="any other",
        hosts=r".+",
        variables=LoginVariables("REGISTRY_USER", "REGISTRY_PASSWORD"),
        may_be_open=True,
    ),
)


def kind_of(host: str) -> RegistryKind:
    """Return the kind of the registry at a host (with a port, if need be).

    >>> [kind_of(host).name for host in ("docker.io", "eu.gcr.io", "1.dkr.ecr.eu-west-1.amazonaws.com", "localhost:5000")]
    ['dockerhub', 'google', 'ecr', 'other']
    """
    return next(kind for kind in KINDS if re.fullmatch(kind.hosts, host))


def kind_for(name: str, host: str) -> RegistryKind:
    """Return the kind that a manifest names, or that of the host if it names none; raises KeyError."""
    return {kind.name: kind for kind in KINDS}[name] if name else kind_of(host)
