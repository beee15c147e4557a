"""What bake needs to know of one target.

In: a `Target`. Out: its attributes in a bake file, each as if the target stood there alone.
"""

from __future__ import annotations

from typing import Any

from bakegen.expressions.text import Text
from bakegen.graph.model import Target
from bakegen.source.paths import path_from


def bake_attributes(target: Target) -> dict[str, Any]:
    """Return the attributes of a bake target as they would stand in it without inheritance."""
    attributes: dict[str, Any] = {}
    if target.context.with_defaults() != ".":
        attributes["context"] = target.context
    attributes["dockerfile"] = dockerfile_attribute(target)
    links = {parent.reference: Text.literal(f"target:{parent.target}") for parent in target.parents if parent.target}
    named = {Text.literal(name): value for name, value in target.contexts.items()}
    attributes |= {
        "contexts": links | named,
        "args": dict(target.args),
        "labels": dict(target.labels),
        "annotations": [Text.joined([f"{name}=", value]) for name, value in target.annotations.items()],
        "platforms": list(target.platforms),
        "secret": list(target.secrets),
        "ssh": list(target.ssh),
        "cache-from": list(target.cache_from),
        "cache-to": list(target.cache_to),
        "attest": list(target.attest),
    }
    attributes |= target.bake
    if not target.publish:
        attributes["output"] = ["type=cacheonly"]  # whatever the family says: no flag can push it then
    if target.publish:
        attributes["tags"] = list(target.tags)
    return {name: value for name, value in attributes.items() if value not in ({}, [], "", Text())}


def dockerfile_attribute(target: Target) -> str:
    """Return where bake finds the Dockerfile: from the context, as bake reads it, or from the working directory."""
    context = target.context.with_defaults()
    if context == ".":
        return target.dockerfile
    if "://" in context:
        return f"cwd://{target.dockerfile}" if target.template else target.dockerfile
    return path_from(context, target.dockerfile)
