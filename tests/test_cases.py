"""Whole projects: what `generate` writes for each folder of tests/cases is exactly what is committed there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from harness import OUTPUTS, TESTS, copy_project, lines_of, projects, run, transcript, tree

CASES = projects(TESTS / "cases", 1)
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

Files = Mapping[str, tuple[str, bytes]]


def difference(committed: Files, made: Files) -> str:
    """A unified diff of two trees: files that only one of them has show whole."""
    return "".join(
        line if line.endswith("\n") else f"{line}\n"
        for name in sorted({*committed, *made})
        for line in difflib.unified_diff(
            list(lines_of(committed, name)), list(lines_of(made, name)), f"committed/{name}", f"made/{name}"
        )
    )


@each_case
def test_generate_makes_the_committed_tree(case: Path, tmp_path: Path, update_golden: bool) -> None:
    if update_golden:
        assert run(case, ["generate", "--force"]).code == 0
    root = copy_project(case, tmp_path / case.name, outputs=False)

    outcome = run(root, ["generate"])

    assert outcome.code == 0, outcome.stderr
    assert not difference(tree(case, *OUTPUTS), tree(root, *OUTPUTS))


@each_case
def test_what_is_committed_has_not_drifted_and_is_not_touched(case: Path, tmp_path: Path) -> None:
    root = copy_project(case, tmp_path / case.name, outputs=True)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    for command in (["generate", "--check"], ["generate"], ["generate"], ["validate"]):
        outcome = run(root, command)
        assert outcome.code == 0, outcome.stderr

    assert times == {path: path.stat().st_mtime_ns for path in root.rglob("*")}


@pytest.mark.parametrize("case", [case for case in CASES if (case / "transcript").exists()], ids=lambda case: case.name)
def test_commands_say_what_the_transcript_says(case: Path, update_golden: bool) -> None:
    file = case / "transcript"
    written = file.read_text()
    said = transcript(case, written)
    if update_golden:
        file.write_text(said)
        written = said

    assert said.splitlines() == written.splitlines()


@each_case
def test_a_comment_says_what_the_case_proves(case: Path) -> None:
    manifests = sorted((case / "manifest").glob("*.yml"))

    assert re.match(r"# [A-Z`].*(\n# .*)*\.\n(?!#)", manifests[0].read_text())


def test_a_missing_a_stale_and_a_changed_file_are_all_differences() -> None:
    committed = {"both": ("file", b"a\n"), "stale": ("file", b"s\n"), "mode": ("file", b"")}
    made = {"both": ("file", b"b\n"), "missing": ("file", b"m\n"), "mode": ("executable", b"")}

    shown = difference(committed, made)

    assert {f"committed/{name}" for name in {*committed, *made}} == set(re.findall(r"--- (\S+)", shown))
