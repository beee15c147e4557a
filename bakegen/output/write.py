"""Make the files on disk what they should be, so that nothing is ever lost or half written.

A run may be killed at any moment. So contents are staged aside, then the records get the old and the new hash of each
file, then files that are no longer made are removed and staged ones renamed into place, then the records get what is
there. All that a killed run leaves is whole and recorded, and the next run finishes the work.
Nothing is synced to disk: after a power cut, git has the files, and the manifest makes them again.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from bakegen.errors import BakegenError, Position, Problem
from bakegen.output.compare import Changes, Files, Plan, everything, make_plan
from bakegen.output.files import RECORDS, STAGING, blaming, open_root, output_problem
from bakegen.source.inputs import InputError, real_path
from bakegen.source.open_folder import OpenFolder
from bakegen.source.paths import folders_of


def write(root: Path, wanted: Files, covers: Callable[[str], bool] = everything, *, force: bool = False) -> Changes:
    """Make the tree as `wanted` and return what was changed.

    Without `force`, hand edits and foreign files are problems, and nothing is written. With it, they are overwritten;
    even then, a file that bakegen neither made nor wants stays.
    """
    with open_root(root) as folder:
        plan = make_plan(folder, wanted, covers)
        if not force and (refusals := list(_refusals(plan.changes, wanted))):
            raise BakegenError(refusals)
        with blaming(STAGING, "removed"):
            folder.remove_tree(STAGING)  # a killed run's
        if plan.changes.drifted:
            try:
                _carry_out(folder, wanted, plan)
            finally:
                with suppress(OSError):  # the next run tries again, and says so if it cannot
                    folder.remove_tree(STAGING)
    return plan.changes


def replace_file(root: Path, path: str, content: bytes) -> None:
    """Give a file of the user other content, at once and with its permissions; raises `BakegenError` if that fails."""
    try:
        real = real_path(root, path)
    except InputError as error:
        raise error.at(Position(path)) from error
    parent, _, name = real.rpartition("/")
    staged = f".{name}.bakegen"
    with open_root(root) as folder, blaming(path, "written"), folder.hold(parent) as beside:
        mode = stat.S_IMODE(beside.look(name).mode)
        beside.remove(staged)  # a killed run's
        beside.create(staged, content, 0, mode)
        beside.take(staged, beside, name)


def _carry_out(folder: OpenFolder, wanted: Files, plan: Plan) -> None:
    """Carry a plan out; the order of the steps is what makes a kill between any two of them harmless."""
    with blaming(STAGING, "made"):
        staging = folder.hold(STAGING)
    with staging:
        coming = [path for path in plan.changes.differing if path in wanted]
        for number, path in enumerate(coming):
            file = wanted[path]
            with blaming(path, "written"):  # a umask may forbid to execute; the file would then never be as wanted
                staging.create(str(number), file.content, *((0o777, stat.S_IXUSR) if file.executable else ()))
        _put_records(folder, staging, plan.before, plan.journal)
        for path in plan.changes.differing:
            if path not in wanted:
                with blaming(path, "removed"):
                    folder.remove(path)
        for number, path in enumerate(coming):
            with blaming(path, "written"):
                _place(folder, staging, str(number), path)
        _prune(folder, plan.leaving)
        _put_records(folder, staging, plan.journal, plan.after)


def _put_records(folder: OpenFolder, staging: OpenFolder, old: bytes, new: bytes) -> None:
    with blaming(RECORDS, "written"):
        if not new:  # `sha256sum -c` fails on an empty file
            folder.remove(RECORDS)
        elif new != old:
            staging.create("records", new)
            folder.take("records", staging, RECORDS)


def _place(folder: OpenFolder, staging: OpenFolder, name: str, path: str) -> None:
    try:
        folder.take(name, staging, path)
    except IsADirectoryError:  # its files are gone by now, and only empty folders are removed here
        for below in reversed([path, *(below for below, is_folder in folder.below(path) if is_folder)]):
            folder.remove_folder(below)
        folder.take(name, staging, path)


def _prune(folder: OpenFolder, leaving: Iterable[str]) -> None:
    """Remove the folders left empty, and theirs; never `generated/`, which still holds the staging folder."""
    for vacated in {path.rpartition("/")[0] for path in leaving}:
        for above in folders_of(f"{vacated}/"):
            try:
                folder.remove_folder(above)
            except FileNotFoundError:  # a killed run got this far
                continue
            except OSError:  # not empty; or not to be removed, which is no harm
                break


def _refusals(changes: Changes, wanted: Mapping[str, object]) -> Iterator[Problem]:
    hint = "{}, or run `bakegen generate --force` to {} it; --diff shows the difference"
    for path in changes.edited:
        message = f"cannot be {'updated' if path in wanted else 'removed'}: it was edited by hand"
        yield output_problem("edited-output", path, message, hint.format("move the edit to the template", "discard"))
    for path in changes.foreign:
        message = "already exists, and bakegen did not create it"
        yield output_problem("foreign-output", path, message, hint.format("move the file", "overwrite"))
