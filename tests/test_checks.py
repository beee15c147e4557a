"""The checks of manifests: what is declared, what it becomes for a target and platform, and what evidence means."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from harness import run
from hypothesis import given
from hypothesis import strategies as st

from bakegen.docker.buildx import Buildx
from bakegen.expressions.limits import Limits
from bakegen.project import Project, load_project
from bakegen.spec.sizes import size_in_bytes, size_text
from bakegen.testing.checks import Check, evaluate_checks
from bakegen.testing.containers import KEPT, CommandOutput, _Output
from bakegen.testing.evidence import CheckCase, Evidence
from bakegen.testing.images import Image, MissingReference
from bakegen.testing.report import failure_blocks, junit, result_rows, text_rows
from bakegen.testing.results import (
    CheckFailure,
    CheckResult,
    check_result,
    missing_platform_result,
    missing_references_result,
)

MANIFEST = """\
image: app
variables: {VERSION: "1.0"}
registries: [ghcr.io/acme/app, docker.io/acme/app, ghcr.io/acme/other]
platforms: [linux/amd64, linux/arm64]
axes: {python: ["3.8", "3.9"]}
define: {machine: "{{ {'amd64': 'x86_64'}.get(platform.arch, 'aarch64') }}"}
template: Dockerfile.j2
test:
  python: {run: [python, --version], output: "Python {{ python }}."}
  version: {run: "app --is '{{ VERSION }}' {{ machine }}", matches: "v{{ VERSION }}$", exit: 3, timeout: 9, entrypoint: ""}
  config: {user: app, environment: {V: "{{ VERSION }}"}, labels: {at: "{{ release }}/{{ target }}"}, size: 1.5 GiB}
releases:
  base: {from: "debian:12-slim", tags: ["base-{{ python }}"], test: {version: null, config: {files: [/bin/sh]}}}
  runtime: {from: base, tags: ["{{ VERSION }}-{{ python }}", "x{{ VERSION }}-{{ python }}"], test: {own: {run: []}}}
  hidden: {from: base, publish: false}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "manifest").mkdir()
    (tmp_path / "templates").mkdir()
    (tmp_path / "manifest" / "app.yml").write_text(MANIFEST)
    (tmp_path / "templates" / "Dockerfile.j2").write_text("FROM {{ parent }}\n")
    return tmp_path


@pytest.fixture
def project(root: Path) -> Project:
    return load_project(root)


def checks_of(project: Project, target: str, platform: str, **environment: str) -> dict[str, Check]:
    [checks] = evaluate_checks(project, {target: [platform]}, environment).values()
    return {check.name: check for check in checks}


# --- what is declared ---


def test_a_release_adds_replaces_and_removes_checks(project: Project) -> None:
    base = checks_of(project, "app_base_python3-8", "linux/amd64")
    runtime = checks_of(project, "app_runtime_python3-8", "linux/amd64")

    assert list(base) == ["python", "config"]
    assert (base["config"].files, base["config"].user, base["config"].size) == (("/bin/sh",), None, None)
    assert list(runtime) == ["python", "version", "config", "own"]
    assert runtime["own"].run == ()


def test_texts_know_the_target_the_platform_and_the_environment(project: Project) -> None:
    found = checks_of(project, "app_runtime_python3-9", "linux/arm64", APP_VERSION="2 'b")

    assert found["python"].run == ("python", "--version")
    assert found["python"].output == "Python 3.9."
    assert (found["python"].exit, found["python"].timeout, found["python"].entrypoint) == (0, 120, None)
    assert found["version"].run == ("app", "--is", "2 'b", "aarch64")  # a variable stays one word, whatever it holds
    assert found["version"].matches == "v2 'b$"
    assert (found["version"].exit, found["version"].timeout, found["version"].entrypoint) == (3, 9, "")
    assert found["config"].environment == {"V": "2 'b"}
    assert found["config"].labels == {"at": "runtime/app_runtime_python3-9"}
    assert found["config"].size == 3 * 1024**3 // 2
    assert checks_of(project, "app_runtime_python3-9", "linux/amd64")["version"].run == ("app", "--is", "1.0", "x86_64")


