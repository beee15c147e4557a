"""docs/existing-dockerfiles.md: what it replaces is replaced.

The script, the bake file and the manifest of the page build the same images, and what the tables put in place of old
commands is accepted by bake, or fits the schema. The manifests of three repositories build what tests/data/existing.yml
says of these, with Dockerfiles of the same shape.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import TESTS, run
from test_docs import ROOT, Block, bakes, blocks

import bakegen
from bakegen.docker.buildx import Buildx
from bakegen.manifest.schema import check_schema
from bakegen.source.yaml import Source, parse_source

PAGE = ROOT / "docs" / "existing-dockerfiles.md"
EXISTING = (TESTS / "data" / "existing.yml").read_text()

needs_buildx = pytest.mark.usefixtures("newest_buildx")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last project of the page, generated."""
    root = tmp_path_factory.mktemp("site")
    last = PAGE.read_text().rpartition("<!-- new project -->")[2]
    for block in blocks(last):
        if isinstance(block, Block) and block.mark.startswith("file: "):
            file = root / block.mark.removeprefix("file: ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{line}\n" for line in block.lines))
    (root / "override.hcl").write_text("")
    assert run(root, ["generate"]).code == 0
    return root


def printed(site: Path, words: str) -> dict[str, Any]:
    """The targets that `docker buildx bake … --print` prints."""
    text, code = bakes(site, f"docker buildx bake {words} --print")
    assert code == 0, text
    targets: dict[str, Any] = json.loads(text)["target"]
    return targets


def test_the_script_and_the_manifest_build_the_same_images(site: Path, tmp_path: Path) -> None:
    """What the script would run is what `explain` shows for each target."""
    (tmp_path / "docker").write_text('#!/bin/sh\nprintf "docker"; printf " %s" "$@"; echo\n')
    (tmp_path / "docker").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    script = subprocess.run(
        ["sh", "build.sh"], cwd=site, env={"PATH": path}, text=True, capture_output=True, check=True
    )
    explained = ""
    for target in run(site, ["list", "--format", "names"]).stdout.split():
        explained += run(site, ["explain", target]).stdout

    def commands(text: str) -> list[list[str]]:
        lines = re.findall(r"docker buildx build .*", text)
        return sorted(sorted(w for w in shlex.split(line) if not w.startswith(("--push", "--file="))) for line in lines)

    assert len(commands(script.stdout)) == 3
    assert commands(script.stdout) == commands(explained)


@needs_buildx
def test_the_old_bake_file_and_the_new_one_mean_the_same(site: Path) -> None:
    old = json.dumps(printed(site, "--file old.hcl base web"))
    renamed = re.sub(r'(?<="|:)(base|web_python3-\d+)(?=")', r"site_\1", old)

    assert json.loads(renamed) == printed(site, "base web")


def replacements() -> Iterator[str]:
    """The code in the last column of the tables that replace something."""
    for line in PAGE.read_text().partition("## Replace what")[2].splitlines():
        if line.startswith("| "):
            yield from (code.replace("\\|", "|") for code in re.findall(r"`([^`]+)`", re.split(r"(?<!\\)\|", line)[2]))


@needs_buildx
@pytest.mark.parametrize("command", sorted({code for code in replacements() if "docker buildx bake" in code}))
def test_bake_accepts_the_commands_that_replace_others(site: Path, command: str) -> None:
    said, code = bakes(site, f"{command.removesuffix(' --push')} --print")

    assert code == 0, said


@pytest.mark.parametrize("part", sorted({code for code in replacements() if re.match(r"[a-z]+: ", code)}))
def test_the_parts_of_manifests_that_replace_others_fit_the_schema(part: str) -> None:
    source = parse_source(part.encode(), "part.yml")

    assert not check_schema(Source(source.file, {"image": "site", **source.content}, source.places, source.lines))


# ---- Three repositories


