"""The image of bakegen itself, built by this repository's own bake file, works like the installed program."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bakegen import __version__

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parent.parent
CASE = ROOT / "tests" / "cases" / "release-on-release"
USER = 12345
HERE = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "ppc64le": "linux/ppc64le"}[platform.machine()]


@pytest.fixture(scope="module")
def image(registry: str) -> str:
    """Build the image for this machine's platform on a stand-in of its base."""
    env = {**os.environ, "BAKEGEN_PLATFORMS": HERE, "BAKEGEN_REGISTRY": f"{registry}/own"}
    done = subprocess.run(
        ["docker", "buildx", "bake", "bakegen", "--load"],
        cwd=ROOT,
        env=env,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return f"{registry}/own/bakegen:{__version__}"


def files(root: Path) -> dict[str, bytes]:
    """Return every file under `root`."""
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_run_as_another_user_it_generates_the_same_bytes(image: str, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        for name in ("manifest", "templates"):
            shutil.copytree(CASE / name, folder / name)
    for path in (inside, *inside.rglob("*")):
        os.chown(path, USER, USER)
    tmp_path.chmod(0o755)
    subprocess.run([sys.executable, "-m", "bakegen", "-C", str(outside), "generate"], check=True)
    subprocess.run(
        ["docker", "run", "--rm", "-u", f"{USER}:{USER}", "-v", f"{inside}:/project", image, "generate"], check=True
    )
    assert files(inside) == files(outside)
    assert {path.stat().st_uid for path in inside.rglob("*")} == {USER}


def test_it_is_not_root_and_says_its_version(image: str) -> None:
    said = subprocess.run(
        ["docker", "run", "--rm", image, "--version"], text=True, capture_output=True, check=True
    ).stdout
    assert said == f"bakegen {__version__}\n"
    user = subprocess.run(
        ["docker", "image", "inspect", image, "--format", "{{.Config.User}}"],
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    assert user.split(":")[0] not in {"", "0", "root"}
