"""Make one target of a release at some axis values: evaluate what its manifest says, and check each value.

In: a `Release`, axis values, the names that they go by, platforms. Out: a `Draft`, a target whose parents are not linked
yet. What fails leaves a placeholder and a problem, so that all that is wrong is found at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bakegen.errors import Code, Collector, Problem, did_you_mean
from bakegen.expressions.scope import Condition, Expression, Scope
from bakegen.expressions.syntax import computed_from
from bakegen.expressions.text import Text
from bakegen.graph.model import MissingPlatform, Target
from bakegen.graph.scope import completed
from bakegen.graph.tag_names import Settled, expand_pattern
from bakegen.graph.values import agent_problems, attribute_problems, value_problems
from bakegen.manifest.model import AxisValue, Manifest, Registry, Release
from bakegen.source.paths import path_mistake
from bakegen.source.yaml import KeyPath
from bakegen.spec.platforms import Platform
from bakegen.spec.references import is_reference, is_repository, is_tag, registry_host
from bakegen.spec.registry_kinds import KINDS, kind_for

OUTPUT = "generated"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")  # docker-image://, target:, oci-layout://, https://
_SHOWING = ", ".join(kind.title for kind in KINDS if kind.readme)
_MAYBE = "for a parent of some targets only, add a condition: {reference: …, when: …}"
_SOMETIMES = "for a tag of some targets only, add a condition: {tag: …, when: …}"
_HERE, _SCRATCH = Text.literal("."), Text.literal("scratch")

Point = Mapping[str, AxisValue]  # axis -> value


@dataclass(frozen=True, slots=True)
class ParentRequest:
    """A parent that a target asks for: an outside image, or a release of a family at some values."""

    path: KeyPath
    outside: Text = Text()  # noqa: RUF009 - frozen
    image: str = ""
    release: str = ""
    values: Mapping[str, str] | None = None
    at: tuple[str, ...] = ()  # the axes whose value the manifest says itself


@dataclass(frozen=True, slots=True)
class Draft:
    """A target before its parents are linked."""

    target: Target
    parents: tuple[ParentRequest, ...]
    discovers: bool = False  # whether the parents are those that the Dockerfile names


def build_args(manifest: Manifest, release: Release, values: Mapping[str, str]) -> dict[str, Expression]:
    """Return the build args of the release at some axis values: a release's own over an axis value's over the image's."""
    merged = dict(release.args)
    for axis, value in values.items():
        merged |= manifest.axis(axis).value(value).args
    merged |= release.own_args
    return {name: value for name, value in merged.items() if value is not None}


