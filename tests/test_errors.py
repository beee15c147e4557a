"""Bad input: what bakegen says of each project in tests/errors, word for word, and that it leaves the tree alone.

A case is a folder <code>/<name>. `command` holds the words of the command (`validate` if there is no such file),
`output` all that it prints and the exit code, `environment` what the command finds there, as NAME=VALUE ($ROOT is the project). What git cannot hold is made by a function in `MAKERS`.
Where a registry has to be there, `SERVERS` says what it answers; the files of the case call it localhost:65000.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from harness import TESTS, Outcome, copy_project, projects, run, tree
from registries import Reply, Request, serving

from bakegen.errors import Code

FOLDER = TESTS / "errors"
CASES = projects(FOLDER, 2)
DOCUMENT = TESTS.parent / "docs" / "errors.md"

VALID = "image: app\nplatforms: [linux/amd64]\nfrom: debian:12-slim\ntags: [latest]\n"


def put(root: Path, path: str, content: str | bytes) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def link(root: Path, path: str, target: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).symlink_to(target)


def circle(root: Path, first: str, second: str) -> None:
    """Two links that lead to each other."""
    link(root, first, str(root / second))
    link(root, second, str(root / first))


def pipe(root: Path, path: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(root / path)


def outside(root: Path) -> str:
    """A file beside the project, that nothing in it may reach."""
    put(root.parent, "secret.yml", "password: swordfish\n")
    return str(root.parent / "secret.yml")


MAKERS: dict[str, Callable[[Path], None]] = {
    "yaml-syntax/nul": lambda root: put(root, "manifest/app.yml", VALID + "description: a\0b\n"),
    "control-character/path": lambda root: put(root, "manifest/app.yml", VALID + 'dockerfile: "a\\0b"\n'),
    "control-character/template": lambda root: put(root, "templates/lib.j2", "RUN echo a\0VERSION\0b\n"),
    "no-project/nothing": lambda root: (root / "output").unlink(missing_ok=True),
    "not-utf8/data": lambda root: put(root, "manifest/data/names.yml", b"first: fine\nsecond: caf\xe9\n"),
    "not-utf8/latin-1": lambda root: put(root, "manifest/app.yml", VALID.encode() + b"description: caf\xe9\n"),
    "not-utf8/template": lambda root: put(root, "templates/app.Dockerfile.j2", b"FROM {{ parent }}\n# caf\xe9\n"),
    "not-utf8/utf-16": lambda root: put(root, "manifest/app.yml", VALID.encode("utf-16")),
    "too-large/ten-megabytes": lambda root: put(root, "manifest/app.yml", VALID + "# x\n" * 2_500_000),
    "unreadable-file/context-loop": lambda root: link(root, "source", "source"),
    "unreadable-file/copy-loop": lambda root: link(root, "motd", "motd"),
    "unreadable-file/dangling-link": lambda root: link(root, "manifest/app.yml", "gone.yml"),
    "unreadable-file/data-loop": lambda root: circle(root, "manifest/names.yml", "manifest/pins/names.yml"),
    "unreadable-file/include-loop": lambda root: link(root, "manifest/common.yml", "common.yml"),
    "unreadable-file/link-to-itself": lambda root: link(root, "manifest/app.yml", "app.yml"),
    "unreadable-file/pipe": lambda root: pipe(root, "manifest/app.yml"),
    "unreadable-file/folder": lambda root: put(root, "manifest/app.yml/README", "a folder called like a manifest\n"),
    "unsafe-path/hidden-character": lambda root: put(root, "manifest/app\nRUN rm -rf \u202e.yml", VALID),
    "unsafe-path/linked-context": lambda root: link(root, "source", str(Path(outside(root)).parent)),
    "unsafe-path/linked-copy": lambda root: link(root, "motd", outside(root)),
    "unsafe-path/linked-data": lambda root: link(root, "manifest/data.yml", outside(root)),
    "unsafe-path/linked-data-folder": lambda root: link(root, "manifest/data", str(Path(outside(root)).parent)),
    "unsafe-path/linked-data-in-folder": lambda root: link(root, "manifest/data/a.yml", outside(root)),
    "unsafe-path/linked-include": lambda root: link(root, "manifest/common.yaml", outside(root)),
    "unsafe-path/linked-manifest": lambda root: link(root, "manifest/app.yml", outside(root)),
    "unsafe-path/linked-manifests": lambda root: link(root, "manifest", str(Path(outside(root)).parent)),
    "unsafe-path/linked-output": lambda root: link(root, "generated", str(root.parent)),
    "unsafe-path/linked-output-file": lambda root: link(root, "generated/app/Dockerfile", outside(root)),
    "unsafe-path/linked-templates": lambda root: link(root, "templates", str(Path(outside(root)).parent)),
    "unsafe-path/linked-template": lambda root: link(root, "templates/app.Dockerfile.j2", outside(root)),
    "yaml-syntax/deep-nesting": lambda root: put(root, "manifest/app.yml", VALID + "define: {a: " + "[" * 100_000),
    "yaml-syntax/control-character": lambda root: put(root, "manifest/app.yml", VALID + "description: café a\x07b\n"),
}


SERVERS: dict[str, Callable[[Request], Reply]] = {
    "failing-registry/no-registry": lambda _: Reply(404),
    "failing-registry/too-many-requests": lambda _: Reply(429),
    "login-failed/wrong-password": lambda _: Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'}),
    "no-login/nobody": lambda _: Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'}),
}
STAND_IN = "localhost:65000"
# Docker is asked for what is told of registries.
WITH_ENGINE = {*SERVERS, "missing-helper/credential-helper", "unreachable-registry/closed-port"}

TAKES_TOO_LONG = {"too-expensive/nested-loops", "too-expensive/loops-in-template"}


def name_of(case: Path) -> str:
    return case.relative_to(FOLDER).as_posix()


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_mistake_is_explained(
    case: Path, tmp_path: Path, update_golden: bool, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if name_of(case) in WITH_ENGINE:
        request.getfixturevalue("registry")
    root = copy_project(case, tmp_path / "project", outputs=True)
    if make := MAKERS.get(name_of(case)):
        make(root)
    if name_of(case) in TAKES_TOO_LONG:
        monkeypatch.setattr("bakegen.expressions.limits.TICK", 0.05)
    command = (case / "command").read_text() if (case / "command").exists() else "validate"
    if (case / "environment").exists():
        for line in (case / "environment").read_text().splitlines():
            monkeypatch.setenv(*line.replace("$ROOT", str(root)).split("=", 1))
    with contextlib.ExitStack() as stack:
        host = STAND_IN
        if answer := SERVERS.get(name_of(case)):
            host = stack.enter_context(serving(answer)).host
            for file in filter(Path.is_file, root.rglob("*")):
                file.write_text(file.read_text().replace(STAND_IN, host))
        before = tree(tmp_path)
        outcome = run(root, shlex.split(command))
    outcome = Outcome(outcome.stdout.replace(host, STAND_IN), outcome.stderr.replace(host, STAND_IN), outcome.code)

    if update_golden:
        (case / "output").write_text(outcome.text())
    assert outcome.text() == (case / "output").read_text()
    assert outcome.code == 1
    assert not outcome.stdout or command.startswith(("authenticate", "push-readme"))  # which tell of each registry
    assert f"[{case.parent.name}]" in outcome.stderr
    assert before == tree(tmp_path)


def test_what_git_cannot_hold_is_made_for_cases_that_exist() -> None:
    assert MAKERS.keys() | WITH_ENGINE | TAKES_TOO_LONG <= set(map(name_of, CASES))


def test_every_code_has_a_case() -> None:
    assert {case.parent.name for case in CASES} == set(get_args(Code))


def test_the_document_explains_every_code_with_what_a_case_prints(update_golden: bool) -> None:
    written = DOCUMENT.read_text()

    def example(found: re.Match[str]) -> str:
        output = (FOLDER / found[1] / "output").read_text().removesuffix("[exit 1]\n")
        return f"<!-- case: {found[1]} -->\n```text\n{output}```\n"

    renewed = re.sub(r"<!-- case: (\S+) -->\n```text\n(?:.*\n)*?```\n", example, written)
    if update_golden:
        DOCUMENT.write_text(renewed)
        written = renewed

    assert renewed.splitlines() == written.splitlines()
    headings = re.findall(r"^### (\S+)$", written, re.MULTILINE)
    assert sorted(headings) == sorted(get_args(Code))
    assert headings == [case.partition("/")[0] for case in re.findall(r"<!-- case: (\S+) -->", written)]


@pytest.mark.parametrize(
    "command",
    ["", "nonsense", "generate --nonsense", "list --format yaml", "explain", "-C nowhere validate", "validate --format", "generate --check=1"],
)  # fmt: skip
def test_misuse_is_told_from_bad_input(command: str, tmp_path: Path) -> None:
    put(tmp_path, "manifest/app.yml", VALID)
    before = tree(tmp_path)

    outcome = run(tmp_path, shlex.split(command))

    assert outcome.code == 2
    assert not outcome.stdout or not command  # without a command, help is what was asked for
    assert "Traceback" not in outcome.stderr
    assert before == tree(tmp_path)


def test_programs_get_the_same_problems(tmp_path: Path) -> None:
    put(tmp_path, "manifest/app.yml", VALID + "labels: {50%: a, team: no}\n")

    for_json = run(tmp_path, ["validate", "--format", "json"])
    for_github = run(tmp_path, ["validate", "--format", "github"])

    assert (for_json.code, for_github.code, for_json.stderr, for_github.stderr) == (1, 1, "", "")
    assert json.loads(for_json.stdout) == [
        {
            "code": "ambiguous-scalar",
            "message": "YAML reads no as the boolean false, not as text",
            "file": "manifest/app.yml",
            "line": 5,
            "column": 24,
            "hint": 'write false, or quote it if it is text: "no"',
        }
    ]
    assert for_github.stdout == (
        "::error file=manifest/app.yml,line=5,col=24,title=ambiguous-scalar::"
        'YAML reads no as the boolean false, not as text (write false, or quote it if it is text: "no")\n'
    )


def test_every_problem_has_a_remedy() -> None:
    problem = re.compile(r"^.* \[[a-z0-9-]+\]\n(?: .*\n|\d+ \| .*\n)*", re.MULTILINE)
    told = {case: problem.findall((case / "output").read_text()) for case in CASES}

    assert all(told.values())
    assert [(name_of(case), text) for case, texts in told.items() for text in texts if "\n  = help: " not in text] == []
