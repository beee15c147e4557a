"""A project on disk: where it is, its manifests, its templates; the way from there to the graph.

In: a folder. Out: a `Project` with the graph of everything its manifests declare.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import BaseLoader, Environment, TemplateNotFound

from bakegen.errors import BakegenError, Position, Problem, fail, line_at
from bakegen.expressions.sandbox import Evaluator
from bakegen.graph.expand import MAX_TARGETS, Expansion, expand
from bakegen.graph.graph import Graph
from bakegen.graph.link import build_graph
from bakegen.manifest.load import load_manifest, mentioned_files
from bakegen.manifest.model import Manifest
from bakegen.source.inputs import InputError, files_below, list_input, read_input
from bakegen.source.paths import MANIFESTS, TEMPLATES, path_mistake
from bakegen.source.resources import BAKE_TEMPLATE, resource
from bakegen.source.yaml import Source, decoded, load_source

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # templates may have tabs, and lines that end with CR


class TemplateLoader(BaseLoader):
    """Finds templates in the project first, then among those that the package brings; never outside of either.

    What messages call a template is its path from the root, or `bakegen:NAME` if the package brings it. Jinja takes
    that for its file name, so tracebacks show it as well.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shown: dict[str, str] = {}  # of all that were used: what messages call them
        self.texts: dict[str, str] = {}  # and what they hold, by that

    def get_source(self, _environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Return text and file of a template; raises TemplateNotFound or `BakegenError`."""
        if path_mistake(template):
            raise TemplateNotFound(template)
        start = BAKE_TEMPLATE if template == BAKE_TEMPLATE else TEMPLATES
        path = template if template == BAKE_TEMPLATE else f"{TEMPLATES}/{template}"
        for root, shown in ((self.root, path), (resource(start).parent, f"bakegen:{template}")):
            try:
                content, _ = read_input(root, path)
            except InputError as error:
                if error.code == "missing-file":
                    continue
                raise error.at(Position(shown)) from error
            self.shown[template] = shown
            self.texts[shown] = text = decoded(content, shown)
            if found := _CONTROL.search(text):
                raise _control_character(text, found, shown)
            return text, shown, lambda: True
        raise TemplateNotFound(template)

    def list_templates(self) -> list[str]:
        """Return the names of all templates that can be found."""
        found: set[str] = set()
        for root in (self.root, resource(TEMPLATES).parent):
            with suppress(InputError):
                found.update(files_below(root, TEMPLATES))
        return sorted(found)


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
    try:
        names = list_input(root, MANIFESTS)
    except InputError as error:
        raise error.at(Position(MANIFESTS)) from error
    files = [folder / name for name in names if name.endswith((".yml", ".yaml")) and not name.startswith(".")]
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
            sources[file] = load_source(root, f"{MANIFESTS}/{file.name}")
        except BakegenError as error:
            unread[file] = error
    parts = _parts(sources, folder)
    for file, failure in unread.items():
        if file not in parts:  # whoever mentions it says so
            problems += failure.problems

    def dockerfile_text(path: str) -> str | None:
        found = read_dockerfile(root, path)
        return decoded(found[0], path) if found else None

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
        graph = build_graph(expansions, dockerfile_text)
    return Project(root, graph, evaluator, loader)


def read_dockerfile(root: Path, path: str) -> tuple[bytes, bool] | None:
    """Return the content of a Dockerfile of the project and whether it is executable, None if there is none.

    Raises `BakegenError` if it cannot be read.
    """
    try:
        return read_input(root, path)
    except InputError as error:
        if error.code == "missing-file":
            return None
        raise error.at(Position(path)) from error


def _control_character(text: str, found: re.Match[str], template: str) -> BakegenError:
    line = text.count("\n", 0, found.start()) + 1
    position = Position(template, line, found.start() - text.rfind("\n", 0, found.start()))
    message = f"a template contains the control character U+{ord(found[0]):04X}"
    return fail("control-character", message, position=position, source=line_at(text, line), hint="remove it")


def _too_many(manifest: Manifest) -> BakegenError:
    return manifest.source.failure(
        "too-many-targets",
        f"with this manifest, the project has more than {MAX_TARGETS:,} targets",
        ("image",),
        hint="split the project, or use fewer axes per release: bake needs minutes for so many targets",
    )


def _no_manifests(folder: Path) -> BakegenError:
    return fail(
        "no-manifests", f"no manifests found in {folder}", hint=f"`bakegen init IMAGE` creates {MANIFESTS}/IMAGE.yml"
    )


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