def test_explain_tells_where_checks_are_declared(root: Path) -> None:
    shown = run(root, ["explain", "runtime", "3.8"]).stdout

    assert re.findall(r"^  (?:check)?  +(\w+) +manifest/app.yml:(\d+):\d+$", shown, re.MULTILINE)[-4:] == [
        ("python", "9"),
        ("version", "10"),
        ("config", "11"),
        ("own", "14"),
    ]
    assert "check" not in run(root, ["explain", "hidden", "3.8"]).stdout


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"APP_VERSION": "9"},
        {"APP_VERSION": ""},
        {"BAKEGEN_REGISTRY": "localhost:5000/me"},
        {"BAKEGEN_REGISTRY": "", "APP_VERSION": "9"},
        {"BAKEGEN_REGISTRY": "reg/x", "APP_VERSION": "9", "OTHER_VERSION": "7", "VERSION": "8"},
    ],
    ids=str,
)
def test_references_are_those_that_bake_reads(
    root: Path, project: Project, buildx: Buildx, environment: Mapping[str, str]
) -> None:
    assert run(root, ["generate"]).code == 0
    done = subprocess.run(
        [*buildx.command, "bake", "--print", "app"],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
    )
    read = json.loads(done.stdout)["target"]

    published = [target for target in project.graph.targets.values() if target.publish]
    assert len(published) == 4
    for target in published:
        assert list(project.graph.references_in(target, environment)) == read[target.name]["tags"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1), ("1 B", 1), ("900 MB", 900_000_000), ("900MB", 900_000_000), ("1.5 GB", 1_500_000_000), ("2 KiB", 2048),
        ("1 TiB", 1024**4), ("1 mb", None), ("MB", None), ("-1 MB", None), ("1,5 GB", None), ("1 MB ", None), ("", None),
    ],
)  # fmt: skip
def test_sizes_have_units(text: str, number: int | None) -> None:
    assert size_in_bytes(text) == number


@given(st.integers(0, 10**15))
def test_a_size_is_printed_as_one_that_can_be_read(number: int) -> None:
    read = size_in_bytes(size_text(number))

    assert read is not None
    assert read == pytest.approx(number, rel=0.001)


# --- what evidence means ---


def check(**own: Any) -> Check:
    plain: dict[str, Any] = dict.fromkeys(("run", "entrypoint", "output", "matches", "user", "size"))
    return Check(
        **{**plain, "name": "it", "exit": 0, "timeout": 5, "files": (), "environment": {}, "labels": {}, **own}
    )


def lines(declared: Check, evidence: Evidence, image: Image | None = None) -> list[str]:
    """What is told of one check of an image for ppc64le."""
    case = CheckCase("app", "linux/ppc64le", image or Image("sha256:1", ("acme/app:1", "acme/app:2")), (declared,))
    return [line for block in failure_blocks([check_result(case, declared, evidence, Limits())]) for line in block[1:]]


RUN = "  $ docker run --rm --network=none --platform=linux/ppc64le acme/app:1 app"


