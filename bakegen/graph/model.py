"""What manifests are expanded to: targets, what does not exist and why, groups. Frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bakegen.expressions.bake_environment import repositories_in
from bakegen.expressions.text import Text
from bakegen.manifest.model import Registry
from bakegen.source.yaml import KeyPath


@dataclass(frozen=True, slots=True)
class Parent:
    """What a target is built from: an image `reference`, and the `target` that makes it if one of ours does."""

    reference: Text
    target: str | None
    path: KeyPath


@dataclass(frozen=True, slots=True)
class ValueName:
    """A name that an axis value goes by in tags: the rule that gave it, and the values that it was taken before."""

    text: str
    path: KeyPath
    rivals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LostName:
    """A name that an axis value could have had, and the value that has it instead."""

    axis: str
    text: str
    winner: str
    path: KeyPath


@dataclass(frozen=True, slots=True)
class MissingPlatform:
    """A platform of the image that a target is not built for, and why."""

    platform: str
    reason: str
    path: KeyPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One bake target: one release at one value of each axis that it spans."""

    name: str
    image: str
    release: str
    values: Mapping[str, str]  # axis -> value, in the order of the manifest
    names: Mapping[str, tuple[ValueName, ...]]  # what values are called in tags, of axes that have such names
    lost_names: tuple[LostName, ...]
    platforms: tuple[str, ...]
    missing_platforms: tuple[MissingPlatform, ...]  # of the image
    repositories: tuple[Text, ...]
    registries: tuple[Registry, ...]  # what declares each repository; none if no registry is declared
    tags: tuple[Text, ...]
    tag_paths: tuple[KeyPath, ...]  # the pattern that made each tag
    platform_tags: Mapping[str, Mapping[Text, KeyPath]]  # platform -> tags of its image alone, and their patterns
    publish: bool
    parents: tuple[Parent, ...]
    template: str | None  # None for a Dockerfile that exists
    dockerfile: str  # from the project root, or from that of a remote context
    context: Text  # from the project root, or a URL
    contexts: Mapping[str, Text]
    args: Mapping[str, Text]
    labels: Mapping[str, Text]
    annotations: Mapping[str, Text]
    secrets: tuple[Text, ...]
    ssh: tuple[Text, ...]
    cache_from: tuple[Text, ...]
    cache_to: tuple[Text, ...]
    attest: tuple[Text, ...]
    bake: Mapping[str, Any]  # plain data whose texts are `Text`s
    path: KeyPath

    @property
    def linked(self) -> Mapping[str, str]:
        """The targets that named contexts take from (`target:NAME`), by the name of the context."""
        contexts = {name: text.with_defaults() for name, text in self.contexts.items()}
        return {name: text.removeprefix("target:") for name, text in contexts.items() if text.startswith("target:")}

    @property
    def references(self) -> tuple[Text, ...]:
        """Every repository with every tag, as they are pushed."""
        return tuple(Text.joined([repository, ":", tag]) for repository in self.repositories for tag in self.tags)

    def references_in(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Every repository with every tag, as bake pushes or loads them in an environment; each once."""
        names = (repository.at_bake_time(environment) for repository in self.repositories)
        tags = [tag.at_bake_time(environment) for tag in self.tags]
        return tuple(dict.fromkeys(f"{name}:{tag}" for name in repositories_in(names, environment) for tag in tags))


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


GroupKind = Literal["default", "image", "release", "axis value", "own", "image release"]


@dataclass(frozen=True, slots=True)
class Group:
    """A bake group, its members in the order of the manifests; what manifests say about it, if they do."""

    name: str
    kind: GroupKind
    members: tuple[str, ...]
    description: str = ""
