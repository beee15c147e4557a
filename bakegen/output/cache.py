"""Remember that nothing was left to do, so that the next run sees at once that this is still so.

In: the project root, and what a whole run read and made. Out: a record in the user's cache folder; and later, if all
that the run read and all that it made is byte for byte the same, the names of the generated files.

The record holds hashes only, no content. Everything is compared by content, never by time, and whatever is unclear (a
symbolic link on the way, a file that changed while a run read it, a broken record) means that the run does its work.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from bakegen.errors import BakegenError
from bakegen.output.write import RECORDS, STAGING, OutputFile, Tree
from bakegen.source.paths import MANIFESTS, TEMPLATES
from bakegen.source.resources import BAKE_TEMPLATE, resource


class _UnclearError(Exception):
    """The state of something cannot be told by looking at it."""


def fingerprint(root: Path) -> str:
    """Return a hash of what every run reads: bakegen itself, manifests, templates; empty if that is unclear."""
    tree = Tree(root)
    try:
        inputs = {
            path: _state(tree, path) for path in (*_below(root, MANIFESTS), *_below(root, TEMPLATES), BAKE_TEMPLATE)
        }
        return _hash(json.dumps([*_program(), *sorted(inputs.items())]).encode())
    except (BakegenError, OSError, _UnclearError):
        return ""


def recall(root: Path, inputs: str) -> tuple[str, ...]:
    """Return the generated files if a run with these `inputs` left nothing to do and nothing changed since, else ()."""
    try:
        record = json.loads(_place(root).read_text())
        tree = Tree(root)
        if record["inputs"] == inputs and all(_state(tree, path) == was for path, was in record["states"].items()):
            return tuple(record["made"])
    except (BakegenError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, _UnclearError):
        pass  # no record, a broken one, or none that can be held against the disk
    return ()


def remember(root: Path, inputs: str, looked: Mapping[str, OutputFile | None], made: Mapping[str, OutputFile]) -> None:
    """Record that a run with these `inputs` left nothing to do; `looked` is what else it read (None: a folder)."""
    read = {path: _expected(file) if file else _FOLDER for path, file in looked.items()}
    written = {path: _expected(file) for path, file in made.items()}
    records = "".join(f"{state.partition(' ')[0]}  {path}\n" for path, state in sorted(written.items()))
    states = {**read, **written, RECORDS: _expected(OutputFile(records.encode())), STAGING: _MISSING}
    tree = Tree(root)
    try:
        if not inputs or fingerprint(root) != inputs or any(_state(tree, path) != was for path, was in read.items()):
            return
        place = _place(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        staged = place.with_suffix(".new")
        staged.write_text(json.dumps({"root": str(root), "inputs": inputs, "states": states, "made": sorted(made)}))
        staged.replace(place)
    except (BakegenError, OSError, RuntimeError, _UnclearError):
        return


_MISSING, _FOLDER = "missing", "folder"


def _expected(file: OutputFile) -> str:
    return f"{_hash(file.content)} {'executable' if file.executable else 'plain'}"


def _state(tree: Tree, path: str) -> str:
    seen = tree.look(path)
    file = tree.load(path, seen)
    if file:
        return _expected(file)
    if stat.S_ISDIR(seen.mode):
        return _FOLDER
    if seen.mode:
        raise _UnclearError
    return _MISSING


def _below(root: Path, folder: str) -> Iterator[str]:
    """Yield a folder and everything below it, as paths from the root."""
    yield folder
    for here, folders, files in os.walk(root / folder, onerror=_refuse):
        yield from (f"{Path(here).relative_to(root).as_posix()}/{name}" for name in (*folders, *files))


def _refuse(error: OSError) -> None:
    raise error


def _program() -> Iterator[str]:
    """Yield what else decides about the result: Python, the packages that are installed, bakegen's own files."""
    yield sys.version
    for folder in filter(Path.is_dir, map(Path, sys.path)):
        yield from sorted(str(found) for found in folder.iterdir() if found.suffix in {".dist-info", ".egg-info"})
    own = [*Path(__file__).parents[1].rglob("*.py"), *resource("templates").rglob("*"), *resource("schema").rglob("*")]
    for file in (*sorted(own), resource(BAKE_TEMPLATE)):
        if file.is_file():
            yield f"{file} {_hash(file.read_bytes())}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _place(root: Path) -> Path:
    """Return the file for a project in the user's cache folder (https://specifications.freedesktop.org/basedir-spec/)."""
    said = os.environ.get("XDG_CACHE_HOME", "")
    caches = Path(said) if said.startswith("/") else Path.home() / ".cache"
    return caches / "bakegen" / f"{_hash(os.fsencode(root))[:32]}.json"
