"""A project on disk: where it is, its manifests, its templates; the way from there to the graph.

In: a folder. Out: a `Project` with the graph of everything its manifests declare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import BaseLoader, Environment, TemplateNotFound

from bakegen.errors import BakegenError, Position, Problem, fail
from bakegen.expressions.sandbox import Evaluator
from bakegen.graph.expand import MAX_TARGETS, Expansion, expand
from bakegen.graph.graph import Graph
from bakegen.graph.link import build_graph
from bakegen.manifest.load import load_manifest, mentioned_files
from bakegen.manifest.model import Manifest
from bakegen.source.paths import MANIFESTS, TEMPLATES, leaves, path_mistake, relative
from bakegen.source.resources import BAKE_TEMPLATE, resource
from bakegen.source.yaml import Source, load_source, read_text


class TemplateLoader(BaseLoader):
    """Finds templates in the project first, then among those that the package brings; never outside of either."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shown: dict[str, str] = {}  # file name as Python's tracebacks know it -> as messages show it

    def get_source(self, _environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Return text and file of a template; raises TemplateNotFound or `BakegenError`."""
        file = self.find(template)
        if file is None:
            place = f"{TEMPLATES}/{template}"
            if not path_mistake(template) and (self.root / place).is_file():
                raise fail("unsafe-path", "is a link that leads out of the project", position=Position(place))
            raise TemplateNotFound(template)
        shown = relative(file, self.root) if file.is_relative_to(self.root) else f"bakegen:{template}"
        text = read_text(file, shown)
        self.shown[str(file)] = shown
        return text, str(file), lambda: True

    def find(self, template: str) -> Path | None:
        """Return the file of a template, None if there is none."""
        if path_mistake(template):
            return None
        at_top = template == BAKE_TEMPLATE
        for folder in (
            (self.root, resource(BAKE_TEMPLATE).parent) if at_top else (self.root / TEMPLATES, resource(TEMPLATES))
        ):
            file = folder / template
            if file.is_file() and not leaves(folder, file):
                return file
        return None

    def list_templates(self) -> list[str]:
        """Return the names of all templates that can be found."""
        return sorted(
            file.relative_to(folder).as_posix()
            for folder in (self.root / TEMPLATES, resource(TEMPLATES))
            for file in folder.rglob("*")
            if file.is_file()
        )


@dataclass(frozen=True)
class Project:
    """A loaded project."""

    root: Path
    graph: Graph
    evaluator: Evaluator = field(repr=False)
    loader: TemplateLoader = field(repr=False)


def load_project(root: Path, adapt: Callable[[Manifest], Manifest] = lambda manifest: manifest) -> Project:
    """Read, expand and link all manifests under `root`; raises `BakegenError` with every problem found.

    `adapt` may change a manifest once it is read.
    """
    folder = root / MANIFESTS
    files = sorted(
        file for file in folder.iterdir() if file.suffix in {".yml", ".yaml"} and not file.name.startswith(".")
    )
    if not files:
        raise _no_manifests(folder)
    loader = TemplateLoader(root)
    evaluator = Evaluator(loader)
    problems: list[Problem] = []
    expansions: list[Expansion] = []
    sources: dict[Path, Source] = {}
    unread: dict[Path, BakegenError] = {}
    for file in files:
        try:
            sources[file] = _load(file, root)
        except BakegenError as error:
            unread[file] = error
    parts = _parts(sources, folder)
    for file, failure in unread.items():
        if file not in parts:  # whoever mentions it says so
            problems += failure.problems
    with evaluator.limits:
        for file in _manifests(sources, parts, complete=not problems):
            try:
                expansions.append(expand(adapt(load_manifest(file, root, sources[file])), evaluator))
            except BakegenError as error:
                problems += error.problems
            if sum(len(expansion.drafts) for expansion in expansions) > MAX_TARGETS:
                raise _too_many(expansions[-1].manifest)
        if problems:
            raise BakegenError(problems)
        if not expansions:
            raise _no_manifests(folder)
        graph = build_graph(expansions, lambda path: read_dockerfile(root, path))
    return Project(root, graph, evaluator, loader)


def read_dockerfile(root: Path, path: str) -> str | None:
    """Return the text of a Dockerfile of the project, None if there is none; raises `BakegenError` if it cannot be read."""
    if not (root / path).exists():
        return None
    if leaves(root, root / path):
        raise fail("unsafe-path", "is a link that leads out of the project", position=Position(path))
    return read_text(root / path, path)


def _too_many(manifest: Manifest) -> BakegenError:
    return manifest.source.failure(
        "too-many-targets",
        f"with this manifest, the project has more than {MAX_TARGETS:,} targets",
        ("image",),
        hint="bake would need minutes to read as many: split the project, or let releases span fewer axes",
    )


def _no_manifests(folder: Path) -> BakegenError:
    return fail(
        "no-manifests", f"there is no manifest in {folder}", hint=f"`bakegen init IMAGE` writes {MANIFESTS}/IMAGE.yml"
    )


def _load(file: Path, root: Path) -> Source:
    name = relative(file, root)
    if leaves(root, file):
        raise fail("unsafe-path", "is a link that leads out of the project", position=Position(name))
    return load_source(file, name)


def _parts(sources: Mapping[Path, Source], folder: Path) -> set[Path]:
    """Return the files that others include or read data from."""
    return {part for file, source in sources.items() for part in mentioned_files(source, folder) if part != file}


def _manifests(sources: Mapping[Path, Source], parts: set[Path], *, complete: bool) -> Iterator[Path]:
    """Yield the files that are manifests: a part of another without `image` is none.

    While some manifest cannot be read (`complete` is false), any file without `image` may be a part of it.
    """
    for file, source in sources.items():
        whole = isinstance(source.content, dict) and "image" in source.content
        if whole or (complete and file not in parts):
            yield file
