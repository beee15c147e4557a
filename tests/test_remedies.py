"""What help says is done, and the problem is gone: for every case whose help says what to write, where, or what to run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import TESTS, copy_project, projects, run

FOLDER = TESTS / "errors"
PROBLEM = re.compile(
    r"^(?:(?P<file>[^\s:]+)(?::(?P<line>\d+)(?::(?P<column>\d+))?)?: )?(?P<message>.*) \[(?P<code>[a-z0-9-]+)\]\n"
    r"(?: +\|\n *\d+ \| .*\n(?: +\| *(?P<mark>\^~*)\n)?)?  = help: (?P<help>.*)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Mistake:
    """A problem that a case prints, in a copy of its project."""

    root: Path
    command: list[str]
    problem: re.Match[str]

    @property
    def key(self) -> tuple[str | None, ...]:
        return self.problem.group("file", "line", "column", "code")

    @property
    def wrong(self) -> list[str]:
        """What the message has in quotes."""
        return re.findall(r'"([^"]+)"', self.problem["message"])

    def edit(self, change: Callable[[str], str]) -> None:
        """Change the line that is wrong."""
        file = self.root / self.problem["file"]
        lines = file.read_text().split("\n")
        at = int(self.problem["line"]) - 1
        lines[at] = change(lines[at])
        file.write_text("\n".join(lines))

    def replace(self, new: Callable[[str], str]) -> None:
        """Change what is underlined."""
        start = int(self.problem["column"]) - 1
        end = start + len(self.problem["mark"])
        self.edit(lambda line: line[:start] + new(line[start:end]) + line[end:])


def write(mistake: Mistake, text: str) -> None:
    """What is underlined, or the word of it that the message names in quotes, becomes `text`."""

    def changed(old: str) -> str:
        wrong = max((word for word in mistake.wrong if word in old and word != text), key=len, default="")
        bare = text.strip('"') if text[0] == '"' else text
        if wrong and old.strip("'\"") != wrong:
            return old.replace(wrong, bare)
        quote = old[0] if old[0] in "'\"" and "without quotes" not in mistake.problem["help"] else ""
        return text if text[0] in '"[' else f"{quote}{bare}{quote}"

    mistake.replace(changed)


def ask_for(mistake: Mistake, text: str) -> None:
    """The word of the command line that the message names in quotes becomes `text`."""
    wrong = next(word for word in reversed(mistake.wrong) if any(word in one for one in mistake.command))
    mistake.command[:] = [word.replace(wrong, text) for word in mistake.command]


def mean(mistake: Mistake, text: str) -> None:
    (write if mistake.problem["mark"] else ask_for)(mistake, text)


def quote(mistake: Mistake, text: str) -> None:
    mistake.edit(lambda line: line.replace(text[1:-1], text))


def close(mistake: Mistake, text: str) -> None:
    mistake.edit(lambda line: line + (text or line[int(mistake.problem["column"]) - 1]))


def declare(mistake: Mistake, text: str) -> None:
    file = mistake.root / (mistake.problem["file"] or "manifest/app.yml")
    file.write_text(f"{text.replace('…', '1')}\n{file.read_text()}")


def put_before(mistake: Mistake, text: str) -> None:
    mistake.edit(lambda line: f"{text}\n{line}")


def remove_item(mistake: Mistake, _text: str) -> None:
    start = int(mistake.problem["column"]) - 1
    end = start + len(mistake.problem["mark"])
    mistake.edit(lambda line: line[:start].rstrip(", ") + line[end:])


def carry(mistake: Mistake, text: str) -> None:
    """An expression in braces becomes the build arg."""
    mistake.edit(lambda line: re.sub(r"\{\{.*?\}\}", lambda _: text, line))


def run_first(mistake: Mistake, text: str) -> None:
    run(mistake.root, shlex.split(text))


REMEDIES: tuple[tuple[str, Callable[[Mistake, str], None]], ...] = (
    (r'did you mean "([^"]+)"\?', mean),
    (r"did you mean \{% (\w+) %\}\?", write),
    (r'write it in quotes: ("[^"]*")', write),
    (r"write (\[[^…]*\])", write),
    (r"write (\S+), without quotes", write),
    (r'write ("[^"…]+")(?=$|:)', write),
    (r"write (\w+)= instead of", write),
    (r"write (\w+ == .+)", write),
    (r"write (\{\{ .* \}\}),", write),
    (r"write (\S+=\S+) or ", ask_for),
    (r"write (\{% \w+ %\}) first", put_before),
    (r"quote the (?:whole )?value: (.*)", quote),
    (r'close it with "(.)"', close),
    (r"close it here()", close),
    (r"add `(buildx: [^`]+)`", declare),
    (r".*, or add `(buildx: [^`]+)`", declare),
    (r"(?:add|declare) (?:it.*?, such as )?([a-z]+: [\[{].*)", declare),
    (r"remove one of them()$", remove_item),
    (r"use the build arg: (.*)", carry),
    (r"(?:.*or )?run `bakegen ([^`]+)`", run_first),
)
# Of two values, one has the property that an expression reads and one has it misspelt: what is underlined is right.
# What an expression makes of a line cannot be changed there.
ELSEWHERE = {"undefined-name/property", "dockerfile-syntax/made-by-an-expression"}
WITH_ENGINE = {"builder-mismatch/absent", "builder-mismatch/differs"}


def applicable() -> Iterator[tuple[Path, re.Match[str], Callable[[Mistake, str], None], str]]:
    for case in projects(FOLDER, 2):
        if case.relative_to(FOLDER).as_posix() in ELSEWHERE | WITH_ENGINE:
            continue
        for problem in PROBLEM.finditer((case / "output").read_text()):
            for pattern, apply in REMEDIES:
                found = re.match(pattern, problem["help"])
                if found and (not problem["file"] or (case / problem["file"]).exists() or apply is run_first):
                    yield case, problem, apply, found[1]
                    break


CASES = list(applicable())


@pytest.mark.parametrize(
    ("case", "problem", "apply", "text"),
    CASES,
    ids=[f"{case.parent.name}/{case.name}:{at['line'] or ''}:{at['column'] or ''}" for case, at, *_ in CASES],
)
def test_what_help_says_removes_the_problem(
    case: Path, problem: re.Match[str], apply: Callable[[Mistake, str], None], text: str, tmp_path: Path
) -> None:
    root = copy_project(case, tmp_path / "project", outputs=True)
    words = shlex.split((case / "command").read_text()) if (case / "command").exists() else ["validate"]
    mistake = Mistake(root, words, problem)

    apply(mistake, text)
    outcome = run(root, mistake.command)

    left = {found.group("file", "line", "column", "code") for found in PROBLEM.finditer(outcome.stderr)}
    assert mistake.key not in left, outcome.stderr


def test_every_code_whose_help_is_exact_is_tried() -> None:
    tried = {problem["code"] for _, problem, *_ in CASES}
    exact = re.compile(
        r'^(did you mean|write (it in quotes|["\[]\S)|quote the .*: |close it |add `buildx|.*run `bakegen )'
    )
    told = {
        problem["code"]
        for case in projects(FOLDER, 2)
        if case.relative_to(FOLDER).as_posix() not in WITH_ENGINE
        for problem in PROBLEM.finditer((case / "output").read_text())
        if exact.match(problem["help"])
    }

    assert told <= tried
    assert len(tried) > 30
