"""The image of bakegen itself, built by this repository's own bake file, works like the installed program."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bakegen
from bakegen import __version__

ROOT = Path(__file__).parent.parent
CASE = ROOT / "tests" / "cases" / "release-on-release"
USER = 12345
HERE = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "ppc64le": "linux/ppc64le"}[platform.machine()]


def test_it_is_tagged_with_the_version_of_the_package() -> None:
    assert bakegen.load(ROOT).manifest("bakegen").variables["VERSION"].default == __version__


def test_everything_in_it_is_pinned() -> None:
    """`pip install --no-deps` takes what is listed, so the list must be complete."""
    pinned = pins(ROOT / "tools/bakegen/requirements.txt")

    assert needed("bakegen") - {"bakegen"} == pinned
    assert needed("hatchling") <= pins(ROOT / "tools/bakegen/build.txt")


def pins(file: Path) -> set[str]:
    requirements = [Requirement(line) for line in file.read_text().splitlines() if not line.startswith("#")]
    assert all(str(requirement.specifier).startswith("==") for requirement in requirements)
    return {canonicalize_name(requirement.name) for requirement in requirements}


def needed(package: str) -> set[str]:
    """A package, and what it needs to run, all the way down."""
    found: set[str] = set()
    waiting = [package]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            requirements = map(Requirement, distribution(name).requires or [])
            waiting += [each.name for each in requirements if not each.marker or each.marker.evaluate({"extra": ""})]
    return found


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


@pytest.mark.engine
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


@pytest.mark.engine
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


@pytest.mark.engine
def test_it_passes_its_own_checks(image: str) -> None:
    env = {**os.environ, "BAKEGEN_REGISTRY": image.partition("/bakegen:")[0]}
    done = subprocess.run(
        [sys.executable, "-m", "bakegen", "test", "bakegen", "--platform", HERE],
        cwd=ROOT,
        env=env,
        text=True,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    _, *rows = [line.split()[1:4] for line in done.stdout.splitlines()]
    assert rows == [[HERE, check, "passed"] for check in ("version", "resources", "config")]
