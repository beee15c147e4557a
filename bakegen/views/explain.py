"""Explain one target: its values as bake reads them, and the manifest lines that set them.

In: the graph, the words that name a target, and an environment. Out: an `Explanation`; or a `BakegenError` that says why
there is none.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bakegen.errors import BakegenError, fail, printable, some
from bakegen.expressions.bake_environment import platforms_in
from bakegen.expressions.text import Text
from bakegen.graph.draft import build_args
from bakegen.graph.graph import Graph
from bakegen.graph.model import Target
from bakegen.project import Project
from bakegen.source.yaml import KeyPath
from bakegen.spec.references import familiar
from bakegen.views.listing import Row, built_targets, target_row
from bakegen.views.missing_tag import why_no_tag


@dataclass(frozen=True, slots=True)
class Line:
    """One fact about a target, and the place in the manifest that says so."""

    what: str
    text: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All facts about a target, and the commands that build it."""

    row: Row
    lines: tuple[Line, ...]
    commands: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """Return the explanation as plain data."""
        facts = [{"what": line.what, "text": line.text, "place": line.place} for line in self.lines]
        return {**self.row, "facts": facts, "commands": list(self.commands)}

    def as_text(self) -> list[str]:
        """Return the explanation as lines."""
        width = max(len(line.what) for line in self.lines)
        text_width = min(96, max(len(line.text) for line in self.lines))
        lines, last = [self.row["target"], ""], ""
        for line in self.lines:
            what = "" if line.what == last else line.what
            last = line.what
            lines.append(f"  {what:<{width}}  {line.text:<{text_width}}  {line.place}".rstrip())
        lines += ["", *(f"  $ {command}" for command in self.commands)]
        return [printable(line) for line in lines]


def explain(project: Project, words: Sequence[str], environment: Mapping[str, str]) -> list[Explanation]:
    """Explain the one target that a name or selectors mean, or each that has a tag, in whatever repository.

    Raises `BakegenError` if there is none, or if bake does not build it for the platforms that are asked for.
    """
    graph = project.graph
    return [
        Explanation(
            target_row(graph, target, environment),
            tuple(_lines(graph, target, environment)),
            tuple(_commands(graph, target, environment)),
        )
        for target in built_targets(_find(project, words, environment), environment)
    ]


def _find(project: Project, words: Sequence[str], environment: Mapping[str, str]) -> list[Target]:
    graph = project.graph
    word = words[0] if len(words) == 1 else ""
    if word in graph.targets:
        return [graph.targets[word]]
    for target in graph.targets.values() if word else ():
        if familiar(word) in map(familiar, graph.references_in(target, environment)):
            return [target]
    tagged = [target for target in graph.targets.values() if word in _tags(target, environment)]
    if tagged:
        return tagged
    for absent in graph.absent:
        if absent.name == word:
            source = graph.manifest(absent.image).source
            raise source.failure("absent-target", f"{word} does not exist: {absent.reason}", absent.path)
    try:
        picked = graph.select(words)
    except BakegenError as error:
        missing = why_no_tag(project, word.rpartition("/")[2].rpartition(":")[2], environment) if word else None
        if missing:
            raise BakegenError([missing]) from error
        raise
    if len(picked) > 1:
        names = [target.name for target in picked]
        raise fail(
            "several-targets",
            f"{' '.join(words)} matches {len(names)} targets: {some(names, 12)}",
            hint="choose one of them, or add selectors such as python=3.9",
        )
    return [picked[0]]


def _tags(target: Target, environment: Mapping[str, str]) -> set[str]:
    further = (tag for tags in target.platform_tags.values() for tag in tags)
    return {tag.at_bake_time(environment) for tag in (*target.tags, *further)} if target.publish else set()


