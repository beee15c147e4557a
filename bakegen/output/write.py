"""Output: the generated files on disk — compared, shown as a diff, and written so that nothing is ever lost.

In: the project root and what it should hold, `{path relative to the root: OutputFile}`. Out: `Changes`, a unified
diff, or the tree itself with `generated/bakegen.sums`, the list of what bakegen made (`sha256sum -c` reads it).

A run may be killed at any moment. So contents are staged aside, then the records list the old and the new hash of
each file (the journal), then each staged file is renamed over its place, then the rest is removed, then the records
list what is there. Whatever a killed run leaves is therefore whole and recorded, and the next run finishes the work.
Nothing is synced to disk: after a power cut, git has the files, and the manifest makes them again.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import io
import os
import re
import shutil
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bakegen.errors import BakegenError, Code, Position, Problem, fail, printable
from bakegen.source.paths import folders_of

RECORDS = "generated/bakegen.sums"
STAGING = "generated/.bakegen-staging"

_RECORD = re.compile(r"([0-9a-f]{64})  (.+)")
_BAD_COMPONENT = re.compile(r"(?:^|/)\.{0,2}(?:/|$)")  # empty (so absolute as well), "." and ".."

Scope = Callable[[str], bool] | tuple[str, ...]
"""The paths a run answers for: a predicate, or files and folders (a folder stands for all that is below it)."""

_Kind = Literal["new", "changed", "unchanged", "removed", "edited", "foreign"]
_Hashes = dict[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file, as wanted or as found on disk."""

    content: bytes
    executable: bool = False


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
class _Plan:
    """What `_apply` needs to know; the three texts are those of the records file."""

    changes: Changes
    obstacles: frozenset[str]  # files to remove before the others are placed: a folder gives way to a file, or back
    vacated: frozenset[str]  # folders that may be left empty
    current: bytes
    journal: bytes
    final: bytes


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a path comes down to: itself, or the first of its folders that is missing or no folder (mode 0: missing)."""

    at: str
    mode: int


class Tree:
    """What lies under the root; no symlink is ever followed, and each folder is looked at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders = {"": _Seen("", stat.S_IFDIR)}

    def look(self, path: str) -> _Seen:
        """Return what is at `path`, or what ends the way there."""
        folder = self._folder(path.rpartition("/")[0])
        return self._lstat(path) if stat.S_ISDIR(folder.mode) else folder

    def _folder(self, path: str) -> _Seen:
        if path not in self._folders:
            self._folders[path] = self.look(path)
        return self._folders[path]

    def _lstat(self, path: str) -> _Seen:
        with _blaming(path, "looked at"):
            try:
                return _Seen(path, os.lstat(f"{self.root}/{path}").st_mode)
            except FileNotFoundError:
                return _Seen(path, 0)

    def load(self, path: str, seen: _Seen | None = None) -> OutputFile | None:
        """Return the regular file at `path`, None if there is none."""
        seen = seen or self.look(path)
        if not _is_file(path, seen):
            return None
        # It was no symlink a moment ago; should it be one by now, O_NOFOLLOW fails.
        with _blaming(path, "read"), io.FileIO(os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_NOFOLLOW)) as file:
            return OutputFile(file.readall(), bool(seen.mode & stat.S_IXUSR))

    def occupants(self, path: str, seen: _Seen) -> list[str]:
        """Return what must go before a regular file can be put at `path` (empty folders do not count)."""
        if not seen.mode or _is_file(path, seen):
            return []
        if not stat.S_ISDIR(seen.mode):
            return [seen.at]
        found = []
        for folder, folders, files in os.walk(self.root / path):
            links = [name for name in folders if Path(folder, name).is_symlink()]
            found += [Path(folder, name).relative_to(self.root).as_posix() for name in (*files, *links)]
        return sorted(found)


def everything(_path: str) -> bool:
    """Scope of a run for the whole project."""
    return True


def made_before(root: Path, paths: Iterable[str]) -> frozenset[str]:
    """Return those of the paths that an earlier run made and nobody has removed since."""
    tree = Tree(root)
    _, records = _load_records(tree, salvage=True)
    return frozenset(path for path in paths if path in records and tree.look(path).at == path and tree.look(path).mode)


def replace_file(root: Path, path: str, content: bytes) -> None:
    """Give a file of the user other content, at once and with its permissions."""
    with _blaming(path):
        file = (root / path).resolve()
        staged = file.with_name(f".{file.name}.bakegen")
        staged.write_bytes(content)
        staged.chmod(stat.S_IMODE(file.stat().st_mode))
        staged.replace(file)