def built(image: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
    """What a target that bake prints is, as tests/data/existing.yml would say it."""
    tags = [tag.removeprefix("docker.io/") for tag in image["tags"]]
    contexts = dict(image.get("contexts", {}))
    parent = next((name for name, link in contexts.items() if link.startswith("target:")), None)
    if parent:
        made = [tag.removeprefix("docker.io/") for tag in targets[contexts.pop(parent).removeprefix("target:")]["tags"]]
        assert f"{parent}:latest" in made or parent in made
    return {
        "dockerfile": (Path(image["context"]) / image["dockerfile"]).as_posix(),
        "platforms": sorted(image["platforms"]),
        "args": image.get("args", {}),
        "stage": image.get("target"),
        "parent": parent,
        "contexts": contexts,
        "tags": sorted(tags),
    }


@pytest.mark.parametrize("date", ["20241024", "20261127"])
@pytest.mark.parametrize("case", yaml.safe_load(EXISTING))
def test_a_manifest_builds_what_the_scripts_of_a_repository_build(case: str, date: str, buildx: Buildx) -> None:
    """Also when part of what FROM asks for is only known at bake time."""
    environment = os.environ | {"SELENIUM_BUILD_DATE": date, "SEL_PASSWD": "x", "GITHUB_TOKEN": "x"}
    command = [*buildx.command, "bake", "--print"]
    done = subprocess.run(
        command, cwd=TESTS / "cases" / case, env=environment, text=True, capture_output=True, check=True
    )
    targets = json.loads(done.stdout)["target"]
    facts = yaml.safe_load(EXISTING.replace("20241024", date))[case]
    nothing: dict[str, Any] = {"args": {}, "stage": None, "parent": None, "contexts": {}}

    made = {image["tags"][0]: image for image in (built(image, targets) for image in targets.values())}
    assert made == {min(fact["tags"]): {**nothing, **fact, "tags": sorted(fact["tags"])} for fact in facts}
    assert len(made) == len(targets) == len(facts)


@pytest.mark.parametrize(
    ("asked", "parent"),
    [
        ("FROM ghcr.io/acme/base:$TAG", "ghcr.io/acme/base:{{ TAG }}"),
        ("FROM ghcr.io/acme/base:${TAG:-2}", "ghcr.io/acme/base:{{ TAG }}"),
        ("FROM $HOST/acme/base:$TAG-$TAG", "{{ HOST }}/acme/base:{{ TAG }}-{{ TAG }}"),
        ("FROM ghcr.io/acme/base:${TAG%.*}", "ghcr.io/acme/base:1"),  # of which bake could not tell the name
        ("FROM scratch AS on-1.0\nFROM alpine:3.22 AS on-2.0\nFROM on-$TAG", None),
        ("FROM debian:12 AS on-1.0\nFROM alpine:3.22 AS on-2.0\nFROM on-$TAG", "debian:12"),
        ("FROM $HUB/library/base:1", "base:1"),  # as BuildKit calls it; with the variable, it would be called otherwise
    ],
)
def test_a_variable_that_a_build_arg_carries_is_free_in_the_name_of_a_parent(
    tmp_path: Path, asked: str, parent: str | None
) -> None:
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest" / "app.yml").write_text(
        "image: app\nplatforms: [linux/amd64]\nregistries: [ghcr.io/acme/app]\ntags: [latest]\n"
        "variables: {TAG: '1.0', HOST: ghcr.io, HUB: docker.io}\ndockerfile: {existing: Dockerfile}\n"
        "args: {TAG: '{{ TAG }}', HOST: '{{ HOST }}', HUB: '{{ HUB }}'}\n"
    )
    (tmp_path / "Dockerfile").write_text(f"ARG TAG\nARG HOST\nARG HUB\n{asked}\n")

    parents = bakegen.load(tmp_path).targets["app"].parents

    assert [found.reference.as_written() for found in parents] == ([parent] if parent else [])


def test_the_manifests_have_less_than_a_third_of_the_lines() -> None:
    rows = re.findall(r"\| (\d+)[^|]*\|[^|]*\| (\d+) \| \[`.*`\]\(\.\./(.+)\) \| (\d+) \|", PAGE.read_text())

    assert len(rows) == len(yaml.safe_load(EXISTING)) == 3
    for images, theirs, manifest, ours in rows:
        text = (ROOT / manifest).read_text()
        assert len(bakegen.load((ROOT / manifest).parent.parent).targets) == int(images)
        assert sum(bool(line) and not line.startswith("#") for line in text.splitlines()) == int(ours) < int(theirs) / 3
