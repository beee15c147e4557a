"""A run that finds everything as the last one left it does nothing; a run that finds anything else does its work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Outcome, run

import bakegen.output.last_run
import bakegen.project
from bakegen.output.files import OutputFile
from bakegen.output.last_run import fingerprint, recall, remember
from bakegen.project import Project, load_project

MANIFEST = """\
image: app
include: [shared/app.yml]
platforms: [linux/amd64]
registries: [ghcr.io/acme/app]
axes: {python: ["3.11", "3.12"]}
data: {pins: pins}
from: "python:{{ python }}"
tags: ["{{ python }}"]
context: source
dockerfile: "{{ python }}/Dockerfile"
files:
  - {path: start.sh, copy: scripts/start.sh}
"""
FILES = {
    "manifest/app.yml": MANIFEST,
    "manifest/shared/app.yml": "description: An app.\n",
    "manifest/pins/a.yml": "curl: '8'\n",
    "templates/app.Dockerfile.j2": 'FROM {{ parent }}\n{% include "part.j2" %}',
    "templates/part.j2": "RUN install curl={{ pins.a.curl }}\n",
    "scripts/start.sh": "#!/bin/sh\n",
    "source/main.py": "print()\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        file = tmp_path / "project" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "project"


def generate(project: Path, *words: str) -> tuple[Outcome, bool]:
    """Run `bakegen generate`; True if it did its work, False if it knew that there is none."""
    worked: list[bool] = []

    def noted(root: Path) -> Project:
        worked.append(True)
        return load_project(root)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bakegen.project, "load_project", noted)
        outcome = run(project, ["generate", *words])
    return outcome, bool(worked)


@pytest.mark.parametrize("words", [(), ("--check",), ("--diff",), ("--force",)])
def test_nothing_to_do_is_seen_at_once_and_said_as_ever(project: Path, words: tuple[str, ...]) -> None:
    assert generate(project)[1]
    shutil.rmtree(os.environ["XDG_CACHE_HOME"])
    told, worked = generate(project, *words)
    told_at_once, worked_again = generate(project, *words)

    assert (worked, worked_again) == (True, False)
    assert told_at_once == told


def put_link(path: Path, elsewhere: Path) -> None:
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a manifest": lambda root: (root / "manifest/app.yml").write_text(f"{MANIFEST}description: Mine.\n"),
    "an include": lambda root: (root / "manifest/shared/app.yml").write_text("description: Ours.\n"),
    "a data file": lambda root: (root / "manifest/pins/a.yml").write_text("curl: '9'\n"),
    "a new data file": lambda root: (root / "manifest/pins/b.yml").write_text("curl: '9'\n"),
    "a new manifest": lambda root: (root / "manifest/other.yml").write_text(MANIFEST.replace("app", "other")),
    "a template": lambda root: (root / "templates/app.Dockerfile.j2").write_text("FROM {{ parent }}\n"),
    "an included template": lambda root: (root / "templates/part.j2").write_text("RUN true\n"),
    "a template over the package's": lambda root: (root / "templates/README.md.j2").write_text("# Mine\n"),
    "a bake template over the package's": lambda root: (root / "docker-bake.hcl.j2").write_text("# Mine\n"),
    "a copied file": lambda root: (root / "scripts/start.sh").write_text("#!/bin/bash\n"),
    "the mode of a copied file": lambda root: (root / "scripts/start.sh").chmod(0o755),
    "a copied file that is gone": lambda root: (root / "scripts/start.sh").unlink(),
    "a context that is gone": lambda root: shutil.rmtree(root / "source"),
    "a link in the place of a template": lambda root: put_link(root / "templates/part.j2", root / "part"),
    "an output": lambda root: (root / "generated/app/3.11/Dockerfile").write_text("FROM scratch\n"),
    "an output that is gone": lambda root: (root / "generated/app/3.11/Dockerfile").unlink(),
    "the mode of an output": lambda root: (root / "generated/app/3.11/start.sh").chmod(0o755),
    "the bake file": lambda root: (root / "docker-bake.hcl").write_text("# Mine\n"),
    "the records": lambda root: (root / "generated/bakegen.sums").write_text(""),
    "a killed run": lambda root: (root / "generated/.bakegen-staging").mkdir(),
    "a link in the place of a folder": lambda root: put_link(root / "generated/app", root / "elsewhere"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_any_change_makes_a_run_do_its_work(project: Path, change: Callable[[Path], object]) -> None:
    generate(project)
    assert not generate(project)[1]

    change(project)

    assert generate(project, "--check")[1]


def test_another_bakegen_does_its_work(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(project)
    monkeypatch.setattr(sys, "version", "4.0")

    assert generate(project)[1]


def test_every_file_of_bakegen_is_watched(project: Path) -> None:
    watched = "\n".join(bakegen.output.last_run._program())
    loaded = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "bakegen"]

    assert generate(project)[1]
    assert all(str(Path(file).resolve()) in watched for file in loaded if file)


def test_runs_for_some_images_neither_use_nor_keep_it(project: Path) -> None:
    assert generate(project, "app")[1]
    assert generate(project)[1]
    assert generate(project, "app")[1]


def test_drift_is_not_remembered(project: Path) -> None:
    assert generate(project, "--check")[0].code == 1
    assert generate(project, "--check")[0].code == 1


@pytest.mark.parametrize("broken", ["", "[]", "{}", '{"inputs": 1, "states": []}', "\0"])
def test_a_broken_record_is_none(project: Path, broken: str) -> None:
    generate(project)
    record = bakegen.output.last_run._place(project)
    record.write_text(broken)

    assert recall(project, fingerprint(project)) == ()
    assert generate(project)[1]
    assert not generate(project)[1]


def test_no_place_for_the_record_is_no_problem(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "scripts/start.sh"))

    assert generate(project)[0].code == 0
    assert generate(project) == (generate(project)[0], True)


def test_the_record_is_not_in_the_project_and_holds_no_content(project: Path) -> None:
    before = {path for path in project.rglob("*") if "generated" not in path.parts}
    generate(project)
    record = bakegen.output.last_run._place(project)

    assert {path for path in project.rglob("*") if "generated" not in path.parts} == before | {
        project / "docker-bake.hcl"
    }
    assert not record.is_relative_to(project)
    assert "install" not in record.read_text()


def test_what_changed_while_a_run_read_it_is_not_remembered(project: Path) -> None:
    inputs = fingerprint(project)
    read = OutputFile(b"#!/bin/sh\n")
    for file in ("manifest/app.yml", "scripts/start.sh"):
        (project / file).write_text("changed")
        remember(project, inputs, {"scripts/start.sh": read}, {})
        (project / file).write_text(FILES[file])
        assert not bakegen.output.last_run._place(project).exists()

    remember(project, inputs, {"scripts/start.sh": read}, {})
    assert bakegen.output.last_run._place(project).exists()


def test_everything_that_a_run_reads_is_watched(project: Path, tmp_path: Path) -> None:
    # Python reports every file that is opened and every folder that is listed; the kernel knows what a handle is on.
    script = """
