"""Explain one target: its values as bake reads them, and the manifest lines that set them.

In: the graph, the words that name a target, and an environment. Out: an `Explanation`; or a `BakegenError` that says why
there is none.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bakegen.errors import BakegenError, Problem
from bakegen.expressions.bake_environment import platforms_in
from bakegen.expressions.text import Text
from bakegen.graph.expand import build_args
from bakegen.graph.graph import Graph
from bakegen.graph.model import Absent, Target
from bakegen.source.yaml import KeyPath
from bakegen.spec.references import familiar
from bakegen.views.listing import Row, built_targets, target_row

_SHOWN = 12


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
        return [*lines, "", *(f"  $ {command}" for command in self.commands)]


def explain(graph: Graph, words: Sequence[str], environment: Mapping[str, str]) -> Explanation:
    """Explain the one target that a name, a tag or selectors mean.

    Raises `BakegenError` if it is not exactly one, or if bake does not build it for the platforms that are asked for.
    """
    [target] = built_targets([_find(graph, words, environment)], environment)
    lines, commands = _lines(graph, target, environment), _commands(target, environment)
    return Explanation(target_row(target, environment), tuple(lines), tuple(commands))


def _find(graph: Graph, words: Sequence[str], environment: Mapping[str, str]) -> Target:
    if len(words) == 1:
        word = words[0]
        if word in graph.targets:
            return graph.targets[word]
        for target in graph.targets.values():
            references = target.references_in(environment)
            if word in references or familiar(word) in map(familiar, references):
                return target
        tagged = [
            target
            for target in graph.targets.values()
            if word in {tag.at_bake_time(environment) for tag in target.tags}
        ]
        if len(tagged) == 1:
            return tagged[0]
        for absent in graph.absent:
            if absent.name == word:
                raise BakegenError([_absent_problem(graph, absent)])
    picked = graph.select(words)
    if len(picked) > 1:
        names = [target.name for target in picked]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise BakegenError(
            [
                Problem(
                    code="several-targets",
                    message=f"{' '.join(words)} picks {len(names)} targets: {', '.join(names[:_SHOWN])}{more}",
                    hint="name one of them, or add selectors such as python=3.9",
                )
            ]
        )
    return picked[0]


def _absent_problem(graph: Graph, absent: Absent) -> Problem:
    source = graph.manifest(absent.image).source
    return source.problem("absent-target", f"{absent.name} does not exist: {absent.reason}", absent.path)


def _lines(graph: Graph, target: Target, environment: Mapping[str, str]) -> Iterator[Line]:
    manifest = graph.manifest(target.image)
    release = manifest.release(target.release)

    def place(path: KeyPath) -> str:
        return str(manifest.source.place(path).key)

    def said(path: KeyPath) -> str:  # a default was said nowhere
        return place(path) if path in manifest.source.places else ""

    yield Line("image", target.image, place(("image",)))
    yield Line("release", target.release, place(release.path))
    for axis, value in target.values.items():
        yield Line(axis, value, place(manifest.axis(axis).value(value).path))
    if target.publish:
        where = place(release.tags[0].path) if release.tags else ""
        for reference in target.references_in(environment):
            yield Line("tag", reference, where)
    else:
        yield Line("tag", "none: it is built as a parent and not published", place((*release.path, "publish")))
    for platform in platforms_in(target.platforms, environment):
        yield Line("platform", platform, place(("platforms", manifest.platforms.index(platform))))
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


def _commands(target: Target, environment: Mapping[str, str]) -> Iterator[str]:
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
        "tag": map(Text.literal, target.references_in(environment)) if target.publish else (),
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