def _lines(graph: Graph, target: Target, environment: Mapping[str, str]) -> Iterator[Line]:
    manifest = graph.manifest(target.image)
    release = manifest.release(target.release)

    def place(path: KeyPath) -> str:
        return str(manifest.source.place(path).key)

    def said(path: KeyPath) -> str:  # a default was said nowhere
        return place(path) if manifest.source.holds(path) else ""

    yield Line("image", target.image, place(("image",)))
    yield Line("release", target.release, place(release.path))
    for axis, value in target.values.items():
        yield Line(axis, value, place(manifest.axis(axis).value(value).path))
    if target.publish:
        yield from _tag_lines(graph, target, environment, place)
    else:
        yield Line("tag", "none: it is a parent and not published", place((*release.path, "publish")))
    for platform in platforms_in(target.platforms, environment):
        yield Line("platform", platform, place(("platforms", manifest.platforms.index(platform))))
    for missing in target.missing_platforms:
        yield Line("not for", f"{missing.platform}: {missing.reason}", place(missing.path))
    for parent in target.parents:
        text = parent.reference.at_bake_time(environment)
        yield Line(
            "built from", f"{text}  ({parent.target})" if parent.target else f"{text}  (outside)", place(parent.path)
        )
    for child in graph.edges.successors(target.name):
        yield Line("needed by", child)
    for group in graph.groups:
        if target.name in group.members:
            yield Line("group", group.name)
    yield Line("dockerfile", target.dockerfile, said(release.dockerfile.path))
    if release.template:
        yield Line("template", f"templates/{target.template}", said(release.template.path))
    yield Line("context", target.context.at_bake_time(environment), said(release.context.path))
    passed = build_args(manifest, release, target.values)
    for name, arg in target.args.items():
        yield Line("build arg", f"{name}={arg.at_bake_time(environment)}", place(passed[name].path))
    for name, label in target.labels.items():
        yield Line("label", f"{name}={label.at_bake_time(environment)}", place(release.labels[name].path))
    for check in release.checks if target.publish else ():
        yield Line("check", check.name, place(check.path))


def _tag_lines(
    graph: Graph, target: Target, environment: Mapping[str, str], place: Callable[[KeyPath], str]
) -> Iterator[Line]:
    """Yield each tag with the pattern that gave it, and why axis values go by the names that stand in tags."""
    repositories = graph.repositories_in(target, environment)
    for tag, path in zip(target.tags, target.tag_paths, strict=False):
        for repository in repositories:
            yield Line("tag", f"{repository}:{tag.at_bake_time(environment)}", place(path))
    for platform, tags in target.platform_tags.items():
        for tag, path in tags.items():
            for repository in repositories:
                yield Line("tag", f"{repository}:{tag.at_bake_time(environment)}  ({platform})", place(path))
    for axis, found in target.names.items():
        for name in found:
            if name.text != target.values[axis]:
                why = f"; newer than {', '.join(name.rivals)}" if name.rivals else ""
                yield Line(f"{axis} is also", f"{_called(name.text)}{why}", place(name.path))
    for lost in target.lost_names:
        yield Line(f"{lost.axis} is not", f"{_called(lost.text)}: {lost.winner} is newer", place(lost.path))


def _called(name: str) -> str:
    return f'"{name}"' if name else "left out"


def _commands(graph: Graph, target: Target, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the bake command, and the plain one that builds the same image once the parents are in a registry.

    Caches and the further attributes of `bake:` are left to bake, but for the stage.
    """
    yield f"docker buildx bake {target.name}"
    options: dict[str, Iterable[Text]] = {
        "platform": [Text.literal(",".join(platforms_in(target.platforms, environment)))],
        "build-arg": _pairs(target.args),
        "build-context": _pairs(target.contexts),
        "label": _pairs(target.labels),
        "annotation": _pairs(target.annotations),
        "secret": target.secrets,
        "ssh": target.ssh,
        "attest": target.attest,
        "target": [target.bake["target"]] if "target" in target.bake else [],
        "tag": map(Text.literal, graph.references_in(target, environment)) if target.publish else (),
    }
    words = [f"--{name}={text.at_bake_time(environment)}" for name, texts in options.items() for text in texts]
    context = target.context.at_bake_time(environment)
    remote = "://" in context
    if remote and target.template:  # it has no local files, so the Dockerfile comes on standard input
        command = shlex.join(["docker", "buildx", "build", *words, "--file=-", context])
        yield f"{command} < {shlex.quote(target.dockerfile)}"
    else:
        yield shlex.join(["docker", "buildx", "build", *words, f"--file={target.dockerfile}", context])


def _pairs(texts: Mapping[str, Text]) -> list[Text]:
    return [Text.joined([f"{name}=", text]) for name, text in texts.items()]
