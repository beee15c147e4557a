"""The image of bakegen itself: what is in it, and that anyone can run it."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bakegen
from bakegen.project import load_project
from bakegen.render import render_project

ROOT = Path(__file__).parent.parent


def test_it_is_tagged_with_the_version_of_the_package() -> None:
    manifest = load_project(ROOT).graph.manifest("bakegen")

    assert manifest.variables["VERSION"].default == bakegen.__version__


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
def image(registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, built from what the manifest says now; its base comes by way of the test registry."""
    assert registry
    dockerfile = tmp_path_factory.mktemp("image") / "Dockerfile"
    dockerfile.write_bytes(render_project(load_project(ROOT))["generated/bakegen/Dockerfile"].content)
    name = "bakegen:test"
    docker("buildx", "build", "--load", "--tag", name, "--file", str(dockerfile), str(ROOT))
    return name


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], text=True, capture_output=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.engine
def test_anyone_can_run_it_on_a_mounted_project(image: str, tmp_path: Path) -> None:
    """With any user, no home, nothing writable but the project, and no network."""
    (tmp_path / "manifest").mkdir()
    (tmp_path / "templates").mkdir()
    (tmp_path / "manifest/hello.yml").write_text(
        "image: hello\nplatforms: [linux/amd64]\nfrom: debian:12-slim\ntags: [one]\nregistries: [ghcr.io/acme/hello]\n"
    )
    (tmp_path / "templates/hello.Dockerfile.j2").write_text("FROM {{ parent }}\n")
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 1234, 1234)
    mount = f"{tmp_path}:/project"
    one = ("run", "--rm", "--read-only", "--network", "none", "--user", "1234:1234", "--volume", mount, image)

    docker(*one, "generate")

    assert docker(*one, "list", "tags", "--format", "names") == "ghcr.io/acme/hello:one\n"
    docker(*one, "generate", "--check")
    made = tmp_path / "docker-bake.hcl"
    assert (made.stat().st_uid, made.stat().st_gid) == (1234, 1234)
