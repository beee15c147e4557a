"""`bakegen list` and `explain` show what bake reads in the same environment."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from harness import run

MANIFEST = """\
image: app
variables: {VERSION: "1.0", FLAVOUR: plain}
registries: [docker.io/acme/app, quay.io/acme/app, ghcr.io/acme/other]
platforms: [linux/amd64, linux/arm64, linux/ppc64le]
axes: {distro: {debian: {platforms: [linux/amd64, linux/arm64]}, alpine: {platforms: [linux/amd64, linux/ppc64le]}}}
template: Dockerfile.j2
args: {APP_VERSION: "{{ VERSION }}"}
releases:
  base: {from: "{{ distro }}:1", tags: ["base-{{ distro }}"], publish: false}
  runtime: {from: base, tags: ["{{ VERSION }}-{{ distro }}", "{{ FLAVOUR }}-{{ distro }}"]}
"""

ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"APP_VERSION": "2.0", "APP_FLAVOUR": ""},
    {"BAKEGEN_REGISTRY": "localhost:5000/me"},
    {"BAKEGEN_REGISTRY": "", "BAKEGEN_PLATFORMS": ""},
    {"BAKEGEN_PLATFORMS": "linux/arm64"},
    {"BAKEGEN_PLATFORMS": "linux/ppc64le,linux/arm64", "BAKEGEN_REGISTRY": "localhost:5000/me", "APP_VERSION": "2.0"},
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "manifest").mkdir()
    (tmp_path / "templates").mkdir()
    (tmp_path / "manifest" / "app.yml").write_text(MANIFEST)
    (tmp_path / "templates" / "Dockerfile.j2").write_text("FROM {{ parent }}\nARG APP_VERSION\nRUN echo $APP_VERSION\n")
    assert run(tmp_path, ["generate"]).code == 0
    return tmp_path


def listed(root: Path, *words: str) -> Any:
    outcome = run(root, ["list", *words, "--format", "json"])
    assert outcome.code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def bake(buildx: Path, root: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """What bake reads."""
    done = subprocess.run(
        [str(buildx), "bake", "--print"],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def members(printed: Mapping[str, Any], name: str) -> list[str]:
    """The targets of a group, of which some may come by other groups."""
    if name in printed["target"]:
        return [name]
    return [target for part in printed["group"][name]["targets"] for target in members(printed, part)]


@pytest.mark.engine
@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda given: " ".join(given) or "none")
def test_tags_targets_and_groups_are_those_that_bake_reads(
    project: Path, newest_buildx: Path, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    printed = bake(newest_buildx, project, environment)
    read = printed["target"]

    targets = {row["target"]: row for row in listed(project, "targets")}
    tags: dict[str, list[str]] = {}
    for row in listed(project, "tags"):
        tags.setdefault(row["target"], []).extend(row["references"])

    assert targets.keys() == read.keys()
    for name, row in targets.items():
        assert row["platforms"] == read[name]["platforms"]
        assert row["args"] == read[name]["args"]
        assert sorted(row["tags"]) == sorted(read[name].get("tags", [])) == sorted(tags.get(name, []))
    [default] = [row for row in listed(project, "groups") if row["group"] == "default"]
    assert sorted(default["targets"]) == sorted(members(printed, "default"))
    dockerfiles = {name for row in listed(project, "dockerfiles") for name in row["targets"]}
    assert dockerfiles == read.keys()


def test_a_tag_under_another_registry_can_be_explained(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAKEGEN_REGISTRY", "localhost:5000/me")
    monkeypatch.setenv("BAKEGEN_PLATFORMS", "linux/arm64")
    monkeypatch.setenv("APP_VERSION", "2.0")

    explained = json.loads(run(project, ["explain", "localhost:5000/me/other:2.0-debian", "--format", "json"]).stdout)

    assert (explained["target"], explained["platforms"]) == ("app_runtime_debian", ["linux/arm64"])
    assert {"what": "build arg", "text": "APP_VERSION=2.0", "place": "manifest/app.yml:7:8"} in explained["facts"]
    assert "docker.io" not in json.dumps(explained["tags"])


@pytest.mark.parametrize(
    ("words", "platforms", "known"),
    [
        (["list"], "linux/riscv64", "linux/amd64, linux/arm64, linux/ppc64le"),
        (["list", "tags", "distro=debian"], "linux/ppc64le", "linux/amd64, linux/arm64"),
        (["explain", "app_runtime_debian"], "linux/ppc64le", "linux/amd64, linux/arm64"),
    ],
)
def test_what_bake_would_not_build_is_said(
    project: Path, words: list[str], platforms: str, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAKEGEN_PLATFORMS", platforms)

    outcome = run(project, words)

    assert (outcome.code, outcome.stdout) == (1, "")
    assert f"no selected target is built for BAKEGEN_PLATFORMS={platforms} [empty-selection]" in outcome.stderr
    assert f"help: available: {known}" in outcome.stderr


def test_the_environment_changes_nothing_that_is_generated(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAKEGEN_REGISTRY", "localhost:5000/me")
    monkeypatch.setenv("BAKEGEN_PLATFORMS", "linux/arm64")
    monkeypatch.setenv("APP_VERSION", "2.0")

    assert run(project, ["generate", "--check"]).code == 0
