from __future__ import annotations

import errno
import hashlib
import itertools
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sabotage import SABOTEUR, Killed, Swap, failing

from bakegen.errors import BakegenError, Problem
from bakegen.output.compare import Changes, compare
from bakegen.output.diff import unified_diff
from bakegen.output.files import RECORDS, STAGING, OutputFile
from bakegen.output.lock import lock
from bakegen.output.write import write
from bakegen.source.open_folder import OpenFolder

Files = Mapping[str, OutputFile]


def text(content: str, *, executable: bool = False) -> OutputFile:
    return OutputFile(content.encode(), executable)


def on_disk(root: Path) -> dict[str, OutputFile]:
    """Everything below the root but the records; a link counts as its target's name."""
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = OutputFile(b"-> " + str(path.readlink()).encode())
        elif path.is_file() and name != RECORDS:
            found[name] = OutputFile(path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
    return found


def put(root: Path, path: str, content: str) -> Path:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)
    return target


def empty_folders(root: Path) -> list[Path]:
    return [
        path for path in root.rglob("*") if path.is_dir() and path != root / "generated" and not any(path.iterdir())
    ]


def records(root: Path) -> list[str]:
    """The paths in the records, in order, after checking that each hash is true."""
    if not (root / RECORDS).exists():
        return []
    lines = [line.split("  ", 1) for line in (root / RECORDS).read_text().splitlines()]
    for digest, path in lines:
        assert hashlib.sha256((root / path).read_bytes()).hexdigest() == digest, path
    return [path for _, path in lines]


def assert_clean(root: Path, wanted: Files) -> None:
    assert on_disk(root) == wanted
    assert records(root) == sorted(wanted)
    assert not (root / STAGING).exists()
    assert not empty_folders(root)
    assert not compare(root, wanted).drifted


def problems(action: Callable[[], object]) -> tuple[Problem, ...]:
    with pytest.raises(BakegenError) as caught:
        action()
    return caught.value.problems


def problem(action: Callable[[], object]) -> tuple[str, str]:
    [only] = problems(action)
    assert only.hint
    return only.code, str(only.position)


def times(root: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in root.rglob("*") if not path.is_dir()}


OLD = {
    "docker-bake.hcl": text("old\n"),
    "generated/a/Dockerfile": text("old a\n"),
    "generated/a/run.sh": text("#!/bin/sh\n", executable=True),
    "generated/gone/deep/Dockerfile": text("gone\n"),
    "generated/same": text("same\n"),
    "generated/turns/into/file": text("1\n"),
    "generated/turns/into/other": text("2\n"),
    "generated/widens": text("a file\n"),
}
NEW = {
    "docker-bake.hcl": text("new\n"),
    "generated/a/Dockerfile": text("new a\n"),
    "generated/a/run.sh": text("#!/bin/sh\n"),
    "generated/fresh/deep/Dockerfile": text("fresh\n"),
    "generated/same": text("same\n"),
    "generated/turns/into": text("file now\n"),
    "generated/widens/folder/x": text("folder now\n"),
}
THIRD = {
    "docker-bake.hcl": text("third\n"),
    "generated/a": text("third\n", executable=True),
    "generated/fresh": text("third\n"),
    "generated/gone/deep/Dockerfile/x": text("third\n"),
    "generated/turns/into/other": text("third\n"),
}


# --- plan ---


def test_a_first_run_makes_everything_new(tmp_path: Path) -> None:
    changes = write(tmp_path, OLD)
    assert changes == Changes(new=tuple(sorted(OLD)), stale_records=True)
    assert changes.drifted
    assert_clean(tmp_path, OLD)


