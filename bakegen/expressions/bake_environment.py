"""What the environment may say when bake reads the bake file, besides the values of variables.

`BAKEGEN_REGISTRY` puts all tags under one registry instead of the declared ones; `BAKEGEN_PLATFORMS` builds only some of
the declared platforms. docker-bake.hcl.j2 says the same in HCL, and tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

REGISTRY = "BAKEGEN_REGISTRY"
PLATFORMS = "BAKEGEN_PLATFORMS"


def under_registry(repository: str, prefix: str) -> str:
    """Return where the images of a repository go if everything goes under `prefix`.

    >>> under_registry("docker.io/acme/app", "ghcr.io/me")
    'ghcr.io/me/app'
    """
    return f"{prefix}/{repository.rpartition('/')[2]}"


def repositories_in(repositories: Iterable[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the repositories that images go to, each once."""
    prefix = environment.get(REGISTRY)
    return tuple(dict.fromkeys(under_registry(name, prefix) if prefix else name for name in repositories))


def platforms_in(declared: Iterable[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return those of the declared platforms that are built."""
    asked = environment.get(PLATFORMS)
    return tuple(platform for platform in declared if not asked or platform in asked.split(","))
