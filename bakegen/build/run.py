"""Run bake for a plan, and find out what came of it.

In: a `BuildPlan`. Out: a `BuildOutcome`, also if the run fails or is interrupted.
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from bakegen.bake.model import BAKE_FILE
from bakegen.build.plan import BuildPlan
from bakegen.build.results import TargetResult, results_of_failure, results_of_success
from bakegen.docker.buildx import Buildx, require_builder
from bakegen.docker.config import portable_environment
from bakegen.docker.history import read_history
from bakegen.docker.instances import begun_builds, read_object
from bakegen.docker.process import Program, ask, ending_on_signals, run

_PROVENANCE = "BUILDX_METADATA_PROVENANCE"


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """Bake's exit code, the results of targets, and the nodes that do not tell theirs."""

    code: int
    results: list[TargetResult]
    silent: tuple[str, ...]


def run_build(
    plan: BuildPlan, root: Path, buildx: Buildx, asked: Program, metadata_file: Path | None = None
) -> BuildOutcome:
    """Build; bake's metadata are kept in a file if one is named, and nothing else is left, whatever happens.

    The builder was `asked` how it is; raises `BakegenError` if it cannot build. A signal ends the build, and its
    code is that of a shell.
    """
    require_builder(asked, {platform for platforms in plan.platforms.values() for platform in platforms})
    with ending_on_signals(), tempfile.TemporaryDirectory(prefix="bakegen-") as folder:
        bake_file, metadata = Path(folder, BAKE_FILE), metadata_file or Path(folder, "metadata.json")
        group = f"bakegen-{uuid.uuid4().hex}"  # by which buildx notes this run, and no other
        bake_file.write_bytes(plan.bake_file + f'\ngroup "{group}" {{\n  targets = ["default"]\n}}\n'.encode())
        environment = {**portable_environment(), **plan.environment}
        if not metadata_file:  # nobody reads the provenance in it, which buildx would fetch for each target
            environment.setdefault(_PROVENANCE, "disabled")
        began = time.time()
        command = [*plan.command(buildx.command, metadata), group]
        try:
            code = run(command, bake_file, cwd=root, environment=environment)
        except SystemExit as end:
            code = int(end.code or 0)
        builds = begun_builds(group, began)
        lasted = timedelta(seconds=time.time() - began)
        history = read_history(buildx, builds.values(), Path(folder, "nodes"), failed=code != 0, lasted=lasted)
        read_tags = partial(_read_tags, plan, root, buildx, environment)
        if code:
            results = results_of_failure(plan, builds, history, read_tags)
        else:
            results = results_of_success(plan, builds, history, read_object(metadata), read_tags)
        return BuildOutcome(code, results, history.silent)


def _read_tags(plan: BuildPlan, root: Path, buildx: Buildx, environment: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the tags of targets as bake reads them."""
    command = [*buildx.command, "bake", "-f", "-", *plan.options, "--progress", "quiet", "--print"]
    reply = ask(command, plan.bake_file.decode(), cwd=root, environment=environment)
    read = json.loads(reply.out)["target"] if reply.code == 0 else {}
    return {name: attributes.get("tags", []) for name, attributes in read.items()}
