"""What a README tells, as Markdown in pieces that templates/README.md.j2 puts together.

In: the graph and a `Page`. Out: a `Readme`. Registries limit the length of a README, so there are several, each shorter
than the one before: what is left out first is tags one by one, then their Dockerfiles, then lists.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from posixpath import dirname
from typing import Literal, TypeVar

from bakegen.console import count
from bakegen.expressions.sandbox import Evaluator
from bakegen.expressions.scope import EMPTY_NAME
from bakegen.expressions.versions import newest_first
from bakegen.graph.draft import OUTPUT
from bakegen.graph.graph import Graph
from bakegen.graph.model import Target
from bakegen.manifest.model import Deprecation
from bakegen.render.markdown import code, cut, link, paragraph, prose
from bakegen.render.pages import Page
from bakegen.render.tag_patterns import TagPatterns, picture
from bakegen.source.paths import path_from
from bakegen.spec.references import with_host
from bakegen.spec.registry_kinds import KINDS

LIMIT = min(kind.readme_limit for kind in KINDS if kind.readme_limit)  # bytes that every registry takes
_VALUES = 12  # values of a part that are listed
_NOTE = 300  # characters of a note
_WIDTH = 88  # characters of code that Docker Hub shows side by side

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ReadmeDetail:
    """How much is told: what has a line of its own, items of each list, characters of each text (0: all)."""

    line: Literal["target", "Dockerfile", "release and platforms", "release"]
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
class PublishedRelease:
    """A release of which something is published."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class TagList:
    """Targets of one release that have something in common.

    `title` is Markdown. In code stands a line for each target, with its aliases beside its tag; or for each of their
    patterns, and for what stands for their parts.
    """

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeprecatedTags:
    """Tags that nobody should use any more."""

    tags: str
    state: str
    because: str
    use: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Readme:
    """All that a README tells. Every text is Markdown, but for what stands in code or is safe."""

    title: str
    description: str
    pulls: tuple[str, ...]
    run: str
    has_latest: bool
    releases: tuple[PublishedRelease, ...]
    patterns: tuple[str, ...]
    pictures: tuple[str, ...]
    size: str
    lists: tuple[TagList, ...]
    left_out: str
    deprecated: tuple[DeprecatedTags, ...]
    source: str
    issues: str
    licenses: str
    manifest: str


def readme_of(graph: Graph, page: Page, evaluator: Evaluator) -> Iterator[Readme]:
    """Yield what a README may tell, from all to little."""
    facts = _Facts(graph, page, evaluator)
    for detail in DETAILS:
        if facts.least(detail) < LIMIT or detail == DETAILS[-1]:
            yield facts.readme(detail)


