"""Turn a manifest into targets: every release at every point of its axes.

In: a `Manifest`. Out: `Draft`s (targets whose parents are not linked yet), and what does not exist and why.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from posixpath import dirname
from typing import Any, Literal

from bakegen.errors import BakegenError, Code, Collector
from bakegen.expressions.evaluate import EMPTY_NAME, Evaluator, Expression, FreeText, Scope, Value
from bakegen.expressions.text import as_written, with_defaults
from bakegen.graph.model import Absent, Target
from bakegen.graph.tag_names import Claim, expand_pattern, settle_claims
from bakegen.manifest.model import Axis, AxisValue, Manifest, Registry, Release
from bakegen.source.paths import path_mistake
from bakegen.source.yaml import KeyPath
from bakegen.spec.platforms import Platform
from bakegen.spec.references import is_reference, is_repository, is_tag, registry_host
from bakegen.spec.registry_kinds import KINDS, kind_for

OUTPUT = "generated"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")  # docker-image://, target:, oci-layout://, https://
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_SHOWING = ", ".join(kind.title for kind in KINDS if kind.readme)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A parent that a target asks for: an outside image, or a release of a family at some values."""

    path: KeyPath
    outside: str = ""
    image: str = ""
    release: str = ""
    values: Mapping[str, str] | None = None
    at: tuple[str, ...] = ()  # the axes whose value the manifest says itself


@dataclass(frozen=True, slots=True)
class Draft:
    """A target before its parents are linked; `tag_paths` says which pattern made each tag."""

    target: Target
    wanted: tuple[Wanted, ...]
    tag_paths: tuple[KeyPath, ...]


@dataclass(frozen=True, slots=True)
class Expansion:
    """All that one manifest makes."""

    manifest: Manifest
    drafts: tuple[Draft, ...]
    absent: tuple[Absent, ...]


def word(text: str) -> str:
    """Return text as a word of a bake name, which knows letters, digits, `_` and `-` only."""
    return _UNSAFE.sub("-", text)


def value_word(axis: str, value: str) -> str:
    """Return how an axis value is called in target and group names; a number gets its axis in front: `python3-9`."""
    return word(f"{axis}{value}" if value[0].isdigit() else value)


def dockerfile_word(path: str) -> str:
    """Name a Dockerfile by its folders: `generated/app/debian11/base/Dockerfile-conda` is `app_debian11_base_conda`."""
    parts = path.split("/")[1:]
    parts[-1] = parts[-1].removeprefix("Dockerfile").strip("-.")
    return "_".join(word(part) for part in parts if part)


def build_args(manifest: Manifest, release: Release, values: Mapping[str, str]) -> dict[str, Expression]:
    """Return the build args of the release at some axis values: a release's own over an axis value's over the image's."""
    merged = dict(release.args)
    for axis, value in values.items():
        merged |= manifest.axis(axis).value(value).args
    merged |= release.own_args
    return {name: value for name, value in merged.items() if value is not None}


def expand(manifest: Manifest, evaluator: Evaluator) -> Expansion:
    """Return all targets of a manifest, in its order; raises `BakegenError` with every problem found."""
    work = _Expander(manifest, evaluator)
    drafts = tuple(draft for release in manifest.releases for draft in work.release(release))
    work.problems.stop_if_any()
    return Expansion(manifest, drafts, tuple(work.absent))


class Names:
    """The names that expressions of one manifest may use, apart from those that differ from target to target."""

    def __init__(self, manifest: Manifest, evaluator: Evaluator) -> None:
        self.manifest = manifest
        self.evaluator = evaluator
        self.common: dict[str, Any] = {"image": manifest.image, **manifest.data}
        self.variables = {name: FreeText(f"\0{name}\0") for name in manifest.variables}

    def scope(
        self, values: Mapping[str, Any], properties: Mapping[str, AxisValue], unavailable: Mapping[str, tuple[str, str]]
    ) -> Scope:
        """Return a scope with `values`, and axis values by the text that `values` gives them."""
        scope = Scope(self.evaluator, self.manifest.source, self.manifest.define, unavailable)
        scope.add(self.common).add(values)
        return scope.add(
            {axis: Value(str(values[axis]), axis, value.properties, scope) for axis, value in properties.items()}
        )