@pytest.mark.parametrize(
    ("declared", "said", "told"),
    [
        ({}, CommandOutput(0, ("",)), []),
        ({}, CommandOutput(2, ("oh\nno\n",)), ["expected exit code 0, got 2", "it printed:", "  oh", "  no"]),
        ({"exit": 2}, CommandOutput(2, ("",)), []),
        ({"exit": 2}, CommandOutput(0, ("",)), ["expected exit code 2, got 0", "it printed nothing"]),
        ({}, CommandOutput(None, ("a",)), ["timed out after 5 seconds", "it printed:", "  a"]),
        ({"output": "3.9."}, CommandOutput(0, ("Python 3.9.1",)), []),
        ({"output": "3.9."}, CommandOutput(0, ("Python 3.91",)), ['expected output "3.9."', "it printed:", "  Python 3.91"]),
        ({"output": "a", "exit": 1}, CommandOutput(0, ("\n",)), ["expected exit code 1, got 0", 'expected output "a"', "it printed nothing"]),
        ({"matches": "^b+$"}, CommandOutput(0, ("a\nbb\nc",)), []),
        ({"matches": "^b$"}, CommandOutput(0, ("a\nbb",)), ["expected output matching ^b$", "it printed:", "  a", "  bb"]),
        ({"output": "é\x1b"}, CommandOutput(0, ("\x1b]0;title\x07\x1b[2J\r\u202e",)), ['expected output "é\\x1b"', "it printed:", "  \\x1b]0;title\\x07\\x1b[2J", "  \\u202e"]),
        ({}, CommandOutput(1, ("exec /bin/app: exec format error",)), ["expected exit code 0, got 1", "this engine cannot run programs for linux/ppc64le; `docker run --privileged --rm tonistiigi/binfmt --install all` installs an emulator", "it printed:", "  exec /bin/app: exec format error"]),
    ],
)  # fmt: skip
def test_what_a_command_gives_is_compared(
    declared: Mapping[str, Any], said: CommandOutput, told: Sequence[str]
) -> None:
    found = lines(check(run=("app",), **declared), Evidence(1, said))

    assert found == [*(f"  {line}" for line in told), *([RUN] if told else [])]


def test_only_the_end_of_a_long_output_is_shown() -> None:
    found = lines(check(run=("app",), output="nowhere"), Evidence(1, CommandOutput(0, ("x\n" * 50 + "y" * 999,))))

    assert found[1] == "  the last 20 lines of its output:"
    assert found[2:21] == ["    x"] * 19
    assert found[21] == f"    {'y' * 300}…"


@pytest.mark.parametrize("declared", [{"output": "left out"}, {"matches": "left"}, {"matches": "(?s)begin.*end"}])
def test_what_is_not_printed_is_not_found_where_something_is_left_out(declared: Mapping[str, Any]) -> None:
    found = lines(check(run=("app",), **declared), Evidence(1, CommandOutput(0, ("begin", "end"), 7)))

    assert found[0].startswith("  expected output ")
    assert found[2:-1] == ["    begin", "    … 7 bytes left out …", "    end"]


@pytest.mark.parametrize("word", ["begin", "end"])
def test_the_beginning_and_the_end_of_a_long_output_are_looked_at(word: str) -> None:
    said = CommandOutput(0, ("begin", "end"), 7)

    assert lines(check(run=("app",), output=word, matches=f"^{word}$"), Evidence(1, said)) == []


def test_the_command_to_repeat_it_is_that_of_a_shell() -> None:
    declared = check(run=("sh", "-c", "echo $HOME 'x'"), entrypoint="", exit=1)
    registered = Image("sha256:1", ("acme/app:1",), {"linux/ppc64le": "sha256:2"})

    assert lines(declared, Evidence(1, CommandOutput(0, ("",))), registered)[-1] == (
        "  $ docker run --rm --network=none --platform=linux/ppc64le --entrypoint= acme/app@sha256:2"
        """ sh -c 'echo $HOME '"'"'x'"'"''"""
    )


def test_a_pattern_that_takes_for_ever_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bakegen.expressions.limits.TICK", 0.05)
    declared = check(run=("app",), matches="(a|aa)+$")
    limits = Limits()
    case = CheckCase("app", "linux/amd64", Image("sha256:1", ("acme/app:1",)), (declared,))
    with limits:
        result = check_result(case, declared, Evidence(1, CommandOutput(0, ("a" * 60 + "b",))), limits)

    assert "takes more than 5 seconds" in result.failures[0].lines[0]


