"""What tests of pages have in common: the files that a page shows, and a project of them to run its commands in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import run
from test_docs import Block, blocks
from test_engine import tags_in


def files_of(page: Path) -> dict[str, str]:
    """The files that a page shows, by their paths."""
    return {
        block.mark.removeprefix("file: "): "".join(f"{line}\n" for line in block.lines)
        for block in blocks(page.read_text())
        if isinstance(block, Block) and block.mark.startswith("file: ")
    }


_BUILDS = re.compile(r"buildx bake|bakegen (build|test)\b")  # what pushes, or looks at what was pushed


class Machine:
    """A project of a page's files, generated, and a shell in it whose pushes go to a corner of the test registry."""

    def __init__(self, root: Path, registry: str, files: Mapping[str, str]) -> None:
        self.root = root
        self.registry = registry
        self.place = f"page-{uuid.uuid4().hex[:8]}"
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        outcome = run(root, ["generate"])
        assert outcome.code == 0, outcome.text()
        programs = root.parent / "programs"
        programs.mkdir()
        (programs / "bakegen").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bakegen "$@"\n')
        (programs / "bakegen").chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        self.of_builds = {"BAKEGEN_REGISTRY": f"{registry}/{self.place}", "BAKEGEN_PLATFORMS": "linux/amd64"}

    def bash(self, script: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a script as GitHub does; return what it printed on both streams."""
        narrowed = self.of_builds if _BUILDS.search(script) else {}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", script],
            cwd=self.root,
            env={**self.environment, **narrowed, **(environment or {})},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout

    def bake(self, words: Sequence[str]) -> set[str]:
        """Return the targets that bake would build, parents left out."""
        done = subprocess.run(
            ["docker", "buildx", "bake", *words, "--print"],
            cwd=self.root,
            env={**self.environment, **self.of_builds},
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return set(json.loads(done.stdout)["group"]["default"]["targets"])

    def pushed(self, image: str) -> set[str]:
        """Return the tags of an image that are in the registry now."""
        return tags_in(self.registry, f"{self.place}/{image}")
