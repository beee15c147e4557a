"""Why there is no such tag: who would have it, and what rules it out.

In: a project and the text of a tag. Out: a `Problem` that names the pattern it would come from, taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from bakegen.errors import BakegenError, Problem, did_you_mean
from bakegen.expressions.scope import Expression, Scope
from bakegen.expressions.syntax import split_expressions
from bakegen.graph.model import Absent, Target
from bakegen.graph.scope import FamilyNames
from bakegen.graph.tag_names import expand_pattern
from bakegen.manifest.model import Axis, AxisValue, Manifest, Release
from bakegen.project import Project

_ANY = r"[A-Za-z0-9_.]+"  # what stands for a part of a tag: rarely with a dash


def why_no_tag(project: Project, tag: str, environment: Mapping[str, str]) -> Problem | None:
    """Return why no target has a tag, None if no pattern could give it."""
    families = {manifest.image: FamilyNames(manifest, project.evaluator) for manifest in project.graph.manifests}
    with project.evaluator.limits:
        for names in families.values():
            if found := _absent(names, project.graph.absent, tag, environment):
                return found
    candidates = [
        found
        for names in families.values()
        for found in _taken_apart(names.manifest, project.graph.by_image[names.manifest.image], tag, environment)
    ]
    return min(candidates, key=lambda found: found[0])[1] if candidates else None


def _absent(names: FamilyNames, absent: Sequence[Absent], tag: str, environment: Mapping[str, str]) -> Problem | None:
    """Look among the combinations that do not exist."""
    manifest = names.manifest
    for one in absent:
        release = next((found for found in manifest.releases if found.name == one.release), None)
        if one.image != manifest.image or not release or not release.publish:
            continue
        point = {axis: manifest.axis(axis).value(value) for axis, value in one.values.items()}
        scope = names.at(release, point, one.name)
        called = {axis: _all_names(manifest.axis(axis), value, scope) for axis, value in point.items()}
        if tag in _tags(release, scope, called, environment):
            message = f'no target has the tag "{tag}": {one.name} does not exist: {one.reason}'
            return manifest.source.problem("unknown-tag", message, one.path)
    return None


def _all_names(axis: Axis, value: AxisValue, scope: Scope) -> list[str]:
    """Return every name that a value could go by."""
    rules = [rule for rule in axis.rules if not rule.values or value.name in rule.values]
    return [value.name, *(value.names or ()), *(scope.plain(rule.pattern) for rule in rules if not value.names)]


def _tags(
    release: Release, scope: Scope, called: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> Iterator[str]:
    for pattern in release.tags:
        try:
            yield from (tag.at_bake_time(environment) for tag in expand_pattern(called, scope, pattern))
        except BakegenError:  # an expression that works only where the target exists
            continue


def _taken_apart(
    manifest: Manifest, targets: Sequence[Target], tag: str, environment: Mapping[str, str]
) -> Iterator[tuple[int, Problem]]:
    """Yield, for each pattern that could give a tag, how many of its parts are wrong, and what is."""
    called = {axis.name: {value.name for value in axis.values} for axis in manifest.axes}
    for target in targets:
        for axis, names in target.names.items():
            called[axis].update(name.text for name in names if name.text)
    for release in manifest.releases:
        for pattern in release.tags if release.publish else ():
            parts = _parts(manifest, release, pattern, tag, environment)
            wrong = [name for name, text in (parts or {}).items() if name in called and text not in called[name]]
            if not parts or len(wrong) == len(parts):
                continue
            hints = [f'unknown {name} "{parts[name]}": {did_you_mean(parts[name], called[name])}' for name in wrong]
            shown = ", ".join(f"{name} = {text}" for name, text in parts.items())
            yield (
                len(wrong),
                manifest.source.problem(
                    "unknown-tag",
                    f'no target has the tag "{tag}"; this pattern would require {shown}',
                    pattern.path,
                    hint="; ".join(hints) or "this combination does not exist",
                ),
            )


def _parts(
    manifest: Manifest, release: Release, pattern: Expression, tag: str, environment: Mapping[str, str]
) -> dict[str, str] | None:
    """Return what each axis, variable and other expression of a pattern would be in a tag, None if it does not fit."""
    pieces = split_expressions(pattern.text)
    if pieces is None:
        return None
    spans = {axis.name for axis in manifest.axes if axis.rules or any(value.names for value in axis.values)}
    fixed = {"release": release.name, "image": manifest.image}
    names: dict[str, str] = {}
    written = ""
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            written += re.escape(piece)
        elif piece in fixed:
            written += re.escape(fixed[piece])
        elif piece in manifest.variables:
            variable = manifest.variables[piece]
            written += re.escape(environment.get(variable.bake_name, variable.default))
        elif piece in names.values():
            written += f"(?P={next(group for group, known in names.items() if known == piece)})"
        else:
            group = f"p{index}"
            names[group] = piece
            separator = next((mark for mark in ("\\-", "\\.", "_") if written.endswith(mark)), "")
            any_text = f"{separator}(?P<{group}>{_ANY}(?:-{_ANY})*?)"
            # An empty name takes its separator along, so the part may be missing altogether.
            optional = "?" if separator and piece in spans else ""
            written = f"{written.removesuffix(separator)}(?:{any_text}){optional}"
    found = re.fullmatch(written, tag)
    return {names[group]: text for group, text in found.groupdict().items() if text} if found else None