def test_a_second_run_changes_nothing_and_touches_no_file(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    before = times(tmp_path)
    assert write(tmp_path, OLD) == Changes(unchanged=tuple(sorted(OLD)))
    assert times(tmp_path) == before


def test_each_kind_of_change(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    before = times(tmp_path)
    expected = Changes(
        new=("generated/fresh/deep/Dockerfile", "generated/turns/into", "generated/widens/folder/x"),
        changed=("docker-bake.hcl", "generated/a/Dockerfile", "generated/a/run.sh"),
        unchanged=("generated/same",),
        removed=(
            "generated/gone/deep/Dockerfile",
            "generated/turns/into/file",
            "generated/turns/into/other",
            "generated/widens",
        ),
        stale_records=True,
    )
    assert compare(tmp_path, NEW) == expected
    assert times(tmp_path) == before, "comparing writes nothing"
    assert write(tmp_path, NEW) == expected
    assert_clean(tmp_path, NEW)
    same = tmp_path / "generated/same"
    assert times(tmp_path)[same] == before[same]


def test_files_equal_to_what_is_wanted_are_adopted(tmp_path: Path) -> None:
    put(tmp_path, "generated/x", "mine and yours")
    wanted = {"generated/x": text("mine and yours")}
    before = times(tmp_path)
    assert compare(tmp_path, wanted) == Changes(unchanged=("generated/x",), stale_records=True)
    write(tmp_path, wanted)
    assert_clean(tmp_path, wanted)
    assert times(tmp_path).items() >= before.items()


def test_an_edit_that_became_the_wanted_content_is_adopted(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    put(tmp_path, "generated/same", "moved into the template\n")
    wanted = OLD | {"generated/same": text("moved into the template\n")}
    assert "generated/same" in write(tmp_path, wanted).unchanged
    assert_clean(tmp_path, wanted)


def test_a_changed_executable_bit_is_mended_and_is_no_edit(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    (tmp_path / "generated/same").chmod(0o755)
    sums = times(tmp_path)[tmp_path / RECORDS]
    assert compare(tmp_path, OLD).changed == ("generated/same",)
    write(tmp_path, OLD)
    assert_clean(tmp_path, OLD)
    assert times(tmp_path)[tmp_path / RECORDS] == sums


def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    (tmp_path / "generated/same").unlink()
    assert compare(tmp_path, OLD).new == ("generated/same",)
    write(tmp_path, OLD)
    assert_clean(tmp_path, OLD)


def test_a_recorded_file_that_is_neither_there_nor_wanted_is_dropped_from_the_records(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    (tmp_path / "generated/gone/deep/Dockerfile").unlink()
    wanted = {path: file for path, file in OLD.items() if "gone" not in path}
    changes = write(tmp_path, wanted)
    assert changes == Changes(unchanged=tuple(sorted(wanted)), stale_records=True)
    assert_clean(tmp_path, wanted)


def test_nothing_wanted_and_nothing_there_makes_nothing(tmp_path: Path) -> None:
    assert not write(tmp_path, {}).drifted
    assert not any(tmp_path.iterdir())


def test_wanting_nothing_any_more_removes_all_but_the_folder(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    write(tmp_path, {})
    assert list(tmp_path.rglob("*")) == [tmp_path / "generated"]


def test_removal_keeps_folders_that_hold_something_else(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    put(tmp_path, "generated/gone/mine", "mine")
    write(tmp_path, {})
    assert on_disk(tmp_path) == {"generated/gone/mine": text("mine")}
    assert not (tmp_path / "generated/gone/deep").exists()


def test_records_and_files_that_a_run_does_not_cover_stay(tmp_path: Path) -> None:
    write(tmp_path, OLD | {"generated/a-b/Dockerfile": text("another image")})
    put(tmp_path, "generated/same", "edited, but of no concern here")
    wanted = {"generated/a/Dockerfile": text("new"), "docker-bake.hcl": text("new")}
    changes = write(tmp_path, wanted, lambda path: path.startswith("generated/a/"))
    assert changes == Changes(
        changed=("docker-bake.hcl", "generated/a/Dockerfile"), removed=("generated/a/run.sh",), stale_records=True
    )
    put(tmp_path, "generated/same", "same\n")
    expected = OLD | {"generated/a-b/Dockerfile": text("another image")} | wanted
    del expected["generated/a/run.sh"]
    assert_clean(tmp_path, expected)


# --- hand edits and foreign files ---


@pytest.mark.parametrize("wanted", [OLD, NEW, {}], ids=["same", "other", "nothing"])
@pytest.mark.parametrize("edited", ["docker-bake.hcl", "generated/a/run.sh"])
def test_a_hand_edit_is_refused_and_discarded_by_force(tmp_path: Path, wanted: Files, edited: str) -> None:
    write(tmp_path, OLD)
    put(tmp_path, edited, "edited\n")
    before = times(tmp_path)
    assert compare(tmp_path, wanted).edited == (edited,)
    assert problem(lambda: write(tmp_path, wanted)) == ("edited-output", edited)
    assert times(tmp_path) == before
    assert write(tmp_path, wanted, force=True).edited == (edited,)
    assert_clean(tmp_path, wanted)


def test_a_foreign_file_is_refused_and_overwritten_by_force(tmp_path: Path) -> None:
    put(tmp_path, "docker-bake.hcl", "mine\n")
    put(tmp_path, "generated/mine", "mine\n")
    assert compare(tmp_path, NEW).foreign == ("docker-bake.hcl",)
    assert problem(lambda: write(tmp_path, NEW)) == ("foreign-output", "docker-bake.hcl")
    assert on_disk(tmp_path) == {"docker-bake.hcl": text("mine\n"), "generated/mine": text("mine\n")}
    write(tmp_path, NEW, force=True)
    assert on_disk(tmp_path) == NEW | {"generated/mine": text("mine\n")}
    write(tmp_path, {}, force=True)
    assert on_disk(tmp_path) == {"generated/mine": text("mine\n")}


def test_every_edited_and_foreign_file_is_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    put(tmp_path, "docker-bake.hcl", "edited")
    put(tmp_path, "generated/gone/deep/Dockerfile", "edited")
    put(tmp_path, "generated/fresh/deep/Dockerfile", "foreign")
    assert [(p.code, str(p.position)) for p in problems(lambda: write(tmp_path, NEW))] == [
        ("edited-output", "docker-bake.hcl"),
        ("foreign-output", "generated/fresh/deep/Dockerfile"),
        ("edited-output", "generated/gone/deep/Dockerfile"),
    ]


def test_a_hand_edit_survives_a_forced_run_that_is_killed_before_it_got_there(tmp_path: Path) -> None:
    for step in itertools.count(1):
        root = tmp_path / str(step)
        write(root_of(root), OLD)
        put(root, "generated/same", "edited\n")
        if not killed_at(step, partial(write, root, NEW, force=True)):
            return
        if (root / "generated/same").read_text() == "edited\n":
            assert compare(root, NEW).edited == ("generated/same",)


# --- records ---


def test_records_are_sorted_and_do_not_list_themselves(tmp_path: Path) -> None:
    write(tmp_path, NEW)
    assert records(tmp_path) == sorted(NEW)


def test_sha256sum_checks_the_records(tmp_path: Path) -> None:
    wanted = NEW | {" odd *name ": text("x"), "généré": text("y")}
    write(tmp_path, wanted)
    command = ["sha256sum", "--check", "--strict", RECORDS]
    checked = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert checked.stdout.count(": OK\n") == len(wanted)


GOOD = "0" * 64


@pytest.mark.parametrize(
    "content",
    [
        f"{GOOD}  a\n<<<<<<< HEAD\n{GOOD}  b\n=======\n>>>>>>> x\n".encode(),
        f"{GOOD}  a\n\n".encode(),
        b"# a comment\n",
        f"{GOOD} a\n".encode(),
        f"{GOOD.replace('0', 'A')}  a\n".encode(),
        GOOD.encode() + b"  \xff\n",
        *(f"{GOOD}  {path}\n".encode() for path in ("/etc/x", "../x", "a/../../x", "a//b", "./a", "a/", "a\r")),
        f"{GOOD}  {RECORDS}\n".encode(),
    ],
)
def test_a_line_that_is_no_record_says_nothing_and_goes(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, OLD)
    good = (tmp_path / RECORDS).read_bytes()
    (tmp_path / RECORDS).write_bytes(content)
    put(tmp_path, "docker-bake.hcl", "made or not: nobody knows any more\n")
    assert compare(tmp_path, OLD).stale_records
    assert problem(lambda: write(tmp_path, OLD)) == ("foreign-output", "docker-bake.hcl")
    assert (tmp_path / RECORDS).read_bytes() == content
    put(tmp_path, "docker-bake.hcl", "old\n")
    write(tmp_path, OLD)
    assert (tmp_path / RECORDS).read_bytes() == good
    assert_clean(tmp_path, OLD)


def test_a_merge_conflict_in_the_records_is_resolved_and_the_files_of_both_sides_are_known(tmp_path: Path) -> None:
    write(tmp_path, OLD | {"generated/theirs": text("theirs\n")})
    theirs = (tmp_path / RECORDS).read_text()
    write(tmp_path, OLD | {"generated/ours": text("ours\n")})
    put(tmp_path, "generated/theirs", "theirs\n")
    put(tmp_path, RECORDS, f"<<<<<<< ours\n{(tmp_path / RECORDS).read_text()}=======\n{theirs}>>>>>>> theirs\n")
    assert compare(tmp_path, NEW).removed[1:3] == ("generated/ours", "generated/theirs")
    write(tmp_path, NEW)
    assert_clean(tmp_path, NEW)


def test_forged_records_cannot_remove_anything_outside_the_root(tmp_path: Path) -> None:
    root = root_of(tmp_path / "root")
    victim = put(tmp_path, "victim", "")
    (root / "link").symlink_to(tmp_path)
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for forged in ("../victim", "link/victim", str(victim), "link/empty/x"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        put(root, RECORDS, f"{digest}  {forged}\n")
        write(root, {}, force=True)
        assert victim.exists()
        assert (tmp_path / "empty").exists()


def test_a_removed_file_that_became_a_link_or_a_folder_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    (tmp_path / "generated/same").unlink()
    (tmp_path / "generated/same").symlink_to("widens")
    (tmp_path / "generated/widens").unlink()
    put(tmp_path, "generated/widens/mine", "mine")
    write(tmp_path, {}, force=True)
    assert on_disk(tmp_path) == {"generated/same": text("-> widens"), "generated/widens/mine": text("mine")}


# --- unsafe paths ---


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/etc/x", "..", "../x", "a/../x", "a/..", ".", "./a", "a/./b", "a//b", "a/"),
        *("a\0b", "a\nb", "a\x1b", "a\x7f", "a\x85", "a\\b", "a\u202eb", "a\ud800"),
    ],
)
def test_unsafe_paths_are_refused(tmp_path: Path, path: str) -> None:
    [only] = problems(lambda: write(tmp_path, {path: text("x"), "good": text("x")}, force=True))
    assert only.code == "unsafe-path"
    assert not any(tmp_path.iterdir())
    assert str(only.position).isprintable()


@pytest.mark.parametrize("path", ["...", "..a", "a..", ".a/.b", "a b", "généré/ü", "-x"])
def test_odd_but_safe_paths_are_accepted(tmp_path: Path, path: str) -> None:
    write(tmp_path, {path: text("x")})
    assert_clean(tmp_path, {path: text("x")})


@pytest.mark.parametrize("link", ["generated/a/run.sh", "generated/a", "generated", RECORDS, STAGING])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_symlinks_are_never_followed(tmp_path: Path, link: str, target: str, force: bool) -> None:
    root = root_of(tmp_path / "root")
    write(root, OLD)
    elsewhere = put(tmp_path, "elsewhere/run.sh", "#!/bin/sh\n").parent
    real = root / link
    if real.exists():
        real.rename(tmp_path / "was")
    real.symlink_to(tmp_path / target)
    found = problems(lambda: write(root, OLD, force=force))
    assert {only.code for only in found} == {"unsafe-path"}
    assert all(f'"{link}" is a symbolic link' in only.message for only in found)
    assert on_disk(elsewhere) == {"run.sh": text("#!/bin/sh\n")}
    assert not (tmp_path / "nowhere").exists()


def test_the_root_itself_may_be_reached_through_a_symlink(tmp_path: Path) -> None:
    root_of(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", OLD)
    assert_clean(tmp_path / "real", OLD)


@pytest.mark.parametrize("force", [False, True])
def test_what_is_in_the_way_and_not_ours_is_named_and_kept(tmp_path: Path, force: bool) -> None:
    put(tmp_path, "generated/a", "a file where a folder should be")
    put(tmp_path, "docker-bake.hcl/mine", "a folder where a file should be")
    os.mkfifo(tmp_path / "generated/same")
    before = on_disk(tmp_path)
    found = [(p.code, str(p.position), p.hint) for p in problems(lambda: write(tmp_path, OLD, force=force))]
    assert found == [
        ("cannot-write", "docker-bake.hcl", 'move or remove "docker-bake.hcl/mine"'),
        ("cannot-write", "generated/a/Dockerfile", 'move or remove "generated/a"'),
        ("cannot-write", "generated/a/run.sh", 'move or remove "generated/a"'),
        ("cannot-write", "generated/same", 'move or remove "generated/same"'),
    ]
    assert on_disk(tmp_path) == before


def test_a_recorded_file_that_a_run_does_not_cover_is_in_the_way_too(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    assert problem(lambda: write(tmp_path, {"generated/widens/x": text("x")}, lambda _: False)) == (
        "cannot-write",
        "generated/widens/x",
    )
    assert_clean(tmp_path, OLD)


def test_a_link_inside_a_folder_that_is_to_become_a_file_is_in_the_way(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    (tmp_path / "generated/turns/into/link").symlink_to("/")
    assert problem(lambda: write(tmp_path, NEW)) == ("cannot-write", "generated/turns/into")
    (tmp_path / "generated/turns/into/link").unlink()
    assert_clean(tmp_path, OLD)


def test_a_file_that_becomes_a_link_just_before_it_is_read_is_not_read(tmp_path: Path) -> None:
    file = put(tmp_path, "x", "mine")
    with OpenFolder.at(tmp_path) as folder:
        assert folder.look("x").is_file
        file.rename(tmp_path / "y")
        file.symlink_to("y")
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            folder.read("x", 100)


def test_empty_folders_give_way_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "generated/x/empty/empty").mkdir(parents=True)
    write(tmp_path, {"generated/x": text("x")})
    assert_clean(tmp_path, {"generated/x": text("x")})


def test_a_file_in_the_place_of_the_generated_folder_is_named(tmp_path: Path) -> None:
    put(tmp_path, "generated", "mine")
    assert problem(lambda: write(tmp_path, OLD)) == ("cannot-write", RECORDS)


@pytest.mark.parametrize(
    "paths",
    [
        ("a", "a/b"),
        ("a/b/c", "a"),
        ("A", "a/b"),
        ("x/Readme", "x/README"),
        ("X/f", "x/f"),
        ("caf\u00e9", "cafe\u0301"),
        ("stra\u00dfe", "STRASSE"),
        (RECORDS,),
        ("generated/BAKEGEN.sums",),
        (f"{STAGING}/x",),
        ("generated",),
    ],
)
def test_paths_that_one_disk_cannot_hold_conflict(tmp_path: Path, paths: tuple[str, ...]) -> None:
    found = problems(lambda: compare(tmp_path, {path: text("x") for path in paths}))
    assert {only.code for only in found} == {"path-conflict"}


def test_folders_that_differ_by_case_do_not_conflict(tmp_path: Path) -> None:
    compare(tmp_path, {"A/x": text(""), "a/y": text("")})


# --- modes ---


@pytest.mark.parametrize(
    ("umask", "plain", "program"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o111, 0o666, 0o766)]
)
def test_permissions_follow_the_umask(tmp_path: Path, umask: int, plain: int, program: int) -> None:
    wanted = {"plain": text(""), "program": text("", executable=True)}
    before = os.umask(umask)
    try:
        write(tmp_path, wanted)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == plain
    assert stat.S_IMODE((tmp_path / "program").stat().st_mode) == program
    assert not compare(tmp_path, wanted).drifted


# --- errors of the operating system ---


def test_a_file_too_big_for_the_disk_leaves_the_tree_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        [only] = problems(lambda: write(tmp_path, NEW | {"generated/zzz": OutputFile(b"x" * 200_000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (only.code, str(only.position)) == ("cannot-write", "generated/zzz")
    assert os.strerror(errno.EFBIG) in only.message
    assert_clean(tmp_path, OLD)


def test_a_name_too_long_for_the_disk_is_named(tmp_path: Path) -> None:
    long = "generated/" + "x" * 300
    assert problem(lambda: write(tmp_path, {long: text("")})) == ("unsafe-path", long)


def test_a_missing_root_cannot_be_locked(tmp_path: Path) -> None:
    def try_lock() -> None:
        with lock(tmp_path / "missing"):
            pytest.fail("locked what is not there")

    assert problem(try_lock) == ("cannot-write", ".")


# --- dying at every step ---


def killed_at(step: int, action: Callable[[], object]) -> bool:
    try:
        with SABOTEUR.armed(step, failing(Killed())):
            action()
    except Killed:
        return True
    return False


def root_of(path: Path) -> Path:
    path.mkdir()
    return path


def assert_whole(root: Path, *sets: Files) -> None:
    for path, file in on_disk(root).items():
        if not path.startswith(STAGING):
            assert file in [files.get(path) for files in sets], path


def test_a_run_killed_at_any_step_is_finished_by_the_next_one_whatever_that_wants(tmp_path: Path) -> None:
    for step in itertools.count(1):
        root = root_of(tmp_path / str(step))
        write(root, OLD)
        killed = killed_at(step, partial(write, root, NEW))
        for number, wanted in enumerate((OLD, NEW, THIRD, {})):
            copy = tmp_path / f"{step}-{number}"
            shutil.copytree(root, copy)
            assert_whole(copy, OLD, NEW)
            changes = compare(copy, wanted)
            assert not changes.edited
            assert not changes.foreign
            write(copy, wanted)
            assert_clean(copy, wanted)
        if not killed:
            break
    assert step > 30


def test_a_failing_step_is_a_problem_and_leaves_a_tree_that_the_next_run_repairs(tmp_path: Path) -> None:
    for step in itertools.count(1):
        root = root_of(tmp_path / str(step))
        write(root, OLD)
        failure = None
        try:
            with SABOTEUR.armed(step, failing(OSError(errno.ENOSPC, "No space left on device"))):
                write(root, NEW)
        except BakegenError as error:
            failure = error
        if SABOTEUR.left > 0:
            assert failure is None
            break
        if failure:  # a folder that cannot be removed is none
            assert {only.code for only in failure.problems} == {"cannot-write"}
            assert "No space left on device" in str(failure)
        assert_whole(root, OLD, NEW)
        write(root, THIRD)
        assert_clean(root, THIRD)
    assert step > 30


def test_a_partial_run_after_a_killed_one_leaves_no_path_recorded_twice(tmp_path: Path) -> None:
    for step in itertools.count(1):
        root = root_of(tmp_path / str(step))
        before = {f"generated/{name}/x": text(f"old {name}") for name in "abc"}
        after = {f"generated/{name}/x": text(f"new {name}") for name in "abc"}
        write(root, before)
        killed = killed_at(step, partial(write, root, after))
        write(root, {"generated/b/x": after["generated/b/x"]}, "generated/b/x".__eq__)
        assert records(root) == sorted(after)
        if not killed:
            break


# --- folders that are swapped for links ---


@pytest.mark.parametrize("swapped", ["generated", "generated/a", "generated/fresh", "generated/turns", STAGING])
def test_a_folder_that_is_swapped_for_a_link_at_any_step_is_not_written_through(tmp_path: Path, swapped: str) -> None:
    for step in itertools.count(1):
        root = root_of(tmp_path / str(step))
        outside = tmp_path / f"{step}-outside"
        mine = {path.removeprefix(f"{swapped}/"): file for path, file in OLD.items() if path.startswith(f"{swapped}/")}
        write(root, OLD)
        for path, file in mine.items():
            put(outside, path, file.content.decode())
        put(outside, "mine", "mine")
        before = times(outside), set(outside.rglob("*"))
        swap = Swap(root / swapped, outside)
        with suppress(BakegenError), SABOTEUR.armed(step, swap):
            write(root, NEW)
        assert (times(outside), set(outside.rglob("*"))) == before
        if not swap.is_done:
            break
    assert step > 30


# --- a real SIGKILL, and two runs at once ---

WRITER = """
import itertools, sys
from pathlib import Path
from bakegen.output.files import OutputFile
from bakegen.output.lock import lock
from bakegen.output.write import write

root, rounds, *names = sys.argv[1:]
sets = [eval(Path(name).read_text()) for name in names]
print("ready", flush=True)
for wanted in itertools.islice(itertools.cycle(sets), int(rounds)):
    with lock(Path(root)):
        write(Path(root), wanted)
"""


def start_writer(root: Path, rounds: int, *sets: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(root), str(rounds), *map(str, sets)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def family(seed: int) -> dict[str, OutputFile]:
    draw = random.Random(seed)
    paths = {
        f"generated/i{draw.randrange(30)}/v{draw.randrange(3)}/{name}"
        for name in ("Dockerfile", "x.sh")
        for _ in "1234567890"
    }
    big = {"docker-bake.hcl": OutputFile(str(seed).encode() * 500_000)}
    return big | {path: OutputFile(f"{seed} {path}\n".encode() * 50, path.endswith("sh")) for path in sorted(paths)}


@pytest.fixture
def families(tmp_path: Path) -> list[tuple[Path, dict[str, OutputFile]]]:
    made = [(tmp_path / f"set{seed}", family(seed)) for seed in (1, 2)]
    for file, files in made:
        file.write_text(repr(files))
    return made


def test_sigkill_at_random_moments_leaves_only_whole_files(
    tmp_path: Path, families: list[tuple[Path, dict[str, OutputFile]]]
) -> None:
    root = root_of(tmp_path / "root")
    (one_file, one), (two_file, two) = families
    draw = random.Random(0)
    for _ in range(30):
        with start_writer(root, 1_000_000, one_file, two_file) as writer:
            assert writer.stdout
            assert writer.stdout.readline() == "ready\n"
            time.sleep(draw.uniform(0, 0.05))
            writer.send_signal(signal.SIGKILL)
        assert writer.returncode == -signal.SIGKILL
        assert_whole(root, one, two)
        changes = compare(root, one)
        assert not changes.edited
        assert not changes.foreign
    write(root, THIRD)
    assert_clean(root, THIRD)


def test_two_processes_at_once_do_not_mix_their_sets(
    tmp_path: Path, families: list[tuple[Path, dict[str, OutputFile]]]
) -> None:
    root = root_of(tmp_path / "root")
    (one_file, one), (two_file, two) = families
    writers = [start_writer(root, 15, file) for file in (one_file, two_file)]
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert_clean(root, one if compare(root, one).drifted is False else two)


def test_the_lock_tells_that_it_waits_and_then_passes(tmp_path: Path) -> None:
    waiting, inside = threading.Event(), threading.Event()

    def second() -> None:
        with lock(tmp_path, waiting.set):
            inside.set()

    thread = threading.Thread(target=second)
    with lock(tmp_path, lambda: pytest.fail("nobody holds the lock")):
        thread.start()
        assert waiting.wait(10)
        assert not inside.is_set()
    thread.join(10)
    assert inside.is_set()
    assert not any(tmp_path.iterdir()), "no lock file"


def test_the_lock_is_released_by_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock(tmp_path):
        raise KeyError
    with lock(tmp_path, lambda: pytest.fail("still locked")):
        pass


# --- diff ---


def diff(root: Path, wanted: Files) -> str:
    return "".join(line + "\n" for line in unified_diff(root, wanted, compare(root, wanted)))


def test_the_diff_shows_every_kind_of_change(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    put(tmp_path, "generated/same", "edited")
    (tmp_path / "generated/gone/deep/Dockerfile").write_bytes(b"\xff\xfe")
    put(tmp_path, "generated/fresh/deep/Dockerfile", "foreign\nfresh\n")
    assert (
        diff(tmp_path, NEW)
        == """\
diff --git a/docker-bake.hcl b/docker-bake.hcl
--- a/docker-bake.hcl
+++ b/docker-bake.hcl
@@ -1 +1 @@
-old
+new
diff --git a/generated/a/Dockerfile b/generated/a/Dockerfile
--- a/generated/a/Dockerfile
+++ b/generated/a/Dockerfile
@@ -1 +1 @@
-old a
+new a
diff --git a/generated/a/run.sh b/generated/a/run.sh
old mode 100755
new mode 100644
diff --git a/generated/fresh/deep/Dockerfile b/generated/fresh/deep/Dockerfile
--- a/generated/fresh/deep/Dockerfile
+++ b/generated/fresh/deep/Dockerfile
@@ -1,2 +1 @@
-foreign
 fresh
diff --git a/generated/gone/deep/Dockerfile b/generated/gone/deep/Dockerfile
deleted file mode 100644
Binary files a/generated/gone/deep/Dockerfile and /dev/null differ
diff --git a/generated/same b/generated/same
--- a/generated/same
+++ b/generated/same
@@ -1 +1 @@
-edited
\\ No newline at end of file
+same
diff --git a/generated/turns/into b/generated/turns/into
new file mode 100644
--- /dev/null
+++ b/generated/turns/into
@@ -0,0 +1 @@
+file now
diff --git a/generated/turns/into/file b/generated/turns/into/file
deleted file mode 100644
--- a/generated/turns/into/file
+++ /dev/null
@@ -1 +0,0 @@
-1
diff --git a/generated/turns/into/other b/generated/turns/into/other
deleted file mode 100644
--- a/generated/turns/into/other
+++ /dev/null
@@ -1 +0,0 @@
-2
diff --git a/generated/widens b/generated/widens
deleted file mode 100644
--- a/generated/widens
+++ /dev/null
@@ -1 +0,0 @@
-a file
diff --git a/generated/widens/folder/x b/generated/widens/folder/x
new file mode 100644
--- /dev/null
+++ b/generated/widens/folder/x
@@ -0,0 +1 @@
+folder now
"""
    )


def test_the_diff_of_a_binary_file_that_only_changes_its_mode_shows_the_mode_alone(tmp_path: Path) -> None:
    write(tmp_path, {"x": OutputFile(b"\0")})
    wanted = {"x": OutputFile(b"\0", executable=True)}
    assert diff(tmp_path, wanted) == "diff --git a/x b/x\nold mode 100644\nnew mode 100755\n"


def test_the_diff_of_files_that_repeat_themselves_is_there_at_once_and_right(tmp_path: Path) -> None:
    before, after = ("".join(f"line {number * step % 300}\n" for number in range(50_000)) for step in (1, 7))
    write(tmp_path, {"x": text(before)})
    start = time.process_time()
    patch = diff(tmp_path, {"x": text(after)})
    assert time.process_time() - start < 20  # difflib alone takes half an hour
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch.encode(), check=True)
    assert (tmp_path / "x").read_text() == after


def test_no_difference_no_diff(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    assert not diff(tmp_path, OLD)


# --- properties ---

POOL = ["bake.hcl", "generated/a", "generated/a/x", "generated/a/x/y", "generated/b/x", "generated/b/y", "top/z"]
LINES = st.lists(st.sampled_from(["one\n", "two\n", "\r\n", "\x0c\u2028\n", "\n"]), max_size=6).map("".join)
CONTENTS = st.builds(lambda lines, end: (lines + end).encode(), LINES, st.sampled_from(["", "no newline"]))


def without_conflicts(files: dict[str, OutputFile]) -> dict[str, OutputFile]:
    return {path: file for path, file in files.items() if not any(path.startswith(f"{other}/") for other in files)}


SETS = st.dictionaries(st.sampled_from(POOL), st.builds(OutputFile, CONTENTS, st.booleans())).map(without_conflicts)


@settings(deadline=None, max_examples=60)
@given(runs=st.lists(st.tuples(SETS, st.none() | st.integers(1, 40)), min_size=1, max_size=6))
def test_after_any_runs_and_kills_the_tree_is_the_last_set_and_foreign_files_are_untouched(
    runs: list[tuple[dict[str, OutputFile], int | None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        foreign = {"generated/b/mine": text("mine"), "top/mine": text("mine"), "generated/c/d/mine": text("mine")}
        for path, file in foreign.items():
            put(root, path, file.content.decode())
        for wanted, kill in runs:
            killed_at(kill or sys.maxsize, partial(write, root, wanted))
        last = runs[-1][0]
        write(root, last)
        assert on_disk(root) == foreign | last
        assert records(root) == sorted(last)
        assert not empty_folders(root)


@settings(deadline=None, max_examples=40)
@given(before=SETS, after=SETS)
def test_git_apply_turns_the_tree_into_what_the_diff_promises(
    before: dict[str, OutputFile], after: dict[str, OutputFile]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, before)
        patch = diff(root, after)
        if patch:
            git = ["git", "apply", "--whitespace=nowarn", "-"]
            subprocess.run(git, cwd=root, input=patch.encode(), check=True, env=os.environ | {"LC_ALL": "C"})
        assert on_disk(root) == after
