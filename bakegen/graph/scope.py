"""The names that expressions and templates may use, for each place where they are used.

In: a manifest, and a combination of axis values, a target, or the targets that share a Dockerfile. Out: a `Scope`.

| name | in a manifest | in a Dockerfile's template |
|---|---|---|
| `image`, data, definitions | yes | yes |
| variables | yes | no: they are free until bake time, and reach it as build args |
| `release`, `target`, axes | yes | where all targets of the Dockerfile agree |
| `platforms` | once they are known: not in `names`, `when` and `dockerfile` | those of any of the targets |
| `folder` | the Dockerfile's, from the root | the Dockerfile's, as its COPY sees it |
| `args`, `parents`, `parent` | no | yes |
| `platform` | in checks | in files for `each: platform` |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from posixpath import dirname, normpath
from typing import Any

from bakegen.expressions.sandbox import Evaluator
from bakegen.expressions.scope import Scope
from bakegen.expressions.text import Text
from bakegen.expressions.values import BoundValue, FreeText, seen_by_expressions
from bakegen.graph.model import Target
from bakegen.manifest.model import Axis, AxisValue, Manifest, Release
from bakegen.spec.platforms import Platform

Unavailable = Mapping[str, tuple[str, str]]  # name -> why it is not available here, and what to write instead


class FamilyNames:
    """The names of one image family."""

    def __init__(self, manifest: Manifest, evaluator: Evaluator) -> None:
        self.manifest = manifest
        self._evaluator = evaluator
        self._common: dict[str, Any] = {"image": manifest.image, **manifest.data}
        self._variables = {name: FreeText(Text((variable,))) for name, variable in manifest.variables.items()}
        self._siblings = {axis.name: tuple(value.name for value in axis.values) for axis in manifest.axes}
        self._unavailable = {release.name: self._unavailable_in(release) for release in manifest.releases}

    def at(self, release: Release, point: Mapping[str, AxisValue], target: str) -> Scope:
        """Return the names at a combination of axis values, for which a target may come to exist."""
        scope = self._scope(self._unavailable[release.name], point)
        return scope.add(self._variables).add({"release": release.name, "target": target})

    def value(self, axis: Axis, value: AxisValue) -> Scope:
        """Return the names that are known of an axis value alone."""
        return self._scope({}, {axis.name: value})

    def of(self, target: Target) -> Scope:
        """Return the names of a target."""
        point = {axis: self.manifest.axis(axis).value(value) for axis, value in target.values.items()}
        scope = self.at(self.manifest.release(target.release), point, target.name)
        return completed(scope, target.platforms, target.dockerfile)

    def shared(self, targets: Sequence[Target], parents: Sequence[str]) -> Scope:
        """Return the names for the Dockerfile of some targets, which refers to its parents as `parents` says."""
        path, context = targets[0].dockerfile, targets[0].context.with_defaults()
        unavailable = {
            name: (
                f"{name} can be set at bake time, so a Dockerfile cannot contain its value",
                f"pass it as a build arg: args: {{{name}: '{{{{ {name} }}}}'}}",
            )
            for name in self._variables
        }
        unavailable["platform"] = (
            "a Dockerfile is shared by all platforms",
            "loop over `platforms`, or use TARGETARCH",
        )
        values: dict[str, Any] = {}
        for name, found in {
            "release": {target.release for target in targets},
            "target": {target.name for target in targets},
        }.items():
            if len(found) == 1:
                values[name] = found.pop()
            else:
                unavailable[name] = (f'"{path}" is shared by {len(found)} values of `{name}`', "")
        point = {}
        for axis in self.manifest.axes:
            spanned = list(dict.fromkeys(target.values.get(axis.name) for target in targets))
            if len(spanned) > 1:
                shown = ", ".join(map(str, spanned))
                message = f'"{path}" is shared by several values of `{axis.name}` ({shown})'
                unavailable[axis.name] = (message, _arg_hint(axis.name, targets))
            elif spanned[0] is None:
                unavailable[axis.name] = (f'release "{targets[0].release}" has no axis `{axis.name}`', "")
            else:
                point[axis.name] = axis.value(spanned[0])
        has = {platform for target in targets for platform in target.platforms}
        values |= {
            "platforms": tuple(Platform(platform) for platform in self.manifest.platforms if platform in has),
            "args": {name: seen_by_expressions(text) for name, text in targets[-1].args.items()},
            "folder": normpath(_from_context(dirname(path), context)),
            "parents": list(parents),
            **({"parent": parents[0]} if parents else {}),
        }
        return self._scope(unavailable, point).add(values)

    def _scope(self, unavailable: Unavailable, point: Mapping[str, AxisValue]) -> Scope:
        scope = Scope(self._evaluator, self.manifest.source, self.manifest.define, unavailable).add(self._common)
        return scope.add(
            {
                axis: BoundValue(value.name, axis, value.properties, scope, self._siblings[axis])
                for axis, value in point.items()
            }
        )

    def _unavailable_in(self, release: Release) -> Unavailable:
        """Return the names that exist, but not in the expressions of a release, and why."""
        names = {
            axis.name: (
                f'release "{release.name}" has no axis "{axis.name}"',
                "add it to the `axes` of the release",
            )
            for axis in self.manifest.axes
            if axis.name not in release.axes
        }
        names["platform"] = ("`platform` is not available here", "use `platforms`, or a file with `each: platform`")
        for name in ("args", "parents", "parent"):
            names[name] = (
                f'"{name}" is only available in templates',
                "write the value itself, or move this into a template",
            )
        return names


def completed(scope: Scope, platforms: Sequence[str], dockerfile: str) -> Scope:
    """Return a scope with the names that are known once a target has platforms and a Dockerfile."""
    return scope.add({"platforms": tuple(map(Platform, platforms)), "folder": dirname(dockerfile) or "."})


def _arg_hint(axis: str, targets: Sequence[Target]) -> str:
    for name, text in targets[0].args.items():
        if text.with_defaults() == targets[0].values.get(axis):
            return f"use the build arg: ${{{name}}}"
    return f"pass it as a build arg, or add {{{{ {axis} }}}} to `dockerfile`"


def _from_context(folder: str, context: str) -> str:
    """Return the folder of a Dockerfile as its COPY instructions see it."""
    if context == "." or "://" in context:
        return folder
    return folder.removeprefix(context).lstrip("/") if f"{folder}/".startswith(f"{context}/") else folder
