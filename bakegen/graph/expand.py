"""Turn a manifest into targets: every release at every combination of its axes' values.

In: a `Manifest`. Out: `Draft`s (targets whose parents are not linked yet), and what does not exist and why.
"""

from __future__ import annotations

import fnmatch
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from bakegen.errors import Code, Collector, Problem, did_you_mean
from bakegen.expressions.sandbox import Evaluator
from bakegen.expressions.scope import Condition, Expression, Scope
from bakegen.expressions.syntax import computed_from
from bakegen.expressions.text import Text
from bakegen.graph.model import Absent, MissingPlatform, Target
from bakegen.graph.names import value_word, word
from bakegen.graph.scope import FamilyNames, completed
from bakegen.graph.tag_names import Claim, Settled, expand_pattern, settle_claims
from bakegen.graph.values import agent_problems, attribute_problems, value_problems
from bakegen.manifest.model import Axis, AxisValue, Exclusion, Manifest, Registry, Release
from bakegen.source.paths import path_mistake
from bakegen.source.yaml import KeyPath
from bakegen.spec.platforms import Platform
from bakegen.spec.references import is_reference, is_repository, is_tag, registry_host
from bakegen.spec.registry_kinds import KINDS, kind_for

OUTPUT = "generated"
MAX_COMBINATIONS = 100_000  # of axis values in one manifest, before `exclude` and `when`: a second of work
MAX_TARGETS = 20_000  # of a project: bake, whose time grows with their square, needs minutes to read as many
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")  # docker-image://, target:, oci-layout://, https://
_SHOWING = ", ".join(kind.title for kind in KINDS if kind.readme)

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


@dataclass(frozen=True, slots=True)
class Expansion:
    """All that one manifest makes."""

    manifest: Manifest
    drafts: tuple[Draft, ...]
    absent: tuple[Absent, ...]


def build_args(manifest: Manifest, release: Release, values: Mapping[str, str]) -> dict[str, Expression]:
    """Return the build args of the release at some axis values: a release's own over an axis value's over the image's."""
    merged = dict(release.args)
    for axis, value in values.items():
        merged |= manifest.axis(axis).value(value).args
    merged |= release.own_args
    return {name: value for name, value in merged.items() if value is not None}


def expand(manifest: Manifest, evaluator: Evaluator) -> Expansion:
    """Return all targets of a manifest, in its order; raises `BakegenError` with every problem found."""
    _check_size(manifest)
    manifest = _with_series(manifest, evaluator)
    work = _Expander(manifest, evaluator)
    drafts = tuple(draft for release in manifest.releases for draft in work.release(release))
    work.check_hits()
    work.problems.stop_if_any()
    return Expansion(manifest, drafts, tuple(work.absent))


def _with_series(manifest: Manifest, evaluator: Evaluator) -> Manifest:
    """Return a manifest whose axis values know what the names of targets and groups call them."""
    if not any(axis.series for axis in manifest.axes):
        return manifest
    names = FamilyNames(manifest, evaluator)
    axes = tuple(
        replace(
            axis,
            values=tuple(
                replace(value, series=names.value(axis, value).plain(axis.series) if axis.series else "")
                for value in axis.values
            ),
        )
        for axis in manifest.axes
    )
    return replace(manifest, axes=axes)


def _check_size(manifest: Manifest) -> None:
    """Refuse a manifest whose axes multiply to more than anybody can build, before any work is done."""
    left = MAX_COMBINATIONS
    for release in manifest.releases:
        sizes = {axis: len(manifest.axis(axis).values) for axis in release.axes}
        number = math.prod(sizes.values())
        left -= number
        if left < 0:
            shown = " by ".join(f"{size} {axis}" for axis, size in sizes.items())
            raise manifest.source.failure(
                "too-many-targets",
                f'release "{release.name}" has {number:,} combinations of axis values ({shown}); '
                f"the maximum is {MAX_COMBINATIONS:,}",
                release.path,
                at_key=True,
                hint="use fewer axes per release, or split the family into several manifests",
            )


