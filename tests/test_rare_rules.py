"""Rules that most families never meet, so that nobody would notice their loss: each by what a user sees of it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import run

from bakegen.docker.buildx import Buildx

IMAGE_OUTPUT = ["type=image,push=true"]


def project(root: Path, **manifest: Any) -> Path:
    """Write and generate a project of one manifest, whose Dockerfiles only name their parents."""
    for folder in ("manifest", "templates"):
        (root / folder).mkdir()
    content = {"image": "app", "platforms": ["linux/amd64"], "template": "Dockerfile.j2", **manifest}
    (root / "manifest" / "app.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    (root / "templates" / "Dockerfile.j2").write_text("FROM {{ parent }}\n")
    outcome = run(root, ["generate"])
    assert outcome.code == 0, outcome.stderr
    return root


def baked(root: Path, buildx: Buildx, *names: str) -> Mapping[str, Any]:
    """Return what bake makes of targets that are asked for by name."""
    command = [*buildx.command, "bake", "--print", *names]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: Mapping[str, Any] = json.loads(done.stdout)["target"]
    return found


def outputs(target: Mapping[str, Any]) -> Sequence[str]:
    """Return the types of a target's outputs, which newer versions of bake print as mappings."""
    found = [item if isinstance(item, Mapping) else dict(part.split("=") for part in item.split(",")) for item in target["output"]]  # fmt: skip
    return [item["type"] for item in found]


@pytest.mark.parametrize("place", ["family", "release"])
def test_a_declared_output_does_not_publish_what_is_not_published(place: str, tmp_path: Path, buildx: Buildx) -> None:
    declared = {"bake": {"output": IMAGE_OUTPUT}}
    base = {"from": "debian:12", "publish": False, **(declared if place == "release" else {})}
    root = project(
        tmp_path,
        **(declared if place == "family" else {}),
        releases={"base": base, "app": {"from": "base", "tags": ["1"], **declared}},
    )

    found = baked(root, buildx, "app_base", "app_app")

    assert outputs(found["app_base"]) == ["cacheonly"]
    assert outputs(found["app_app"]) == ["image"]


@pytest.mark.parametrize("context", ["https://example.test/app.git#main", "https://example.test/app.tar.gz"])
def test_a_dockerfile_lies_on_this_machine_even_if_its_context_does_not(
    context: str, tmp_path: Path, buildx: Buildx
) -> None:
    root = project(tmp_path, **{"from": "debian:12", "tags": ["1"], "context": context})

    place, _, path = baked(root, buildx, "app")["app"]["dockerfile"].partition("://")

    assert place == "cwd"  # without it, bake looks for the Dockerfile in the context
    assert (root / path).read_text().endswith("FROM debian:12\n")


def three_repositories_called_app(root: Path) -> Path:
    return project(
        root,
        **{"from": "debian:12", "tags": ["{{ release }}-{{ owner }}"]},
        registries=["ghcr.io/{{ owner }}/app"],
        axes={"owner": ["one", "two", "three"]},
        releases={"base": {}, "more": {}},
    )


def test_repositories_of_one_name_are_not_mixed_up(tmp_path: Path, buildx: Buildx) -> None:
    found = baked(three_repositories_called_app(tmp_path), buildx)

    assert {name: target["tags"] for name, target in found.items()} == {
        f"app_{release}_{owner}": [f"ghcr.io/{owner}/app:{release}-{owner}"]
        for release in ("base", "more")
        for owner in ("one", "two", "three")
    }


def test_a_name_that_is_taken_gets_a_number_from_two_on(tmp_path: Path) -> None:
    text = (three_repositories_called_app(tmp_path) / "docker-bake.hcl").read_text()

    assert re.findall(r'^(\S+) += under_registry\(\["ghcr.io/(\w+)/app"\]\)$', text, re.MULTILINE) == [
        ("app_repositories", "one"),
        ("app_repositories-2", "two"),
        ("app_repositories-3", "three"),
    ]


def test_caches_inside_the_images_do_not_collide(tmp_path: Path) -> None:
    project(
        tmp_path,
        **{"from": "debian:12", "cache-to": ["type=inline"]},
        releases={name: {"tags": [name]} for name in ("one", "two")},
    )


def test_what_is_not_published_claims_no_tag(tmp_path: Path) -> None:
    project(
        tmp_path,
        tags=["1"],
        registries=["ghcr.io/acme/app"],
        releases={
            "base": {"from": "debian:12", "publish": False},
            "tools": {"from": "debian:12", "publish": False},
            "app": {"from": ["base", "tools"]},
        },
    )


def test_the_first_entry_for_a_repository_says_who_logs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("FIRST_USER", "FIRST_PASSWORD", "SECOND_USER", "SECOND_PASSWORD")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    root = project(
        tmp_path,
        **{"from": "debian:12"},
        registries=[
            {"repository": "registry.invalid/acme/app", "username": "FIRST_USER", "password": "FIRST_PASSWORD"},
            {"repository": "registry.invalid/acme/{{ release }}", "username": "SECOND_USER", "password": "SECOND_PASSWORD"},
        ],
        releases={"app": {"tags": ["1"]}},
    )  # fmt: skip

    said = run(root, ["authenticate"]).stderr

    assert [name for name in names if name in said] == ["FIRST_USER", "FIRST_PASSWORD"]


def test_a_value_whose_only_name_is_empty_leaves_the_names_of_targets(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        **{"from": "debian:12", "tags": ["{{ size }}-{{ lang }}"]},
        axes={"size": {"full": {"names": [""]}, "small": None}, "lang": {"en": {"names": ["", "en"]}, "de": None}},
    )

    names = run(root, ["list", "targets", "--format", "names"]).stdout.split()

    assert names == ["app_en", "app_de", "app_small_en", "app_small_de"]
