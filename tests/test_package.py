"""The wheel is complete: what an installed bakegen brings is what the checkout has."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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


def test_the_wheel_holds_templates_schema_and_bake_template(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [file for folder in ("templates", "schema") for file in (ROOT / folder).rglob("*") if file.is_file()]
    expected = {
        f"bakegen/resources/{file.relative_to(ROOT).as_posix()}" for file in [*files, ROOT / "docker-bake.hcl.j2"]
    }
    expected |= {f"bakegen/starter/{file.name}" for file in (ROOT / "bakegen" / "starter").glob("*.j2")}
    assert expected <= names
    assert not {name for name in names if name.startswith(("tests/", "manifest/", "generated/"))}


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
