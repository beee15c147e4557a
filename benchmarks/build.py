"""Compare `bakegen build` with `docker buildx bake` on images that have not changed: wall time and processor time.

    .ci/engine up && eval "$(.ci/engine env)"
    python benchmarks/build.py                  100 images for two platforms, on one node and on two
    python benchmarks/build.py --images 20 --runs 3

Both build the same targets in turn: on the engine of the tests, and on a builder of two nodes, which are two real engines.
Processor time is that of the client with all that it starts, not of the engines.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from buildkit import endpoint, second_engine

_TRIES = 5
BAKEGEN = (sys.executable, "-m", "bakegen")
PLATFORMS = ("linux/amd64", "linux/arm64")
MANIFEST = """\
image: bench
registries: ["{registry}/bench"]
platforms: {platforms}
axes: {{n: {numbers}}}
from: "tiny:1"
template: Dockerfile.j2
args: {{N: "{{{{ n }}}}"}}
releases: {{app: {{tags: ["{{{{ n }}}}"]}}}}
"""
TEMPLATE = "ARG N=0\nFROM {{ parent }}\nARG N\nRUN --network=none echo $N > /made\n"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command took, in seconds."""

    wall: float
    cpu: float


def measure(command: Sequence[str], folder: Path, log: Path) -> Cost:
    """Run a command until it succeeds; exits if it does not.

    On a busy machine, BuildKit gives up on some of a hundred builds that begin at once ("no such job").
    """
    for _ in range(_TRIES):
        start = time.perf_counter()
        with log.open("wb") as talk:
            process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=talk, stderr=talk)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode == 0:
            return Cost(time.perf_counter() - start, usage.ru_utime + usage.ru_stime)
    sys.exit(f"{' '.join(command)}: {log.read_text()}")


@contextlib.contextmanager
def builder_of(nodes: int) -> Iterator[str]:
    """Yield the name of a builder with one node, the engine, or with two."""
    if nodes == 1:
        yield "default"
        return
    with second_engine() as second, endpoint(os.environ["DOCKER_HOST"]) as near, endpoint(second) as far:
        for place, platform in zip((near, far), PLATFORMS, strict=True):
            command = ["docker", "buildx", "create", "--name", "two", "--driver", "remote", "--platform", platform]
            appended = ["--append"] if place == far else []
            subprocess.run([*command, *appended, place], stdout=subprocess.DEVNULL, check=True)
        yield "two"


def compare(folder: Path, images: int, builder: str, runs: int) -> dict[str, Cost]:
    """Return the medians of bake and of `bakegen build`."""
    (folder / "manifest").mkdir(parents=True)
    (folder / "templates").mkdir()
    (folder / "templates" / "Dockerfile.j2").write_text(TEMPLATE)
    (folder / "manifest" / "bench.yml").write_text(
        MANIFEST.format(
            registry=os.environ["BAKEGEN_TEST_REGISTRY"],
            platforms=json.dumps(PLATFORMS),
            numbers=json.dumps([f"v{number}" for number in range(images)]),
        )
    )
    log = folder / "log"
    commands = {
        "bake": ("docker", "buildx", "bake", "--builder", builder),
        "bakegen build": (*BAKEGEN, "build", "--all", "--builder", builder),
    }
    for command in ((*BAKEGEN, "generate"), *commands.values()):
        measure(command, folder, log)
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            costs[name].append(measure(command, folder, log))
    return {
        name: Cost(statistics.median(cost.wall for cost in found), statistics.median(cost.cpu for cost in found))
        for name, found in costs.items()
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(f"{'nodes':>5}  {'command':<14} {'wall s':>7} {'cpu s':>7}")
    with tempfile.TemporaryDirectory(prefix="bakegen-bench-") as name:
        for number in (1, 2):
            os.environ["BUILDX_CONFIG"] = f"{name}/buildx{number}"
            with builder_of(number) as builder:
                found = compare(Path(name, str(number)), options.images, builder, options.runs)
            for command, cost in found.items():
                print(f"{number:>5}  {command:<14} {cost.wall:7.2f} {cost.cpu:7.2f}")
            bake, build = found.values()
            print(f"{'':>5}  {'':<14} {build.wall / bake.wall:6.2f}x {build.cpu - bake.cpu:+7.2f}", flush=True)


if __name__ == "__main__":
    main()