@pytest.mark.parametrize(
    ("declared", "config", "told"),
    [
        ({"user": "root"}, {"User": ""}, []),
        ({"user": "root"}, {"User": "0"}, ['expected user "root", got "0"']),
        ({"user": "app:app"}, {"User": "app"}, ['expected user "app:app", got "app"']),
        ({"environment": {"A": "b=c"}}, {"Env": ["A=b=c"]}, []),
        ({"environment": {"A": "b", "C": "d"}}, {"Env": ["A=x"]}, ['expected A="b", got "x"', 'expected C="d", which is not set']),
        ({"environment": {"A": "b"}}, {"Env": None}, ['expected A="b", which is not set']),
        ({"labels": {"a": "b"}}, {"Labels": {"a": "b", "c": "d"}}, []),
        ({"labels": {"a": "b"}}, {"Labels": None}, ['expected label a="b", which is not set']),
        ({"labels": {"a": "b"}}, {"Labels": {"a": "\x1bc"}}, ['expected label a="b", got "\\x1bc"']),
    ],
)  # fmt: skip
def test_the_configuration_is_compared(
    declared: Mapping[str, Any], config: Mapping[str, Any], told: Sequence[str]
) -> None:
    found = lines(check(**declared), Evidence(1, config=config))

    assert found[: len(told)] == [f"  {line}" for line in told]
    assert bool(found) == bool(told)


def test_files_and_size_are_compared() -> None:
    missing = {"/a": "Could not find the file /a in container 1", "/b": "permission denied"}
    found = lines(check(files=("/a", "/b", "/c"), size=1000), Evidence(1, missing=missing, size=1001))

    create = "c=$(docker create --platform=linux/ppc64le acme/app:1 /)"
    assert found == [
        "  /a is missing",
        "  /b cannot be read: permission denied",
        f'  $ {create}; docker cp --follow-link "$c":/a - | tar --list; docker rm "$c"',
        "  expected at most 1 kB, got 1.001 kB (1,001 bytes)",
        f'  $ {create}; docker container inspect --size "$c"; docker rm "$c"',
    ]
    assert lines(check(files=("/c",), size=1000), Evidence(1, size=1000)) == []


def test_images_that_cannot_be_had_are_named() -> None:
    lost = missing_references_result(
        "app",
        [
            MissingReference("acme/app:1", "was not found in its registry"),
            MissingReference("acme/app:2", "cannot be looked up"),
        ],
    )
    case = CheckCase("app", "linux/arm64", Image("sha256:1", ("acme/app:3",)), ())

    assert next(failure_blocks([lost])) == [
        "FAILED app image",
        "  acme/app:1 was not found in its registry",
        "  acme/app:2 cannot be looked up",
    ]
    assert next(failure_blocks([missing_platform_result(case, "cannot be tested: no platform")])) == [
        "FAILED app linux/arm64 image",
        "  no linux/arm64: acme/app:3 cannot be tested: no platform",
        "  use --platform to test fewer platforms, or --pull to test the images in the registry",
    ]


@given(st.lists(st.binary(max_size=3 * KEPT) | st.just(b"x" * 100_000), max_size=8))
def test_what_is_printed_is_kept_within_bounds(parts: Sequence[bytes]) -> None:
    output, everything = _Output(), b"".join(parts)
    for part in parts:
        output.add(part)
        assert len(output._head) + len(output._tail) <= 3 * KEPT + len(part)
    said = output.said(0)

    kept = [everything] if len(everything) <= 2 * KEPT else [everything[:KEPT], everything[-KEPT:]]
    assert said.parts == tuple(part.decode(errors="replace") for part in kept)
    assert said.left_out == len(everything) - sum(map(len, kept))


# --- reports ---

anything = st.text(st.characters(), max_size=20) | st.sampled_from(["\x00\x1b\ufffe\ud800", "<&]]>\"'", "\r\n\t"])
results = st.lists(
    st.builds(
        CheckResult,
        st.sampled_from(["app", "other"]),
        st.sampled_from(["", "linux/amd64", "linux/arm64"]),
        anything,
        st.just(("acme/app:1",)),
        st.floats(0, 1000),
        st.lists(st.builds(CheckFailure, st.lists(anything, min_size=1).map(tuple), anything), max_size=2).map(tuple),
    ),
    max_size=6,
)


