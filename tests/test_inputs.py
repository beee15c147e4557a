"""What a project is read from: links may lead anywhere within it, nothing leads out, and what cannot be read is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import run, tree

import bakegen.source.inputs
from bakegen.source.inputs import InputError, is_folder, list_input, read_input

MANIFEST = """\
image: app
include: [shared/common.yml]
platforms: [linux/amd64]
registries: [ghcr.io/acme/app]
data: {pins: pins, site: site.yml}
from: "debian:12"
tags: [latest]
context: source
contexts: {more: more}
files:
  - {path: start.sh, copy: scripts/start.sh}
  - {path: motd, template: motd.j2}
"""
FILES = {
    "manifest/app.yml": MANIFEST,
    "manifest/shared/common.yml": "description: An app.\n",
    "manifest/pins/tools.yml": "curl: '8'\n",
    "manifest/site.yml": "name: acme\n",
    "templates/app.Dockerfile.j2": 'FROM {{ parent }}\n{% include "parts/tools.j2" %}COPY --from=more a b\n',
    "templates/parts/tools.j2": "RUN install curl={{ pins.tools.curl }}\n",
    "templates/motd.j2": "Welcome to {{ site.name }}\n",
    "scripts/start.sh": "#!/bin/sh\n",
    "source/main.py": "print()\n",
    "more/a": "a\n",
}
COMMANDS = (
    "validate",
    "generate",
    "generate --check",
    "generate --target-version 2",
    "create-context app",
    "init other",
    "verify --with hcl2",
    "authenticate",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


# --- links ---


@pytest.mark.parametrize(
    "path",
    ["manifest", "manifest/app.yml", "manifest/shared", "manifest/shared/common.yml", "manifest/pins", "manifest/site.yml",
     "manifest/pins/tools.yml", "templates", "templates/parts", "templates/motd.j2", "scripts", "scripts/start.sh", "source", "more"],
)  # fmt: skip
@pytest.mark.parametrize("is_absolute", [False, True], ids=["relative", "absolute"])
def test_a_link_to_another_place_in_the_project_is_followed(project: Path, path: str, is_absolute: bool) -> None:
    assert run(project, ["generate"]).code == 0
    made = tree(project, "generated", "docker-bake.hcl")
    elsewhere = project / "elsewhere"
    (project / path).rename(elsewhere)
    (project / path).symlink_to(elsewhere if is_absolute else os.path.relpath(elsewhere, (project / path).parent))

    outcome = run(project, ["generate", "--check"])

    assert outcome.code == 0, outcome.text()
    assert tree(project, "generated", "docker-bake.hcl") == made


def test_no_include_reads_what_a_linked_templates_folder_has_outside(project: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hostname").write_text("swordfish\n")
    (project / "templates").rename(project / "was")
    (project / "templates").symlink_to(tmp_path)
    (tmp_path / "app.Dockerfile.j2").write_text('FROM {{ parent }}\n{% include "etc/hostname" %}\n')

    outcome = run(project, ["generate"])

    assert (
        "templates/app.Dockerfile.j2: this is a symbolic link to a path outside the project [unsafe-path]"
        in outcome.stderr
    )
    assert outcome.code == 1
    assert not (project / "generated").exists()


@pytest.mark.parametrize(("read", "path"), [(read_input, "in/file"), (list_input, "in")], ids=["file", "folder"])
def test_a_folder_that_is_swapped_for_a_link_after_it_was_checked_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path, str], object], path: str
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside):
        (folder / "in").mkdir(parents=True)
        (folder / "in/file").write_text(folder.name)
    real_path = bakegen.source.inputs.real_path

    def checked_then_swapped(root: Path, path: str) -> str:
        found = real_path(root, path)
        (root / "in").rename(root / "was")
        (root / "in").symlink_to(outside / "in")
        return found

    monkeypatch.setattr(bakegen.source.inputs, "real_path", checked_then_swapped)
    with pytest.raises(InputError, match="Not a directory"):
        read(root, path)


def test_a_folder_that_is_swapped_again_and_again_is_read_from_the_project_or_not_at_all(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside):
        (folder / "in").mkdir(parents=True)
        (folder / "in/file").write_text(folder.name)
    (root / "link").symlink_to(outside / "in")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            (root / "in").rename(root / "spare")
            (root / "link").rename(root / "in")
            (root / "in").rename(root / "link")
            (root / "spare").rename(root / "in")

    thread = threading.Thread(target=swap)
    thread.start()
    refused = 0
    try:
        for _ in range(3000):
            try:
                assert read_input(root, "in/file")[0] == b"root"
            except InputError:
                refused += 1
    finally:
        over.set()
        thread.join()
    assert 0 < refused < 3000


# --- what cannot be read ---


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


RUN = """
import sys
from bakegen.cli import main
root, *commands = sys.argv[1:]
for words in commands:
    try:
        main(["-C", root, *words.split()])
    except SystemExit as end:
        print("exit", end.code, words)
"""


def without_privileges(root: Path, *commands: str) -> subprocess.CompletedProcess[str]:
    """Run commands, as somebody whom permissions hold back even if we are root; stdout gets their exit codes."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    words = [*drop, sys.executable, "-c", RUN, str(root), *commands]
    return subprocess.run(words, text=True, capture_output=True, check=True, cwd="/")