class _Facts:
    """What is known of the targets of a page before it is decided how much to tell."""

    def __init__(self, graph: Graph, page: Page, evaluator: Evaluator) -> None:
        self.page = page
        self.manifest = manifest = page.manifest
        self.targets = page.targets
        self.tags = {target.name: [tag.with_defaults() for tag in target.tags] for target in self.targets}
        names = {target.name: [text.with_defaults() for text in target.repositories] for target in self.targets}
        own = set(page.repositories)
        self.repositories = {
            target: tuple(name for name in found if with_host(name) in own) for target, found in names.items()
        }
        # What nothing else is built from is what people pull.
        self.ends = [target for target in self.targets if not graph.edges.out_degree(target.name)] or self.targets
        self.platform_tags = {
            target.name: {name: [tag.with_defaults() for tag in tags] for name, tags in target.platform_tags.items()}
            for target in self.targets
        }
        self.single = [tag for found in self.platform_tags.values() for tags in found.values() for tag in tags]
        made = [*self.single, *(tag for tags in self.tags.values() for tag in tags)]
        family = [target for target in graph.by_image[manifest.image] if target.publish]
        elsewhere = [
            tag.with_defaults()
            for target in family
            for tags in (target.tags, *target.platform_tags.values())
            for tag in tags
        ]
        matching = {entry: _matching(entry, made) for entry in manifest.deprecated}
        self.deprecated = {tag for tags in matching.values() for tag in tags}
        self.deprecations = [
            (entry, len(tags)) for entry, tags in matching.items() if tags or not _matching(entry, elsewhere)
        ]
        self.ranks = {
            (axis.name, value): rank
            for axis in manifest.axes
            for names in [[value.name for value in axis.values]]
            for rank, value in enumerate(newest_first(names) or names)
        }
        self.releases = list(dict.fromkeys(target.release for target in self.targets))
        self.tagging = TagPatterns(manifest, evaluator)
        self.texts = self.tagging.texts(self.targets)

    def readme(self, detail: ReadmeDetail) -> Readme:
        manifest = self.manifest
        tags = {tag for found in self.tags.values() for tag in found}
        groups = self.groups(detail)
        described = [release for release in manifest.releases if release.name in self.releases and release.description]
        patterns = self.patterns(detail)
        pulls = self.pulls()
        return Readme(
            title=self.page.title,
            description=paragraph(manifest.description, detail.text * 10) or "A family of container images.",
            pulls=_first([f"docker pull {reference}" for reference in pulls], detail),
            run=f"docker run --rm {pulls[0]}" if pulls else "",
            has_latest="latest" in tags,
            releases=tuple(
                PublishedRelease(prose(release.name), prose(release.description, detail.text))
                for release in _first(described, detail)
            ),
            patterns=_first(patterns, detail) if len(patterns) > 1 else (),  # one is in its picture
            pictures=_first(self.pictures(), detail) if detail.pictures else (),
            size=self.size(),
            lists=tuple(self.tag_list(group, detail) for group in _first(groups, detail)),
            left_out=self.left_out(detail, max(len(groups), len(patterns))),
            deprecated=_first([self.deprecation(*found, detail) for found in self.deprecations], detail),
            source=f"<{manifest.source_url}>" if manifest.source_url else "",
            issues=f"<{manifest.issues_url}>" if manifest.issues_url else "",
            licenses=prose(manifest.licenses or self.labelled("org.opencontainers.image.licenses")),
            manifest=self.link(manifest.source.file) if manifest.source_url else prose(manifest.source.file),
        )

    def least(self, detail: ReadmeDetail) -> int:
        """Return a number of bytes that the lists of tags have at least: what cannot fit need not be written to be seen."""
        if detail.line == "target":
            return sum(len(tag) + len("\n") for tags in self.tags.values() for tag in tags)
        return len("For , 1 tag from []():\n\n```text\n\n```\n\n") * len(_first(self.groups(detail), detail))

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

    def patterns(self, detail: ReadmeDetail) -> list[str]:
        """Return a line for each pattern of tags; if there are several releases, each begins with its name."""
        by_release = _grouped((target.release, target) for target in self.targets)
        width = max(map(len, self.releases)) + len("  ") if len(self.releases) > 1 else 0
        lines = []
        for name in self.releases:
            texts = self.tagging.texts(by_release[name])
            shown = dict.fromkeys(p.text(texts, kept=self.tagging.variables) for p in self.tagging.patterns(name))
            for index, pattern in enumerate(_first([*shown], detail)):
                lines.append(f"{name if width and not index else '':{width}}{cut(pattern, _NOTE)}")
        return lines

    def pictures(self) -> list[str]:
        """Return pictures of as few patterns as show every part."""
        notes = {name: self.note(name, texts) for name, texts in self.texts.items()}
        left = {name for name, texts in self.texts.items() if len(texts) > 1 or name in self.tagging.variables}
        patterns = [pattern for release in self.releases for pattern in self.tagging.patterns(release)]
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
            about = f" ({variable.description})" if variable.description else ""
            return cut(f"{variable.default}{about}", _NOTE)
        shown = [text for text in texts if text not in {"", EMPTY_NAME}]
        left = ", or left out" if len(shown) < len(texts) else ""
        return cut(_some(shown), _NOTE) + left

    def size(self) -> str:
        """Return how many tags there are, and for which platforms, as a sentence."""
        tags = dict.fromkeys(self.manifest.platforms, 0)
        for target in self.targets:
            for platform in target.platforms:
                tags[platform] += len(self.tags[target.name])
        total = sum(map(len, self.tags.values()))
        built = {platform: number for platform, number in tags.items() if number}
        single = f", and {count(len(self.single), 'more tag')} of single platforms" if self.single else ""
        if set(built.values()) == {total}:
            told = f"{', each' if total > 1 else ''} for {_and(list(built))}"
        else:
            told = f": {_and([f'{number} for {platform}' for platform, number in built.items()])}"
        return f"{count(total, 'tag')}{told}{single}."

    def groups(self, detail: ReadmeDetail) -> list[list[Target]]:
        """Return the targets that have a list in common."""

        def key(target: Target) -> tuple[object, ...]:
            place = target.release, self.repositories[target.name]
            if detail.links or detail.line == "Dockerfile":
                return *place, target.platforms, target.dockerfile
            return place if detail.line == "release" else (*place, target.platforms)

        return list(_grouped((key(target), target) for target in self.targets).values())

    def tag_list(self, targets: Sequence[Target], detail: ReadmeDetail) -> TagList:
        tags = [tag for target in targets for tag in self.tags[target.name]]
        has = {platform for target in targets for platform in target.platforms}
        platforms = _and([platform for platform in self.manifest.platforms if platform in has])
        words = [f"**{prose(targets[0].release)}**"] if len(self.releases) > 1 else []
        if len(set(self.repositories.values())) > 1:
            words.append(f"in {_and([code(name) for name in self.repositories[targets[0].name]])}")
        title = " ".join([*words, f"for {platforms}"])
        if detail.line == "target":
            lines = [line for target in targets for line in self.lines(target.name)]
            title += f", from {self.dockerfiles(targets)}" if detail.links else ""
        else:
            lines = self.summed_up(targets, tags, detail)
            deprecated = sum(tag in self.deprecated for tag in tags)
            title += f", {count(len(tags), 'tag')}" + (f" ({deprecated} of them deprecated)" if deprecated else "")
            title += f" from {self.dockerfiles(targets)}"
        wrapped = textwrap.TextWrapper(_WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        return TagList(f"{title[0].upper()}{title[1:]}:", tuple(map(wrapped.fill, lines)))

    def dockerfiles(self, targets: Sequence[Target]) -> str:
        """Return links to the Dockerfiles of targets, or to their folder."""
        folder = f"{OUTPUT}/{self.manifest.image}"
        paths = list(dict.fromkeys(target.dockerfile for target in targets))
        if len(paths) == 1:
            return self.link(paths[0], path_from(folder, paths[0]))
        return f"{len(paths)} Dockerfiles in {self.link(folder)}"

    def lines(self, target: str) -> list[str]:
        """Return a line for the names of a target, and one for those of each platform by itself."""
        of_platforms = self.platform_tags[target].items()
        return [
            self.line(self.tags[target]),
            *(f"  {self.line(tags)} ({platform} only)" for platform, tags in of_platforms if tags),
        ]

    def line(self, tags: Iterable[str]) -> str:
        """Return names of one image, with a mark at what is deprecated."""
        return " = ".join(f"{tag} (deprecated)" if tag in self.deprecated else tag for tag in tags)

    def summed_up(self, targets: Sequence[Target], tags: Sequence[str], detail: ReadmeDetail) -> list[str]:
        """Return tags as patterns, with what stands for their parts."""
        if len(tags) == 1:
            return [self.line(tags)]
        texts = self.tagging.texts(targets)
        patterns = [pattern.text(texts) for pattern in self.tagging.patterns(targets[0].release)]
        shown = [cut(pattern, _NOTE) for pattern in dict.fromkeys(patterns)] or [f"{tags[0]} … {tags[-1]}"]
        parts = [
            f"{name}: {cut(_some([text for text in found if text not in {'', EMPTY_NAME}]), _NOTE)}"
            for name, found in texts.items()
            if 1 < len(found) < len(self.texts[name])  # those that are all are in the picture
        ]
        return [*_first(shown, detail), *_first(parts, detail)]

    def left_out(self, detail: ReadmeDetail, items: int) -> str:
        """Return what is not told, and where it is, as a sentence."""
        if detail.line == "target":
            return ""
        few = f", and only the first {detail.most} of anything are listed" if 0 < detail.most < items else ""
        place = f", in {self.link('the repository', '')}" if self.manifest.source_url else ""
        command = code(f"bakegen list tags {self.manifest.image}")
        return (
            f"The tags of a {detail.line} are combined{few}, because registries show at most {LIMIT:,} bytes. "
            f"{command} lists every tag{place}, and so does the registry."
        )

    def deprecation(self, entry: Deprecation, made: int, detail: ReadmeDetail) -> DeprecatedTags:
        return DeprecatedTags(
            tags=" ".join(map(code, _first(entry.tags, detail))),
            state=f"{count(made, 'tag')} still published" if made else "no longer published",
            because=prose(entry.because, detail.text),
            use=prose(entry.use, detail.text),
        )

    def link(self, path: str, text: str = "") -> str:
        """Return a link to a path of the project."""
        if self.manifest.source_url:
            return link(text or path, f"{self.manifest.source_url}/", path)
        return link(text or path, "", path_from(dirname(self.page.path), path))


def _matching(entry: Deprecation, tags: Iterable[str]) -> list[str]:
    return [tag for tag in tags if any(fnmatchcase(tag, pattern) for pattern in entry.tags)]


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
