"""What manifests are expanded to: targets, what does not exist and why, groups. Frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bakegen.manifest.model import Registry
from bakegen.source.yaml import KeyPath


@dataclass(frozen=True, slots=True)
class Parent:
    """What a target is built from: an image `reference`, and the `target` that makes it if one of ours does."""

    reference: str
    target: str | None
    path: KeyPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One bake target: one release at one value of each axis that it spans."""

    name: str
    image: str
    release: str
    values: Mapping[str, str]  # axis -> value, in the order of the manifest
    names: Mapping[str, tuple[str, ...]]  # what values are called in tags, of axes that have such names
    platforms: tuple[str, ...]
    repositories: tuple[str, ...]
    registries: tuple[Registry, ...]  # what declares each repository; none if no registry is declared
    tags: tuple[str, ...]
    publish: bool
    parents: tuple[Parent, ...]
    template: str
    dockerfile: str  # from the project root
    context: str  # from the project root, or a URL
    contexts: Mapping[str, str]
    args: Mapping[str, str]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    secrets: tuple[str, ...]
    ssh: tuple[str, ...]
    cache_from: tuple[str, ...]
    cache_to: tuple[str, ...]
    attest: tuple[str, ...]
    bake: Mapping[str, Any]
    path: KeyPath

    @property
    def references(self) -> tuple[str, ...]:
        """Every repository with every tag, as they are pushed (with variable references)."""
        return tuple(f"{repository}:{tag}" for repository in self.repositories for tag in self.tags)


@dataclass(frozen=True, slots=True)
class Absent:
    """A combination that is no target, and why; `name` is what the target would be called."""

    name: str
    image: str
    release: str
    values: Mapping[str, str]
    cause: Literal["exclude", "when"]
    reason: str
    path: KeyPath


GroupKind = Literal["default", "image", "release", "axis value", "own", "dockerfile"]


@dataclass(frozen=True, slots=True)
class Group:
    """A bake group: its members in the order of the manifests, publishable parents of members included.

    `parts` are smaller groups that together hold some or all of the members, so that the bake file need not list them.
    """

    name: str
    kind: GroupKind
    members: tuple[str, ...]
    parts: tuple[str, ...] = ()