@pytest.mark.parametrize(
    "path",
    ["manifest", "manifest/app.yml", "manifest/shared", "manifest/pins", "manifest/pins/tools.yml", "templates", "templates/parts",
     "templates/motd.j2", "scripts", "scripts/start.sh", "generated", "generated/app", "generated/app/Dockerfile", "docker-bake.hcl"],
)  # fmt: skip
def test_what_may_not_be_read_is_named(project: Path, path: str) -> None:
    assert run(project, ["generate"]).code == 0
    with mode(project / path, 0):
        done = without_privileges(project, "generate")

    assert done.stdout == "exit 1 generate\n"
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize("path", ["manifest", "manifest/pins", "templates", "scripts", "generated"])
@pytest.mark.parametrize("bits", [0o000, 0o111, 0o444], ids=oct)
def test_no_command_fails_by_a_bug_of_ours_where_it_may_not_read(project: Path, path: str, bits: int) -> None:
    assert run(project, ["generate"]).code == 0
    with mode(project / path, bits):
        done = without_privileges(project, *COMMANDS)

    codes = {words: code for code, words in re.findall(r"^exit (\d+) (.+)$", done.stdout, re.MULTILINE)}
    assert codes.keys() == set(COMMANDS)
    assert set(codes.values()) <= {"0", "1"}, done.stderr


LINKS: dict[str, Callable[[Path], object]] = {
    "to itself": lambda path: path.symlink_to(path.name),
    "to its folder": lambda path: path.symlink_to("."),
    "to nothing": lambda path: path.symlink_to("nowhere"),
    "no link but a pipe": os.mkfifo,
}


@pytest.mark.parametrize(
    "path",
    [
        *list(FILES)[:-2],
        "manifest/pins",
        "templates",
        "templates/parts",
        "source",
        "docker-bake.hcl.j2",
        "docker-bake.hcl",
        "generated/app/Dockerfile",
        ".env",
    ],
)
@pytest.mark.parametrize("make", LINKS.values(), ids=LINKS.keys())
def test_no_command_fails_by_a_bug_of_ours_where_links_lead_nowhere(
    project: Path, path: str, make: Callable[[Path], object]
) -> None:
    assert run(project, ["generate"]).code == 0
    if (project / path).exists():
        (project / path).rename(project / "was")
    make(project / path)

    for words in COMMANDS:
        outcome = run(project, words.split())
        assert outcome.code in {0, 1}, outcome.text()


def test_a_file_of_three_gigabytes_is_refused_before_it_is_read(project: Path) -> None:
    (project / "scripts/start.sh").unlink()
    (project / "scripts/start.sh").touch()
    os.truncate(project / "scripts/start.sh", 3 * 1024**3)
    command = [sys.executable, "-m", "bakegen", "-C", str(project), "generate"]
    with subprocess.Popen(command, text=True, stderr=subprocess.PIPE) as process:
        assert process.stderr
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)

    assert process.returncode == 1
    assert 'with "scripts/start.sh", the generated files are larger than 512 MiB [too-large]' in said
    assert used.ru_maxrss < 400 * 1024


def test_many_copies_of_one_file_are_refused_when_they_are_too_large_in_all(project: Path) -> None:
    (project / "scripts/start.sh").write_bytes(b"x" * 64 * 1024**2)
    axes = f'axes: {{n: [{", ".join(f"n{number}" for number in range(9))}]}}\ntags: ["{{{{ n }}}}"]\ndockerfile: "{{{{ n }}}}/Dockerfile"\n'
    (project / "manifest/app.yml").write_text(MANIFEST.replace("tags: [latest]\n", axes))

    outcome = run(project, ["generate"])

    assert (outcome.code, outcome.stderr.count("[too-large]")) == (1, 1)
    assert not (project / "generated").exists()


# --- the working directory ---


def test_outputs_are_the_same_whatever_the_working_directory_even_if_it_is_gone(project: Path, tmp_path: Path) -> None:
    assert run(project, ["generate"]).code == 0
    made = tree(project)
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"import os; os.rmdir({str(gone)!r}); from bakegen.cli import main; main(['-C', {str(project)!r}, 'generate', '--check'])"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "another-cache")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=gone, text=True, capture_output=True, check=False, env=environment
    )

    assert (done.returncode, done.stderr) == (0, "0 files would change, 5 up to date\n")
    assert tree(project) == made


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    script = f"import os; os.rmdir({str(tmp_path)!r}); from bakegen.cli import main; main(['generate'])"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, text=True, capture_output=True, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("the working directory no longer exists [no-project]\n")


# --- the functions themselves ---


def test_links_and_kinds_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("x")
    (tmp_path / "folder/file").chmod(0o755)
    for name, target in {"loop": "loop", "out": "/", "up": "folder/../..", "gone": "nowhere", "in": "folder"}.items():
        (tmp_path / name).symlink_to(target)

    assert read_input(tmp_path, "in/file") == (b"x", True)
    assert list_input(tmp_path, "in") == ["file"]
    assert is_folder(tmp_path, "in")
    assert not is_folder(tmp_path, "folder/file")
    for path, code in {
        "loop": "unreadable-file",
        "loop/x": "unreadable-file",
        "out": "unsafe-path",
        "up/x": "missing-file",
        "up": "unsafe-path",
        "gone": "unreadable-file",
        "folder": "unreadable-file",
        "folder/none": "missing-file",
        "folder/file/x": "unreadable-file",
        "x" * 300: "unreadable-file",
    }.items():
        with pytest.raises(InputError) as caught:
            read_input(tmp_path, path)
        assert (path, caught.value.code) == (path, code)
