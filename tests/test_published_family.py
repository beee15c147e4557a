"""docs/from-a-published-family.md: the manifest of the page is the published family.

tests/data/node.yml holds what is published, as Docker's library of official images lists it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_docs import ROOT, Block, blocks

import bakegen

PAGE = ROOT / "docs" / "from-a-published-family.md"
PLATFORMS = {  # https://github.com/docker-library/official-images#architectures-other-than-amd64 -> OCI
    "amd64": "linux/amd64",
    "arm32v6": "linux/arm/v6",
    "arm32v7": "linux/arm/v7",
    "arm64v8": "linux/arm64",
    "ppc64le": "linux/ppc64le",
    "s390x": "linux/s390x",
}


def page() -> Iterator[Block]:
    return (block for block in blocks(PAGE.read_text()) if isinstance(block, Block))


MANIFEST = next(block.lines for block in page() if block.mark == "file: manifest/node.yml")
STEPS = [block for block in page() if block.language == "yaml" and not block.mark]


def images(root: Path, manifest: str) -> dict[str, tuple[set[str], set[str]]]:
    """Tags and platforms by target."""
    (root / "manifest").mkdir(parents=True)
    (root / "manifest" / "node.yml").write_text(manifest)
    targets = bakegen.load(root).targets.values()
    return {target.name: ({tag.with_defaults() for tag in target.tags}, set(target.platforms)) for target in targets}


def test_the_manifest_has_the_published_tags_and_platforms(tmp_path: Path) -> None:
    published = yaml.safe_load((ROOT / "tests" / "data" / "node.yml").read_text())
    ours = images(tmp_path, "\n".join(MANIFEST))

    def in_order(found: Iterator[tuple[set[str], set[str]]]) -> list[tuple[list[str], list[str]]]:
        return sorted((sorted(tags), sorted(platforms)) for tags, platforms in found)

    assert in_order(iter(ours.values())) == in_order(
        (set(image["tags"]), {PLATFORMS[name] for name in image["architectures"]}) for image in published.values()
    )
    assert (len(ours), sum(len(tags) for tags, _ in ours.values())) == (24, 155)


@pytest.mark.parametrize("step", STEPS, ids=lambda block: str(block.start))
def test_each_step_is_a_part_of_the_manifest(step: Block) -> None:
    def holds(whole: Any, part: Any) -> bool:
        if isinstance(part, dict):
            return all(key in whole and holds(whole[key], part[key]) for key in part)
        return all(item in whole for item in part) if isinstance(part, list) else bool(whole == part)

    assert holds(yaml.safe_load("\n".join(MANIFEST)), yaml.safe_load("\n".join(step.lines)))


def test_the_next_versions_move_names_and_rename_no_target(tmp_path: Path) -> None:
    [diff] = (block.lines for block in page() if block.language == "diff")
    old, new = ([line[1:] for line in diff if line[0] == sign] for sign in "-+")
    manifest = "\n".join(MANIFEST)
    then = images(tmp_path / "then", manifest)
    for line, other in zip(old, new, strict=True):
        assert manifest.count(line) == 1
        manifest = manifest.replace(line, other)
    now = images(tmp_path / "now", manifest)

    def owner(found: dict[str, tuple[set[str], set[str]]], tag: str) -> str:
        return next(name for name, (tags, _) in found.items() if tag in tags)

    assert list(then) == list(now)
    assert owner(then, "lts") == "node_full_version24_bookworm"
    assert owner(now, "lts") == "node_full_version26_trixie"
    assert owner(now, "24.20") == owner(now, "24") == "node_full_version24_bookworm"


def test_the_lines_are_counted() -> None:
    text = PAGE.read_text()
    counted = [int(number) for number in re.findall(r"^\|[^|]+\|[^|]+\| (\d+) \|", text, re.MULTILINE)]

    assert f"{len(MANIFEST)} lines of manifest" in text
    assert f"{sum(counted):,} lines" in text
