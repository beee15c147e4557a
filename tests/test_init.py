"""`bakegen init`: what it writes works at once, and it overwrites nothing."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from harness import run, tree
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sabotage import SABOTEUR, Swap
from test_engine import run as shell

import bakegen
from bakegen.docker.buildx import Buildx
from bakegen.errors import BakegenError, MisuseError
from bakegen.starter.family import write_family
from bakegen.starter.releases import NewRelease, parse_releases

DOCUMENTED = "runtime,cudnn(gpu_supported),devel"

# --- the text of --releases ---


@pytest.mark.parametrize(
    ("text", "releases"),
    [
        ("runtime", [("runtime", ())]),
        (DOCUMENTED, [("runtime", ()), ("cudnn", ("gpu_supported",)), ("devel", ())]),
        (" runtime ,\tcudnn ( gpu ) , devel ", [("runtime", ()), ("cudnn", ("gpu",)), ("devel", ())]),
        ("trt(gpu, tensorrt)", [("trt", ("gpu", "tensorrt"))]),
        ("base,runtime", [("base", ()), ("runtime", ())]),
        ("3.10,devel-trt,a.b_c", [("3.10", ()), ("devel-trt", ()), ("a.b_c", ())]),
    ],
)
def test_releases_are_read_in_order(text: str, releases: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    assert parse_releases(text) == tuple(NewRelease(name, needs) for name, needs in releases)


@pytest.mark.parametrize(
    ("text", "why", "marked"),
    [
        ("", "a release is missing here", "^"),
        ("   ", "a release is missing here", "   ^"),
        ("a,", "a release is missing here", "  ^"),
        (",a", "a release is missing here", "^"),
        ("a,,b", "a release is missing here", "  ^"),
        ("(gpu)", "a release is missing here", "^"),
        ("runtime,cudnn(gpu", "unclosed parenthesis", " " * 13 + "^"),
        ("cudnn(gpu,devel", "unclosed parenthesis", "     ^"),
        ("cudnn(gpu))", "unmatched closing parenthesis", " " * 10 + "^"),
        ("a)", "unmatched closing parenthesis", " ^"),
        ("a(b(c))", "parentheses cannot be nested", "   ^"),
        ("a()", "a property is missing here", "  ^"),
        ("a(b,)", "a property is missing here", "    ^"),
        ("a(", "a property is missing here", "  ^"),
        ("runtime cudnn", "a comma is missing before this", " " * 8 + "^~~~~"),
        ("a(b c)", "a comma is missing before this", "    ^"),
        ("a(b)cd", "a comma is missing before this", "    ^~"),
        ("a;b", "use lower-case letters", "^~~"),
        ("runtime,CUDNN", "use lower-case letters", " " * 8 + "^~~~~"),
        ("a, ..", "use lower-case letters", "   ^~"),
        ("a\x1b[31m", "use lower-case letters", "^~~~~~~~~"),
        ("\nb\n,é", "use lower-case letters", " " * 6 + "^"),
        ("镜像,x", "use lower-case letters", "^~~~"),
        ("run,run", "this release is listed twice", "    ^~~"),
        ("a(gpu,gpu)", "this property is listed twice", "      ^~~"),
        ("a(_gpu)", "a property is a letter", "  ^~~~"),
        ("a(g-u)", "a property is a letter", "  ^~~"),
        ("a(platforms)", "this property name is reserved", "  ^~~~~~~~~"),
        ("base", "add a release that is built on this one", "^~~~"),
        ("a,base", "the other releases are built on `base`: list it first", "  ^~~~"),
        ("base(gpu),a", "the other releases are built on `base`: it cannot", "^~~~"),
    ],
)
def test_what_cannot_be_read_is_underlined(text: str, why: str, marked: str) -> None:
    with pytest.raises(MisuseError) as caught:
        parse_releases(text)

    message, _, line = str(caught.value).partition("\n  ")
    assert message.startswith(f"--releases: {why}")
    assert line.splitlines()[-1].removeprefix("  ") == marked
    assert "\x1b" not in line


@given(st.text(alphabet="ab(), \t\nB-._1é", max_size=12))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        releases = parse_releases(text)
    except MisuseError:
        return
    written = ",".join(release.name + (f"({','.join(release.needs)})" if release.needs else "") for release in releases)
    assert re.sub(r"\s", "", text) == written


@pytest.mark.parametrize(
    "words",
    [["App"], [""], ["-"], ["a" * 129], ["a\n"], ["../a"], ["a", "--registry", ""], ["a", "--registry", "https://ghcr.io/acme"],
     ["a", "--registry", "ghcr.io/acme/"], ["a", "--releases", "b("], ["a", "--releases", ""], []],
    ids=str,
)  # fmt: skip
def test_misuse_writes_nothing(tmp_path: Path, words: Sequence[str]) -> None:
    outcome = run(tmp_path, ["init", *words])

    assert outcome.code == 2
    assert "Error: " in outcome.stderr
    assert tree(tmp_path) == {}


# --- what is written ---

WORDS = st.one_of(
    st.sampled_from(["3.10", "on", "no", "null", "y", "1e3", "0x1f", "2026-01-31", "010", "true", "cudnn", "image"]),
    st.from_regex(r"[a-z0-9]{1,5}([._-][a-z0-9]{1,4}){0,2}", fullmatch=True),
)
PROPERTIES = st.one_of(
    st.sampled_from(["gpu", "gpu_supported", "no", "upper", "title", "and", "not", "is", "true", "None", "distro"]),
    st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
        lambda word: word not in {"args", "base", "names"}
    ),
)
RELEASES = st.lists(
    st.tuples(WORDS, st.lists(PROPERTIES, max_size=2, unique=True)),
    min_size=1,
    max_size=4,
    unique_by=lambda release: re.sub("[._]", "-", release[0]),  # as targets are called
)


def written(releases: Sequence[tuple[str, Sequence[str]]]) -> str:
    return ", ".join(name + (f"({', '.join(needs)})" if needs else "") for name, needs in releases)


@given(image=WORDS.map("image-".__add__), releases=RELEASES)
@example(image="7zip", releases=[("runtime", ["gpu"])])
@example(image="on", releases=[("no", ["no"])])
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_releases_make_a_project_that_works(image: str, releases: Sequence[tuple[str, Sequence[str]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        outcome = run(root, ["init", image, "--releases", written(releases)])
        assert outcome.code == 0, outcome.text()
        assert run(root, ["generate"]).code == 0
        outcome = run(root, ["verify", "--with", "hcl2"])
        assert outcome.code == 0, outcome.text()
        graph = bakegen.load(root)

    made = list(dict.fromkeys(target.release for target in graph.targets.values()))
    assert made == ["base", *(name for name, _ in releases if name != "base")]
    for name, needs in releases:
        assert sum(target.release == name for target in graph.targets.values()) == (1 if needs else 2)


@pytest.mark.parametrize("releases", ["", "runtime", DOCUMENTED, "base, a(x, y), b(y)"])
def test_buildx_reads_it_as_it_is_meant(tmp_path: Path, buildx: Buildx, releases: str) -> None:
    assert run(tmp_path, ["init", "server", *(["--releases", releases] if releases else [])]).code == 0
    assert run(tmp_path, ["generate"]).code == 0
    assert run(tmp_path, ["validate"]).code == 0
    done = subprocess.run(
        [*buildx.command, "bake", "--print"], cwd=tmp_path, text=True, capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr
    for target in json.loads(done.stdout)["target"].values():
        for tag in target.get("tags", ()):
            assert tag.startswith("registry.invalid/server:0.1.0-debian1")


def test_the_manifest_says_what_was_asked(tmp_path: Path) -> None:
    run(tmp_path, ["init", "server", "--releases", DOCUMENTED, "--registry", "ghcr.io/acme"])
    text = (tmp_path / "manifest" / "server.yml").read_text()
    manifest = yaml.safe_load(text)

    assert manifest["registries"] == ["ghcr.io/acme/server"]
    assert "invalid" not in text
    assert list(manifest["releases"]) == ["base", "runtime", "cudnn", "devel"]
    assert [release.get("when") for release in manifest["releases"].values()] == [
        None,
        None,
        "distro.gpu_supported",
        None,
    ]
    assert {release["from"] for name, release in manifest["releases"].items() if name != "base"} == {"base"}
    assert manifest["properties"]["distro"]["gpu_supported"] == {"type": "boolean", "default": False}
    assert manifest["variables"] == {"VERSION": "0.1.0"}
    assert len(text.splitlines()) < 20


def test_an_editor_finds_the_schema(tmp_path: Path) -> None:
    run(tmp_path, ["init", "server"])
    manifest = tmp_path / "manifest" / "server.yml"
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", manifest.read_text())
    assert named

    schema = (manifest.parent / named[1]).resolve()

    assert schema.read_text() == run(tmp_path, ["schema"]).stdout
    schema.write_text("mine\n")
    assert run(tmp_path, ["init", "other"]).code == 0
    assert schema.read_text() == "mine\n"


def test_a_family_joins_the_project_that_the_folder_belongs_to(tmp_path: Path) -> None:
    run(tmp_path, ["init", "first"])
    (tmp_path / "docs").mkdir()

    outcome = run(tmp_path / "docs", ["init", "second", "--releases", "slim"])

    assert outcome.code == 0, outcome.text()
    assert [file.name for file in sorted((tmp_path / "manifest").iterdir())] == ["first.yml", "second.yml"]
    assert run(tmp_path, ["generate"]).code == 0


def test_what_it_says_to_type_next_works(tmp_path: Path, registry: str) -> None:
    """All but the last line, which builds: that is what the test below does."""
    assert registry
    outcome = run(tmp_path, ["init", "server", "--releases", DOCUMENTED])
    commands = re.findall(r"^  bakegen (.+)$", outcome.stderr, re.MULTILINE)

    assert commands[-1] == "build server --load --platform linux/amd64"
    for command in commands[:-1]:
        assert run(tmp_path, command.split()).code == 0


# --- what is not overwritten ---


def test_a_second_time_nothing_is_written(tmp_path: Path) -> None:
    words = ["init", "server", "--releases", "a,b"]
    assert run(tmp_path, words).code == 0
    (tmp_path / "templates" / "server" / "b.Dockerfile.j2").unlink()
    before = tree(tmp_path)

    outcome = run(tmp_path, words)

    assert outcome.code == 1
    assert outcome.stderr.count("[file-exists]") == 3  # all but the schema, which is kept, and the one that is gone
    assert outcome.stderr.startswith("nothing was written\n")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("place", ["manifest", "templates", "templates/server"])
def test_links_are_not_followed(tmp_path: Path, place: str) -> None:
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / place).parent.mkdir(parents=True)
    (root / place).symlink_to(elsewhere)

    outcome = run(root, ["init", "server"])

    assert outcome.code == 1
    assert "this is a symbolic link" in outcome.stderr
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("swapped", ["manifest", "templates", "templates/server"])
def test_a_folder_that_is_swapped_for_a_link_at_any_step_is_not_written_through(tmp_path: Path, swapped: str) -> None:
    files = {"manifest/server.yml": "x", "templates/server/Dockerfile.j2": "x"}
    for step in itertools.count(1):
        root, outside = tmp_path / str(step), tmp_path / f"{step}-outside"
        root.mkdir()
        outside.mkdir()
        os.utime(outside, (0, 0))
        swap = Swap(root / swapped, outside)
        with suppress(BakegenError), SABOTEUR.armed(step, swap):
            write_family(root, files, lambda: None)
        assert outside.stat().st_mtime == 0, "nothing was put there, not even for a moment"
        if not swap.is_done:
            break
    assert step > 8


@pytest.mark.parametrize(("releases", "code"), [("debian12", "group-collision"), ("a.b,a-b", "name-collision")])
def test_a_family_that_would_not_work_is_not_left_behind(tmp_path: Path, releases: str, code: str) -> None:
    outcome = run(tmp_path, ["init", "server", "--releases", releases])

    assert outcome.code == 1
    assert outcome.stderr.startswith("nothing was written\n")
    assert f"[{code}]" in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_what_the_disk_refuses_is_told(tmp_path: Path) -> None:
    outcome = run(tmp_path, ["init", "server", "--releases", "x" * 250])  # longer with its ending than names can be

    assert outcome.code == 1
    assert "[cannot-write]" in outcome.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["manifest", "templates", "templates/server/a.Dockerfile.j2"])
def test_an_interrupt_leaves_nothing(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    words = [sys.executable, "-m", "bakegen", "init", "server", "--releases", "a,b"]
    code = 0
    for attempt in range(10):
        if code:
            break
        root = tmp_path / str(attempt)  # in the one before, it was over before it got the signal
        root.mkdir()
        process = subprocess.Popen(words, cwd=root, stderr=subprocess.PIPE, text=True)
        while not (root / moment).exists() and process.poll() is None:
            pass
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        code = process.returncode

    assert code == 128 + number, told
    assert not list(root.iterdir())


# --- what docker makes of it ---


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    for words in (["one"], ["many", "--releases", DOCUMENTED]):
        run(tmp_path, ["init", *words])
    run(tmp_path, ["generate"])
    hadolint = str(Path(sys.executable).with_name("hadolint"))
    dockerfiles = [str(file) for file in tmp_path.glob("generated/**/Dockerfile")]
    assert len(dockerfiles) == 9
    done = subprocess.run([hadolint, "--no-color", *dockerfiles], text=True, capture_output=True, check=False)

    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.engine
@pytest.mark.parametrize("releases", ["", DOCUMENTED])
def test_an_engine_builds_it_and_cannot_push_it(tmp_path: Path, registry: str, releases: str) -> None:
    image = f"first-{uuid.uuid4().hex[:8]}"
    # debian:13-slim is not on the test engine; what stands for Debian 12 there stands for both
    stand_in = f"{registry}/library/debian"
    shell("docker", "buildx", "imagetools", "create", "-t", f"{stand_in}:13-slim", f"{stand_in}:12-slim", cwd=tmp_path)
    bakegen_ = [sys.executable, "-m", "bakegen"]
    shell(*bakegen_, "init", image, *(["--releases", releases] if releases else []), cwd=tmp_path)
    shell(*bakegen_, "generate", cwd=tmp_path)

    shell(*bakegen_, "build", image, "--load", "--platform", "linux/amd64", cwd=tmp_path)

    for release in re.findall(r"\w+(?![^(]*\))", releases) or [""]:
        tag = f"registry.invalid/{image}:0.1.0-debian12{release and '-' + release}"
        said = shell("docker", "run", "--rm", "--platform", "linux/amd64", tag, cwd=tmp_path)
        assert said == f"{image} 0.1.0{release and ', ' + release}\n"
    refused = shell(*bakegen_, "build", image, "--push", "--platform", "linux/amd64", cwd=tmp_path, ok=False)
    assert "lookup registry.invalid" in refused
