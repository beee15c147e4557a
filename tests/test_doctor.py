"""`bakegen doctor`: what it judges from facts, and that it finds these out from the real thing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from buildkit import endpoint
from engines import only_root, own_engine
from harness import run, tree
from registries import GuardedRegistry, encoded, free_port, own_address, wait_for
from test_console import on_terminal

from bakegen.commands.doctor import table_of
from bakegen.docker.buildx import Buildx
from bakegen.docker.inspect import InspectedBuilder, InspectedNode, builds_how, choose_nodes, needed_nodes, read_builder
from bakegen.docker.process import Reply, asking
from bakegen.doctor.facts import BuilderUse, DockerFacts, EngineFacts, Facts, Finding, ProjectFacts, Unanswered
from bakegen.doctor.findings import judge_facts
from bakegen.errors import Code, Problem
from bakegen.output.compare import Changes
from bakegen.output.lock import lock
from bakegen.registries.authenticate import RegistryState
from bakegen.registries.destinations import Destination
from bakegen.registries.login_outcome import LoginOutcome, LoginResult, problem_of
from bakegen.spec.registry_kinds import LoginVariables, kind_of

engine = pytest.mark.engine
RECORDED = Path(__file__).parent / "data" / "inspect"  # what `docker buildx inspect` of that version printed
AMD64 = ("linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4")
FARM = {"farm0": ["linux/amd64"], "arm": ["linux/arm64"]}  # what the recorded farm's settings give its nodes
BINFMT = "docker run --privileged --rm tonistiigi/binfmt --install"


# --- builders ---


def recorded(name: str) -> InspectedBuilder:
    return read_builder((RECORDED / f"{name}.txt").read_text())


@pytest.mark.parametrize("version", ["0.13", "0.29"])
def test_both_buildx_describe_a_builder_alike(version: str) -> None:
    builder = recorded(f"engine-{version}")

    assert (builder.name, builder.driver, builder.complaint) == ("default", "docker", "")
    [node] = builder.nodes
    assert (node.name, node.endpoint, node.status, node.complaint) == ("default", "default", "running", "")
    assert node.platforms == (*AMD64, "linux/arm64", "linux/ppc64le")
    assert node.claimed == ()


def test_other_builders_are_read() -> None:
    assert recorded("without-qemu").nodes[0].platforms == AMD64
    broken = recorded("no-engine")
    assert (broken.name, broken.driver, broken.nodes) == ("default", "", ())
    assert broken.complaint.startswith("Cannot connect to the Docker daemon at unix:///nowhere/docker.sock.")
    farm = recorded("lost-node")
    assert farm.driver == "docker-container"
    assert farm.nodes[0] == InspectedNode(
        name="farm0",
        endpoint="unix:///var/run/docker.sock",
        status="inactive",
        platforms=("linux/amd64",),
        claimed=("linux/amd64",),
    )
    assert (farm.nodes[1].name, farm.nodes[1].complaint[:14], farm.nodes[1].status) == ("arm", "Cannot connect", "")
    assert [node.endpoint for node in recorded("remote").nodes] == ["tcp://far.example.com:1234"]


def honest(name: str, **given: Sequence[str]) -> InspectedBuilder:
    """A recorded builder with what its nodes offer; `given` are the platforms that its settings give them."""
    builder = recorded(name)
    nodes = (
        replace(node, claimed=tuple(given.get(node.name, ())), platforms=node.platforms if node.runs else ())
        for node in builder.nodes
    )
    return replace(builder, nodes=tuple(nodes))


def node(
    name: str, *platforms: str, own: str = "", given: Sequence[str] = (), status: str = "running"
) -> InspectedNode:
    return InspectedNode(name=name, endpoint=name, status=status, platforms=platforms, claimed=tuple(given), own=own)


@pytest.mark.parametrize(
    ("platform", "own", "how"),
    [
        ("linux/amd64", "linux/amd64", "native"),
        ("linux/amd64/v3", "linux/amd64", "native"),
        ("linux/386", "linux/amd64", "native"),
        ("linux/arm64", "linux/amd64", "emulated"),
        ("linux/amd64", "linux/arm64", "emulated"),
        ("linux/arm/v7", "linux/arm64", "unknown"),
        ("linux/arm/v7", "linux/amd64", "emulated"),
        ("windows/amd64", "linux/amd64", "emulated"),
        ("linux/amd64", "", "unknown"),
    ],
)
def test_a_machine_runs_what_is_of_its_kind(platform: str, own: str, how: str) -> None:
    assert builds_how(node("a", platform, own=own), platform) == how


def test_the_node_is_the_one_that_buildx_takes() -> None:
    first = node("first", "linux/amd64", "linux/arm64")
    asleep = node("asleep", status="inactive")
    given = node("given", given=["linux/arm64"])
    arm = node("arm", "linux/arm/v7", "linux/arm/v6")

    def chosen(platforms: str, *nodes: InspectedNode) -> list[str]:
        return [found.name if found else "" for found in choose_nodes(nodes, platforms.split()).values()]

    assert chosen("linux/arm64", first, given) == ["given"]
    assert chosen("linux/arm64 linux/amd64", first, given) == ["first", "first"]  # amd64 is given to none
    both = replace(given, claimed=("linux/arm64", "linux/amd64"))
    assert chosen("linux/arm64 linux/amd64", first, both) == ["given", "given"]
    assert chosen("linux/arm64", first, replace(given, claimed=())) == ["first"]
    assert chosen("linux/amd64", given, first) == ["first"]
    assert chosen("linux/arm/v5", first, arm) == ["arm"]
    assert chosen("linux/arm/v6", node("v7", "linux/arm/v7"), arm) == ["arm"]
    assert chosen("linux/arm/v7", replace(arm, platforms=("linux/arm/v6",))) == [""]
    assert chosen("linux/s390x", first, asleep) == [""]
    assert needed_nodes([first, both], ["linux/arm64"]) == [both]
    assert needed_nodes([first, both], ["linux/arm64", "linux/s390x"]) == [first, both]


# --- findings ---

ENGINE = EngineFacts(version="28.5.2", several=True, folder="/var/lib/docker", free=50 * 10**9)
DOCKER = DockerFacts(
    version="28.5.2", plugins={"buildx": "0.29.1"}, address="unix:///var/run/docker.sock", engine=ENGINE
)
PROJECT = ProjectFacts(manifests=1, targets=3, buildx=(0, 13), readmes=False)
LOCAL = InspectedBuilder(
    name="default",
    driver="docker",
    nodes=(replace(node("default", *AMD64, "linux/arm64", own="linux/amd64"), endpoint="default"),),
)
USE = BuilderUse(platforms=("linux/amd64", "linux/arm64"), several=True, builder=LOCAL)
WELL = Facts(
    system="linux",
    settings=frozenset(),
    bakegen="bakegen",
    docker=DOCKER,
    buildx=Buildx(("docker", "buildx"), (0, 29), "0.29.1"),
    uses=(USE,),
    project=PROJECT,
    registries=(),
    outputs=Changes(unchanged=("docker-bake.hcl",)),
)


def on(builder: InspectedBuilder | Unanswered | None, **more: Any) -> tuple[BuilderUse, ...]:
    """One builder, of which that is known."""
    return (replace(USE, builder=builder, **more),)


def finding(facts: Facts, check: str) -> Finding:
    [found] = [found for found in judge_facts(facts) if found.check == check]
    return found


def state_and_fix(facts: Facts, check: str) -> tuple[str, str]:
    found = finding(facts, check)
    return found.state, found.fix


def checked(result: LoginResult | Literal["failed"], reason: str = "", code: Code | None = None) -> RegistryState:
    """What came of checking the login to quay.io."""
    at = Destination(
        host="quay.io", kind=kind_of("quay.io"), variables=LoginVariables("A", "B"), repositories=(), declared=None
    )
    if result == "failed":
        return RegistryState(at, "", result, "", (Problem(code=code or "login-failed", message="oh"),))
    problem = problem_of(at, "ann", LoginOutcome(result, reason), stored=True)
    return RegistryState(at, "", result, reason, (problem,) if problem else ())


def without_engine(said: str = "Cannot connect", **more: Any) -> Facts:
    return replace(WELL, docker=replace(DOCKER, engine=Unanswered(said), **more), uses=on(honest("no-engine")))


def test_all_is_well() -> None:
    assert judge_facts(WELL) == [
        Finding("docker client", "ok", "28.5.2"),
        Finding("engine", "ok", "28.5.2"),
        Finding("disk", "ok", "50.0 GB free in /var/lib/docker"),
        Finding("buildx", "ok", "0.29.1"),
        Finding("builder", "ok", "default (docker)"),
        Finding("manifests", "ok", "1 manifest, 3 targets"),
        Finding("platform linux/amd64", "ok", "native"),
        Finding("platform linux/arm64", "ok", "emulated"),
        Finding("generated files", "ok", "1 file up to date"),
    ]


SOME_FACTS = {
    "no docker": replace(WELL, docker=None, buildx=None, uses=on(None)),
    "broken docker": replace(WELL, docker=Unanswered("exec format error"), buildx=None, uses=on(None)),
    "no engine": without_engine(),
    "silent engine": without_engine("no response within 25 seconds", plugins=None, address=""),
    "no buildx": replace(WELL, buildx=None, uses=on(None)),
    "no builder": replace(WELL, uses=on(Unanswered('no builder "x" found'))),
    "odd builder": replace(WELL, uses=on(InspectedBuilder(name="x", driver="docker-container"))),
    "no emulation": replace(WELL, uses=on(honest("without-qemu"))),
    "farm": replace(WELL, uses=on(honest("lost-node", **FARM))),
    "remote": replace(WELL, uses=on(honest("remote"))),
    "no project": replace(WELL, project=None, uses=(BuilderUse(builder=LOCAL),), outputs=None),
    "broken manifest": replace(
        WELL, project=Unanswered("manifest/app.yml:1:1: oh"), uses=(BuilderUse(builder=LOCAL),), outputs=None
    ),
    "registries": replace(WELL, registries=Unanswered("they clash")),
    "no plugins": replace(WELL, docker=replace(DOCKER, plugins=None), uses=on(honest("without-qemu"))),
    "no image store": replace(WELL, docker=replace(DOCKER, engine=replace(ENGINE, several=False))),
    "broken logins": replace(WELL, registries=(checked("failed", code="docker-config"),)),
    "stale": replace(WELL, outputs=Changes(new=("docker-bake.hcl",))),
}


@pytest.mark.parametrize("name", SOME_FACTS)
@pytest.mark.parametrize("readmes", [False, True])
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_whatever_is_not_well_comes_with_a_fix(name: str, readmes: bool, system: str) -> None:
    facts = replace(SOME_FACTS[name], system=system)
    project = facts.project
    if isinstance(project, ProjectFacts):
        project = replace(project, readmes=readmes)
    found = judge_facts(replace(facts, project=project))

    assert any(finding.state != "ok" for finding in found)
    assert all((finding.state == "ok") == (finding.fix == "") for finding in found)
    assert len({finding.check for finding in found}) == len(found)
    for one in found:
        subprocess.run(["bash", "-n", "-c", one.fix], check=True)  # bash can read it


@pytest.mark.parametrize(
    ("free", "state"),
    [(10 * 10**9, "ok"), (10 * 10**9 - 1, "warning"), (10**9, "warning"), (10**9 - 1, "error"), (0, "error"), (None, "ok")],
)  # fmt: skip
def test_a_full_disk_is_told(free: int | None, state: str) -> None:
    facts = replace(WELL, docker=replace(DOCKER, engine=replace(ENGINE, free=free)))

    assert state_and_fix(facts, "disk") == (state, "" if state == "ok" else "docker system prune")


@pytest.mark.parametrize(
    ("address", "settings", "system", "fix"),
    [
        ("unix:///var/run/docker.sock", "", "linux", "sudo systemctl start docker"),
        ("unix:///run/user/1000/docker.sock", "DOCKER_HOST", "linux", "systemctl --user start docker"),
        ("unix:///nowhere/docker.sock", "DOCKER_HOST", "linux", "unset DOCKER_HOST"),
        ("tcp://10.0.0.1:2375", "DOCKER_CONTEXT", "linux", "unset DOCKER_CONTEXT"),
        ("tcp://10.0.0.1:2375", "", "linux", "docker context use default"),
        ("ssh://me@far.example.com", "", "linux", "ssh me@far.example.com sudo systemctl start docker"),
        ("unix:///Users/me/.docker/run/docker.sock", "", "darwin", "open -a Docker"),
    ],
)
def test_how_an_engine_is_brought_back_depends_on_where_it_is(
    address: str, settings: str, system: str, fix: str
) -> None:
    facts = replace(without_engine(address=address), settings=frozenset(settings.split()), system=system)

    assert state_and_fix(facts, "engine") == ("error", fix)
    for check in ("disk", "builder", "platform linux/amd64"):
        assert state_and_fix(facts, check) == ("warning", fix)
    assert finding(facts, "platform linux/amd64").found == "unknown, see builder"


@pytest.mark.parametrize(
    ("version", "least", "state"),
    [((0, 13), (0, 13), "ok"), ((0, 12), (0, 13), "error"), ((0, 19), (0, 20), "error"), ((1, 0), (0, 20), "ok")],
)
def test_buildx_is_held_against_what_the_manifests_need(
    version: tuple[int, int], least: tuple[int, int], state: str
) -> None:
    facts = replace(WELL, buildx=Buildx(("buildx",), version, "x"), project=replace(PROJECT, buildx=least))

    assert finding(facts, "buildx").state == state
    assert finding(facts, "platform linux/amd64").state == "ok"  # it can be asked all the same
    assert finding(replace(facts, project=None), "buildx").state == ("ok" if version >= (0, 13) else "error")


def with_builder(driver: str, *nodes: InspectedNode, platforms: Sequence[str] = ("linux/arm64",), **more: Any) -> Facts:
    builder = InspectedBuilder(name="b", driver=driver, nodes=nodes)
    return replace(WELL, uses=on(builder, platforms=tuple(platforms)), **more)


@pytest.mark.parametrize(
    ("driver", "endpoint", "state", "fix"),
    [
        ("docker", "default", "error", f"{BINFMT} arm64"),
        ("docker", "elsewhere", "error", f"docker --context elsewhere {BINFMT[7:]} arm64"),
        ("docker-container", "unix:///x.sock", "warning", f"docker --host unix:///x.sock {BINFMT[7:]} arm64"),
        ("remote", "tcp://far.example.com:1234", "warning", f"ssh far.example.com {BINFMT} arm64"),
        ("remote", "unix:///run/buildkit.sock", "warning", f"{BINFMT} arm64"),
        ("kubernetes", "kubernetes:///b?deployment=", "warning",
         "docker buildx create --append --name b --node n --driver-opt qemu.install=true"),
    ],
)  # fmt: skip
def test_an_emulator_is_installed_where_the_node_runs(driver: str, endpoint: str, state: str, fix: str) -> None:
    facts = with_builder(driver, replace(node("n", "linux/amd64"), endpoint=endpoint))

    assert state_and_fix(facts, "platform linux/arm64") == (state, fix)


def test_one_command_installs_all_emulators() -> None:
    wanted = (
        "linux/arm/v7",
        "linux/arm/v6",
        "linux/amd64",
        "linux/s390x",
        "windows/amd64",
        "linux/mips",
        "linux/amd64/v4",
    )
    own = replace(node("n", "linux/amd64", own="linux/amd64"), endpoint="default")
    facts = with_builder("docker", own, platforms=wanted)

    for name in ("linux/arm/v7", "linux/arm/v6", "linux/s390x"):
        assert state_and_fix(facts, f"platform {name}") == ("error", f"{BINFMT} arm,s390x")
    for name in ("windows/amd64", "linux/mips", "linux/amd64/v4"):
        fix = f"docker buildx create --use --platform {name} ssh://USER@HOST"
        assert state_and_fix(facts, f"platform {name}") == ("error", fix)


def test_several_nodes_are_named() -> None:
    nodes = (node("one", "linux/amd64", own="linux/amd64"), node("two", "linux/arm64", given=["linux/arm64"]))
    facts = with_builder("docker-container", *nodes, platforms=["linux/amd64", "linux/arm64"])

    assert finding(facts, "platform linux/amd64").found == "native on one"
    assert finding(facts, "platform linux/arm64").found == "native or emulated on two"


def test_a_platform_that_is_given_to_a_node_is_not_one_that_it_offers() -> None:
    given = ["linux/amd64", "linux/s390x", "windows/amd64"]
    facts = with_builder("docker-container", node("n", "linux/amd64", own="linux/amd64", given=given), platforms=given)

    assert finding(facts, "platform linux/amd64").state == "ok"
    s390x, windows = finding(facts, "platform linux/s390x"), finding(facts, "platform windows/amd64")
    assert (s390x.state, s390x.fix.split()[-1]) == ("warning", "s390x")
    assert s390x.found == "not supported by n, unless its BuildKit includes an emulator"
    assert (windows.state, windows.found) == ("error", "cannot be built: it requires a machine of that platform")


def test_a_builder_at_rest_is_no_mistake() -> None:
    facts = with_builder("docker-container", node("n", given=["linux/arm64"], status="inactive"))

    assert finding(facts, "builder") == Finding(
        "builder", "ok", "b (docker-container), which starts with the first build"
    )
    assert state_and_fix(facts, "platform linux/arm64") == ("warning", "docker buildx inspect --bootstrap b")


def test_a_lost_node_is_told() -> None:
    facts = replace(WELL, uses=on(honest("lost-node", **FARM)))

    leave = "docker buildx create --name farm --leave --node arm"
    assert finding(facts, "builder") == Finding(
        "builder", "warning", "farm (docker-container): arm at unix:///nowhere/docker.sock does not respond", leave
    )
    arm64 = finding(facts, "platform linux/arm64")
    assert arm64 == Finding(arm64.check, "error", "cannot be built: arm builds it, and does not respond", leave)
    assert state_and_fix(facts, "platform linux/amd64") == ("warning", "docker buildx inspect --bootstrap farm")
    far = replace(WELL, uses=on(honest("remote")))
    assert state_and_fix(far, "builder") == ("error", "docker buildx use default")
    assert finding(far, "builder").found == "far (remote): far0 at tcp://far.example.com:1234 does not respond"
    chosen = replace(far, settings=frozenset({"BUILDX_BUILDER"}))
    assert state_and_fix(chosen, "builder") == ("error", "unset BUILDX_BUILDER")


def test_a_lost_node_hurts_what_is_given_to_no_node() -> None:
    """Buildx asks all nodes then, also for what another one offers."""
    here = node("here", *AMD64, "linux/arm64", own="linux/amd64", given=["linux/amd64"])
    lost = node("lost", status="inactive")

    one = with_builder("remote", here, lost, platforms=["linux/amd64"])
    both = with_builder("remote", here, lost, platforms=["linux/amd64", "linux/arm64"])

    assert finding(one, "platform linux/amd64") == Finding("platform linux/amd64", "ok", "native on here")
    assert finding(both, "platform linux/amd64").state == "ok"
    found = finding(both, "platform linux/arm64")
    assert found.state == "error"
    assert (
        found.found
        == "cannot be built: lost is needed, because no node is assigned this platform, and does not respond"
    )


def test_builders_of_several_images_are_told_apart() -> None:
    farm = replace(USE, name="farm", declared=True, builder=honest("lost-node", **FARM))
    gone = replace(USE, name="gone", declared=True, builder=Unanswered('no builder "gone"'), mismatch="it is not there")
    facts = replace(WELL, bakegen="bakegen -C there", uses=(USE, farm, gone))

    checks = [found.check for found in judge_facts(facts) if found.check.startswith(("builder", "platform"))]
    assert checks == [
        *("builder (current)", "builder farm", "builder gone"),
        *(f"platform linux/{arch} on {name}" for name in ("(current)", "farm", "gone") for arch in ("amd64", "arm64")),
    ]
    assert state_and_fix(facts, "builder gone") == ("error", "bakegen -C there builder create gone")
    assert state_and_fix(facts, "builder farm") == ("warning", "export BUILDX_BUILDER=default")
    assert finding(facts, "platform linux/arm64 on gone").found == "unknown, see builder gone"


AUTHENTICATE = "bakegen -C there authenticate --registry quay.io"


@pytest.mark.parametrize(
    ("result", "state", "fix"),
    [
        ("logged in", "ok", ""),
        ("no login needed", "ok", ""),
        ("no login", "warning", AUTHENTICATE),
        ("refused", "error", AUTHENTICATE),
        ("failing", "error", "docker login quay.io"),
        ("unreachable", "error", "docker login quay.io"),
    ],
)
def test_what_a_registry_answers_is_judged(result: LoginResult, state: str, fix: str) -> None:
    facts = replace(WELL, bakegen="bakegen -C there", registries=(checked(result, "why"),))

    assert state_and_fix(facts, "registry quay.io") == (state, fix)


@pytest.mark.parametrize(("result", "code"), [("unreachable", None), ("failing", None), ("failed", "no-docker")])
def test_without_an_engine_nobody_knows_why_a_registry_does_not_answer(
    result: LoginResult | Literal["failed"], code: Code | None
) -> None:
    facts = replace(without_engine(), registries=(checked(result, "server gave HTTP", code),))

    assert finding(facts, "registry quay.io").found == "unknown, see engine"
    assert finding(facts, "registry quay.io").fix == finding(facts, "engine").fix
    known = replace(facts, registries=(checked("failed", code="missing-helper"),))
    assert finding(known, "registry quay.io").state == "error"


def test_no_registry_steers_the_terminal() -> None:
    asked = checked("failing", "it asks for a login by \x1b[31mBasic")

    assert any("by \\x1b[31mBasic" in line for line in table_of(judge_facts(replace(WELL, registries=(asked,)))))


def test_the_plugin_matters_only_to_those_who_push_readmes() -> None:
    wanting = replace(WELL, project=replace(PROJECT, readmes=True))
    having = replace(wanting, docker=replace(DOCKER, plugins={"pushrm": "1.9.0"}))

    assert "docker-pushrm" not in [found.check for found in judge_facts(WELL)]
    assert finding(having, "docker-pushrm") == Finding("docker-pushrm", "ok", "1.9.0")
    assert finding(wanting, "docker-pushrm").state == "warning"
    assert "/docker-pushrm_$(docker version" in finding(wanting, "docker-pushrm").fix


@pytest.mark.parametrize(
    ("changes", "found", "fix"),
    [
        (Changes(new=("a", "b", "c"), changed=("docker-bake.hcl",)),
         "out of date: docker-bake.hcl, a, b and 1 more", "bakegen generate"),
        (Changes(new=("a",), edited=("b",)), "not created by bakegen: b", "bakegen generate --force"),
        (Changes(stale_records=True), "out of date: generated/bakegen.sums", "bakegen generate"),
        (Unanswered("templates/x:1: oh"), "templates/x:1: oh", "bakegen generate --check"),
    ],
)  # fmt: skip
def test_drift_is_told(changes: Changes | Unanswered, found: str, fix: str) -> None:
    assert finding(replace(WELL, outputs=changes), "generated files") == Finding("generated files", "error", found, fix)


# --- asking ---


def test_no_program_is_waited_for_longer_than_patience_allows(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with asking(0.2) as ask:
        reply = ask(["sh", "-c", f"(sleep 1; touch {mark}) & sleep 600"])
        assert reply == Reply(None, said="no response within 0.2 seconds")
    with asking(60) as ask:
        assert ask(["sh", "-c", "echo out; echo said >&2; exit 3"]) == Reply(3, "out\n", "said\n")
        assert ask([str(tmp_path / "nothing")]).code is None
    time.sleep(1)
    assert not mark.exists()  # what it had started was stopped, too


# --- the real thing ---

MANIFEST = """\
image: app
registries: [{repository}]
platforms: [linux/amd64, linux/arm64, linux/ppc64le]
template: Dockerfile.j2
releases: {{base: {{from: "tiny:1", tags: [base]}}}}
"""


def make_project(root: Path, repository: str = "localhost:5000/doctor") -> Path:
    (root / "manifest").mkdir(parents=True)
    (root / "templates").mkdir()
    (root / "manifest" / "app.yml").write_text(MANIFEST.format(repository=repository))
    (root / "templates" / "Dockerfile.j2").write_text("FROM {{ parent }}\n")
    assert run(root, ["generate"]).code == 0
    return root


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


Rows = Mapping[str, Mapping[str, str]]


def doctor(root: Path, *words: str, before: Sequence[str] = (), **environment: str) -> tuple[int, Rows]:
    """Run `bakegen doctor` in a process of its own; return its exit code, and what it found by check."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "bakegen", *words, "doctor", "--format", "json", "--quiet"],
        cwd=root,
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.stderr == ""
    rows = json.loads(done.stdout)
    assert [list(row) for row in rows] == [["check", "state", "found", "fix"]] * len(rows)
    return done.returncode, {row["check"]: row for row in rows}