@given(results)
def test_results_are_junit_xml(found: Sequence[CheckResult]) -> None:
    """The rules are those of junit-10.xsd of Jenkins' xunit-plugin."""
    root = ET.fromstring(junit(found))

    assert root.tag == "testsuites"
    suites = list(root)
    assert [suite.get("name") for suite in suites] == list(dict.fromkeys(result.target for result in found))
    for element in (root, *suites):
        assert set(element.attrib) == {"name", "tests", "failures", "errors", "time"}
        cases = list(element.iter("testcase"))
        assert element.get("tests") == str(len(cases))
        assert element.get("failures") == str(sum(case.find("failure") is not None for case in cases))
        assert re.fullmatch(r"\d+\.\d{3}", element.get("time", ""))
    for case in root.iter("testcase"):
        assert set(case.attrib) == {"name", "classname", "time"}
        assert {child.tag for child in case} <= {"failure"}
        for failure in case:
            assert set(failure.attrib) == {"message", "type"}
            assert not list(failure)
    told = [failure.text or "" for failure in root.iter("failure")]
    assert len(told) == sum(len(result.failures) for result in found)


def test_junit_has_a_case_for_each_platform_and_check() -> None:
    failure = CheckFailure(("/made is missing", "x < y"), "docker run")
    [suite] = ET.fromstring(
        junit(
            [
                CheckResult("app", "linux/amd64", "files", ("a:1",), 0.25),
                CheckResult("app", "linux/ppc64le", "files", ("a:1",), 0.5, (failure,)),
            ]
        )
    )

    assert [case.attrib for case in suite] == [
        {"name": "linux/amd64 files", "classname": "app", "time": "0.250"},
        {"name": "linux/ppc64le files", "classname": "app", "time": "0.500"},
    ]
    assert [(found.attrib, found.text) for found in suite.iter("failure")] == [
        ({"message": "/made is missing", "type": "files"}, "/made is missing\nx < y\n$ docker run")
    ]


def test_several_images_of_a_target_are_told_apart() -> None:
    failures = (CheckFailure(("gone",)),)
    found = [CheckResult("app", "linux/amd64", "files", (reference,), 0, failures) for reference in ("a:1", "b:1")]

    names = [case.get("name") for case in ET.fromstring(junit(found)).iter("testcase")]
    assert names == ["linux/amd64 files a:1", "linux/amd64 files b:1"]
    assert [block[0] for block in failure_blocks(found)] == [f"FAILED app {name}" for name in names]
    assert [row["image"] for row in text_rows(found)] == ["a:1", "b:1"]
    assert "image" not in text_rows(found[:1])[0]


def test_rows_hold_all_that_is_known() -> None:
    failed = CheckResult("app", "", "image", ("a:1",), 0, (CheckFailure(("gone",)),))

    assert result_rows([failed, CheckResult("app", "linux/amd64", "files", ("a:1",), 0.123)]) == [
        {
            "target": "app", "references": ["a:1"], "platform": None, "check": "image", "result": "failed", "seconds": 0,
            "failures": [{"text": ["gone"], "command": ""}],
        },
        {
            "target": "app", "references": ["a:1"], "platform": "linux/amd64", "check": "files", "result": "passed",
            "seconds": 0.1, "failures": [],
        },
    ]  # fmt: skip


# --- the command line ---


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "Error: select what to test, or use --all for everything:\n  images:   app\n  releases: base, runtime, hidden\n"),
        (["--jobs", "0"], 2, "Invalid value for '--jobs'"),
        (["app", "--pythn", "3.8"], 2, 'No such option: --pythn (did you mean "--python"?)'),
        (["hidden"], 1, "nothing to test: app_hidden_python3-8, app_hidden_python3-9 are not published"),
        (["app", "--platform", "linux/s390x"], 1, "no selected target is built for linux/s390x"),
        (["nonsense"], 1, "[unknown-selector]"),
        (["app", "--junit", "manifest"], 1, "manifest: it exists and is not a file [cannot-write]"),
        (["app", "--junit", "manifest/app.yml/x.xml"], 1, "x.xml: its folder does not exist [cannot-write]"),
        (["app", "--junit", "x" * 300], 1, "File name too long [cannot-write]"),
    ],
)  # fmt: skip
def test_what_cannot_be_tested_is_said_before(root: Path, words: Sequence[str], code: int, message: str) -> None:
    outcome = run(root, ["test", *words])

    assert (outcome.code, outcome.stdout) == (code, "")
    assert message in outcome.stderr
