"""What a manifest declares. Frozen, and without logic beyond reading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bakegen.expressions.scope import Condition, Expression
from bakegen.expressions.text import Variable
from bakegen.expressions.values import Tree
from bakegen.source.yaml import KeyPath, Source


@dataclass(frozen=True, slots=True)
class Registry:
    """A repository that targets are pushed to, and the environment variables that log in; what is empty is not said."""

    repository: Expression
    kind: str
    username: str
    password: str
    readme: bool
    path: KeyPath
    when: Condition | None = None


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

    pattern: Expression  # with its condition
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
    series: str = ""  # what the names of targets and groups call it, if not by its name

    @property
    def label(self) -> str:
        """What the names of targets and groups call the value."""
        return self.series or self.name


@dataclass(frozen=True)
class Axis:
    """A named list of values."""

    name: str
    values: tuple[AxisValue, ...]
    rules: tuple[NameRule, ...]
    path: KeyPath
    series: Expression | None = None

    def value(self, name: str) -> AxisValue:
        """Return the value called `name`; raises KeyError."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> Mapping[str, AxisValue]:
        return {value.name: value for value in self.values}


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Combinations that do not exist: patterns per axis, `release` and `platform`, and why."""

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
    platform_tags: tuple[Expression, ...]
    template: Expression | None  # None for a Dockerfile that exists
    dockerfile: Expression  # below the family's folder, or of one that exists from the root
    discovers: bool  # whether the parents are what the Dockerfile says
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
    issues_url: str
    licenses: str
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
