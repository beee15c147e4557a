"""Whatever happens to a run, the tree stays whole; whatever the environment is, the bytes are the same."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from bakegen.output.lock import lock

ROOT = Path(__file__).parent.parent
STAGING = ".bakegen-staging"

MANIFEST = """\
image: large
platforms: [linux/amd64, linux/arm64]
registries: [ghcr.io/acme/large]
axes:
  number: [{numbers}]
labels: {{flavour: "{flavour}"}}
define: {{flavour: "{flavour}"}}
template: Dockerfile.j2
from: "debian:12-slim"
tags: ["{{{{ number }}}}"]
"""
TEMPLATE = "FROM {{ parent }}\nRUN echo {{ number }} {{ flavour }}\n" + "# a line that makes the file longer\n" * 50


def write_family(root: Path, flavour: str, count: int = 300) -> None:
    """Write a family of `count` Dockerfiles; `flavour` stands in each of them."""
    (root / "manifest").mkdir(exist_ok=True)
    (root / "templates").mkdir(exist_ok=True)
    numbers = ", ".join(f'"n{number}"' for number in range(count))
    (root / "manifest" / "large.yml").write_text(MANIFEST.format(numbers=numbers, flavour=flavour))
    (root / "templates" / "Dockerfile.j2").write_text(TEMPLATE)


def bakegen(root: Path, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    command = [sys.executable, "-m", "bakegen", "-C", str(root), *words]
    return subprocess.run(command, text=True, capture_output=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def tree(root: Path) -> dict[str, bytes]:
    """Return every generated file; what is staged aside is not part of the tree."""
    files = [root / "docker-bake.hcl", *(root / "generated").rglob("*")]
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in files
        if file.is_file() and STAGING not in file.parts
    }


def generated(root: Path, flavour: str) -> dict[str, bytes]:
    """Return the tree that a flavour makes, without the records of what was made."""
    write_family(root, flavour)
    done = bakegen(root, "generate", "--force")
    assert done.returncode == 0, done.stderr
    return {path: content for path, content in tree(root).items() if not path.endswith(".sums")}


def test_a_killed_run_leaves_whole_files_and_the_next_one_repairs(tmp_path: Path) -> None:
    whole = {flavour: generated(tmp_path, flavour) for flavour in ("sweet", "sour")}
    rng = random.Random(1)
    command = [sys.executable, "-m", "bakegen", "-C", str(tmp_path), "generate"]
    for attempt in range(8):
        write_family(tmp_path, ("sweet", "sour")[attempt % 2])
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        staging = tmp_path / "generated" / STAGING
        while process.poll() is None and not staging.exists():
            time.sleep(0.001)  # the interesting moments begin when files are written
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path, content in tree(tmp_path).items():
            if not path.endswith(".sums"):
                assert content in {made[path] for made in whole.values()}, path
    write_family(tmp_path, "sour")
    repaired = bakegen(tmp_path, "generate")
    assert repaired.returncode == 0, repaired.stderr
    assert {path: content for path, content in tree(tmp_path).items() if not path.endswith(".sums")} == whole["sour"]
    assert not (tmp_path / "generated" / STAGING).exists()
    subprocess.run(["sha256sum", "--check", "--quiet", "generated/bakegen.sums"], cwd=tmp_path, check=True)


def test_two_runs_at_once_do_not_mix(tmp_path: Path) -> None:
    whole = {flavour: generated(tmp_path, flavour) for flavour in ("sweet", "sour")}
    write_family(tmp_path, "sweet")
    command = [sys.executable, "-m", "bakegen", "-C", str(tmp_path), "generate"]
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert {path: content for path, content in tree(tmp_path).items() if not path.endswith(".sums")} == whole["sweet"]


def test_the_same_inputs_give_the_same_bytes_anywhere(tmp_path: Path) -> None:
    digests = set()
    surroundings = [
        ({"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1"}, 0o022, "1000000000"),
        ({"PYTHONHASHSEED": "2", "TZ": "America/Lima", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "0"}, 0o077, "2000000000"),
    ]
    for number, (env, umask, clock) in enumerate(surroundings):
        root = tmp_path / f"copy{number}" / ("deep" * number)
        for name in ("manifest", "templates", "tools"):
            shutil.copytree(ROOT / name, root / name)
        for name in ("pyproject.toml", "README.md", "LICENSE", "docker-bake.hcl.j2"):
            shutil.copy(ROOT / name, root / name)
        script = f"import time; time.time = lambda: {clock}.0; from bakegen.cli import main; main(['-C', {str(root)!r}, 'generate'])"
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=("/", root)[number],
            env={**{key: value for key, value in os.environ.items() if not key.startswith("LC_")}, **env},
            umask=umask,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        digests.add(hashlib.sha256(repr(sorted(tree(root).items())).encode()).hexdigest())
    assert len(digests) == 1


def test_generating_twice_touches_nothing(tmp_path: Path) -> None:
    generated(tmp_path, "sweet")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    before = {file: file.stat().st_mtime_ns for file in files}
    assert bakegen(tmp_path, "generate").returncode == 0
    assert {file: file.stat().st_mtime_ns for file in files} == before


def test_an_interrupt_exits_130_without_a_traceback(tmp_path: Path) -> None:
    write_family(tmp_path, "sweet")
    command = [sys.executable, "-m", "bakegen", "-C", str(tmp_path), "generate"]
    with lock(tmp_path):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        assert "waiting" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == ""
    assert not (tmp_path / "generated").exists()


def test_without_libyaml_it_warns_and_reads_the_same(tmp_path: Path) -> None:
    write_family(tmp_path, "sweet", count=3)
    script = "import sys, yaml; del yaml.CSafeLoader; from bakegen.cli import main; main(sys.argv[1:])"
    slow = subprocess.run(
        [sys.executable, "-c", script, "-C", str(tmp_path), "list"], text=True, capture_output=True, check=True
    )
    fast = bakegen(tmp_path, "list")
    assert slow.stdout == fast.stdout
    assert slow.stderr.startswith("warning: PyYAML was built without libyaml")
    assert slow.stderr.count("\n") == 1
