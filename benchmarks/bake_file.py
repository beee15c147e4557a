"""Compare how long bake reads the bake files of two revisions of bakegen: processor time of `docker buildx bake --print`.

    python benchmarks/bake_file.py                           1,000 and 5,000 targets, against one block per target
    python benchmarks/bake_file.py --targets 1000 --against HEAD~1

The earlier bakegen is taken from git, and runs with the packages of this one. Both files are read in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from families import write_project
from run import measure

ROOT = Path(__file__).parent.parent
WRITTEN_OUT = "657428e"  # the last revision that wrote a block for each target
BAKE_FILE = "docker-bake.hcl"


def write_bake_files(work: Path, targets: int, revision: str) -> dict[str, Path]:
    """Write one family's bake file as the earlier bakegen did, and as this one does; return the folders."""
    earlier = work / "earlier"
    if not earlier.exists():
        earlier.mkdir()
        archive = subprocess.run(("git", "archive", revision), cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(("tar", "-x", "-C", str(earlier)), input=archive, check=True)
    folders = {}
    for name, code in ((revision, earlier), ("now", ROOT)):
        folder = folders[name] = work / f"{targets}-{name}"
        write_project(folder, "mixed", targets, 1)
        environment = {**os.environ, "PYTHONPATH": str(code), "XDG_CACHE_HOME": str(folder / "cache")}
        command = (sys.executable, "-m", "bakegen", "generate")
        subprocess.run(command, cwd=folder, env=environment, check=True, stderr=subprocess.DEVNULL)
    return folders


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--targets", default="1000,5000")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--against", default=WRITTEN_OUT, metavar="REVISION")
    options = parser.parse_args()
    print(f"{'targets':>8}  {'revision':<12} {'lines':>7} {'cpu s':>7}")
    with tempfile.TemporaryDirectory(prefix="bakegen-bench-") as name:
        work = Path(name)
        for targets in map(int, options.targets.split(",")):
            folders = write_bake_files(work, targets, options.against)
            costs: dict[str, list[float]] = {revision: [] for revision in folders}
            for _ in range(options.runs):
                for revision, folder in folders.items():
                    command = ("docker", "buildx", "bake", "--print")
                    costs[revision].append(measure(command, folder, folder / "cache").cpu)
            medians = {revision: statistics.median(found) for revision, found in costs.items()}
            for revision, folder in folders.items():
                lines = (folder / BAKE_FILE).read_text().count("\n")
                print(f"{targets:>8}  {revision:<12} {lines:>7} {medians[revision]:7.2f}")
            before, now = medians.values()
            print(f"{'':>8}  {'':<12} {'':>7} {now / before:6.2f}x", flush=True)


if __name__ == "__main__":
    main()
