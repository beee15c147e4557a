"""What the environment may say when bake reads the bake file, besides the values of variables.

`BAKEGEN_REGISTRY` puts all tags under one registry instead of the declared ones; `BAKEGEN_PLATFORMS` builds only some of
the declared platforms. docker-bake.hcl.j2 says the same in HCL, and tests compare the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from bakegen.spec.references import HOST

REGISTRY = "BAKEGEN_REGISTRY"
PLATFORMS = "BAKEGEN_PLATFORMS"

# Rules for what is left of a repository under BAKEGEN_REGISTRY: what is replaced, and by what. Later rules keep more.
# One number, the place in this list, holds for all of a project.
REGISTRY_RULES = (
    (f"^({HOST})?([^/]*/)?", ""),  # what follows the host and the owner
    (f"^{HOST}", ""),  # the owner, too
    (":", "-"),  # all of it; a path has no colons
)


def under_registry(repository: str, prefix: str, rule: int) -> str:
    """Return where the images of a repository go if everything goes under `prefix`, by one of `REGISTRY_RULES`.

    >>> [under_registry("localhost:5000/acme/app", "ghcr.io/me", rule) for rule in range(3)]
    ['ghcr.io/me/app', 'ghcr.io/me/acme/app', 'ghcr.io/me/localhost-5000/acme/app']
    """
    return f"{prefix}/{re.sub(*REGISTRY_RULES[rule], repository)}"


def repositories_in(repositories: Iterable[str], environment: Mapping[str, str], rule: int) -> tuple[str, ...]:
    """Return the repositories that images go to, each once."""
    prefix = environment.get(REGISTRY)
    return tuple(dict.fromkeys(under_registry(name, prefix, rule) if prefix else name for name in repositories))


def platforms_in(declared: Iterable[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return those of the declared platforms that are built."""
    asked = environment.get(PLATFORMS)
    return tuple(platform for platform in declared if not asked or platform in asked.split(","))