class _Expander:
    """Makes targets of one manifest; what is wrong goes to `problems`, and `expand` fails in the end if there are any."""

    def __init__(self, manifest: Manifest, evaluator: Evaluator) -> None:
        self.manifest = manifest
        self.names = FamilyNames(manifest, evaluator)
        self.releases = {release.name for release in manifest.releases if release.path[0] == "releases"}
        self.problems = Collector()
        self.absent: list[Absent] = []
        self.asked: dict[KeyPath, Condition] = {}  # the conditions of entries
        self.hits: set[KeyPath] = set()  # of the exclusions and conditions that make a difference

    def report(self, code: Code, message: str, path: KeyPath, hint: str = "", *, at_key: bool = False) -> None:
        self.problems.keep(self.manifest.source.problem(code, message, path, hint=hint, at_key=at_key))

    def check_hits(self) -> None:
        """Report what makes no difference, and so is probably misspelt; a file that several include may say more."""
        source = self.manifest.source

        def own(path: KeyPath) -> bool:
            return source.place(path).value.file == source.file

        for exclusion in self.manifest.exclude:
            if exclusion.path not in self.hits and own(exclusion.path):
                hint = "no combination matches; remove the entry, or fix its values"
                self.report("no-effect", "this entry excludes nothing", exclusion.path, hint)
        for path, condition in self.asked.items():
            if path not in self.hits and own(path):
                hint = "remove the entry, or fix its condition"
                self.report("no-effect", f"`{condition.text}` is false for every target", path, hint)

    # ---- Which combinations exist

    def release(self, release: Release) -> Iterator[Draft]:
        points: list[tuple[Point, Scope]] = []
        built: dict[Scope, tuple[tuple[str, ...], tuple[MissingPlatform, ...]]] = {}
        for values in itertools.product(*(self.manifest.axis(axis).values for axis in release.axes)):
            point: Point = dict(zip(release.axes, values, strict=True))
            if self.excluded(release, point):
                continue
            scope = self.names.at(release, point, self.target_name(release, point))
            with self.problems.collecting():
                if not self.exists(release, point, scope):
                    continue
                platforms, missing = self.platforms(release, point)
                if platforms:
                    points.append((point, scope))
                    built[scope] = platforms, missing
        if not points and not self.problems:
            reasons = dict.fromkeys(absent.reason for absent in self.absent if absent.release == release.name)
            self.report(
                "empty-release",
                f"{self.called_release(release)} has no target: {'; '.join(list(reasons)[:3])}",
                release.path,
                "`when` or `exclude` rules out every combination; relax them, or remove the release",
                at_key=True,
            )
        called = self.called(release, points)
        for (point, scope), settled in zip(points, called, strict=True):
            yield self.draft(release, point, scope, settled, *built[scope])

    def called_release(self, release: Release) -> str:
        """Return how messages call a release; a family without releases has none."""
        return f'release "{release.name}"' if release.path[0] == "releases" else f'image "{release.name}"'

    def excluded(self, release: Release, point: Point) -> bool:
        whole = [found for found in self.exclusions(release, point) if "platform" not in found.patterns]
        if whole:
            self.leave_out(release, point, "exclude", whole[0].because, whole[0].path)
        return bool(whole)

    def exclusions(self, release: Release, point: Point) -> Iterator[Exclusion]:
        """Yield the exclusions that a combination is subject to, whatever platforms they name."""
        if not self.manifest.exclude:
            return
        here = {**{axis: value.name for axis, value in point.items()}, "release": release.name}
        for exclusion in self.manifest.exclude:
            if all(
                axis == "platform" or (axis in here and _matches(here[axis], patterns))
                for axis, patterns in exclusion.patterns.items()
            ):
                self.hits.add(exclusion.path)
                yield exclusion

    def exists(self, release: Release, point: Point, scope: Scope) -> bool:
        for condition in release.when:
            if not scope.test(condition):
                self.leave_out(release, point, "when", f"`{condition.text}` is false", condition.path)
                return False
        return True

    def leave_out(
        self, release: Release, point: Point, cause: Literal["exclude", "when"], reason: str, path: KeyPath
    ) -> None:
        texts = {axis: value.name for axis, value in point.items()}
        name = self.target_name(release, point)
        self.absent.append(Absent(name, self.manifest.image, release.name, texts, cause, reason, path))

    def target_name(self, release: Release, point: Point) -> str:
        words = [word(self.manifest.image)]
        if release.path[0] == "releases":
            words.append(word(release.name))
        words += [value_word(axis, value.label) for axis, value in point.items() if value.names != ("",)]
        return "_".join(words)

    # ---- What axis values are called in tags

    def called(self, release: Release, points: Iterable[tuple[Point, Scope]]) -> list[Settled]:
        """Return, per point, the names that axis values go by in tags (only of axes with rules about names)."""
        ruled = [
            axis
            for axis in map(self.manifest.axis, release.axes)
            if axis.rules or any(value.names is not None for value in axis.values)
        ]
        claims = []
        for point, scope in points:
            mine: list[Claim] = []
            with self.problems.collecting():
                for axis in ruled:
                    mine += self.claims(axis, point[axis.name], scope)
            claims.append(({name: value.name for name, value in point.items()}, mine))
        settled, quarrels = settle_claims(claims)
        for quarrel in quarrels:
            shown = f'the name "{quarrel.name}"' if quarrel.name else "the empty name"
            self.report(
                "unordered-values",
                f"{shown} could go to {', '.join(quarrel.values)}, which cannot be ordered as versions",
                quarrel.path,
                "choose the value: {name: …, for: VALUE}",
            )
        return settled

    def claims(self, axis: Axis, value: AxisValue, scope: Scope) -> list[Claim]:
        if value.names is not None:
            path = (*value.path, "names")
            return [Claim(axis.name, name, shared=False, path=(*path, index)) for index, name in enumerate(value.names)]
        found = []
        for rule in axis.rules:
            if (rule.values and value.name not in rule.values) or not self.holds(scope, rule.pattern.when):
                continue
            name = scope.plain(rule.pattern)
            found.append(Claim(axis.name, name, not rule.values and name != value.name, rule.pattern.path))
        return found or [Claim(axis.name, value.name, shared=False, path=value.path)]

    # ---- One target. What fails leaves a placeholder, so that all that is wrong is found at once

    def draft(
        self,
        release: Release,
        point: Point,
        scope: Scope,
        settled: Settled,
        platforms: tuple[str, ...],
        missing: tuple[MissingPlatform, ...],
    ) -> Draft:
        manifest = self.manifest
        names, lost = settled
        values = {axis: value.name for axis, value in point.items()}
        dockerfile = self.path(scope, release.dockerfile, "a path")
        if release.template:
            dockerfile = f"{OUTPUT}/{manifest.image}/{dockerfile}"
        completed(scope, platforms, dockerfile)
        texts = {axis: [name.text for name in found] for axis, found in names.items()}
        tags = self.tags(release.tags, scope, texts)
        repositories = self.repositories(scope)
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
            platform_tags=self.platform_tags(release, scope, texts, platforms),
            publish=release.publish,
            parents=(),
            template=self.path(scope, release.template, "a template") if release.template else None,
            dockerfile=dockerfile,
            context=self.context(scope, release.context),
            contexts={name: self.named_context(scope, value) for name, value in release.contexts.items()},
            args=self.mapping(scope, build_args(manifest, release, values)),
            labels=self.mapping(scope, release.labels),
            annotations=self.mapping(scope, release.annotations, "annotations"),
            secrets=self.list(scope, release.secrets, "secret"),
            ssh=self.agents(scope, release),
            cache_from=self.list(scope, release.cache_from, "cache-from"),
            cache_to=self.list(scope, release.cache_to, "cache-to"),
            attest=self.list(scope, release.attest, "attest"),
            bake={name: self.attribute(scope, release, name, value) for name, value in release.bake.items()},
            path=release.path,
        )
        return Draft(target, tuple(self.parents(release, values, scope)), release.discovers)

    def holds(self, scope: Scope, when: Condition | None) -> bool:
        """Return whether an entry holds; raises `BakegenError` if its condition cannot be evaluated."""
        if when is None:
            return True
        self.asked.setdefault(when.path, when)
        if scope.test(when):
            self.hits.add(when.path)
            return True
        return False

    def keep(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.problems.keep(problem)

    def text(self, scope: Scope, expression: Expression, attribute: str = "", key: str = "") -> Text:
        """Return a text; one that is a value of a bake attribute, in a mapping with its key, is checked."""
        with self.problems.collecting():
            text = scope.text(expression)
            if attribute:
                value = Text.joined([f"{key}=", text]) if key else text
                self.keep(value_problems(self.manifest, attribute, value, expression.path))
            return text
        return Text()

    def has(self, scope: Scope, entry: Expression) -> bool:
        if entry.when is None:
            return True
        with self.problems.collecting():
            return self.holds(scope, entry.when)
        return False

    def list(self, scope: Scope, expressions: Iterable[Expression], attribute: str) -> tuple[Text, ...]:
        return tuple(self.text(scope, found, attribute) for found in expressions if self.has(scope, found))

    def mapping(self, scope: Scope, content: Mapping[str, Expression], attribute: str = "") -> dict[str, Text]:
        return {
            name: self.text(scope, value, attribute, key=name)
            for name, value in content.items()
            if self.has(scope, value)
        }

    def agents(self, scope: Scope, release: Release) -> tuple[Text, ...]:
        agents = self.list(scope, release.ssh, "ssh")
        self.keep(agent_problems(self.manifest, release, agents))
        return agents

    def attribute(self, scope: Scope, release: Release, name: str, value: Any) -> Any:
        with self.problems.collecting():
            texts = scope.texts(value)
            self.keep(attribute_problems(self.manifest, release, name, texts))
            return texts
        return None

    def platforms(self, release: Release, point: Point) -> tuple[tuple[str, ...], tuple[MissingPlatform, ...]]:
        """Return the platforms of a combination, and those of the image that it does not have, with the reason.

        One that has none by exclusion does not exist; one that has none by its declarations is a problem.
        """
        limits = [
            (f'{axis} "{value.name}"', value.platforms, (*value.path, "platforms"))
            for axis, value in point.items()
            if value.platforms is not None
        ]
        if release.platforms is not None:
            limits.append((f'release "{release.name}"', release.platforms, (*release.path, "platforms")))
        missing: dict[str, MissingPlatform] = {}
        for owner, allowed, path in limits:
            for platform in self.manifest.platforms:
                if platform not in allowed:
                    missing.setdefault(platform, MissingPlatform(platform, f"{owner} is not built for it", path))
        if len(missing) == len(self.manifest.platforms):
            said = "; ".join(f"{owner} has {', '.join(allowed)}" for owner, allowed, _ in limits)
            self.report(
                "no-platform",
                f"no platforms remain for {self.called_release(release)}: {said}",
                release.path,
                "exclude the combination, or add a common platform",
                at_key=True,
            )
            return self.manifest.platforms, ()
        for exclusion in self.exclusions(release, point):
            for platform in self.manifest.platforms:
                if _matches(platform, exclusion.patterns["platform"]):
                    missing.setdefault(platform, MissingPlatform(platform, exclusion.because, exclusion.path))
        left = tuple(platform for platform in self.manifest.platforms if platform not in missing)
        if not left:
            last = list(missing.values())[-1]
            self.leave_out(release, point, "exclude", last.reason, last.path)
        return left, tuple(missing.values())

    def path(self, scope: Scope, expression: Expression, what: str) -> str:
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

    def context(self, scope: Scope, expression: Expression, attribute: str = "context") -> Text:
        text = self.text(scope, expression, attribute)
        if not text or text == _HERE or "://" in text.with_defaults():
            return text
        return Text.literal(self.path(scope, expression, "a context"))

    def named_context(self, scope: Scope, expression: Expression) -> Text:
        """Return a named context: a folder of the project, or what bake knows by a scheme."""
        text = self.text(scope, expression, "contexts")
        return text if _SCHEME.match(text.with_defaults()) else self.context(scope, expression, "contexts")

    def tags(
        self, patterns: Iterable[Expression], scope: Scope, names: Mapping[str, Sequence[str]]
    ) -> dict[Text, KeyPath]:
        tags: dict[Text, KeyPath] = {}
        for pattern in patterns:
            with self.problems.collecting():
                if not self.holds(scope, pattern.when):
                    continue
                self.check_names(scope, pattern, names)
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

    def platform_tags(
        self, release: Release, scope: Scope, names: Mapping[str, Sequence[str]], platforms: Iterable[str]
    ) -> dict[str, Mapping[Text, KeyPath]]:
        """Return the tags of each platform's image alone, with their patterns; two platforms with one tag are a problem."""
        found: dict[str, Mapping[Text, KeyPath]] = {}
        first: dict[Text, str] = {}
        for platform in platforms if release.platform_tags else ():
            tags = self.tags(release.platform_tags, scope.with_names({"platform": Platform(platform)}), names)
            if tags:
                found[platform] = tags
            for tag, path in tags.items():
                other = first.setdefault(tag, platform)
                if other != platform:
                    message = f'the tag "{tag.with_defaults()}" is used by both {other} and {platform}'
                    hint = "make it unique, for example with {{ platform.arch }} or {{ platform.name }}"
                    self.report("tag-collision", message, path, hint)
        return found

    def check_names(self, scope: Scope, pattern: Expression, names: Mapping[str, Sequence[str]]) -> None:
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

    def repositories(self, scope: Scope) -> dict[Text, Registry]:
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

    def parents(self, release: Release, values: Mapping[str, str], scope: Scope) -> Iterator[ParentRequest]:
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
                if word in self.releases:  # as if it were written there
                    yield ParentRequest(rule.path, image=self.manifest.image, release=word, values=values)
                    continue
                if not rule.outside.is_literal and word != "scratch" and not set(word) & set(":/@"):
                    hint = did_you_mean(word, self.releases)
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


_MAYBE = "for a parent of some targets only, add a condition: {reference: …, when: …}"
_SOMETIMES = "for a tag of some targets only, add a condition: {tag: …, when: …}"
_HERE, _SCRATCH = Text.literal("."), Text.literal("scratch")


def _matches(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)
