"""What bake is to do for a selection.

In: a `Project`, the selected targets and `BuildOptions`. Out: a `BuildPlan`, or a `BakegenError` if it cannot be built.

Bake's time grows with the square of the size of its file, so it gets a file of its own on standard input: the selected
targets, which form the group `default`, and what they are built from.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bakegen.bake.model import BAKE_FILE
from bakegen.bake.platform_images import with_platform_images
from bakegen.errors import fail, some
from bakegen.expressions.bake_environment import PLATFORMS, platforms_in
from bakegen.graph.graph import Graph
from bakegen.graph.model import Group, Target
from bakegen.output.compare import compare
from bakegen.project import Project
from bakegen.render.files import render, render_bake_file
from bakegen.render.parts import own_part

Sent = Literal["pushed", "loaded", "built"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How the selection is to be built."""

    push: bool = False
    load: bool = False
    platforms: str = ""
    builder: str = ""
    no_cache: bool = False
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What bake is given: the targets that are asked for; the platforms of all that is built; options, environment, file."""

    asked: tuple[str, ...]
    platforms: Mapping[str, tuple[str, ...]]
    options: tuple[str, ...]
    environment: Mapping[str, str]
    bake_file: bytes
    least: tuple[int, int]  # the oldest buildx that reads the bake file as it is meant
    sends: Sent

    def command(self, buildx: Sequence[str], metadata: Path | None) -> list[str]:
        """Return the command, which reads the bake file on standard input."""
        return [*buildx, "bake", "-f", "-", *(["--metadata-file", str(metadata)] if metadata else []), *self.options]


def plan_build(project: Project, selected: Sequence[Target], wish: BuildOptions) -> BuildPlan:
    """Return what bake is to do; raises `BakegenError` if that cannot be, or if generated files are out of date."""
    graph = project.graph
    asked = wish.platforms or os.environ.get(PLATFORMS, "")
    platforms = platforms_left(selected, asked)
    wanted = [target for target in selected if target.name in platforms]
    if wish.push or wish.load:
        what = "push" if wish.push else "load"
        hint = f"leave out --{what}, or choose what is built from it"
        wanted = published(wanted, what, hint)
    if wish.load:
        _check_loadable(wanted, platforms)
    above = graph.ancestors(target.name for target in wanted)
    names = tuple(target.name for target in wanted if target.publish or target.name not in above)
    closure = _closure(graph, names)
    check_current(project, closure)
    part = graph.part(closure, [Group("default", "default", names)])
    baked = with_platform_images(part)
    built = {name: platforms_in(target.platforms, {PLATFORMS: asked}) for name, target in baked.targets.items()}
    options = [
        *(["--builder", wish.builder] if wish.builder else []),
        *(["--push"] if wish.push else []),
        *(["--load"] if wish.load else []),
        *(["--no-cache"] if wish.no_cache else []),
        *wish.extra,
    ]
    return BuildPlan(
        tuple(name for name in baked.groups[0].members if built[name]),
        built,
        tuple(options),
        {PLATFORMS: wish.platforms} if wish.platforms else {},
        render_bake_file(replace(project, graph=part)),
        max(manifest.buildx for manifest in part.manifests),
        "pushed" if wish.push else "loaded" if wish.load else "built",
    )


def choices(graph: Graph) -> list[str]:
    """Return what there is to build, as lines."""
    kinds = {
        "images": list(graph.by_image),
        "releases": list(dict.fromkeys(target.release for target in graph.targets.values())),
        "groups": [group.name for group in graph.groups if group.kind == "own"],
    }
    return [f"  {kind + ':':<10}{', '.join(names)}" for kind, names in kinds.items() if names]


def check_current(project: Project, names: Iterable[str]) -> None:
    """Raise `BakegenError` if files that the named targets are built from are not what the manifests make of them."""
    graph = project.graph
    used = {graph.targets[name].dockerfile for name in names}
    sharing = {target.name for path in used for target in graph.by_dockerfile[path]}
    files = render(replace(project, graph=graph.part(sharing))).files
    built_from = {path: file for path, file in files.items() if path != BAKE_FILE and own_part(path) != "docs"}
    stale = compare(project.root, built_from, built_from.__contains__).differing
    if stale:
        raise fail(
            "stale-output",
            f"not up to date: {some(stale)}",
            hint="run `bakegen generate`",
        )


def platforms_left(targets: Sequence[Target], asked: str) -> dict[str, tuple[str, ...]]:
    """Return the platforms that targets are built for, those without any left out; raises `BakegenError` if none is left."""
    left = {target.name: platforms_in(target.platforms, {PLATFORMS: asked}) for target in targets}
    if not any(left.values()):
        known = dict.fromkeys(platform for target in targets for platform in target.platforms)
        raise fail(
            "empty-selection",
            f"no selected target is built for {asked}",
            hint=f"available: {', '.join(known)}",
        )
    return {name: platforms for name, platforms in left.items() if platforms}


def published(targets: Sequence[Target], what: str, hint: str) -> list[Target]:
    """Return the targets that have tags; raises `BakegenError` if none has any."""
    found = [target for target in targets if target.publish]
    if not found:
        names = [target.name for target in targets]
        verb = "is" if len(names) == 1 else "are"
        raise fail(
            "not-published",
            f"nothing to {what}: {some(names)} {verb} not published",
            hint=hint,
        )
    return found


def _check_loadable(targets: Sequence[Target], platforms: Mapping[str, tuple[str, ...]]) -> None:
    for target in targets:
        first, *others = platforms[target.name]
        if others:
            raise fail(
                "several-platforms",
                f"--load supports one platform, but {target.name} is built for {', '.join((first, *others))}",
                hint=f"use --platform {first}, or push all of them to a registry with --push",
            )


def _closure(graph: Graph, names: Iterable[str]) -> set[str]:
    """Return targets with all that they are built from, other targets that their contexts name included."""
    found: set[str] = set()
    new = set(names)
    while new:
        found |= new | graph.ancestors(new)
        contexts = {text.with_defaults() for name in found for text in graph.targets[name].contexts.values()}
        linked = {text.removeprefix("target:") for text in contexts if text.startswith("target:")}
        new = (linked & graph.targets.keys()) - found
    return found
