"""Remember that nothing was left to do, so that the next run sees at once that this is still so.

In: the project root, and what a whole run read and made. Out: a record in the user's cache folder; and later, if all
that the run read and all that it made is byte for byte the same, the names of the generated files.

The record holds hashes only, no content. Everything is compared by content, never by time, and whatever is unclear (a
symbolic link on the way, a file that changed while a run read it, a broken record) means that the run does its work.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from bakegen.output.files import RECORDS, STAGING, OutputFile
from bakegen.output.records import digest, records_text
from bakegen.source.inputs import MOST_GENERATED
from bakegen.source.open_folder import OpenFolder
from bakegen.source.paths import MANIFESTS, TEMPLATES
from bakegen.source.resources import BAKE_TEMPLATE, resource


class _UnclearError(Exception):
    """The state of something cannot be told by looking at it."""


def fingerprint(root: Path) -> str:
    """Return a hash of what every run reads: bakegen itself, manifests, templates; empty if that is unclear."""
    try:
        with OpenFolder.at(root) as folder:
            paths = [path for start in (MANIFESTS, TEMPLATES) for path in _with_all_below(folder, start)]
            inputs = [f"{path} {_state(folder, path)}" for path in (*paths, BAKE_TEMPLATE)]
        return digest(json.dumps([*_program(), *inputs]).encode())
    except (OSError, _UnclearError):
        return ""


def recall(root: Path, inputs: str) -> tuple[str, ...]:
    """Return the generated files if a run with these `inputs` left nothing to do and nothing changed since, else ()."""
    try:
        record = json.loads(_place(root).read_text())
        with OpenFolder.at(root) as folder:
            if record["inputs"] == inputs and all(_state(folder, p) == was for p, was in record["states"].items()):
                return tuple(record["made"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, _UnclearError):
        pass  # no record, a broken one, or none that can be compared with the disk
    return ()


def remember(root: Path, inputs: str, looked: Mapping[str, OutputFile | None], made: Mapping[str, OutputFile]) -> None:
    """Record that a run with these `inputs` left nothing to do; `looked` is what else it read (None: a folder)."""
    read = {path: _expected(file) if file else _FOLDER for path, file in looked.items()}
    records = OutputFile(records_text({path: frozenset({digest(file.content)}) for path, file in made.items()}))
    written = {path: _expected(file) for path, file in {**made, RECORDS: records}.items()}
    states = {**read, **written, STAGING: _MISSING}
    try:
        with OpenFolder.at(root) as folder:
            if not inputs or fingerprint(root) != inputs or any(_state(folder, p) != was for p, was in read.items()):
                return
        place = _place(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        staged = place.with_suffix(".new")
        staged.write_text(json.dumps({"root": str(root), "inputs": inputs, "states": states, "made": sorted(made)}))
        staged.replace(place)
    except (OSError, RuntimeError, _UnclearError):
        return


_MISSING, _FOLDER = "missing", "folder"


def _expected(file: OutputFile) -> str:
    return f"{digest(file.content)} {'executable' if file.executable else 'plain'}"


def _state(folder: OpenFolder, path: str) -> str:
    with suppress(OSError):
        return _expected(OutputFile(*folder.read(path, MOST_GENERATED)))
    seen = folder.look(path)
    if seen.is_folder:
        return _FOLDER
    if seen.is_missing:
        return _MISSING
    raise _UnclearError


def _with_all_below(folder: OpenFolder, path: str) -> Iterator[str]:
    yield path
    if folder.look(path).is_folder:
        yield from (below for below, _ in folder.below(path))


def _program() -> Iterator[str]:
    """Yield what else decides about the result: Python, the packages that are installed, bakegen's own files."""
    yield sys.version
    for folder in filter(Path.is_dir, map(Path, sys.path)):
        yield from sorted(str(found) for found in folder.iterdir() if found.suffix in {".dist-info", ".egg-info"})
    own = [*Path(__file__).parents[1].rglob("*.py"), *resource("templates").rglob("*"), *resource("schema").rglob("*")]
    for file in (*sorted(own), resource(BAKE_TEMPLATE)):
        if file.is_file():
            yield f"{file} {digest(file.read_bytes())}"


def _place(root: Path) -> Path:
    """Return the file for a project in the user's cache folder (https://specifications.freedesktop.org/basedir-spec/)."""
    said = os.environ.get("XDG_CACHE_HOME", "")
    caches = Path(said) if said.startswith("/") else Path.home() / ".cache"
    return caches / "bakegen" / f"{digest(os.fsencode(root))[:32]}.json"