def states(rows: Rows) -> dict[str, str]:
    return {check: row["state"] for check, row in rows.items()}


def config_with(buildx: Path, folder: Path) -> str:
    """A configuration of docker whose buildx is a copy of that one."""
    (folder / "cli-plugins").mkdir(parents=True)
    shutil.copy(buildx, folder / "cli-plugins" / "docker-buildx")
    return str(folder)


@engine
def test_a_declared_builder_is_the_one_that_counts(project: Path, docker_config: Path) -> None:
    file = project / "manifest" / "app.yml"
    file.write_text(f"{file.read_text()}builders: {{doctors-own: {{driver: docker-container}}}}\n")
    environment = {"DOCKER_CONFIG": str(docker_config)}

    code, rows = doctor(project, **environment)
    assert (code, rows["builder"]["state"]) == (1, "error")
    assert rows["builder"]["fix"] == "bakegen builder create doctors-own"

    command = [sys.executable, "-m", *rows["builder"]["fix"].split()]
    subprocess.run(command, cwd=project, env={**os.environ, **environment}, capture_output=True, check=True)
    code, rows = doctor(project, **environment)
    assert (code, rows["builder"]["state"]) == (0, "ok")
    assert rows["builder"]["found"] == "doctors-own (docker-container), which starts with the first build"
    assert rows["platform linux/arm64"]["fix"] == "docker buildx inspect --bootstrap doctors-own"
    assert doctor(project, BUILDX_BUILDER="default", **environment)[1]["builder"]["found"] == "default (docker)"


