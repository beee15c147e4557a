"""A project on disk: where it is, its manifests, its templates; the way from there to the graph.

In: a folder. Out: a `Project` with the graph of everything its manifests declare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import BaseLoader, Environment, TemplateNotFound

from bakegen.bake import BAKE_TEMPLATE
from bakegen.errors import BakegenError, Position, Problem, fail
from bakegen.expand import Expansion, expand
from bakegen.expressions import Evaluator
from bakegen.graph import Graph
from bakegen.link import build_graph
from bakegen.manifest import load_manifest
from bakegen.paths import leaves, path_mistake, relative
from bakegen.resources import resource
from bakegen.source import read_bytes

MANIFESTS = "manifest"
TEMPLATES = "templates"


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
        raw = read_bytes(file, shown)
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            raise fail("not-utf8", "is not UTF-8", position=Position(shown, line), hint="save it as UTF-8") from error
        self.shown[str(file)] = shown
        return text, str(file), lambda: True

    def find(self, template: str) -> Path | None:
        """Return the file of a template, None if there is none."""
        if path_mistake(template):
            return None
        at_top = template == BAKE_TEMPLATE
        for folder in (self.root, resource("")) if at_top else (self.root / TEMPLATES, resource(TEMPLATES)):
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


def find_root(start: Path) -> Path:
    """Return the nearest folder upwards that holds `manifest/`; raises `BakegenError` if none does."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / MANIFESTS).is_dir():
            return folder
    raise fail(
        "no-project",
        f"there is no {MANIFESTS}/ folder in {start} or above it",
        hint=f"go to the project, name it with -C DIR, or start one: mkdir {MANIFESTS}, and write {MANIFESTS}/IMAGE.yml",
    )


def load_project(root: Path) -> Project:
    """Read, expand and link all manifests under `root`; raises `BakegenError` with every problem found."""
    folder = root / MANIFESTS
    files = sorted(
        file for file in folder.iterdir() if file.suffix in {".yml", ".yaml"} and not file.name.startswith(".")
    )
    if not files:
        raise fail("no-manifests", f"there is no manifest in {folder}", hint=f"write {MANIFESTS}/IMAGE.yml")
    loader = TemplateLoader(root)
    evaluator = Evaluator(loader)
    problems: list[Problem] = []
    expansions: list[Expansion] = []
    with evaluator.limits:
        for file in files:
            try:
                if leaves(root, file):
                    raise fail("unsafe-path", f"{relative(file, root)} is a link that leads out of the project")
                expansions.append(expand(load_manifest(file, root), evaluator))
            except BakegenError as error:
                problems += error.problems
        if problems:
            raise BakegenError(problems)
        graph = build_graph(expansions)
    return Project(root, graph, evaluator, loader)