@contextmanager
def lock(root: Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold the project for this process alone; `waiting` is called when another run has to end first.

    The lock lies on the root folder itself, so it leaves no file behind and ends with the process, however it ends.
    """
    with _blaming(".", "locked"):
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with _blaming(".", "locked"):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting:
                    waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def compare(root: Path, wanted: Mapping[str, OutputFile], scope: Scope = everything) -> Changes:
    """Return how the tree differs from `wanted`; recorded files outside `scope` are nobody's business here."""
    return _plan(root, wanted, scope, salvage=False).changes


def write(root: Path, wanted: Mapping[str, OutputFile], scope: Scope = everything, *, force: bool = False) -> Changes:
    """Make the tree as `wanted` and return what was changed.

    Without `force`, hand edits, foreign files and unreadable records are problems, and nothing is written. With it,
    they are overwritten; even then, a file that bakegen neither made nor wants stays.
    """
    plan = _plan(root, wanted, scope, salvage=force)
    if not force and (refusals := list(_refusals(plan.changes, wanted))):
        raise BakegenError(refusals)
    _apply(root, wanted, plan)
    return plan.changes


def unified_diff(root: Path, wanted: Mapping[str, OutputFile], changes: Changes) -> Iterator[str]:
    """Yield the lines (without newlines) of a diff from the tree to `wanted`, in the form `git apply` reads."""
    tree = Tree(root)
    for path in changes.differing:
        yield from _file_diff(path, tree.load(path), wanted.get(path))


# --- planning: reads, never writes ---


def _plan(root: Path, wanted: Mapping[str, OutputFile], scope: Scope, *, salvage: bool) -> _Plan:
    if problems := list(path_problems(wanted)):
        raise BakegenError(problems)
    tree = Tree(root)
    current, recorded = _load_records(tree, salvage=salvage)
    inside = _predicate(scope)
    leaving = {path: recorded[path] for path in sorted(recorded) if path not in wanted and inside(path)}
    staying = {p: _settled(tree, p, recorded[p]) for p in recorded if p not in wanted and p not in leaving}
    kinds, prior, obstacles = _judge_wanted(tree, wanted, recorded, leaving)
    coming = {path: frozenset({_digest(file.content)}) for path, file in wanted.items()}
    vacated = set()
    for path, known in leaving.items():
        seen = tree.look(path)
        if found := tree.load(path, seen):
            kinds[path] = "removed" if _digest(found.content) in known else "edited"
        if not stat.S_ISLNK(seen.mode):
            vacated.add(path.rpartition("/")[0])
    final = _render(staying | coming)
    return _Plan(
        changes=_changes(kinds, stale_records=final != current),
        obstacles=frozenset(obstacles),
        vacated=frozenset(vacated),
        current=current,
        journal=_render(staying | leaving | {path: prior[path] | hashes for path, hashes in coming.items()}),
        final=final,
    )


def _judge_wanted(
    tree: Tree, wanted: Mapping[str, OutputFile], recorded: _Hashes, leaving: Iterable[str]
) -> tuple[dict[str, _Kind], _Hashes, set[str]]:
    """Return each wanted file's kind, the known hash of what is there now, and the files in the way of others."""
    kinds: dict[str, _Kind] = {}
    prior: _Hashes = {}
    obstacles: set[str] = set()
    problems: list[Problem] = []
    removable = {path for path in leaving if _is_file(path, tree.look(path))}
    for path, file in wanted.items():
        seen = tree.look(path)
        occupants = tree.occupants(path, seen)
        if alien := next((other for other in occupants if other not in removable), None):
            problems.append(_blocked(path, alien, seen))
            continue
        obstacles.update(occupants)
        kinds[path], prior[path] = _judge(file, tree.load(path, seen), recorded.get(path, frozenset()))
    if problems:
        raise BakegenError(problems)
    return kinds, prior, obstacles


def _judge(file: OutputFile, found: OutputFile | None, known: frozenset[str]) -> tuple[_Kind, frozenset[str]]:
    """Return the kind of one wanted file and the hash under which bakegen knows what is there now, if it does.

    A hand edit never enters the journal, even when it is to be overwritten by force: were that run killed, the next
    one would take the edit for bakegen's own work.
    """
    if found is None:
        return "new", frozenset()
    if found.content == file.content:  # whoever wrote it
        return ("unchanged" if found.executable == file.executable else "changed"), frozenset()
    digest = _digest(found.content)
    if digest in known:
        return "changed", frozenset({digest})
    return ("edited" if known else "foreign"), frozenset()


def _changes(kinds: Mapping[str, _Kind], *, stale_records: bool) -> Changes:
    def of(kind: _Kind) -> tuple[str, ...]:
        return tuple(sorted(path for path, its in kinds.items() if its == kind))

    return Changes(of("new"), of("changed"), of("unchanged"), of("removed"), of("edited"), of("foreign"), stale_records)


def _predicate(scope: Scope) -> Callable[[str], bool]:
    if not isinstance(scope, tuple):
        return scope
    chosen = frozenset(prefix.rstrip("/") for prefix in scope)
    return lambda path: path in chosen or any(folder in chosen for folder in folders_of(path))


def _settled(tree: Tree, path: str, known: frozenset[str]) -> frozenset[str]:
    """Return which of the two hashes that a killed run left for a file outside the scope is the true one."""
    if len(known) == 1 or not (found := tree.load(path)):
        return known
    return known & {_digest(found.content)} or known


def _load_records(tree: Tree, *, salvage: bool) -> tuple[bytes, _Hashes]:
    """Return the records file as it is and what it says; `salvage` passes over the lines that say nothing."""
    for path in (RECORDS, STAGING):
        seen = tree.look(path)
        if stat.S_ISLNK(seen.mode) or (seen.mode and seen.at != path):
            raise BakegenError([_blocked(path, seen.at, seen)])
    found = tree.load(RECORDS)
    text = found.content if found else b""
    records: dict[str, set[str]] = {}
    # Bytes that are no UTF-8 become surrogates, which no safe path has.
    for number, line in enumerate(text.decode(errors="surrogateescape").removesuffix("\n").split("\n"), 1):
        match = _RECORD.fullmatch(line)
        if match and not _unsafe(match[2]) and match[2] != RECORDS:
            records.setdefault(match[2], set()).add(match[1])
        elif text and not salvage:
            raise fail(
                "broken-records",
                "this line is not the SHA-256 and the path of a file that bakegen made",
                position=Position(RECORDS, number),
                source=line,
                hint=f"restore it from git (`git checkout -- {RECORDS}`), or run `bakegen generate --force`",
            )
    return text, {path: frozenset(hashes) for path, hashes in records.items()}


def _render(records: _Hashes) -> bytes:
    return "".join(f"{digest}  {path}\n" for path in sorted(records) for digest in sorted(records[path])).encode()


# --- writing ---


def _apply(root: Path, wanted: Mapping[str, OutputFile], plan: _Plan) -> None:
    """Carry the plan out; the order of the steps is what makes a kill between any two of them harmless."""
    staging = root / STAGING
    if staging.exists():  # a killed run's
        with _blaming(STAGING, "removed"):
            shutil.rmtree(staging)
    if not plan.changes.drifted:
        return
    differing = plan.changes.differing
    doomed = [path for path in differing if path not in wanted]
    try:
        with _blaming(STAGING, "made"):
            staging.mkdir(parents=True)
        staged = {p: _stage(staging / str(n), p, wanted[p]) for n, p in enumerate(differing) if p in wanted}
        _put_records(root, plan.current, plan.journal)
        _remove(root, (path for path in doomed if path in plan.obstacles))
        _place(root, staged)
        # Removed last, so that a build of what another file still names finds it as long as possible.
        _remove(root, (path for path in doomed if path not in plan.obstacles))
        _prune(root, plan.vacated)
        _put_records(root, plan.journal, plan.final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # the next run tries again, and says so if it cannot


def _stage(place: Path, path: str, file: OutputFile) -> Path:
    """Write a file aside and return where; blame `path`, the file that the user knows."""
    with _blaming(path):
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777 if file.executable else 0o666)
        with os.fdopen(handle, "wb") as stream:
            stream.write(file.content)
            if file.executable:  # a umask may forbid it; the file would then differ from what is wanted for ever
                os.fchmod(handle, os.fstat(handle).st_mode | stat.S_IXUSR)
    return place


def _put_records(root: Path, old: bytes, new: bytes) -> None:
    if new == old:
        return
    if new:
        staged = _stage(root / STAGING / "records", RECORDS, OutputFile(new))
        with _blaming(RECORDS):
            staged.replace(root / RECORDS)
    else:  # `sha256sum -c` fails on an empty file
        _remove(root, [RECORDS])


def _place(root: Path, staged: Mapping[str, Path]) -> None:
    for folder in {path.rpartition("/")[0] for path in staged}:
        with _blaming(folder, "made"):
            (root / folder).mkdir(parents=True, exist_ok=True)
    for path, source in staged.items():
        with _blaming(path):
            target = root / path
            try:
                source.replace(target)
            except IsADirectoryError:  # its files are gone by now, and `rmdir` takes empty folders only
                for folder, _, _ in os.walk(target, topdown=False):
                    Path(folder).rmdir()
                source.replace(target)


def _remove(root: Path, paths: Iterable[str]) -> None:
    for path in paths:
        with _blaming(path, "removed"):
            (root / path).unlink(missing_ok=True)


def _prune(root: Path, folders: Iterable[str]) -> None:
    """Remove the folders left empty, and theirs; never `generated/`, which still holds the staging folder."""
    for vacated in folders:
        for folder in folders_of(f"{vacated}/"):
            try:
                (root / folder).rmdir()
            except FileNotFoundError:  # a killed run got this far
                continue
            except OSError:  # not empty; or not to be removed, which is no harm
                break


# --- paths ---


def _unsafe(path: str) -> str:
    """Return why `path` must not be used, "" if it may."""
    if not path.isprintable() or "\\" in path:
        return "has a control character, a backslash or another character that does not belong in a path"
    if _BAD_COMPONENT.search(path):
        return 'is absolute or has an empty, "." or ".." component'
    return ""


def path_problems(paths: Iterable[str]) -> Iterator[Problem]:
    """Find unsafe paths, and paths that one disk cannot hold, be it a Mac's: case and Unicode form are nothing there."""
    files = {_fold(path): path for path in (RECORDS, STAGING)}  # bakegen's own
    for path in sorted(paths):
        shown = printable(path)
        if reason := _unsafe(path):
            yield _problem("unsafe-path", shown, f'the path "{shown}" {reason}', "rename what this path is made of")
        elif (key := _fold(path)) in files:
            yield _conflict(path, files[key], "are one file, on some file systems at least")
        else:
            files[key] = path
    for key, path in files.items():
        for folder in folders_of(key):
            if folder in files:
                yield _conflict(path, files[folder], "cannot both exist: the one needs the other as its folder")


def _fold(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def _is_file(path: str, seen: _Seen) -> bool:
    return stat.S_ISREG(seen.mode) and seen.at == path


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- diff ---


def _file_diff(path: str, old: OutputFile | None, new: OutputFile | None) -> Iterator[str]:
    yield f"diff --git a/{path} b/{path}"
    modes = [f"100{755 if file.executable else 644}" if file else "" for file in (old, new)]
    if modes[0] != modes[1]:
        words = ("old", "new") if all(modes) else ("deleted file", "new file")
        yield from (f"{word} mode {mode}" for word, mode in zip(words, modes, strict=True) if mode)
    before, after = f"a/{path}" if old else "/dev/null", f"b/{path}" if new else "/dev/null"
    old_lines, new_lines = _lines(old), _lines(new)
    if old_lines is not None and new_lines is not None:
        for line in difflib.unified_diff(old_lines, new_lines, before, after):
            yield line.removesuffix("\n")
            if not line.endswith("\n"):
                yield "\\ No newline at end of file"
    elif not (old and new and old.content == new.content):
        yield f"Binary files {before} and {after} differ"


def _lines(file: OutputFile | None) -> list[str] | None:
    """Return the lines with their ends, None if the file is binary; only a line feed ends a line, as in git."""
    if file is None:
        return []
    try:
        text = file.content.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else list(io.StringIO(text, newline="\n"))


# --- problems ---


@contextmanager
def _blaming(path: str, action: str = "written") -> Iterator[None]:
    """Turn an error of the operating system into a problem of `path`."""
    try:
        yield
    except OSError as error:
        message = f'"{path}" cannot be {action}: {error.strerror or error}'
        hint = "every file in the tree is whole; mend this and run bakegen again"
        raise BakegenError([_problem("cannot-write", path, message, hint)]) from error


def _problem(code: Code, path: str, message: str, hint: str) -> Problem:
    return Problem(code=code, message=message, position=Position(path), hint=hint)


def _blocked(path: str, alien: str, seen: _Seen) -> Problem:
    if stat.S_ISLNK(seen.mode):
        message = f'"{path}" cannot be written: "{seen.at}" is a symbolic link, which bakegen does not follow'
        return _problem("unsafe-path", path, message, f'put a real file or folder in the place of "{seen.at}"')
    message = f'"{path}" cannot be written: "{alien}" is in the way, and bakegen did not make it'
    return _problem("cannot-write", path, message, f'move "{alien}" away')


def _conflict(path: str, other: str, why: str) -> Problem:
    hint = "rename one of the images or files that these paths are made of"
    return _problem("path-conflict", path, f'"{path}" and "{other}" {why}', hint)


def _refusals(changes: Changes, wanted: Mapping[str, OutputFile]) -> Iterator[Problem]:
    force = "see `bakegen generate --diff`; {}, or run `bakegen generate --force` to {} it"
    for path in changes.edited:
        message = f"this file is to be {'written' if path in wanted else 'removed'}, but it was edited by hand"
        yield _problem("edited-output", path, message, force.format("move the edit into the template", "discard"))
    for path in changes.foreign:
        message = "this file is to be written, but one that bakegen did not make is there"
        yield _problem("foreign-output", path, message, force.format("move the file away", "overwrite"))