@engine
@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_what_settings_give_to_nodes_is_not_taken_for_what_they_offer(
    project: Path, registry: str, which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    assert registry
    manifest = project / "manifest" / "app.yml"
    manifest.write_text(
        re.sub("platforms: .*", "platforms: [linux/amd64, linux/arm64, linux/s390x]", manifest.read_text())
    )
    assert run(project, ["generate"]).code == 0
    environment = {
        "DOCKER_CONFIG": config_with(request.getfixturevalue(f"{which}_buildx"), tmp_path / "config"),
        "BUILDX_CONFIG": str(tmp_path / "buildx"),
        "BUILDX_BUILDER": "farm",
    }

    def create(*words: str) -> None:
        command = ["docker", "buildx", "create", "--name", "farm", "--driver", "remote", *words]
        subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=True)

    with endpoint(os.environ["DOCKER_HOST"]) as address:
        create("--node", "here", "--platform", "linux/amd64,linux/s390x", address)
        create("--append", "--node", "gone", "--platform", "linux/arm64", f"unix://{tmp_path}/nothing.sock")
        before = tree(tmp_path / "buildx", "instances")
        code, rows = doctor(project, **environment)

    assert (code, rows["builder"]["state"]) == (1, "warning")
    assert (rows["platform linux/amd64"]["state"], rows["platform linux/amd64"]["found"]) == (
        "ok",
        "native or emulated on here",
    )
    assert rows["platform linux/arm64"]["found"] == "cannot be built: gone builds it, and does not respond"
    assert rows["platform linux/s390x"]["found"] == "not supported by here, unless its BuildKit includes an emulator"
    assert [rows[f"platform linux/{arch}"]["state"] for arch in ("arm64", "s390x")] == ["error", "warning"]
    assert tree(tmp_path / "buildx", "instances") == before


