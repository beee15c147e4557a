"""Turn a manifest into targets: every release at every combination of its axes' values.

In: a `Manifest`. Out: `Draft`s (targets whose parents are not linked yet), and what does not exist and why.
"""

from __future__ import annotations

import fnmatch
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from bakegen.expressions.sandbox import Evaluator
from bakegen.expressions.scope import Scope
from bakegen.graph.draft import Draft, Drafter, Point
from bakegen.graph.model import Absent, MissingPlatform
from bakegen.graph.names import value_word, word
from bakegen.graph.scope import FamilyNames
from bakegen.graph.tag_names import Claim, Settled, settle_claims
from bakegen.manifest.model import Axis, AxisValue, Exclusion, Manifest, Release
from bakegen.source.yaml import KeyPath

MAX_COMBINATIONS = 100_000  # of axis values in one manifest, before `exclude` and `when`: a second of work
MAX_TARGETS = 20_000  # of a project: bake, whose time grows with their square, needs minutes to read as many


@dataclass(frozen=True, slots=True)
class Expansion:
    """All that one manifest makes."""

    manifest: Manifest
    drafts: tuple[Draft, ...]
    absent: tuple[Absent, ...]


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
        self.drafter = Drafter(manifest)
        self.report = self.drafter.report
        self.problems = self.drafter.problems
        self.hits = self.drafter.hits
        self.absent: list[Absent] = []

    def check_hits(self) -> None:
        """Report what makes no difference, and so is probably misspelt; a file that several include may say more."""
        source = self.manifest.source

        def own(path: KeyPath) -> bool:
            return source.place(path).value.file == source.file

        for exclusion in self.manifest.exclude:
            if exclusion.path not in self.hits and own(exclusion.path):
                hint = "no combination matches; remove the entry, or fix its values"
                self.report("no-effect", "this entry excludes nothing", exclusion.path, hint)
        for path, condition in self.drafter.asked.items():
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
            yield self.drafter.draft(release, point, scope, settled, *built[scope])

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
            if (rule.values and value.name not in rule.values) or not self.drafter.holds(scope, rule.pattern.when):
                continue
            name = scope.plain(rule.pattern)
            found.append(Claim(axis.name, name, not rule.values and name != value.name, rule.pattern.path))
        return found or [Claim(axis.name, value.name, shared=False, path=value.path)]

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


def _matches(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)
