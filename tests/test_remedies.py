"""What help says is done, and the problem is gone: for every case whose help is a replacement for what is underlined."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import TESTS, copy_project, projects, run

FOLDER = TESTS / "errors"
PROBLEM = re.compile(
    r"^(?P<file>\S+?):(?P<line>\d+):(?P<column>\d+): (?P<message>.*) \[(?P<code>[a-z0-9-]+)\]\n"
    r" +\|\n *\d+ \| .*\n +\| *(?P<mark>\^~*)\n  = help: (?P<help>.*)$",
    re.MULTILINE,
)
REPLACEMENTS = (
    (re.compile(r'did you mean "([^"]+)"\?'), r"\1"),
    (re.compile(r"did you mean \{% (\w+) %\}\?"), r"\1"),
    (re.compile(r'write it in quotes: ("[^"]*")'), r"\1"),
    (re.compile(r"write (\[[^…]*\])"), r"\1"),
    (re.compile(r"write (\S+), without quotes"), r"\1"),
    (re.compile(r'write ("[^"…]+")(?=$|:)'), r"\1"),
)


@dataclass(frozen=True)
class Remedy:
    """What stands somewhere, and what is to stand there instead."""

    file: str
    line: int
    column: int
    length: int
    code: str
    message: str
    replacement: str
    quoted: bool  # whether quotes around it stay

    def apply(self, root: Path) -> None:
        lines = (root / self.file).read_text().split("\n")
        line, start = lines[self.line - 1], self.column - 1
        old = line[start : start + self.length]
        # What is wrong may be a word of what is underlined: the message names it in quotes.
        wrong = [word for word in re.findall(r'"([^"]+)"', self.message) if word in old and word != self.replacement]
        bare = self.replacement.strip('"')
        new = old.replace(max(wrong, key=len), bare) if wrong and old.strip("'\"") != max(wrong, key=len) else ""
        if not new:
            quote = old[0] if old[0] in "'\"" and self.quoted else ""
            new = self.replacement if self.replacement[0] in '"[' else f"{quote}{bare}{quote}"
        lines[self.line - 1] = line[:start] + new + line[start + self.length :]
        (root / self.file).write_text("\n".join(lines))


def remedies(text: str) -> Iterator[Remedy]:
    for found in PROBLEM.finditer(text):
        for pattern, replacement in REPLACEMENTS:
            if match := pattern.match(found["help"]):
                where = (found["file"], int(found["line"]), int(found["column"]), len(found["mark"]))
                quoted = "without quotes" not in found["help"]
                yield Remedy(*where, found["code"], found["message"], match.expand(replacement), quoted)
                break


def applicable() -> Iterator[tuple[Path, Remedy]]:
    for case in projects(FOLDER, 2):
        for remedy in remedies((case / "output").read_text()):
            if (case / remedy.file).exists():
                yield case, remedy


# Of two values, one has the property that an expression reads and one has it misspelt: what is underlined is right.
ELSEWHERE = {"undefined-name/property"}
CASES = [found for found in applicable() if found[0].relative_to(FOLDER).as_posix() not in ELSEWHERE]


@pytest.mark.parametrize(
    ("case", "remedy"),
    CASES,
    ids=[f"{case.parent.name}/{case.name}:{found.line}:{found.column}" for case, found in CASES],
)
def test_what_help_says_mends_the_problem(case: Path, remedy: Remedy, tmp_path: Path) -> None:
    root = copy_project(case, tmp_path / "project", outputs=True)
    command = (case / "command").read_text() if (case / "command").exists() else "validate"

    remedy.apply(root)
    outcome = run(root, shlex.split(command))

    left = [(found["line"], found["column"], found["code"]) for found in PROBLEM.finditer(outcome.stderr)]
    assert (str(remedy.line), str(remedy.column), remedy.code) not in left, outcome.stderr


def test_many_problems_have_a_remedy_that_can_be_applied() -> None:
    assert len(CASES) > 60