class Drafter:
    """Makes the targets of one manifest, one at a time; what is wrong goes to `problems`.

    `hits` are the exclusions and conditions that make a difference, `asked` the conditions of entries.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._releases = {release.name for release in manifest.releases if release.path[0] == "releases"}
        self.problems = Collector()
        self.asked: dict[KeyPath, Condition] = {}
        self.hits: set[KeyPath] = set()

    def report(self, code: Code, message: str, path: KeyPath, hint: str = "", *, at_key: bool = False) -> None:
        """Keep a problem at a place of the manifest."""
        self.problems.keep(self.manifest.source.problem(code, message, path, hint=hint, at_key=at_key))

    def draft(
        self,
        release: Release,
        point: Point,
        scope: Scope,
        settled: Settled,
        platforms: tuple[str, ...],
        missing: tuple[MissingPlatform, ...],
    ) -> Draft:
        """Return a target; `scope` has its names but for platforms and Dockerfile, `settled` its names in tags."""
        manifest = self.manifest
        names, lost = settled
        values = {axis: value.name for axis, value in point.items()}
        dockerfile = self._path(scope, release.dockerfile, "a path")
        if release.template:
            dockerfile = f"{OUTPUT}/{manifest.image}/{dockerfile}"
        completed(scope, platforms, dockerfile)
        texts = {axis: [name.text for name in found] for axis, found in names.items()}
        tags = self._tags(release.tags, scope, texts)
        repositories = self._repositories(scope)
        target = Target(
            name=str(scope.lookup("target")),
            image=manifest.image,
            release=release.name,
            values=values,
            names=names,
            lost_names=lost,
            platforms=platforms,
            missing_platforms=missing,
            repositories=tuple(repositories) or (Text.literal(manifest.image),),
            registries=tuple(repositories.values()),
            tags=tuple(tags) or (Text.literal(str(scope.lookup("target"))),),
            tag_paths=tuple(tags.values()),
            platform_tags=self._platform_tags(release, scope, texts, platforms),
            publish=release.publish,
            parents=(),
            template=self._path(scope, release.template, "a template") if release.template else None,
            dockerfile=dockerfile,
            context=self._context(scope, release.context),
            contexts={name: self._named_context(scope, value) for name, value in release.contexts.items()},
            args=self._mapping(scope, build_args(manifest, release, values)),
            labels=self._mapping(scope, release.labels),
            annotations=self._mapping(scope, release.annotations, "annotations"),
            secrets=self._list(scope, release.secrets, "secret"),
            ssh=self._agents(scope, release),
            cache_from=self._list(scope, release.cache_from, "cache-from"),
            cache_to=self._list(scope, release.cache_to, "cache-to"),
            attest=self._list(scope, release.attest, "attest"),
            bake={name: self._attribute(scope, release, name, value) for name, value in release.bake.items()},
            path=release.path,
        )
        return Draft(target, tuple(self._parents(release, values, scope)), release.discovers)

    def holds(self, scope: Scope, when: Condition | None) -> bool:
        """Return whether an entry holds; raises `BakegenError` if its condition cannot be evaluated."""
        if when is None:
            return True
        self.asked.setdefault(when.path, when)
        if scope.test(when):
            self.hits.add(when.path)
            return True
        return False

    def _keep(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.problems.keep(problem)

    def _text(self, scope: Scope, expression: Expression, attribute: str = "", key: str = "") -> Text:
        """Return a text; one that is a value of a bake attribute, in a mapping with its key, is checked."""
        with self.problems.collecting():
            text = scope.text(expression)
            if attribute:
                value = Text.joined([f"{key}=", text]) if key else text
                self._keep(value_problems(self.manifest, attribute, value, expression.path))
            return text
        return Text()

    def _has(self, scope: Scope, entry: Expression) -> bool:
        if entry.when is None:
            return True
        with self.problems.collecting():
            return self.holds(scope, entry.when)
        return False

    def _list(self, scope: Scope, expressions: Iterable[Expression], attribute: str) -> tuple[Text, ...]:
        return tuple(self._text(scope, found, attribute) for found in expressions if self._has(scope, found))

    def _mapping(self, scope: Scope, content: Mapping[str, Expression], attribute: str = "") -> dict[str, Text]:
        return {
            name: self._text(scope, value, attribute, key=name)
            for name, value in content.items()
            if self._has(scope, value)
        }

    def _agents(self, scope: Scope, release: Release) -> tuple[Text, ...]:
        agents = self._list(scope, release.ssh, "ssh")
        self._keep(agent_problems(self.manifest, release, agents))
        return agents

    def _attribute(self, scope: Scope, release: Release, name: str, value: Any) -> Any:
        with self.problems.collecting():
            texts = scope.texts(value)
            self._keep(attribute_problems(self.manifest, release, name, texts))
            return texts
        return None

    def _path(self, scope: Scope, expression: Expression, what: str) -> str:
        """Return a path that holds no variable and stays in its folder."""
        with self.problems.collecting():
            text = scope.text(expression)
            mistake = (
                f"contains a variable, which is not allowed in {what}"
                if text.variables
                else path_mistake(text.with_defaults())
            )
            if not mistake:
                return text.with_defaults()
            self.report("unsafe-path", f'the path "{text.as_written()}" {mistake}', expression.path)
        return "Dockerfile"

    def _context(self, scope: Scope, expression: Expression, attribute: str = "context") -> Text:
        text = self._text(scope, expression, attribute)
        if not text or text == _HERE or "://" in text.with_defaults():
            return text
        return Text.literal(self._path(scope, expression, "a context"))

    def _named_context(self, scope: Scope, expression: Expression) -> Text:
        """Return a named context: a folder of the project, or what bake knows by a scheme."""
        text = self._text(scope, expression, "contexts")
        return text if _SCHEME.match(text.with_defaults()) else self._context(scope, expression, "contexts")

    def _tags(
        self, patterns: Iterable[Expression], scope: Scope, names: Mapping[str, Sequence[str]]
    ) -> dict[Text, KeyPath]:
        tags: dict[Text, KeyPath] = {}
        for pattern in patterns:
            with self.problems.collecting():
                if not self.holds(scope, pattern.when):
                    continue
                self._check_names(scope, pattern, names)
                for tag in expand_pattern(names, scope, pattern):
                    if not tag:
                        self.report("empty-text", "the tag is empty", pattern.path, _SOMETIMES)
                    elif not is_tag(tag.with_defaults()):
                        self.report(
                            "invalid-tag",
                            f'"{tag.with_defaults()}" is not a valid tag',
                            pattern.path,
                            "use letters, digits, `_`, `.` and `-`, not starting with `.` or `-`, at most 128 characters",
                        )
                    tags.setdefault(tag, pattern.path)
        return tags

    def _platform_tags(
        self, release: Release, scope: Scope, names: Mapping[str, Sequence[str]], platforms: Iterable[str]
    ) -> dict[str, Mapping[Text, KeyPath]]:
        """Return the tags of each platform's image alone, with their patterns; two platforms with one tag are a problem."""
        found: dict[str, Mapping[Text, KeyPath]] = {}
        first: dict[Text, str] = {}
        for platform in platforms if release.platform_tags else ():
            tags = self._tags(release.platform_tags, scope.with_names({"platform": Platform(platform)}), names)
            if tags:
                found[platform] = tags
            for tag, path in tags.items():
                other = first.setdefault(tag, platform)
                if other != platform:
                    message = f'the tag "{tag.with_defaults()}" is used by both {other} and {platform}'
                    hint = "make it unique, for example with {{ platform.arch }} or {{ platform.name }}"
                    self.report("tag-collision", message, path, hint)
        return found

    def _check_names(self, scope: Scope, pattern: Expression, names: Mapping[str, Sequence[str]]) -> None:
        """Refuse a pattern that computes text from an axis which goes by other names than its value there."""
        renamed = frozenset(axis for axis, found in names.items() if list(found) != [str(scope.lookup(axis))])
        axis = None if pattern.is_literal or not renamed else computed_from(pattern.text, renamed)
        if axis:
            self.report(
                "computed-name",
                f'this computes with "{axis}", which has other names in tags',
                pattern.path,
                f"use {{{{ {axis} }}}} unchanged for its names, compute names under `names`, or use `define` to compute "
                "with the value",
            )

    def _repositories(self, scope: Scope) -> dict[Text, Registry]:
        found: dict[Text, Registry] = {}
        for registry in self.manifest.registries:
            with self.problems.collecting():
                if not self.holds(scope, registry.when):
                    continue
                text = scope.text(registry.repository)
                repository = text.with_defaults()
                if not is_repository(repository):
                    self.report(
                        "invalid-reference",
                        f'"{text.as_written()}" is not a valid repository',
                        registry.repository.path,
                        "use HOST/PATH in lower case, without a tag, such as docker.io/acme/app",
                    )
                elif registry.readme and not kind_for(registry.kind, registry_host(repository)).readme:
                    self.report(
                        "wrong-value",
                        f"{registry_host(repository)} does not show READMEs",
                        (*registry.path, "readme"),
                        f"remove it, or set `kind` if the registry is one of {_SHOWING}",
                    )
                found.setdefault(text, registry)
        return found

    def _parents(self, release: Release, values: Mapping[str, str], scope: Scope) -> Iterator[ParentRequest]:
        for rule in release.parents:
            with self.problems.collecting():
                if not self.holds(scope, rule.when):
                    continue
                if rule.outside is None:
                    at = {axis: scope.plain(value) for axis, value in rule.at.items()}
                    image = rule.image or self.manifest.image
                    yield ParentRequest(
                        rule.path, image=image, release=rule.release, values={**values, **at}, at=tuple(at)
                    )
                    continue
                reference = scope.text(rule.outside).strip()
                word = reference.with_defaults()
                if not reference:
                    self.report("empty-text", "the parent is empty", rule.outside.path, _MAYBE)
                    continue
                if word in self._releases:  # as if it were written there
                    yield ParentRequest(rule.path, image=self.manifest.image, release=word, values=values)
                    continue
                if not rule.outside.is_literal and word != "scratch" and not set(word) & set(":/@"):
                    hint = did_you_mean(word, self._releases)
                    message = f'this evaluates to "{word}", which is not a release'
                    self.report(
                        "unknown-release",
                        message,
                        rule.path,
                        f"{hint} For an outside image, write the tag as well: {word}:latest",
                    )
                    continue
                if reference != _SCRATCH and not is_reference(reference.with_defaults()):
                    self.report(
                        "invalid-reference",
                        f'"{reference.as_written()}" is not a valid image reference',
                        rule.path,
                        "use REPOSITORY:TAG in lower case, such as debian:12-slim",
                    )
                yield ParentRequest(rule.path, outside=reference)
