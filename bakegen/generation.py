"""A run of `generate`: from a folder to what is written there, or would be.

In: the project's root and a `Run`. Out: the `Changes` to the tree, and their diff if nothing was to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bakegen.output import last_run
from bakegen.output.compare import Changes, compare, made_before
from bakegen.output.diff import unified_diff
from bakegen.output.files import OutputFile
from bakegen.output.lock import lock
from bakegen.output.write import replace_file, write

if TYPE_CHECKING:  # what renders is loaded only if there is something to do
    from bakegen.project import Project
    from bakegen.render.parts import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run is asked to do; no images and no parts stand for all."""

    images: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    version: str | None = None
    save_metadata: bool = False
    writes: bool = True
    force: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether a record of the last run can tell that there is nothing to do."""
        return not (self.images or self.parts or self.save_metadata or self.version is not None)


def carry_out(root: Path, run: Run, waiting: Callable[[], None]) -> tuple[Changes, Sequence[str]]:
    """Write what is to be, or compare; return the changes, and their diff if nothing is written.

    `waiting` is called if another run is at work. Raises `BakegenError` with every problem found; then nothing is written.
    """
    with lock(root, waiting=waiting):
        inputs = last_run.fingerprint(root) if run.is_plain else ""
        if settled := last_run.recall(root, inputs):
            return Changes(unchanged=settled), ()
        return _render(root, inputs, run)


def _render(root: Path, inputs: str, run: Run) -> tuple[Changes, Sequence[str]]:
    from bakegen.project import load_project
    from bakegen.render.files import render
    from bakegen.render.metadata import metadata, metadata_paths
    from bakegen.render.parts import PARTS, Extent

    project = load_project(root)
    manifests: dict[str, OutputFile] = {}
    chosen = [manifest.image for manifest in project.graph.restrict(run.images)]
    if run.version is not None:
        project, manifests = _with_version(project, chosen, run.version)
    rendering = render(project)
    asked = {path for image in chosen for path in metadata_paths(image)}
    also = frozenset(asked if run.save_metadata else ())
    extent = Extent(run.images, frozenset(run.parts or PARTS), also)
    files = {**rendering.files, **metadata(project, rendering, also or made_before(root, asked))}
    wanted = {path: file for path, file in files.items() if extent(path)}
    if run.writes:
        changes = write(root, wanted, extent, force=run.force)
        for path, file in manifests.items():
            replace_file(root, path, file.content)
    else:
        changes = compare(root, wanted, extent)
    changes = replace(changes, changed=tuple(sorted((*changes.changed, *manifests))))
    if run.is_plain and (run.writes or not changes.drifted):
        last_run.remember(root, inputs, rendering.looked, wanted)
    return changes, () if run.writes else tuple(unified_diff(root, {**wanted, **manifests}, changes))


def _with_version(project: Project, images: Sequence[str], version: str) -> tuple[Project, dict[str, OutputFile]]:
    """Return a project as it is with another VERSION, and the manifests to be rewritten for that."""
    from bakegen.manifest.version import check_version, rewritten, with_version
    from bakegen.project import load_project
    from bakegen.source.yaml import read_bytes

    check_version(version)
    new = rewritten(project.root, project.graph.manifests, images, version)
    adapted = load_project(
        project.root, lambda manifest: with_version(manifest, version) if manifest.image in images else manifest
    )
    return adapted, {
        path: OutputFile(content) for path, content in new.items() if content != read_bytes(project.root, path)
    }
