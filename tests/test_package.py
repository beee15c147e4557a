"""The wheel is complete: what an installed bakegen brings is what the checkout has."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from harness import run

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_general_templates_schema_and_bake_template(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    at_top = [file for file in (ROOT / "schema").rglob("*") if file.is_file()] + [ROOT / "docker-bake.hcl.j2"]
    inside = [*(ROOT / "bakegen" / "resources").rglob("*.j2"), *(ROOT / "bakegen" / "starter").glob("*.j2")]
    expected = {f"bakegen/resources/{file.relative_to(ROOT).as_posix()}" for file in at_top}
    expected |= {file.relative_to(ROOT).as_posix() for file in inside}
    assert expected <= names
    assert not {name for name in names if name.startswith(("tests/", "manifest/", "generated/", "templates/"))}


def test_templates_of_this_repositorys_images_do_not_travel(wheel: Path) -> None:
    own = {file.relative_to(ROOT).as_posix() for file in (ROOT / "templates").rglob("*") if file.is_file()}

    assert own
    assert [name for name in zipfile.ZipFile(wheel).namelist() if name.removeprefix("bakegen/resources/") in own] == []


def test_an_installed_bakegen_generates_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site, project = tmp_path / "site", tmp_path / "project"
    zipfile.ZipFile(wheel).extractall(site)
    (project / "manifest").mkdir(parents=True)
    (project / "templates").mkdir()
    (project / "manifest" / "hello.yml").write_text(
        "image: hello\nplatforms: [linux/amd64]\nfrom: debian:12-slim\ntags: ['1']\n"
    )
    (project / "templates" / "hello.Dockerfile.j2").write_text("FROM {{ parent }}\n")
    script = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import bakegen, bakegen.cli; "
        f"assert bakegen.__file__.startswith({str(site)!r}); bakegen.cli.main(['generate'])"
    )
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", script], cwd=project, env=env, check=True)
    assert {"docker-bake.hcl", "generated/hello/Dockerfile", "generated/hello/README.md"} <= {
        file.relative_to(project).as_posix() for file in project.rglob("*")
    }


@pytest.mark.parametrize("template", ["runtime.Dockerfile.j2", "bentoml/runtime.Dockerfile.j2"])
def test_a_missing_template_is_not_mistaken_for_one_of_this_repositorys(template: str, tmp_path: Path) -> None:
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest" / "hello.yml").write_text(
        f"image: hello\nplatforms: [linux/amd64]\nfrom: scratch\ntags: ['1']\ntemplate: {template}\n"
    )

    outcome = run(tmp_path, ["generate"])

    assert outcome.code == 1
    assert "[template-missing]" in outcome.stderr
    assert f"help: create templates/{template}, or use another template" in outcome.stderr
