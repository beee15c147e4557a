"""docs/ci.md is true: its workflows and pipelines are read, and their steps run, as GitHub and GitLab would.

A step is a shell script, or an action. Scripts run by bash in the page's project, against a real engine and registry;
`docker/bake-action` becomes the command line that it makes of its inputs, with `--print`. What only a CI system's own
machine can do (install bakegen, start a builder) is listed in `ELSEWHERE` and left out. The registry that `bakegen
authenticate` sees is that of tests/world.py; what is pushed goes to the test registry.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from pages import Machine, files_of
from registries import PASSWORD, USER
from test_docs import Block, blocks
from test_engine import run as shell
from world import NO_ENGINE, World

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "ci.md"
FILES = files_of(PAGE)
WORKFLOWS = [name for name in FILES if name.startswith(".github/")]
PIPELINES = [name for name in FILES if name.endswith("gitlab-ci.yml")]
ACTIONS = {  # the actions there are, as of 2026
    "actions/checkout": "v6",
    "actions/setup-python": "v6",
    "docker/bake-action": "v7",
    "docker/login-action": "v4",
    "docker/setup-buildx-action": "v4",
    "docker/setup-qemu-action": "v4",
    "mikepenz/action-junit-report": "v6",
}
ELSEWHERE = {
    'pip install "$BAKEGEN"',
    "apk add --no-cache py3-pip",
    'pip install --break-system-packages "$BAKEGEN"',
    "docker run --rm --privileged tonistiigi/binfmt --install all",
    "docker buildx create --use",
    'echo "$CI_REGISTRY_PASSWORD" | docker login --username "$CI_REGISTRY_USER" --password-stdin "$CI_REGISTRY"',
}
PICKED = {"app_runtime_debian12", "app_runtime_debian13"}
ALL = {*PICKED, "app_devel_debian12", "app_devel_debian13"}

Tree = dict[str, Any]


@pytest.fixture
def machine(tmp_path: Path, registry: str, docker_config: Path) -> Machine:
    assert docker_config
    source = f"{registry}/library/debian"  # what stands for Debian 12 on the test engine stands for Debian 13 too
    shell("docker", "buildx", "imagetools", "create", "-t", f"{source}:13-slim", f"{source}:12-slim", cwd=tmp_path)
    (tmp_path / "project").mkdir()
    return Machine(tmp_path / "project", registry, FILES)


@pytest.fixture
def online(machine: Machine, everywhere: World) -> Machine:
    """A machine from which the registry of the page's manifest can be reached."""
    machine.environment |= everywhere.environment
    return machine


# --- GitHub ---


