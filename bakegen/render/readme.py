"""What the README of an image family tells, as Markdown in pieces that templates/README.md.j2 puts together.

In: the graph. Out: a `Readme`. Registries limit the length of a README, so there are several, each shorter than the
one before: what is left out first is tags one by one, then their Dockerfiles, then rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

from bakegen.console import count
from bakegen.expressions.sandbox import Evaluator
from bakegen.expressions.scope import EMPTY_NAME
from bakegen.expressions.versions import newest_first
from bakegen.graph.expand import OUTPUT
from bakegen.graph.graph import Graph
from bakegen.graph.model import Target
from bakegen.manifest.model import Deprecation, Manifest
from bakegen.render.markdown import cell, code, link, paragraph, prose
from bakegen.render.tag_patterns import TagPatterns, picture
from bakegen.source.paths import path_from
from bakegen.spec.registry_kinds import KINDS

LIMIT = min(kind.readme_limit for kind in KINDS if kind.readme_limit)  # bytes that every registry takes
_VALUES = 12  # values of a part that are listed
_NOTE = 300  # characters of a note

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ReadmeDetail:
    """How much is told: what has a row of its own, rows of each table, characters of each text (0: all)."""

    row: Literal["target", "Dockerfile", "release and platforms", "release"]
    links: bool = False  # to each Dockerfile
    most: int = 0
    text: int = 0
    pictures: bool = True


DETAILS = (
    ReadmeDetail("target", links=True),
    ReadmeDetail("target"),
    ReadmeDetail("Dockerfile"),
    ReadmeDetail("release and platforms"),
    ReadmeDetail("release"),
    ReadmeDetail("release", most=60, text=200),
    ReadmeDetail("release", most=20, text=100),
    ReadmeDetail("release", most=3, text=100, pictures=False),
)


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release of which something is published."""

    name: str
    description: str
    tags: str


@dataclass(frozen=True, slots=True)
class TagRow:
    """Tags of one release that have something in common."""

    release: str
    tags: str
    platforms: str
    dockerfile: str