def unavailable_names(manifest: Manifest, release: Release) -> dict[str, tuple[str, str]]:
    """Return the names that exist, but not in the expressions of this release, and why."""
    names = {
        axis.name: (
            f'release "{release.name}" does not span axis "{axis.name}"',
            "add it to the `axes` of the release",
        )
        for axis in manifest.axes
        if axis.name not in release.axes
    }
    names["platform"] = ("there is no single platform here", "use `platforms`, or a file with `each: platform`")
    for name in ("args", "parents", "parent"):
        names[name] = (f'"{name}" is known in templates only', "")
    return names


class _Expander:
    def __init__(self, manifest: Manifest, evaluator: Evaluator) -> None:
        self.manifest = manifest
        self.names = Names(manifest, evaluator)
        self.problems = Collector()
        self.absent: list[Absent] = []

    def report(self, code: Code, message: str, path: KeyPath, hint: str = "", *, at_key: bool = False) -> None:
        self.problems.keep(self.manifest.source.problem(code, message, path, hint=hint, at_key=at_key))

    def release(self, release: Release) -> Iterator[Draft]:
        points: list[tuple[dict[str, AxisValue], Scope]] = []
        unavailable = unavailable_names(self.manifest, release)
        for values in itertools.product(*(self.manifest.axis(axis).values for axis in release.axes)):
            point = dict(zip(release.axes, values, strict=True))
            texts = {axis: value.name for axis, value in point.items()}
            if self.excluded(release, point, texts):
                continue
            name = self.target_name(release, point)
            scope = self.names.scope(
                {**self.names.variables, "release": release.name, "target": name, **texts}, point, unavailable
            )
            with self.problems.collecting():
                if self.exists(release, point, scope):
                    points.append((point, scope))
        if not points and not self.problems:
            reasons = dict.fromkeys(absent.reason for absent in self.absent if absent.release == release.name)
            self.report(
                "empty-release",
                f"{self.called_release(release)} has no target: {'; '.join(list(reasons)[:3])}",
                release.path,
                "`when` or `exclude` leaves nothing of it; remove the release or loosen them",
                at_key=True,
            )
        called = self.called(release, points)
        for (point, scope), names in zip(points, called, strict=True):
            try:
                yield self.draft(release, point, scope, names)
            except BakegenError:
                self.diagnose(release, point, scope, names)

    def diagnose(
        self, release: Release, point: dict[str, AxisValue], scope: Scope, names: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Collect all mistakes of a target that could not be made, not just the first."""
        scope.add({"folder": ""})  # should the Dockerfile's path be the mistake
        texts = {axis: value.name for axis, value in point.items()}
        work: list[Callable[[], object]] = [
            lambda: self.output_path(scope, release.dockerfile),
            lambda: self.plain(scope, release.template, "a template"),
            lambda: self.context(scope, release.context),
            *(partial(self.named_context, scope, value) for value in release.contexts.values()),
            *(partial(scope.text, value) for value in release.tags),
            lambda: self.tags(release, point, scope, names),
            *(partial(scope.text, registry.repository) for registry in self.manifest.registries),
            lambda: self.repositories(scope),
            *(partial(scope.text, value) for value in build_args(self.manifest, release, texts).values()),
            *(partial(scope.text, value) for value in (*release.labels.values(), *release.annotations.values())),
            *(partial(scope.text, value) for value in (*release.secrets, *release.ssh, *release.attest)),
            *(partial(scope.text, value) for value in (*release.cache_from, *release.cache_to)),
            *(partial(scope.data, value) for value in release.bake.values()),
            *(partial(list, self.wanted(replace(release, parents=(rule,)), texts, scope)) for rule in release.parents),
        ]
        for attempt in work:
            with self.problems.collecting():
                attempt()

    def called_release(self, release: Release) -> str:
        """Return how messages call a release; a family without releases has none."""
        return f'release "{release.name}"' if release.path[0] == "releases" else f'image "{release.name}"'

    def excluded(self, release: Release, point: Mapping[str, AxisValue], texts: Mapping[str, str]) -> bool:
        here = {**texts, "release": release.name}
        for exclusion in self.manifest.exclude:
            if all(
                axis in here and any(fnmatch.fnmatchcase(here[axis], pattern) for pattern in patterns)
                for axis, patterns in exclusion.patterns.items()
            ):
                self.leave_out(release, point, "exclude", exclusion.because, exclusion.path)
                return True
        return False

    def exists(self, release: Release, point: Mapping[str, AxisValue], scope: Scope) -> bool:
        for condition in release.when:
            if not scope.test(condition):
                self.leave_out(release, point, "when", f"`{condition.text}` is false", condition.path)
                return False
        return True

    def leave_out(
        self,
        release: Release,
        point: Mapping[str, AxisValue],
        cause: Literal["exclude", "when"],
        reason: str,
        path: KeyPath,
    ) -> None:
        texts = {axis: value.name for axis, value in point.items()}
        name = self.target_name(release, point)
        self.absent.append(Absent(name, self.manifest.image, release.name, texts, cause, reason, path))

    def target_name(self, release: Release, point: Mapping[str, AxisValue]) -> str:
        words = [word(self.manifest.image)]
        if release.path[0] == "releases":
            words.append(word(release.name))
        words += [value_word(axis, value.name) for axis, value in point.items() if value.names != ("",)]
        return "_".join(words)

    def called(
        self, release: Release, points: Iterable[tuple[dict[str, AxisValue], Scope]]
    ) -> list[dict[str, tuple[str, ...]]]:
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
        names, quarrels = settle_claims(claims)
        for axis_name, name, values in quarrels:
            shown = f'the name "{name}"' if name else "the empty name"
            self.report(
                "unordered-values",
                f"{shown} could go to {', '.join(values)}, which have no order as versions",
                ("names", axis_name),
                "say which value gets it: {name: …, for: VALUE}",
                at_key=True,
            )
        return names

    def claims(self, axis: Axis, value: AxisValue, scope: Scope) -> list[Claim]:
        if value.names is not None:
            return [Claim(axis.name, name, shared=False) for name in value.names]
        found = []
        for rule in axis.rules:
            if rule.values and value.name not in rule.values:
                continue
            name = scope.text(rule.pattern)
            found.append(Claim(axis.name, name, shared=not rule.values and name != value.name))
        return found or [Claim(axis.name, value.name, shared=False)]

    def draft(
        self, release: Release, point: dict[str, AxisValue], scope: Scope, names: Mapping[str, tuple[str, ...]]
    ) -> Draft:
        manifest = self.manifest
        platforms = self.platforms(release, point)
        scope.add({"platforms": tuple(Platform(platform) for platform in platforms)})
        dockerfile = self.output_path(scope, release.dockerfile)
        scope.add({"folder": dirname(dockerfile)})
        tags = self.tags(release, point, scope, names)
        texts = {axis: value.name for axis, value in point.items()}
        repositories = self.repositories(scope)
        target = Target(
            name=str(scope.lookup("target")),
            image=manifest.image,
            release=release.name,
            values=texts,
            names=names,
            platforms=platforms,
            repositories=tuple(repositories) or (manifest.image,),
            registries=tuple(repositories.values()),
            tags=tuple(tags) or (str(scope.lookup("target")),),
            publish=release.publish,
            parents=(),
            template=self.plain(scope, release.template, "a template"),
            dockerfile=dockerfile,
            context=self.context(scope, release.context),
            contexts={name: self.named_context(scope, value) for name, value in release.contexts.items()},
            args=self.texts(scope, build_args(manifest, release, texts)),
            labels=self.texts(scope, release.labels),
            annotations=self.texts(scope, release.annotations),
            secrets=tuple(map(scope.text, release.secrets)),
            ssh=tuple(map(scope.text, release.ssh)),
            cache_from=tuple(map(scope.text, release.cache_from)),
            cache_to=tuple(map(scope.text, release.cache_to)),
            attest=tuple(map(scope.text, release.attest)),
            bake={name: _written(scope.data(value)) for name, value in release.bake.items()},
            path=release.path,
        )
        return Draft(target, tuple(self.wanted(release, texts, scope)), tuple(tags.values()))

    def platforms(self, release: Release, point: Mapping[str, AxisValue]) -> tuple[str, ...]:
        limits = [
            (f'{axis} "{value.name}"', value.platforms) for axis, value in point.items() if value.platforms is not None
        ]
        if release.platforms is not None:
            limits.append((f'release "{release.name}"', release.platforms))
        left = tuple(
            platform for platform in self.manifest.platforms if all(platform in allowed for _, allowed in limits)
        )
        if not left:
            said = "; ".join(f"{owner} has {', '.join(allowed)}" for owner, allowed in limits)
            self.report(
                "no-platform",
                f"no platform is left for {self.called_release(release)}: {said}",
                release.path,
                "exclude the combination, or give the values a platform in common",
                at_key=True,
            )
        return left

    def output_path(self, scope: Scope, expression: Expression) -> str:
        text = self.plain(scope, expression, "a path")
        return f"{OUTPUT}/{self.manifest.image}/{text}"

    def plain(self, scope: Scope, expression: Expression, what: str) -> str:
        """Return a path that holds no variable and stays in its folder."""
        text = scope.text(expression)
        mistake = (
            f"depends on a variable, which is free until bake time; {what} cannot"
            if "\0" in text
            else path_mistake(text)
        )
        if mistake:
            shown = as_written(text)
            raise BakegenError(
                [self.manifest.source.problem("unsafe-path", f'the path "{shown}" {mistake}', expression.path)]
            )
        return text

    def context(self, scope: Scope, expression: Expression) -> str:
        text = scope.text(expression)
        return text if text == "." or "://" in text else self.plain(scope, expression, "a context")

    def named_context(self, scope: Scope, expression: Expression) -> str:
        """Return a named context: a folder of the project, or what bake knows by a scheme."""
        text = scope.text(expression)
        return text if _SCHEME.match(text) else self.context(scope, expression)

    def tags(
        self, release: Release, point: Mapping[str, AxisValue], scope: Scope, names: Mapping[str, tuple[str, ...]]
    ) -> dict[str, KeyPath]:
        tags: dict[str, KeyPath] = {}
        for pattern in release.tags:
            if names:
                base = {axis: value.name for axis, value in point.items()}
                unavailable = unavailable_names(self.manifest, release)

                def evaluate(
                    chosen: Mapping[str, str],
                    pattern: Expression = pattern,
                    base: Mapping[str, str] = base,
                    unavailable: Mapping[str, tuple[str, str]] = unavailable,
                ) -> str:
                    texts = {**base, **{axis: name or EMPTY_NAME for axis, name in chosen.items()}}
                    fixed = {key: scope.lookup(key) for key in ("release", "target", "platforms", "folder")}
                    inner = self.names.scope({**self.names.variables, **fixed, **texts}, point, unavailable)
                    inner.allows_empty_names = True
                    return inner.text(pattern)

                found = expand_pattern(names, evaluate)
            else:
                found = [scope.text(pattern) or "latest"]
            for tag in found:
                shown = with_defaults(tag, self.manifest.variables)
                if not is_tag(shown):
                    self.report(
                        "invalid-tag",
                        f'"{shown}" is no tag that Docker accepts',
                        pattern.path,
                        "a tag has letters, digits, `_`, `.` and `-`, starts with none of the last two, and is at most 128 long",
                    )
                tags.setdefault(tag, pattern.path)
        return tags

    def repositories(self, scope: Scope) -> dict[str, Registry]:
        found: dict[str, Registry] = {}
        for registry in self.manifest.registries:
            repository = scope.text(registry.repository)
            if not is_repository(repository):
                shown = as_written(repository)
                self.report(
                    "invalid-reference",
                    f'"{shown}" is no repository that Docker accepts',
                    registry.repository.path,
                    "HOST/PATH in lower case, such as docker.io/acme/app, without a tag",
                )
            elif registry.readme and not kind_for(registry.kind, registry_host(repository)).readme:
                self.report(
                    "wrong-value",
                    f"{registry_host(repository)} shows no README",
                    (*registry.path, "readme"),
                    f"leave it out; {_SHOWING} show one, and `kind:` says so where the host does not",
                )
            found.setdefault(repository, registry)
        return found

    def texts(self, scope: Scope, content: Mapping[str, Expression]) -> dict[str, str]:
        return {name: scope.text(value) for name, value in content.items()}

    def wanted(self, release: Release, texts: Mapping[str, str], scope: Scope) -> Iterator[Wanted]:
        for rule in release.parents:
            if rule.when and not scope.test(rule.when):
                continue
            if rule.outside is None:
                at = {axis: scope.text(value) for axis, value in rule.at.items()}
                image = rule.image or self.manifest.image
                yield Wanted(rule.path, image=image, release=rule.release, values={**texts, **at}, at=tuple(at))
                continue
            reference = scope.text(rule.outside).strip()
            if not reference:
                continue
            if reference != "scratch" and not is_reference(with_defaults(reference, self.manifest.variables)):
                self.report(
                    "invalid-reference",
                    f'"{as_written(reference)}" is no image that Docker accepts',
                    rule.path,
                    "an image is written REPOSITORY:TAG in lower case, such as debian:12-slim",
                )
            yield Wanted(rule.path, outside=reference)


def _written(value: Any) -> Any:
    """Return evaluated data with variables marked inside its texts."""
    if isinstance(value, FreeText):
        return value.marked
    if isinstance(value, dict):
        return {key: _written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_written(item) for item in value]
    return value
