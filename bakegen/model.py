"""The data that flows: manifest -> targets. Frozen, and without logic beyond reading it.

Strings of a `Target` may hold references to variables, as `VARIABLE_MARK` finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from bakegen.manifest.source import KeyPath, Source
from bakegen.templating.expressions import VARIABLE_MARK, Condition, Expression, Tree


def split_references(text: str) -> list[str]:
    """Return literal text and variable names in turn: literal, name, literal, …, literal."""
    return VARIABLE_MARK.split(text)


def replace_references(text: str, value: Callable[[str], str]) -> str:
    """Return `text` with each variable reference replaced by `value(name)`."""
    return VARIABLE_MARK.sub(lambda match: value(match[1]), text) if "\0" in text else text


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that stays free at bake time."""

    name: str
    bake_name: str
    default: str
    description: str
    path: KeyPath


def with_defaults(text: str, variables: Mapping[str, Variable]) -> str:
    """Return `text` with each variable reference replaced by the variable's default."""
    return replace_references(text, lambda name: variables[name].default)


def as_written(text: str) -> str:
    """Return `text` with each variable reference as a manifest writes it, for messages."""
    return replace_references(text, lambda name: f"{{{{ {name} }}}}")


@dataclass(frozen=True, slots=True)
class Registry:
    """A repository that targets are pushed to, and the environment variables that log in; what is empty is not said."""

    repository: Expression
    kind: str
    username: str
    password: str
    readme: bool
    path: KeyPath


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a builder, and the platforms that it is for; none means all that is left."""

    platforms: tuple[str, ...]
    endpoint: str  # empty: what is at hand
    options: Mapping[str, str]  # those of the builder included
    path: KeyPath = field(compare=False)


@dataclass(frozen=True, slots=True)
class Builder:
    """A buildx builder as a manifest declares it; two are equal that say the same, wherever they say it."""

    name: str
    driver: str
    nodes: tuple[Node, ...]
    max_parallelism: int | None
    path: KeyPath = field(compare=False)


@dataclass(frozen=True, slots=True)
class NameRule:
    """A pattern for the names that values of an axis go by in tags; `values` empty means all."""

    pattern: Expression
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AxisValue:
    """One value of an axis with its properties (expressions inside are evaluated per target)."""

    name: str
    properties: Mapping[str, Tree]
    names: tuple[str, ...] | None
    platforms: tuple[str, ...] | None
    args: Mapping[str, Expression | None]
    path: KeyPath


@dataclass(frozen=True)
class Axis:
    """A named list of values."""

    name: str
    values: tuple[AxisValue, ...]
    rules: tuple[NameRule, ...]
    path: KeyPath

    def value(self, name: str) -> AxisValue:
        """Return the value called `name`; raises KeyError."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> Mapping[str, AxisValue]:
        return {value.name: value for value in self.values}


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Combinations that do not exist: patterns per axis (or `release`), and why."""

    patterns: Mapping[str, tuple[str, ...]]
    because: str
    path: KeyPath


@dataclass(frozen=True, slots=True)
class Deprecation:
    """Tags that nobody should use any more: patterns, why, and what to use instead."""

    tags: tuple[str, ...]
    because: str
    use: str


@dataclass(frozen=True, slots=True)
class ParentRule:
    """Where a target is built from: a release (of `image`), or an outside image as an expression."""

    image: str
    release: str
    at: Mapping[str, Expression]
    outside: Expression | None
    when: Condition | None
    path: KeyPath


@dataclass(frozen=True, slots=True)
class FileRule:
    """A file written next to a Dockerfile."""

    file: Expression
    template: Expression | None
    copy: Expression | None
    per_platform: bool
    when: Condition | None
    path: KeyPath


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRule:
    """What an image must pass: what a command gives, and what the image holds; None and nothing are not looked at."""

    name: str
    run: tuple[Expression, ...] | Expression | None  # words, or text that is split into words
    entrypoint: Expression | None
    output: Expression | None
    matches: Expression | None
    exit: int
    timeout: int  # seconds
    files: tuple[Expression, ...]
    user: Expression | None
    environment: Mapping[str, Expression]
    labels: Mapping[str, Expression]
    size: Expression | None
    path: KeyPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release with the settings that hold for it (the image's below its own)."""

    name: str
    description: str
    axes: tuple[str, ...]
    parents: tuple[ParentRule, ...]
    when: tuple[Condition, ...]
    platforms: tuple[str, ...] | None
    publish: bool
    tags: tuple[Expression, ...]
    template: Expression
    dockerfile: Expression
    context: Expression
    contexts: Mapping[str, Expression]
    args: Mapping[str, Expression | None]
    own_args: Mapping[str, Expression | None]
    labels: Mapping[str, Expression]
    annotations: Mapping[str, Expression]
    secrets: tuple[Expression, ...]
    ssh: tuple[Expression, ...]
    cache_from: tuple[Expression, ...]
    cache_to: tuple[Expression, ...]
    attest: tuple[Expression, ...]
    bake: Mapping[str, Tree]
    files: tuple[FileRule, ...]
    checks: tuple[CheckRule, ...]
    path: KeyPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image family as its manifest declares it."""

    image: str
    description: str
    source: Source = field(repr=False)
    source_url: str  # of the project's root, without a slash at its end; may be empty
    buildx: tuple[int, int]
    syntax: str
    variables: Mapping[str, Variable]
    registries: tuple[Registry, ...]
    builders: tuple[Builder, ...]
    platforms: tuple[str, ...]
    axes: tuple[Axis, ...]
    define: Mapping[str, Tree]
    data: Mapping[str, Any]
    exclude: tuple[Exclusion, ...]
    deprecated: tuple[Deprecation, ...]
    groups: Mapping[str, tuple[str, ...]]
    releases: tuple[Release, ...]
    inputs: tuple[str, ...]  # the files that it was read from, from the project root: itself, what it includes, data

    def axis(self, name: str) -> Axis:
        """Return the axis called `name`; raises KeyError."""
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise KeyError(name)

    def release(self, name: str) -> Release:
        """Return the release called `name`; raises KeyError."""
        for release in self.releases:
            if release.name == name:
                return release
        raise KeyError(name)


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
