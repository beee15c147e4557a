"""Measure whole commands on synthetic families: wall time, processor time, peak memory; the median of several runs.

    python benchmarks/run.py                        100, 1,000 and 10,000 targets, with two ratios of Dockerfiles
    python benchmarks/run.py --targets 100,1000     smaller sizes only
    python benchmarks/run.py --stages               time per stage inside one process
    python benchmarks/run.py --bake --targets 5000  how long it takes until bake knows one target (needs Docker)

Each run is a process of its own, so start-up counts. Nothing is deleted before the end, because some file systems
(ext4) look at every recently deleted inode before they make a new one: each first run has a project of its own.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import io
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from families import SHAPES, SHARES, Shape, Share, write_project

BAKEGEN = (sys.executable, "-m", "bakegen")
HEADER = f"{'targets':>8} {'files':>6}  {'command':<22} {'wall s':>7} {'cpu s':>7} {'MB':>5}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command took: seconds, seconds, mebibytes."""

    wall: float
    cpu: float
    peak: float

    def __str__(self) -> str:
        return f"{self.wall:7.2f} {self.cpu:7.2f} {self.peak:5.0f}"


def measure(command: Sequence[str], folder: Path, cache: Path) -> Cost:
    """Run one command to its end and return what it took; exits if it fails.

    The kernel counts this process's own memory at the start of the other one: it must stay the smaller of the two.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as talk:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=talk,
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            talk.seek(0)
            sys.exit(f"{' '.join(command)} failed in {folder}:\n{talk.read().decode()}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        statistics.median(cost.peak for cost in costs),
    )


def measure_start(work: Path, runs: int) -> Iterator[str]:
    """Yield lines about what a command costs that does nothing, next to what it cannot be cheaper than."""
    for name, command in (("--help", (*BAKEGEN, "--help")), ("import typer", (sys.executable, "-c", "import typer"))):
        yield f"{'':>8} {'':>6}  {name:<22} {median([measure(command, work, work) for _ in range(2 * runs)])}"


def measure_family(work: Path, shape: Shape, targets: int, share: Share, runs: int) -> Iterator[str]:
    """Yield a line for each command on one family."""
    folders = [work / f"{shape}-{targets}-{share}-{run}" for run in range(runs)]
    for folder in folders:
        write_project(folder, shape, targets, share)
    first = median([measure((*BAKEGEN, "generate"), folder, folder / "cache") for folder in folders])
    folder, cache = folders[0], folders[0] / "cache"
    files = sum(1 for _ in (folder / "generated").rglob("Dockerfile"))
    listed = subprocess.run(
        (*BAKEGEN, "list", "--format=names"), cwd=folder, check=True, capture_output=True, text=True
    )
    last = listed.stdout.split()[-1]
    yield f"{targets:>8} {files:>6}  {'generate, first run':<22} {first}"
    for name, words in (
        ("generate, no change", ("generate",)),
        ("generate --check", ("generate", "--check")),
        ("list", ("list",)),
        ("explain TARGET", ("explain", last)),
    ):
        cost = median([measure((*BAKEGEN, *words), folder, cache) for _ in range(runs)])
        yield f"{targets:>8} {files:>6}  {name:<22} {cost}"


def measure_bake(work: Path, shape: Shape, targets: int, share: Share, runs: int) -> Iterator[str]:
    """Yield lines about one target of a family: bakegen alone, with bake on what it hands over, bake on the whole file."""
    folder = work / f"{shape}-{targets}-{share}-bake"
    write_project(folder, shape, targets, share)
    measure((*BAKEGEN, "generate"), folder, folder / "cache")
    files = sum(1 for _ in (folder / "generated").rglob("Dockerfile"))
    listed = subprocess.run(
        (*BAKEGEN, "list", "--format=names"), cwd=folder, check=True, capture_output=True, text=True
    )
    last = listed.stdout.split()[-1]
    for name, command, times in (
        ("list", (*BAKEGEN, "list"), runs),
        ("build --dry-run", (*BAKEGEN, "build", f"target={last}", "--dry-run"), runs),
        ("build -- --print", (*BAKEGEN, "build", f"target={last}", "--", "--print"), runs),
        ("bake --print", ("docker", "buildx", "bake", "--print", last), 1),
    ):
        cost = median([measure(command, folder, folder / "cache") for _ in range(times)])
        yield f"{targets:>8} {files:>6}  {name:<22} {cost}"


# --- stages ---

# Where each stage begins. Time counts for the innermost stage only.
STAGES = (
    ("bakegen.project", "load_manifest", "load"),
    ("bakegen.project", "expand", "expand"),
    ("bakegen.project", "build_graph", "graph"),
    ("bakegen.render.files", "render", "render"),
    ("bakegen.render.files", "check_dockerfile", "check Dockerfiles"),
    ("bakegen.render.files", "_Renderer.bake_file", "bake"),
    ("bakegen.output.write", "write", "output"),
    ("bakegen.output.last_run", "fingerprint", "remember"),
    ("bakegen.output.last_run", "remember", "remember"),
)


class Stopwatch:
    """Measures how long each stage runs itself, without the stages inside it."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._open: list[str] = []
        self._since = time.process_time()

    def _switch(self) -> None:
        now = time.process_time()
        if self._open:
            self.spent[self._open[-1]] = self.spent.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def stage(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` as it was, but timed."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._switch()
            self._open.append(name)
            try:
                return function(*args, **kwargs)
            finally:
                self._switch()
                self._open.pop()

        return timed


def run_stages(folder: Path) -> Iterator[str]:
    """Run one `generate` in this process and yield a line per stage."""
    watch = Stopwatch()
    modules = sorted({module for module, _, _ in STAGES})
    watch.stage("import", lambda: [importlib.import_module(name) for name in ("bakegen.cli", *modules)])()
    for module, path, stage in STAGES:
        *owners, name = path.split(".")
        owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
        setattr(owner, name, watch.stage(stage, getattr(owner, name)))
    main = importlib.import_module("bakegen.cli").main
    sys.argv = ["bakegen", "-C", str(folder), "generate"]
    with redirect_stderr(io.StringIO()) as talk, redirect_stdout(io.StringIO()):
        try:
            watch.stage("the rest", main)()  # without arguments, as the program runs
        except SystemExit as stop:
            if stop.code:
                sys.exit(talk.getvalue())
    for stage, seconds in watch.spent.items():
        yield f"  {stage:<18} {seconds:7.3f} s"
    yield f"  {'all':<18} {sum(watch.spent.values()):7.3f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"


def measure_stages(work: Path, shape: Shape, targets: int, share: Share) -> Iterator[str]:
    """Yield what `run_stages` says in a process of its own."""
    folder = work / f"{shape}-{targets}-{share}-stages"
    write_project(folder, shape, targets, share)
    command = (sys.executable, __file__, "--stages-of", str(folder))
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    yield f"{shape}, {targets} targets, {share} per Dockerfile"
    yield told.rstrip("\n")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", default="100,1000,10000", help="sizes, separated by commas (default: %(default)s)")
    parser.add_argument("--share", type=int, choices=SHARES, help="targets per Dockerfile (default: both)")
    parser.add_argument("--shape", choices=SHAPES, default="mixed", help="of the families (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="of which the median is shown (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--stages", action="store_true", help="show the time per stage instead")
    parser.add_argument("--bake", action="store_true", help="show what bake takes for one target instead")
    parser.add_argument("--stages-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stages_of:
        for line in run_stages(arguments.stages_of):
            print(line)
        return
    shares: tuple[Share, ...] = (arguments.share,) if arguments.share else SHARES
    work = Path(tempfile.mkdtemp(prefix="bakegen-benchmark-", dir=arguments.folder))
    try:
        if not arguments.stages:
            print(HEADER)
            for line in measure_start(work, arguments.runs):
                print(line, flush=True)
        for targets in map(int, arguments.targets.split(",")):
            for share in shares:
                measured = measure_bake if arguments.bake else measure_family
                lines = (
                    measure_stages(work, arguments.shape, targets, share)
                    if arguments.stages
                    else measured(work, arguments.shape, targets, share, arguments.runs)
                )
                for line in lines:
                    print(line, flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