def resolved(value: Any, known: Mapping[str, Any]) -> Any:
    """Replace `${{ … }}` in a text, or in all texts of a mapping."""
    if isinstance(value, dict):
        return {key: resolved(item, known) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\$\{\{ fromJSON\((\S+)\) \}\}", value)
    if whole:
        return json.loads(known[whole[1]])
    return re.sub(r"\$\{\{ (\S+) \}\}", lambda found: str(known[found[1]]), value)


def outputs_in(text: str) -> dict[str, str]:
    """Read a file of GITHUB_OUTPUT: NAME=VALUE, and NAME<<END … END."""
    found = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, several, end = line.partition("<<")
        if several and "=" not in name:
            value = "\n".join(takewhile(end.__ne__, lines))
        else:
            name, _, value = line.partition("=")
        found[name] = value
    return found


def bake_words(inputs: Mapping[str, Any]) -> list[str]:
    """Return the words of `docker buildx bake` that docker/bake-action makes of its inputs (its src/context.ts)."""
    assert inputs["source"] == "."
    words = []
    for file in re.split(r"[,\n]", inputs["files"]):
        words += ["--file", file]
    for override in inputs.get("set", "").splitlines():
        words += ["--set", override]
    words += ["--push"] if inputs["push"] else []
    return [*words, *re.split(r"[,\n]", inputs["targets"])]


# The engine has no way to the world. `doctor` is about the engine, so it looks at a registry that is here.
OWN = {
    "bakegen authenticate": NO_ENGINE,
    "bakegen doctor": {"BAKEGEN_REGISTRY": os.environ.get("BAKEGEN_TEST_REGISTRY", "")},
}


def play(machine: Machine, job: Tree, known: Mapping[str, Any]) -> tuple[dict[str, Any], list[set[str]]]:
    """Run the steps of a job; return what it puts out, and the targets of each run of bake-action."""
    context = {**known, "github.actor": USER, "secrets.GITHUB_TOKEN": PASSWORD, "vars.BAKEGEN": "bakegen"}
    baked = []
    for number, step in enumerate(job["steps"]):
        if "uses" in step:
            if step["uses"].startswith("docker/bake-action@"):
                baked.append(machine.bake(bake_words(resolved(step["with"], context))))
            else:
                resolved(step.get("with", {}), context)
            continue
        if step["run"] in ELSEWHERE:
            continue
        output = machine.root.parent / f"output-{number}"
        output.touch()
        own = next((more for start, more in OWN.items() if step["run"].startswith(start)), {})
        machine.bash(step["run"], {"GITHUB_OUTPUT": str(output), **own, **resolved(step.get("env", {}), context)})
        for name, value in outputs_in(output.read_text()).items():
            context[f"steps.{step['id']}.outputs.{name}"] = value
    return resolved(job.get("outputs", {}), context), baked


def entries(job: Tree, known: Mapping[str, Any]) -> list[Tree]:
    """Return the entries of a job's matrix; GitHub takes 256."""
    found: list[Tree] = resolved(job["strategy"]["matrix"], known)["include"]
    assert 0 < len(found) <= 256
    return found


def jobs_of(name: str) -> dict[str, Tree]:
    jobs: dict[str, Tree] = yaml.safe_load(FILES[f".github/workflows/{name}.yml"])["jobs"]
    return jobs


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_uses_actions_that_exist(name: str) -> None:
    workflow = yaml.safe_load(FILES[name])
    assert {True, "name", "permissions", "jobs"} <= workflow.keys()  # YAML takes the key `on` for true
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        for step in job["steps"]:
            if "uses" in step:
                action, _, version = step["uses"].partition("@")
                assert ACTIONS[action] == version


def test_what_is_left_out_here_is_on_the_page() -> None:
    text = PAGE.read_text()
    for script in ELSEWHERE:
        assert script in text
    for action, version in ACTIONS.items():
        assert f"{action}@{version}" in text


@pytest.mark.engine
def test_the_guard_passes_and_catches_drift(machine: Machine) -> None:
    job = jobs_of("guard")["guard"]
    play(machine, job, {})

    (machine.root / "templates" / "Dockerfile.j2").write_text("FROM {{ parent }}\nRUN true\n")
    with pytest.raises(AssertionError, match=r"run `bakegen generate` and commit the result"):
        play(machine, job, {})


@pytest.mark.engine
def test_one_job_pushes_what_is_picked(machine: Machine) -> None:
    play(machine, jobs_of("images")["bake"], {})

    assert machine.pushed("app") == {"1.0-debian12", "1.0-debian13"}


def cases_in(report: Path) -> dict[str, bool]:
    """The test cases of a JUnit file, and whether each has passed."""
    cases = ET.parse(report).iter("testcase")
    return {f"{case.get('classname')} {case.get('name')}": case.find("failure") is None for case in cases}


@pytest.mark.engine
def test_a_job_logs_in_looks_around_pushes_and_tests(online: Machine) -> None:
    job = jobs_of("images-tested")["bake"]
    show = job["steps"][-1]
    assert (show["uses"].partition("@")[0], show["if"]) == ("mikepenz/action-junit-report", "${{ !cancelled() }}")
    report = online.root / show["with"]["report_paths"]

    play(online, job, {})

    assert online.pushed("app") == {"1.0-debian12", "1.0-debian13"}
    assert '"ghcr.io"' in Path(online.environment["DOCKER_CONFIG"], "config.json").read_text()
    assert "logged in" in online.bash("bakegen authenticate --check", NO_ENGINE)
    assert list(cases_in(report).values()) == [True, True]

    (online.root / "templates" / "Dockerfile.j2").write_text("FROM {{ parent }}\nRUN echo other > /made\n")
    online.bash("bakegen generate")
    with pytest.raises(AssertionError, match='expected output "runtime"'):
        play(online, job, {})
    assert list(cases_in(report).values()) == [False, False]


@pytest.mark.engine
def test_the_action_bakes_what_is_picked(machine: Machine) -> None:
    assert play(machine, jobs_of("images-by-action")["bake"], {})[1] == [PICKED]


@pytest.mark.engine
def test_a_matrix_by_distribution_bakes_each_target_once(machine: Machine) -> None:
    jobs = jobs_of("images-by-distribution")
    outputs, _ = play(machine, jobs["plan"], {})
    found = entries(jobs["bake"], {"needs.plan.outputs.jobs": outputs["jobs"]})
    assert [entry["name"] for entry in found] == ["debian12", "debian13"]

    baked = []
    for entry in found:
        baked += play(machine, jobs["bake"], {f"matrix.{key}": value for key, value in entry.items()})[1]

    assert [len(targets) for targets in baked] == [2, 2]
    assert set.union(*baked) == ALL


@pytest.mark.engine
def test_a_matrix_by_target_builds_each(machine: Machine) -> None:
    jobs = jobs_of("images-by-target")
    outputs, _ = play(machine, jobs["plan"], {})
    found = entries(jobs["check"], {"needs.plan.outputs.jobs": outputs["jobs"]})

    assert {entry["target"] for entry in found} == PICKED
    for entry in found:
        assert machine.bake([entry["target"]]) == {entry["target"]}
    play(machine, jobs["check"], {f"matrix.{key}": value for key, value in found[0].items()})
    assert machine.pushed("app") == set()


# --- GitLab ---


def scripts(job: Tree) -> Iterator[str]:
    """The lines of a job, as one script each; before_script stands first."""
    for line in [*job.get("before_script", []), *job["script"]]:
        assert isinstance(line, str), f"YAML takes {line} for something else"
        if line not in ELSEWHERE:
            yield line


def perform(machine: Machine, job: Tree, environment: Mapping[str, str]) -> None:
    """Run a job of GitLab, whose lines share one shell."""
    machine.bash("\n".join(scripts(job)), environment)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_has_only_what_gitlab_knows(name: str) -> None:
    known = {"artifacts", "before_script", "image", "parallel", "script", "services", "stage", "trigger", "variables"}
    for key, job in yaml.safe_load(FILES[name]).items():
        if key != "stages":
            assert job.keys() <= known


@pytest.mark.engine
def test_gitlab_guards_bakes_each_distribution_and_tests(online: Machine) -> None:
    jobs = yaml.safe_load(FILES[".gitlab-ci.yml"])
    perform(online, jobs["guard"], {})
    (row,) = jobs["bake"]["parallel"]["matrix"]
    for distro in row["DISTRO"]:
        perform(online, jobs["bake"], {"DISTRO": distro})

    assert online.pushed("app") == {f"{word}-{distro}" for word in ("1.0", "devel") for distro in row["DISTRO"]}

    perform(online, jobs["test"], {})
    assert jobs["test"]["artifacts"]["when"] == "always"
    assert list(cases_in(online.root / jobs["test"]["artifacts"]["reports"]["junit"]).values()) == [True] * 4


@pytest.mark.engine
def test_gitlab_bakes_what_a_child_pipeline_names(machine: Machine) -> None:
    parent = yaml.safe_load(FILES["parent.gitlab-ci.yml"])
    perform(machine, parent["plan"], {})
    (artifact,) = parent["plan"]["artifacts"]["paths"]
    assert parent["build"]["trigger"]["include"] == [{"artifact": artifact, "job": "plan"}]
    child = yaml.safe_load((machine.root / artifact).read_text())
    (included,) = child["include"]
    repeated = yaml.safe_load(FILES[included["local"]])[child["bake"]["extends"]]
    rows = child["bake"]["parallel"]["matrix"]
    assert {row["TARGET"] for row in rows} == PICKED
    for row in rows:
        perform(machine, repeated, row)

    assert machine.pushed("app") == {"1.0-debian12", "1.0-debian13"}


# --- plain shell ---


@pytest.mark.engine
def test_the_lines_of_shell_work(machine: Machine) -> None:
    shown = [
        "\n".join(block.lines)
        for block in blocks(PAGE.read_text())
        if isinstance(block, Block) and block.language == "sh"
    ]
    assert len(shown) == 2
    for script in shown:
        machine.bash(script.replace(" platform=linux/arm64", " platform=linux/amd64"))
        assert machine.pushed("app") == {"1.0-debian12", "1.0-debian13"}


@pytest.mark.engine
@pytest.mark.parametrize("script", [
    "targets=$(bakegen list targets nonsense --format names)\ndocker buildx bake $targets --push",
    "bakegen list targets nonsense --format names | xargs -r docker buildx bake --push",
])  # fmt: skip
def test_a_filter_that_fails_bakes_nothing(machine: Machine, script: str) -> None:
    with pytest.raises(AssertionError, match="unknown-selector"):
        machine.bash(script)

    assert machine.pushed("app") == set()