import json, os, shutil, sys
opened = []
def watch(event, args):
    if event in ("open", "os.listdir", "os.scandir"):
        name = f"/proc/self/fd/{args[0]}" if isinstance(args[0], int) else args[0]
        opened.append(os.path.realpath(os.fsdecode(name)))
sys.addaudithook(watch)
open_handle = os.open
def watched(*args, **options):
    handle = open_handle(*args, **options)
    if not os.path.isdir(f"/proc/self/fd/{handle}"):
        opened.append(os.path.realpath(f"/proc/self/fd/{handle}"))
    return handle
os.open = watched
from bakegen.cli import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps(opened))
"""
    words = [sys.executable, "-c", script, "-C", str(project), "generate"]
    done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=tmp_path)
    found = {Path(path) for path in json.loads(done.stdout.splitlines()[-1])}
    inside = {path.relative_to(project).as_posix() for path in found if path.is_relative_to(project)} - {"."}
    record = json.loads(bakegen.output.last_run._place(project).read_text())
    unwatched = {
        path for path in inside - set(record["states"]) if not path.startswith(("manifest", "templates", "generated"))
    }

    assert "manifest/pins/a.yml" in inside
    assert "scripts/start.sh" in record["states"]
    assert record["states"]["source"] == "folder"
    assert not unwatched
