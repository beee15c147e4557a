"""What the environment makes of tags and texts at bake time, as the bake file says it (docker-bake.hcl.j2).

In: texts of a target in which variables are marked, and an environment. Out: the texts and references that bake reads.
"""

from __future__ import annotations

from collections.abc import Mapping

from bakegen.expressions.text import Variable, replace_references
from bakegen.graph.model import Target

REGISTRY = "BAKEGEN_REGISTRY"


def at_bake_time(text: str, variables: Mapping[str, Variable], environment: Mapping[str, str]) -> str:
    """Return text with each variable replaced by what the environment says, or by its default."""
    return replace_references(text, lambda name: environment.get(variables[name].bake_name, variables[name].default))


def references_at_bake_time(
    target: Target, variables: Mapping[str, Variable], environment: Mapping[str, str]
) -> tuple[str, ...]:
    """Return every repository with every tag, as bake pushes or loads them; each once."""
    repositories = [at_bake_time(repository, variables, environment) for repository in target.repositories]
    if prefix := environment.get(REGISTRY):
        repositories = [f"{prefix}/{repository.rpartition('/')[2]}" for repository in repositories]
    tags = [at_bake_time(tag, variables, environment) for tag in target.tags]
    return tuple(dict.fromkeys(f"{repository}:{tag}" for repository in repositories for tag in tags))