@engine
def test_relative_folders_of_docker_and_buildx_are_found(project: Path, registry: str, newest_buildx: Path) -> None:
    config_with(newest_buildx, project / "own-docker")
    relative = {"DOCKER_CONFIG": "own-docker", "BUILDX_CONFIG": "own-buildx"}
    command = ["docker", "buildx", "create", "--name", "farm", "--use", "--platform", "linux/s390x"]
    subprocess.run(command, cwd=project, env={**os.environ, **relative}, capture_output=True, check=True)
    logins = {"auths": {registry: {"auth": encoded("ann:any")}}}
    (project / "own-docker" / "config.json").write_text(json.dumps(logins))

    rows = doctor(project, **relative)[1]

    assert rows["builder"]["found"] == "farm (docker-container), which starts with the first build"
    assert rows[f"registry {registry}"]["found"] == "logged in"


@engine
@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_all_is_well_on_the_engine(
    project: Path, registry: str, which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    config = config_with(request.getfixturevalue(f"{which}_buildx"), tmp_path / "config")
    before = tree(project)

    code, rows = doctor(project, DOCKER_CONFIG=config)

    assert code == 0, rows
    assert list(rows) == [
        *("docker client", "engine", "disk", "buildx", "builder", "manifests"),
        *("platform linux/amd64", "platform linux/arm64", "platform linux/ppc64le"),
        *(f"registry {registry}", "generated files"),
    ]
    said = subprocess.run(
        ["docker", "version", "--format", "{{.Client.Version}} {{.Server.Version}} {{.Server.Arch}}"],
        text=True, capture_output=True, check=True,
    ).stdout.split()  # fmt: skip
    assert [rows["docker client"]["found"], rows["engine"]["found"]] == said[:2]
    assert rows["buildx"]["found"].startswith("0.13." if which == "oldest" else "0.")
    assert rows["builder"]["found"] == "default (docker)"
    for arch in ("amd64", "arm64", "ppc64le"):
        assert rows[f"platform linux/{arch}"]["found"] == ("native" if arch == said[2] else "emulated")
    assert re.fullmatch(r"\d+\.\d GB free in /.*", rows["disk"]["found"])
    assert rows[f"registry {registry}"]["found"] == "no login needed"
    assert before == tree(project)


def test_without_docker_the_rest_is_still_checked(project: Path) -> None:
    code, rows = doctor(project, PATH="/nowhere")

    assert code == 1
    assert rows["docker client"] == {
        "check": "docker client",
        "state": "error",
        "found": "not found on PATH",
        "fix": "curl -fsSL https://get.docker.com | sudo sh",
    }
    for check in ("engine", "disk", "buildx", "builder", "platform linux/arm64"):
        assert (rows[check]["state"], rows[check]["fix"]) == ("warning", rows["docker client"]["fix"])
    assert (rows["manifests"]["state"], rows["generated files"]["state"]) == ("ok", "ok")


@engine
def test_a_client_without_an_engine(project: Path, registry: str) -> None:
    code, rows = doctor(project, DOCKER_HOST="unix:///nowhere/docker.sock")

    assert code == 1
    assert states(rows) == {
        "docker client": "ok",
        "engine": "error",
        "disk": "warning",
        "buildx": "ok",
        "builder": "warning",
        "manifests": "ok",
        "platform linux/amd64": "warning",
        "platform linux/arm64": "warning",
        "platform linux/ppc64le": "warning",
        f"registry {registry}": "warning",
        "generated files": "ok",
    }
    assert rows["engine"]["found"].startswith("Cannot connect to the Docker daemon at unix:///nowhere/docker.sock")
    assert rows["engine"]["fix"] == "unset DOCKER_HOST"


@engine
@only_root
def test_an_engine_without_emulators(project: Path, registry: str) -> None:
    assert registry
    with own_engine("--feature containerd-snapshotter=true --storage-driver native") as address:
        code, rows = doctor(project, DOCKER_HOST=address)
        arch = subprocess.run(
            ["docker", "--host", address, "version", "--format", "{{.Server.Arch}}"],
            text=True, capture_output=True, check=True,
        ).stdout.strip()  # fmt: skip

    others = [name for name in ("amd64", "arm64", "ppc64le") if name != arch]
    assert code == 1
    assert (rows["engine"]["state"], rows["builder"]["state"]) == ("ok", "ok")
    assert rows[f"platform linux/{arch}"]["found"] == "native"
    for name in others:
        row = rows[f"platform linux/{name}"]
        assert (row["state"], row["found"]) == ("error", "cannot be built: there is no emulator for it")
        assert row["fix"] == f"{BINFMT} {','.join(others)}"


@engine
@only_root
def test_an_engine_that_keeps_images_of_one_platform_only(project: Path, registry: str) -> None:
    assert registry
    with own_engine("--feature containerd-snapshotter=false --storage-driver vfs") as address:
        rows = doctor(project, DOCKER_HOST=address)[1]
        done = subprocess.run(
            ["docker", "--host", address, "buildx", "bake", "--set", "*.platform=linux/amd64,linux/arm64"],
            cwd=project, text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert "Multi-platform build is not supported for the docker driver" in done.stderr
        file = project / "manifest" / "app.yml"
        file.write_text(re.sub("platforms: .*", "platforms: [linux/amd64]", file.read_text()))
        assert doctor(project, DOCKER_HOST=address)[1]["builder"]["state"] == "ok"

    assert (rows["builder"]["state"], rows["builder"]["fix"]) == ("error", "docker buildx create --use")
    assert rows["builder"]["found"].startswith("default (docker): builds one platform at a time")


@engine
def test_an_old_buildx_is_replaced_by_what_the_fix_says(
    project: Path, registry: str, oldest_buildx: Path, newest_buildx: Path, tmp_path: Path
) -> None:
    """Docker's image of buildx cannot be had here, so one that is made like it stands in."""
    file = project / "manifest" / "app.yml"
    file.write_text(f'buildx: "0.20"\n{file.read_text()}')
    assert run(project, ["generate"]).code == 0
    config = config_with(oldest_buildx, tmp_path / "config")
    shutil.copy(newest_buildx, tmp_path / "buildx")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY buildx /buildx\n")
    image = f"{registry}/docker/buildx-bin"
    subprocess.run(["docker", "buildx", "build", "--push", "--tag", image, tmp_path], capture_output=True, check=True)

    code, rows = doctor(project, DOCKER_CONFIG=config)
    assert code == 1
    assert re.fullmatch(r"0\.13\.\S+; 0\.20 or newer is required", rows["buildx"]["found"])
    assert rows["platform linux/amd64"]["state"] == "ok"

    subprocess.run(
        ["sh", "-c", rows["buildx"]["fix"]],
        env={**os.environ, "DOCKER_CONFIG": config},
        capture_output=True,
        check=True,
    )
    subprocess.run(["docker", "rmi", "docker/buildx-bin"], capture_output=True, check=False)
    code, rows = doctor(project, DOCKER_CONFIG=config)
    assert (code, rows["buildx"]["state"]) == (0, "ok")


@engine
def test_no_buildx_at_all(project: Path, registry: str, tmp_path: Path) -> None:
    assert registry
    (tmp_path / "config").mkdir()

    code, rows = doctor(project, DOCKER_CONFIG=str(tmp_path / "config"))

    assert (code, rows["buildx"]["state"], rows["buildx"]["found"]) == (1, "error", "not found")
    assert (rows["builder"]["state"], rows["builder"]["fix"]) == ("warning", rows["buildx"]["fix"])
    assert rows["engine"]["state"] == "ok"


@engine
def test_a_socket_that_may_not_be_used(project: Path, registry: str) -> None:
    assert registry
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        file = Path(folder, "docker.sock")
        listener.bind(str(file))
        file.chmod(0)
        # Root may use every socket, unless it gives that up.
        plain = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        code, rows = doctor(project, before=plain, DOCKER_HOST=f"unix://{file}")

    assert code == 1
    assert rows["engine"]["found"] == f"permission denied: unix://{file}"
    assert rows["engine"]["fix"] == 'sudo usermod -aG docker "$USER" && newgrp docker'
    assert (rows["builder"]["state"], rows["builder"]["fix"]) == ("warning", rows["engine"]["fix"])
    assert (rows["docker client"]["state"], rows["generated files"]["state"]) == ("ok", "ok")


@pytest.fixture
def silent_engine() -> Iterator[str]:
    """The address of something that lets everyone in and says nothing."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/docker.sock")
        listener.listen(100)
        yield f"unix://{folder}/docker.sock"


@engine
def test_an_engine_that_hangs_is_not_waited_for(
    project: Path, registry: str, silent_engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bakegen.doctor.collect.PATIENCE", 2)
    monkeypatch.setenv("DOCKER_HOST", silent_engine)

    outcome = run(project, ["doctor", "--format", "json"])

    rows = {row["check"]: row for row in json.loads(outcome.stdout)}
    assert outcome.code == 1
    assert rows["docker client"]["state"] == "ok"
    assert rows[f"registry {registry}"]["found"] == "unknown, see engine"
    assert (rows["engine"]["state"], rows["engine"]["found"]) == ("error", "no response within 2 seconds")
    assert (rows["builder"]["state"], rows["builder"]["fix"]) == ("warning", "unset DOCKER_HOST")
    assert outcome.stderr.splitlines()[-1] == "1 error, 6 warnings"


def children(pid: int) -> list[int]:
    done = subprocess.run(["pgrep", "--parent", str(pid)], text=True, capture_output=True, check=False)
    return [int(word) for word in done.stdout.split()]


@engine
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_stops_whatever_was_asked(
    project: Path, registry: str, silent_engine: str, number: signal.Signals, code: int
) -> None:
    assert registry
    process = subprocess.Popen(
        [sys.executable, "-m", "bakegen", "doctor"],
        cwd=project,
        env={**os.environ, "DOCKER_HOST": silent_engine},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(children(process.pid)) > 2 or process.poll() is not None)
    asked = children(process.pid)

    process.send_signal(number)
    out, said = process.communicate(timeout=20)

    assert (process.returncode, out) == (code, "")
    assert "Traceback" not in said
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in asked), 20)


@engine
def test_a_registry_that_is_down(tmp_path: Path, registry: str) -> None:
    assert registry
    host = f"localhost:{free_port()}"
    root = make_project(tmp_path / "project", f"{host}/app")

    code, rows = doctor(root)
    without_docker = doctor(root, PATH="/nowhere")[1]

    row = rows[f"registry {host}"]
    assert (code, row["state"], row["fix"]) == (1, "error", f"docker login {host}")
    assert row["found"].startswith(f"{host} is unreachable: dial tcp")
    assert row["found"].endswith("connect: connection refused")
    row = without_docker[f"registry {host}"]
    assert (row["state"], row["found"]) == ("warning", "unknown, see docker client")
    assert row["fix"] == without_docker["docker client"]["fix"]


@engine
def test_bakegen_registry_is_the_one_that_is_checked(project: Path, guarded_registry: GuardedRegistry) -> None:
    rows = doctor(project, BAKEGEN_REGISTRY=f"{guarded_registry.host}/me")[1]

    assert [check for check in rows if check.startswith("registry")] == [f"registry {guarded_registry.host}"]
    assert rows[f"registry {guarded_registry.host}"]["found"] == f"not logged in to {guarded_registry.host}"


@engine
@only_root
def test_a_registry_without_tls_that_the_engine_is_told_of_is_well(tmp_path: Path, registry: str) -> None:
    assert registry
    host = f"{own_address()}:{free_port()}"
    root = make_project(tmp_path / "project", f"{host}/app")
    settings = f"version: 0.1\nstorage: {{inmemory: {{}}}}\nhttp: {{addr: '{host}', secret: test}}\n"
    (tmp_path / "config.yml").write_text(settings)
    with subprocess.Popen(
        ["docker-registry", "serve", "config.yml"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            with own_engine(f"--insecure-registry {host}") as address:
                told = doctor(root, DOCKER_HOST=address)[1][f"registry {host}"]
            untold = doctor(root)[1][f"registry {host}"]
        finally:
            server.terminate()

    assert (told["state"], told["found"]) == ("ok", "no login needed")
    assert (untold["state"], untold["found"].partition(":")[0]) == ("error", host.partition(":")[0])


@engine
def test_a_registry_that_wants_a_login(tmp_path: Path, guarded_registry: GuardedRegistry, docker_config: Path) -> None:
    host = guarded_registry.host
    root = make_project(tmp_path / "project", f"{host}/app")

    def asked() -> tuple[int, str, str]:
        code, rows = doctor(root, DOCKER_CONFIG=str(docker_config))
        return code, rows[f"registry {host}"]["state"], rows[f"registry {host}"]["fix"]

    assert asked() == (0, "warning", f"bakegen authenticate --registry {host}")

    def log_in(password: str) -> None:
        file = docker_config / "config.json"
        file.unlink(missing_ok=True)
        command = ["docker", "login", host, "--username", guarded_registry.user, "--password-stdin"]
        subprocess.run(command, input=password, text=True, capture_output=True, check=True)

    log_in(guarded_registry.password)
    assert asked() == (0, "ok", "")
    stored = json.loads((docker_config / "config.json").read_text())
    stored["auths"][host]["auth"] = "YW5uOndyb25n"  # ann:wrong
    (docker_config / "config.json").write_text(json.dumps(stored))
    assert asked() == (1, "error", f"bakegen authenticate --registry {host}")


@engine
def test_logins_that_cannot_be_read_are_told(project: Path, registry: str, docker_config: Path) -> None:
    (docker_config / "config.json").write_text("{")

    code, rows = doctor(project, DOCKER_CONFIG=str(docker_config))

    row = rows[f"registry {registry}"]
    assert (code, row["state"]) == (1, "error")
    assert "config.json cannot be read" in row["found"]
    assert row["fix"].endswith(f"&& bakegen authenticate --registry {registry}")


def test_a_broken_manifest_keeps_nothing_else_from_being_checked(project: Path) -> None:
    (project / "manifest" / "app.yml").write_text("image: app\nplatfroms: [linux/amd64]\ntag: latest\n")

    code, rows = doctor(project, PATH="/nowhere")

    assert code == 1
    assert list(rows) == ["docker client", "engine", "disk", "buildx", "builder", "manifests"]
    assert rows["manifests"]["state"] == "error"
    assert re.fullmatch(r"manifest/app\.yml:\d+:\d+: .+, and \d more", rows["manifests"]["found"])
    assert rows["manifests"]["fix"] == "bakegen validate"


def test_what_does_not_render_is_told(project: Path) -> None:
    (project / "templates" / "Dockerfile.j2").write_text("FROM {{ parnet }}\n")

    code, rows = doctor(project, PATH="/nowhere")

    assert (code, rows["manifests"]["state"], rows["generated files"]["state"]) == (1, "ok", "error")
    assert "parnet" in rows["generated files"]["found"]


def test_drift_is_found_and_mended(project: Path) -> None:
    bake_file = project / "docker-bake.hcl"
    content = bake_file.read_bytes()
    (project / "templates" / "Dockerfile.j2").write_text("FROM {{ parent }}\nRUN true\n")

    code, rows = doctor(project.parent, "-C", "project", PATH="/nowhere")
    assert (code, rows["generated files"]["state"]) == (1, "error")
    assert rows["generated files"]["fix"] == "bakegen -C project generate"
    assert run(project, ["generate"]).code == 0
    assert doctor(project, PATH="/nowhere")[1]["generated files"]["state"] == "ok"
    bake_file.write_bytes(content + b"# mine\n")
    rows = doctor(project, PATH="/nowhere")[1]
    assert rows["generated files"]["found"] == "not created by bakegen: docker-bake.hcl"
    assert rows["generated files"]["fix"] == "bakegen generate --force"


def test_another_run_is_not_waited_for(project: Path) -> None:
    with lock(project):
        rows = doctor(project, PATH="/nowhere")[1]

    assert rows["generated files"]["found"] == "another bakegen process is running here"
    assert rows["generated files"]["fix"] == "bakegen generate --check"


@engine
def test_outside_of_a_project_docker_is_checked(tmp_path: Path, registry: str) -> None:
    assert registry
    code, rows = doctor(tmp_path)

    assert (code, list(rows)) == (0, ["docker client", "engine", "disk", "buildx", "builder", "manifests"])
    assert (rows["manifests"]["state"], rows["manifests"]["fix"]) == ("warning", "bakegen -C DIR doctor")


def test_a_terminal_shows_colours_and_how_far_it_is(project: Path) -> None:
    shown = on_terminal(sys.executable, "-m", "bakegen", "-C", str(project), "doctor", PATH="/nowhere")

    assert "[1/5] generated files" in shown
    lines = shown.rpartition("\x1b[K")[2].splitlines()
    assert lines[0].split() == ["CHECK", "STATE", "FOUND"]
    assert lines[1].split() == ["docker", "client", "\x1b[31merror\x1b[0m", "not", "found", "on", "PATH"]
    assert lines[2].split()[0] == "fix:"
    assert "\x1b[33mwarning\x1b[0m" in lines[3]
    assert "\x1b[32mok\x1b[0m" in "".join(lines)
    columns = {
        re.sub(r"\x1b\[\d*m", "", line).index(word)
        for line, word in zip(lines[:3], ("STATE", "error", "fix:"), strict=True)
    }
    assert len(columns) == 1


def test_a_fix_is_said_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    outcome = run(project, ["doctor"])

    assert outcome.code == 1
    assert outcome.stdout.count("fix:") == outcome.stdout.count("https://get.docker.com") + outcome.stdout.count(
        "curl --verbose"
    )
    assert outcome.stdout.count("https://get.docker.com") == 1
