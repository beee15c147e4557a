"""The command line in process, and trees of files as data: what the golden tests have in common."""

from __future__ import annotations

import contextlib
import io
import shlex
import shutil
import signal
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bakegen.cli import main

TESTS = Path(__file__).parent
OUTPUTS = ("generated", "docker-bake.hcl")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    stdout: str
    stderr: str
    code: int

    def text(self) -> str:
        """Everything that a user sees, and the exit code."""
        return f"{self.stdout}{self.stderr}[exit {self.code}]\n"


def run(root: Path, words: Sequence[str]) -> Outcome:
    """Run `bakegen -C root …` in this process; the place of the root does not show."""
    stdout, stderr = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        patch.setattr(sys, "argv", ["bakegen"])  # usage messages start with it
        patch.setenv("COLUMNS", "100")
        try:
            main(["-C", str(root), *words])
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGINT, handler)
    assert isinstance(code, int)
    shown = [stream.getvalue().replace(str(root.resolve()), "/project") for stream in (stdout, stderr)]
    return Outcome(shown[0], shown[1], code)


def projects(folder: Path, depth: int) -> list[Path]:
    """The folders that lie `depth` levels below `folder`: each is a project."""
    return sorted(path for path in folder.glob("/".join("*" * depth)) if path.is_dir())


def copy_project(project: Path, to: Path, *, outputs: bool) -> Path:
    """Copy a project, with or without what bakegen has made there."""
    ignored = shutil.ignore_patterns() if outputs else lambda folder, _: OUTPUTS if Path(folder) == project else ()
    shutil.copytree(project, to, symlinks=True, ignore=ignored)
    return to


def tree(root: Path, *paths: str) -> dict[str, tuple[str, bytes]]:
    """All files below the named folders of a root (or below the root): mode (`file`, `executable`, `link`) and content."""
    starts = [root / path for path in paths] or [root]
    found = {}
    for file in sorted(file for start in starts for file in (start, *start.rglob("*"))):
        name = file.relative_to(root).as_posix()
        if file.is_symlink():
            found[name] = ("link", str(file.readlink()).encode())
        elif file.is_file():
            found[name] = ("executable" if file.stat().st_mode & stat.S_IXUSR else "file", file.read_bytes())
    return found


def transcript(root: Path, text: str) -> str:
    """Run every `$ bakegen …` line of a transcript again, and return the transcript as it should be."""
    commands = [line for line in text.splitlines() if line.startswith("$ bakegen ")]
    return "\n".join(f"{line}\n{run(root, shlex.split(line)[2:]).text()}" for line in commands)


def lines_of(files: Mapping[str, tuple[str, bytes]], name: str) -> Iterator[str]:
    """The lines of a file for a diff, the first of them its mode; none if there is no such file."""
    if name in files:
        mode, content = files[name]
        yield f"({mode})\n"
        yield from content.decode(errors="replace").splitlines(keepends=True)
