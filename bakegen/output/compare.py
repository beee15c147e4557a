"""How the files on disk differ from what they should be. Nothing is written here.

In: the project's root and what it should hold, by path. Out: `Changes`; and the `Plan` that makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bakegen.errors import BakegenError, Collector, Problem
from bakegen.output.files import (
    RECORDS,
    STAGING,
    OutputFile,
    blaming,
    look,
    open_root,
    output_problem,
    path_problems,
    read_output,
)
from bakegen.output.records import digest, read_records, records_text
from bakegen.source.open_folder import OpenFolder, Seen

Files = Mapping[str, OutputFile]
_Difference = Literal["new", "changed", "unchanged", "removed", "edited", "foreign"]


@dataclass(frozen=True, slots=True)
class Changes:
    """How the tree differs from what is wanted; each path is in one tuple only, and each tuple is sorted."""

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()  # made by an earlier run, no longer wanted
    edited: tuple[str, ...] = ()  # made by an earlier run, then changed by someone else
    foreign: tuple[str, ...] = ()  # wanted, but something bakegen did not make is there
    stale_records: bool = False  # the records file itself is to be rewritten

    @property
    def differing(self) -> tuple[str, ...]:
        """Every path that is not as wanted, sorted."""
        return tuple(sorted((*self.new, *self.changed, *self.removed, *self.edited, *self.foreign)))

    @property
    def drifted(self) -> bool:
        """Whether a run would touch anything."""
        return self.stale_records or bool(self.differing)


@dataclass(frozen=True, slots=True)
class Plan:
    """What changes, and the records before, while and after that is done."""

    changes: Changes
    leaving: tuple[str, ...]  # recorded and no longer wanted, whether they are still there or not
    before: bytes
    journal: bytes  # with the hashes that files have and those that they are to get
    after: bytes


def everything(_path: str) -> bool:
    """Return that a run answers for every path."""
    return True


def compare(root: Path, wanted: Files, covers: Callable[[str], bool] = everything) -> Changes:
    """Return how the tree differs from `wanted`; files of earlier runs that the run does not cover are left out."""
    with open_root(root) as folder:
        return make_plan(folder, wanted, covers).changes


def made_before(root: Path, paths: Iterable[str]) -> frozenset[str]:
    """Return those of the paths that an earlier run made and that are still there."""
    with open_root(root) as folder:
        _, recorded = read_records(folder)
        return frozenset(path for path in paths if path in recorded and look(folder, path).is_file)


def make_plan(folder: OpenFolder, wanted: Files, covers: Callable[[str], bool]) -> Plan:
    """Compare an open root with what is wanted; raises `BakegenError` if something that is not bakegen's is in the way."""
    problems = Collector()
    for problem in (*path_problems(wanted), *_own_links(folder)):
        problems.keep(problem)
    problems.stop_if_any()
    before, recorded = read_records(folder)
    others = {path: known for path, known in sorted(recorded.items()) if path not in wanted}
    leaving = {path: known for path, known in others.items() if covers(path)}
    kept = {path: _settled(folder, path, known) for path, known in others.items() if path not in leaving}
    kinds: dict[str, _Difference] = {}
    for path, known in leaving.items():
        if found := read_output(folder, path):
            kinds[path] = "removed" if digest(found.content) in known else "edited"
    removable, current = frozenset(kinds), {}
    for path, file in sorted(wanted.items()):
        with problems.collecting():
            seen = look(folder, path)
            _check_way(folder, seen, removable)
            found = read_output(folder, path) if seen.is_file else None
            kinds[path], current[path] = _judge(file, found, recorded.get(path, frozenset()))
    problems.stop_if_any()
    made = {path: frozenset({digest(file.content)}) for path, file in wanted.items()}
    after = records_text({**kept, **made})
    return Plan(
        changes=_changes(kinds, stale_records=after != before),
        leaving=tuple(leaving),
        before=before,
        journal=records_text({**kept, **leaving, **{path: known | current[path] for path, known in made.items()}}),
        after=after,
    )


def _judge(file: OutputFile, found: OutputFile | None, known: frozenset[str]) -> tuple[_Difference, frozenset[str]]:
    """Return how a wanted file differs, and the hash under which bakegen knows what is there now, if it does.

    A hand edit never enters the journal, even when it is to be overwritten by force: were that run killed, the next
    one would take the edit for bakegen's own work.
    """
    if found is None:
        return "new", frozenset()
    if found.content == file.content:  # no matter who wrote it
        return ("unchanged" if found.executable == file.executable else "changed"), frozenset()
    if (current := digest(found.content)) in known:
        return "changed", frozenset({current})
    return ("edited" if known else "foreign"), frozenset()


def _changes(kinds: Mapping[str, _Difference], *, stale_records: bool) -> Changes:
    def of(kind: _Difference) -> tuple[str, ...]:
        return tuple(sorted(path for path, its in kinds.items() if its == kind))

    return Changes(of("new"), of("changed"), of("unchanged"), of("removed"), of("edited"), of("foreign"), stale_records)


def _settled(folder: OpenFolder, path: str, known: frozenset[str]) -> frozenset[str]:
    """Return which of the two hashes that a killed run left is the true one."""
    if len(known) == 1 or not (found := read_output(folder, path)):
        return known
    return known & {digest(found.content)} or known


def _own_links(folder: OpenFolder) -> Iterator[Problem]:
    """Find what is in the way of bakegen's own files, which are not among those that are wanted."""
    seen = [look(folder, path) for path in (RECORDS, STAGING)]
    found = {one.at: one for one in reversed(seen) if one.is_link or not (one.is_missing or one.at == one.path)}
    yield from (_blocked(one, at) for at, one in found.items())


def _check_way(folder: OpenFolder, seen: Seen, removable: Collection[str]) -> None:
    """Raise `BakegenError` if a file cannot be put at a path without removing what bakegen did not make."""
    if seen.is_missing or seen.is_file:
        return
    if seen.is_folder:  # empty ones do no harm
        with blaming(seen.path, "read"):
            occupants = [path for path, is_folder in folder.below(seen.path) if not is_folder]
    else:
        occupants = [seen.at]
    if alien := next((path for path in occupants if path not in removable), ""):
        raise BakegenError([_blocked(seen, alien)])


def _blocked(seen: Seen, alien: str) -> Problem:
    if seen.is_link:
        message = f'"{seen.path}" cannot be written: "{alien}" is a symbolic link'
        return output_problem("unsafe-path", seen.path, message, f'replace "{alien}" with a regular file or folder')
    message = f'"{seen.path}" cannot be written: "{alien}" already exists, and bakegen did not create it'
    return output_problem("cannot-write", seen.path, message, f'move or remove "{alien}"')