@dataclass(frozen=True, slots=True)
class TagList:
    """Targets that are built from one Dockerfile for the same platforms: a line for each, its aliases beside its tag."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeprecatedRow:
    """Tags that nobody should use any more."""

    tags: str
    state: str
    because: str
    use: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Readme:
    """All that a README tells. Every text is Markdown, but for `image`, `pulls` and `pictures`, which stand in code or are safe."""

    image: str
    description: str
    pulls: tuple[str, ...]
    run: str
    has_latest: bool
    releases: tuple[ReleaseRow, ...]
    pictures: tuple[str, ...]
    size: str
    lists: tuple[TagList, ...]
    rows: tuple[TagRow, ...]
    left_out: str
    deprecated: tuple[DeprecatedRow, ...]
    source: str
    issues: str
    licenses: str
    manifest: str


def readme_of(graph: Graph, manifest: Manifest, evaluator: Evaluator) -> Iterator[Readme]:
    """Yield what the README of a family may tell, from all to little."""
    facts = _Family(graph, manifest, evaluator)
    for detail in DETAILS:
        if facts.least(detail) < LIMIT or detail == DETAILS[-1]:
            yield facts.readme(detail)


class _Family:
    """What is known of a family before it is decided how much to tell."""

    def __init__(self, graph: Graph, manifest: Manifest, evaluator: Evaluator) -> None:
        self.manifest = manifest
        self.targets = [target for target in graph.by_image[manifest.image] if target.publish]
        self.tags = {target.name: [tag.with_defaults() for tag in target.tags] for target in self.targets}
        self.repositories = {
            target.name: [name.with_defaults() for name in target.repositories] for target in self.targets
        }
        # What nothing else is built from is what people pull.
        self.ends = [target for target in self.targets if not graph.edges.out_degree(target.name)] or self.targets
        patterns = [pattern for entry in manifest.deprecated for pattern in entry.tags]
        self.deprecated = {
            tag for tags in self.tags.values() for tag in tags if any(fnmatchcase(tag, pattern) for pattern in patterns)
        }
        self.ranks = {
            (axis.name, value): rank
            for axis in manifest.axes
            for names in [[value.name for value in axis.values]]
            for rank, value in enumerate(newest_first(names) or names)
        }
        self.tagging = TagPatterns(manifest, evaluator)
        self.texts = self.tagging.texts(self.targets)

    def readme(self, detail: ReadmeDetail) -> Readme:
        manifest = self.manifest
        tags = {tag for found in self.tags.values() for tag in found}
        groups = self.groups(detail)
        releases = self.releases(detail)
        pulls = self.pulls()
        return Readme(
            image=manifest.image,
            description=paragraph(manifest.description, detail.text * 10) or "A family of container images.",
            pulls=_first([f"docker pull {reference}" for reference in pulls], detail),
            run=f"docker run --rm {pulls[0]}" if pulls else "",
            has_latest="latest" in tags,
            releases=_first(releases, detail),
            pictures=_first(self.pictures(), detail) if detail.pictures else (),
            size=self.size(),
            lists=tuple(self.tag_list(group, detail) for group in groups) if detail.row == "target" else (),
            rows=() if detail.row == "target" else _first([self.row(group, detail) for group in groups], detail),
            left_out=self.left_out(detail, max(len(groups), len(releases))),
            deprecated=_first([self.deprecation(entry, detail) for entry in manifest.deprecated], detail),
            source=f"<{manifest.source_url}>" if manifest.source_url else "",
            issues=f"<{manifest.issues_url}>" if manifest.issues_url else "",
            licenses=prose(manifest.licenses or self.labelled("org.opencontainers.image.licenses")),
            manifest=self.link(manifest.source.file) if manifest.source_url else prose(manifest.source.file),
        )

    def least(self, detail: ReadmeDetail) -> int:
        """Return a number of bytes that the table of tags has at least: what cannot fit need not be written to be seen."""
        if detail.row == "target":
            return sum(len(tag) + len("`` ") for tags in self.tags.values() for tag in tags)
        rows = len(self.groups(detail))
        return len("| | | | |") * (min(rows, detail.most) if detail.most else rows)

    def pulls(self) -> list[str]:
        """Return a reference in each repository: `latest` if there is one, or the newest of what people pull."""
        found: dict[str, str] = {}
        latest = [target for target in self.targets if "latest" in self.tags[target.name]]
        for target in [*latest, *sorted(self.ends, key=self.age), *sorted(self.targets, key=self.age)]:
            wanted = [tag for tag in self.tags[target.name] if tag not in self.deprecated]
            tag = "latest" if "latest" in wanted else min(wanted, key=len, default="")
            for repository in self.repositories[target.name] if tag else ():
                found.setdefault(repository, f"{repository}:{tag}")
        order = dict.fromkeys(name for names in self.repositories.values() for name in names)
        return [found[repository] for repository in order if repository in found]

    def age(self, target: Target) -> list[int]:
        """Order targets by their values: the newest version of an axis first, or else the first that is declared."""
        return [self.ranks[axis, value] for axis, value in target.values.items()]

    def labelled(self, label: str) -> str:
        """Return the value that a label has on all targets, or nothing."""
        found = {target.labels[label].with_defaults() if label in target.labels else "" for target in self.targets}
        return found.pop() if len(found) == 1 else ""

    def releases(self, detail: ReadmeDetail) -> list[ReleaseRow]:
        by_release = _grouped((target.release, target) for target in self.targets)
        described = [release for release in self.manifest.releases if release.name in by_release]
        if len(described) == 1 and not described[0].description:
            return []
        rows = []
        for release in described:
            texts = self.tagging.texts(by_release[release.name])
            patterns = [
                pattern.text(texts, kept=self.tagging.variables) for pattern in self.tagging.patterns(release.name)
            ]
            shown = " ".join(code(_cut(pattern)) for pattern in _first(patterns, detail))
            rows.append(ReleaseRow(prose(release.name), cell(prose(release.description, detail.text)), cell(shown)))
        return rows

    def pictures(self) -> list[str]:
        """Return pictures of as few patterns as show every part."""
        notes = {name: self.note(name, texts) for name, texts in self.texts.items()}
        left = {name for name, texts in self.texts.items() if len(texts) > 1 or name in self.tagging.variables}
        patterns = [pattern for release in self.manifest.releases for pattern in self.tagging.patterns(release.name)]
        found = []
        while left:
            best = max(patterns, key=lambda pattern: len(left.intersection(part.name for part in pattern.parts)))
            left -= {part.name for part in best.parts}
            pattern = best.text(self.texts, kept=self.tagging.variables)
            nothing = [] if re.sub(r"\[[^]]*\]", "", pattern) else ["latest, if all parts are left out"]
            found.append("\n".join([*picture(pattern, notes), *nothing]))
        return found

    def note(self, name: str, texts: Sequence[str]) -> str:
        if name in self.tagging.variables:
            variable = self.manifest.variables[name]
            return _cut(f"{variable.default} ({variable.description})" if variable.description else variable.default)
        shown = [text for text in texts if text not in {"", EMPTY_NAME}]
        left = ", or left out" if len(shown) < len(texts) else ""
        return _cut(_some(shown)) + left

    def size(self) -> str:
        """Return how many tags there are, and for which platforms, as a sentence."""
        tags = dict.fromkeys(self.manifest.platforms, 0)
        for target in self.targets:
            for platform in target.platforms:
                tags[platform] += len(self.tags[target.name])
        total = sum(map(len, self.tags.values()))
        built = {platform: number for platform, number in tags.items() if number}
        if set(built.values()) == {total}:
            return f"{count(total, 'tag')}{', each' if total > 1 else ''} for {_and(list(built))}."
        return f"{count(total, 'tag')}: {_and([f'{number} for {platform}' for platform, number in built.items()])}."

    def groups(self, detail: ReadmeDetail) -> list[list[Target]]:
        """Return the targets that have a row in common."""

        def key(target: Target) -> tuple[object, ...]:
            match detail.row:
                case "target" | "Dockerfile":
                    return target.release, target.platforms, target.dockerfile
                case "release and platforms":
                    return target.release, target.platforms
                case "release":
                    return (target.release,)

        return list(_grouped((key(target), target) for target in self.targets).values())

    def tag_list(self, targets: Sequence[Target], detail: ReadmeDetail) -> TagList:
        first = targets[0]
        several = len({target.release for target in self.targets}) > 1
        title = f"**{prose(first.release)}** for" if several else "For"
        title = f"{title} {_and(list(first.platforms))}"
        if detail.links:
            dockerfile = self.link(first.dockerfile, path_from(f"{OUTPUT}/{self.manifest.image}", first.dockerfile))
            title = f"{title}, from {dockerfile}"
        lines = []
        for target in targets:
            tag, *aliases = self.each(self.tags[target.name])
            lines.append(f"{tag} = {' = '.join(aliases)}" if aliases else tag)
        return TagList(f"{title}:", tuple(lines))

    def row(self, targets: Sequence[Target], detail: ReadmeDetail) -> TagRow:
        names = [tag for target in targets for tag in self.tags[target.name]]
        dockerfiles = list(dict.fromkeys(target.dockerfile for target in targets))
        folder = f"{OUTPUT}/{self.manifest.image}"
        has = {platform for target in targets for platform in target.platforms}
        if len(dockerfiles) == 1:
            dockerfile = self.link(dockerfiles[0], path_from(folder, dockerfiles[0]))
        else:
            dockerfile = f"{len(dockerfiles)} in {self.link(folder, folder)}"
        return TagRow(
            release=prose(targets[0].release),
            tags=cell(self.summed_up(targets, names, detail)),
            platforms=", ".join(platform for platform in self.manifest.platforms if platform in has),
            dockerfile=cell(dockerfile),
        )

    def each(self, tags: Iterable[str]) -> list[str]:
        return [f"{code(tag)} (deprecated)" if tag in self.deprecated else code(tag) for tag in tags]

    def summed_up(self, targets: Sequence[Target], tags: Sequence[str], detail: ReadmeDetail) -> str:
        """Return tags as patterns with what stands for their parts, and how many there are."""
        if len(tags) == 1:
            return self.each(tags)[0]
        texts = self.tagging.texts(targets)
        patterns = _first([pattern.text(texts) for pattern in self.tagging.patterns(targets[0].release)], detail)
        parts = [
            f"{prose(name)}: {prose(_cut(_some([text for text in found if text not in {'', EMPTY_NAME}])))}"
            for name, found in texts.items()
            if 1 < len(found) < len(self.texts[name])  # those that are all are in the picture
        ]
        shown = (
            " ".join(code(_cut(pattern)) for pattern in dict.fromkeys(patterns))
            or f"{code(tags[0])} … {code(tags[-1])}"
        )
        deprecated = sum(tag in self.deprecated for tag in tags)
        number = count(len(tags), "tag") + (f", {deprecated} of them deprecated" if deprecated else "")
        return "; ".join([shown, *_first(parts, detail), number])

    def left_out(self, detail: ReadmeDetail, rows: int) -> str:
        """Return what is not told, and where it is, as a sentence."""
        if detail.row == "target":
            return ""
        few = f", and tables have only the first {detail.most} rows" if 0 < detail.most < rows else ""
        place = f", in {self.link('the repository', '')}" if self.manifest.source_url else ""
        command = code(f"bakegen list tags {self.manifest.image}")
        return (
            f"Each row combines the tags of a {detail.row}{few}, because registries show at most {LIMIT:,} bytes. "
            f"{command} lists every tag{place}, and so does the registry."
        )

    def deprecation(self, entry: Deprecation, detail: ReadmeDetail) -> DeprecatedRow:
        made = sum(
            any(fnmatchcase(tag, pattern) for pattern in entry.tags) for tags in self.tags.values() for tag in tags
        )
        return DeprecatedRow(
            tags=" ".join(map(code, _first(entry.tags, detail))),
            state=f"{count(made, 'tag')} still published" if made else "no longer published",
            because=cell(prose(entry.because, detail.text)),
            use=cell(prose(entry.use, detail.text)),
        )

    def link(self, path: str, text: str = "") -> str:
        """Return a link to a path of the project."""
        if self.manifest.source_url:
            return link(text or path, f"{self.manifest.source_url}/", path)
        return link(text or path, "", path_from(f"{OUTPUT}/{self.manifest.image}", path))


def _grouped(pairs: Iterable[tuple[object, Target]]) -> dict[object, list[Target]]:
    found: dict[object, list[Target]] = {}
    for key, target in pairs:
        found.setdefault(key, []).append(target)
    return found


def _and(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]])) if texts else ""


def _first(items: Sequence[Item], detail: ReadmeDetail) -> tuple[Item, ...]:
    return tuple(items[: detail.most] if detail.most else items)


def _some(texts: Sequence[str]) -> str:
    """Return texts as a list, the middle of a long one left out."""
    if len(texts) <= _VALUES:
        return ", ".join(texts)
    return f"{', '.join(texts[: _VALUES - 2])}, … {texts[-1]} ({len(texts)} in all)"


def _cut(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _NOTE else f"{words[:_NOTE]}…"
