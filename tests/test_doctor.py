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
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import run, tree
from registries import GuardedRegistry, free_port, wait_for
from test_console import on_terminal

from bakegen.docker.buildx import Buildx
from bakegen.docker.inspect import Builder, Node, node_for, read_builder, way_of
from bakegen.docker.process import Reply, asking
from bakegen.doctor.facts import Asked, Docker, Engine, Facts, Failure, Needs, Site
from bakegen.doctor.findings import Finding, judge
from bakegen.output.compare import Changes
from bakegen.output.lock import lock
from bakegen.registries.answers import Answer, Result

engine = pytest.mark.engine
RECORDED = Path(__file__).parent / "data" / "inspect"  # what `docker buildx inspect` of that version printed
AMD64 = ("linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4")
BINFMT = "docker run --privileged --rm tonistiigi/binfmt --install"


# --- builders ---


def recorded(name: str) -> Builder:
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
    assert farm.nodes[0] == Node(
        name="farm0",
        endpoint="unix:///var/run/docker.sock",
        status="inactive",
        platforms=("linux/amd64",),
        claimed=("linux/amd64",),
    )
    assert (farm.nodes[1].name, farm.nodes[1].complaint[:14], farm.nodes[1].status) == ("arm", "Cannot connect", "")
    assert [node.endpoint for node in recorded("remote").nodes] == ["tcp://far.example.com:1234"]


def node(name: str, *platforms: str, own: str = "", claimed: Sequence[str] = (), status: str = "running") -> Node:
    return Node(name=name, endpoint=name, status=status, platforms=platforms, claimed=tuple(claimed), own=own)


@pytest.mark.parametrize(
    ("platform", "own", "way"),
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
def test_a_machine_runs_what_is_of_its_kind(platform: str, own: str, way: str) -> None:
    assert way_of(node("a", platform, own=own), platform) == way


def test_settings_say_nothing_of_how_a_node_builds() -> None:
    given = node("a", "linux/arm64", "linux/amd64", own="linux/amd64", claimed=["linux/arm64", "linux/amd64"])

    assert (way_of(given, "linux/arm64"), way_of(given, "linux/amd64")) == ("unknown", "native")


def test_the_node_is_the_one_that_buildx_takes() -> None:
    first = node("first", "linux/amd64", "linux/arm64", own="linux/amd64")
    asleep = node("asleep", "linux/s390x", status="inactive")
    given = node("given", "linux/arm64", claimed=["linux/arm64"])
    arm = node("arm", "linux/arm/v7", "linux/arm/v6")

    def chosen(platform: str, *nodes: Node) -> str:
        found = node_for(nodes, platform)
        return found.name if found else ""

    assert chosen("linux/arm64", first, given) == "given"
    assert chosen("linux/arm64", first, replace(given, claimed=())) == "first"
    assert chosen("linux/amd64", given, first) == "first"
    assert chosen("linux/arm/v5", first, arm) == "arm"
    assert chosen("linux/arm/v7", replace(arm, platforms=("linux/arm/v6",))) == ""
    assert chosen("linux/s390x", first, asleep) == ""


# --- findings ---

ENGINE = Engine(version="28.5.2", several=True, folder="/var/lib/docker", free=50 * 10**9)
DOCKER = Docker(version="28.5.2", plugins={"buildx": "0.29.1"}, address="unix:///var/run/docker.sock", engine=ENGINE)
NEEDS = Needs(manifests=1, targets=3, buildx=(0, 13), readmes=False)
LOCAL = Builder(
    name="default",
    driver="docker",
    nodes=(replace(node("default", *AMD64, "linux/arm64", own="linux/amd64"), endpoint="default"),),
)
SITE = Site(platforms=("linux/amd64", "linux/arm64"), several=True, told=LOCAL)
WELL = Facts(
    system="linux",
    settings=frozenset(),
    bakegen="bakegen",
    docker=DOCKER,
    buildx=Buildx(("docker", "buildx"), (0, 29), "0.29.1"),
    sites=(SITE,),
    needs=NEEDS,
    registries=(),
    outputs=Changes(unchanged=("docker-bake.hcl",)),
)


def on(told: Builder | Failure | None, **more: Any) -> tuple[Site, ...]:
    """One builder, of which that is told."""
    return (replace(SITE, told=told, **more),)


def finding(facts: Facts, check: str) -> Finding:
    [found] = [found for found in judge(facts) if found.check == check]
    return found


def state_and_fix(facts: Facts, check: str) -> tuple[str, str]:
    found = finding(facts, check)
    return found.state, found.fix


def without_engine(said: str = "Cannot connect", **more: Any) -> Facts:
    return replace(WELL, docker=replace(DOCKER, engine=Failure(said), **more), sites=on(recorded("no-engine")))


def test_all_is_well() -> None:
    assert judge(WELL) == [
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
    "no docker": replace(WELL, docker=None, buildx=None, sites=on(None)),
    "broken docker": replace(WELL, docker=Failure("exec format error"), buildx=None, sites=on(None)),
    "no engine": without_engine(),
    "silent engine": without_engine("no answer within 25 seconds", plugins=None, address=""),
    "no buildx": replace(WELL, buildx=None, sites=on(None)),
    "no builder": replace(WELL, sites=on(Failure('no builder "x" found'))),
    "odd builder": replace(WELL, sites=on(Builder(name="x", driver="docker-container"))),
    "no emulation": replace(WELL, sites=on(recorded("without-qemu"))),
    "farm": replace(WELL, sites=on(recorded("lost-node"))),
    "remote": replace(WELL, sites=on(recorded("remote"))),
    "no project": replace(WELL, needs=None, sites=(Site(told=LOCAL),), outputs=None),
    "broken manifest": replace(
        WELL, needs=Failure("manifest/app.yml:1:1: oh"), sites=(Site(told=LOCAL),), outputs=None
    ),
    "registries": replace(WELL, registries=Failure("they clash")),
    "no plugins": replace(WELL, docker=replace(DOCKER, plugins=None), sites=on(recorded("without-qemu"))),
    "no image store": replace(WELL, docker=replace(DOCKER, engine=replace(ENGINE, several=False))),
    "broken logins": replace(WELL, registries=(Asked("quay.io", "https://quay.io/v2/", Failure("no JSON")),)),
    "stale": replace(WELL, outputs=Changes(new=("docker-bake.hcl",))),
}


@pytest.mark.parametrize("name", SOME_FACTS)
@pytest.mark.parametrize("readmes", [False, True])
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_whatever_is_not_well_comes_with_a_fix(name: str, readmes: bool, system: str) -> None:
    facts = replace(SOME_FACTS[name], system=system)
    needs = replace(facts.needs, readmes=readmes) if isinstance(facts.needs, Needs) else facts.needs
    found = judge(replace(facts, needs=needs))

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
    assert finding(facts, "platform linux/amd64").found == "not known, because of the builder"


@pytest.mark.parametrize(
    ("version", "least", "state"),
    [((0, 13), (0, 13), "ok"), ((0, 12), (0, 13), "error"), ((0, 19), (0, 20), "error"), ((1, 0), (0, 20), "ok")],
)
def test_buildx_is_held_against_what_the_manifests_need(
    version: tuple[int, int], least: tuple[int, int], state: str
) -> None:
    facts = replace(WELL, buildx=Buildx(("buildx",), version, "x"), needs=replace(NEEDS, buildx=least))

    assert finding(facts, "buildx").state == state
    assert finding(facts, "platform linux/amd64").state == "ok"  # it can be asked all the same
    assert finding(replace(facts, needs=None), "buildx").state == ("ok" if version >= (0, 13) else "error")


def with_builder(driver: str, *nodes: Node, platforms: Sequence[str] = ("linux/arm64",), **more: Any) -> Facts:
    builder = Builder(name="b", driver=driver, nodes=nodes)
    return replace(WELL, sites=on(builder, platforms=tuple(platforms)), **more)


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
    nodes = (node("one", "linux/amd64", own="linux/amd64"), node("two", "linux/arm64", claimed=["linux/arm64"]))
    facts = with_builder("docker-container", *nodes, platforms=["linux/amd64", "linux/arm64"])

    assert finding(facts, "platform linux/amd64").found == "native on one"
    assert finding(facts, "platform linux/arm64").found == "offered; native or emulated is not known on two"


def test_a_builder_at_rest_is_no_mistake() -> None:
    facts = with_builder("docker-container", node("n", status="inactive"))

    assert finding(facts, "builder") == Finding(
        "builder", "ok", "b (docker-container), which starts with the first build"
    )
    assert state_and_fix(facts, "platform linux/arm64") == ("warning", "docker buildx inspect --bootstrap b")


def test_a_lost_node_is_told() -> None:
    facts = replace(WELL, sites=on(recorded("lost-node")))

    assert finding(facts, "builder") == Finding(
        "builder",
        "warning",
        "farm (docker-container): arm at unix:///nowhere/docker.sock does not answer",
        "docker buildx create --name farm --leave --node arm",
    )
    far = replace(WELL, sites=on(recorded("remote")))
    assert state_and_fix(far, "builder") == ("error", "docker buildx use default")
    assert finding(far, "builder").found == "far (remote): far0 at tcp://far.example.com:1234 does not answer"
    chosen = replace(far, settings=frozenset({"BUILDX_BUILDER"}))
    assert state_and_fix(chosen, "builder") == ("error", "unset BUILDX_BUILDER")


def test_builders_of_several_images_are_told_apart() -> None:
    farm = replace(SITE, name="farm", declared=True, told=recorded("lost-node"))
    gone = replace(SITE, name="gone", declared=True, told=Failure('no builder "gone"'), mismatch="it is not there")
    facts = replace(WELL, bakegen="bakegen -C there", sites=(SITE, farm, gone))

    checks = [found.check for found in judge(facts) if found.check.startswith(("builder", "platform"))]
    assert checks == [
        *("builder (current)", "builder farm", "builder gone"),
        *(f"platform linux/{arch} on {name}" for name in ("(current)", "farm", "gone") for arch in ("amd64", "arm64")),
    ]
    assert state_and_fix(facts, "builder gone") == ("error", "bakegen -C there builder create gone")
    assert state_and_fix(facts, "builder farm") == ("warning", "export BUILDX_BUILDER=default")
    assert finding(facts, "platform linux/arm64 on gone").found == "not known, because of the builder gone"


@pytest.mark.parametrize(
    ("result", "state", "fix"),
    [
        ("logged in", "ok", ""),
        ("no login needed", "ok", ""),
        ("no login", "warning", "bakegen -C there authenticate --registry quay.io"),
        ("refused", "error", "bakegen -C there authenticate --registry quay.io"),
        ("failing", "error", "curl --verbose https://quay.io/v2/"),
        ("unreachable", "error", "curl --verbose https://quay.io/v2/"),
    ],
)
def test_what_a_registry_answers_is_judged(result: Result, state: str, fix: str) -> None:
    asked = Asked("quay.io", "https://quay.io/v2/", Answer(result, "why"))
    facts = replace(WELL, bakegen="bakegen -C there", registries=(asked,))

    assert state_and_fix(facts, "registry quay.io") == (state, fix)


def test_no_registry_steers_the_terminal() -> None:
    asked = Asked("quay.io", "https://quay.io/v2/", Answer("failing", "it asks for a login by \x1b[31mBasic"))

    assert "by \\x1b[31mBasic" in finding(replace(WELL, registries=(asked,)), "registry quay.io").found


def test_the_plugin_matters_only_to_those_who_push_readmes() -> None:
    wanting = replace(WELL, needs=replace(NEEDS, readmes=True))
    having = replace(wanting, docker=replace(DOCKER, plugins={"pushrm": "1.9.0"}))

    assert "docker-pushrm" not in [found.check for found in judge(WELL)]
    assert finding(having, "docker-pushrm") == Finding("docker-pushrm", "ok", "1.9.0")
    assert finding(wanting, "docker-pushrm").state == "warning"
    assert "/docker-pushrm_$(docker version" in finding(wanting, "docker-pushrm").fix


@pytest.mark.parametrize(
    ("changes", "found", "fix"),
    [
        (Changes(new=("a", "b", "c"), changed=("docker-bake.hcl",)),
         "not what the manifests say: docker-bake.hcl, a, b and 1 more", "bakegen generate"),
        (Changes(new=("a",), edited=("b",)), "not of bakegen's making: b", "bakegen generate --force"),
        (Changes(stale_records=True), "not what the manifests say: generated/bakegen.sums", "bakegen generate"),
        (Failure("templates/x:1: oh"), "templates/x:1: oh", "bakegen generate --check"),
    ],
)  # fmt: skip
def test_drift_is_told(changes: Changes | Failure, found: str, fix: str) -> None:
    assert finding(replace(WELL, outputs=changes), "generated files") == Finding("generated files", "error", found, fix)


# --- asking ---


def test_no_program_is_waited_for_longer_than_patience_allows(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with asking(0.2) as ask:
        reply = ask(["sh", "-c", f"(sleep 1; touch {mark}) & sleep 600"])
        assert reply == Reply(None, said="no answer within 0.2 seconds")
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
    assert rows[f"registry {registry}"]["found"] == "answers, and wants no login"
    assert before == tree(project)


def test_without_docker_the_rest_is_still_checked(project: Path) -> None:
    code, rows = doctor(project, PATH="/nowhere")

    assert code == 1
    assert rows["docker client"] == {
        "check": "docker client",
        "state": "error",
        "found": "there is none on PATH",
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
        f"registry {registry}": "ok",
        "generated files": "ok",
    }
    assert rows["engine"]["found"].startswith("Cannot connect to the Docker daemon at unix:///nowhere/docker.sock")
    assert rows["engine"]["fix"] == "unset DOCKER_HOST"


@contextmanager
def own_engine(*options: str) -> Iterator[str]:
    """Run a real engine that finds no emulators; yield its address.

    It lives in a user namespace of its own, which since Linux 6.7 can have its own list of binary formats: an empty
    one. The machine's list stays as it is.
    """
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:  # a path short enough for a socket
        address = f"unix://{folder}/docker.sock"
        script = (
            "read -r _ && exec unshare --mount sh -c '"
            "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc && exec dockerd --config-file /dev/null"
            f" --data-root {folder}/data --exec-root {folder}/run --pidfile {folder}/pid --host {address}"
            f" --bridge none --iptables=false --ip6tables=false {' '.join(options)}'"
        )
        file = Path(folder, "log")
        with (
            file.open("w") as log,
            subprocess.Popen(
                ["unshare", "--user", "sh", "-c", script], stdin=subprocess.PIPE, stdout=log, stderr=log, text=True
            ) as process,
        ):
            try:
                space = Path(f"/proc/{process.pid}/ns/user")
                wait_for(lambda: space.readlink() != Path("/proc/self/ns/user").readlink())
                for kind in ("uid", "gid"):
                    Path(f"/proc/{process.pid}/{kind}_map").write_text("0 0 4294967295\n")
                assert process.stdin
                process.stdin.write("\n")
                process.stdin.flush()
                command = ["docker", "--host", address, "version"]
                wait_for(
                    lambda: (
                        process.poll() is not None
                        or subprocess.run(command, capture_output=True, check=False).returncode == 0
                    )
                )
                said = file.read_text()
                if "binfmt_misc" in said and process.poll() is not None:
                    pytest.skip("this kernel has one list of binary formats for all")
                assert process.poll() is None, said
                yield address
            finally:
                process.terminate()
                process.wait(30)


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run an engine")


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
        assert (row["state"], row["found"]) == ("error", "not at all: there is no emulator for it")
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
    assert rows["builder"]["found"].startswith("default (docker): it builds for one platform at a time")


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
    assert re.fullmatch(r"0\.13\.\S+, and 0\.20 or newer is needed", rows["buildx"]["found"])
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

    assert (code, rows["buildx"]["state"], rows["buildx"]["found"]) == (1, "error", "there is none")
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
    assert rows["engine"]["found"] == f"you may not use unix://{file}"
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
    monkeypatch.setattr("bakegen.doctor.gather.PATIENCE", 2)
    monkeypatch.setenv("DOCKER_HOST", silent_engine)

    outcome = run(project, ["doctor", "--format", "json"])

    rows = {row["check"]: row for row in json.loads(outcome.stdout)}
    assert outcome.code == 1
    assert (rows["docker client"]["state"], rows[f"registry {registry}"]["state"]) == ("ok", "ok")
    assert (rows["engine"]["state"], rows["engine"]["found"]) == ("error", "no answer within 2 seconds")
    assert (rows["builder"]["state"], rows["builder"]["fix"]) == ("warning", "unset DOCKER_HOST")
    assert outcome.stderr.splitlines()[-1] == "1 error, 5 warnings"


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


def test_a_registry_that_is_down(tmp_path: Path) -> None:
    host = f"localhost:{free_port()}"

    code, rows = doctor(make_project(tmp_path / "project", f"{host}/app"), PATH="/nowhere")

    row = rows[f"registry {host}"]
    assert (code, row["state"], row["found"]) == (1, "error", "does not answer: Connection refused")
    assert row["fix"] == f"curl --verbose http://{host}/v2/"


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
    assert rows["generated files"]["found"] == "not of bakegen's making: docker-bake.hcl"
    assert rows["generated files"]["fix"] == "bakegen generate --force"


def test_another_run_is_not_waited_for(project: Path) -> None:
    with lock(project):
        rows = doctor(project, PATH="/nowhere")[1]

    assert rows["generated files"]["found"] == "another bakegen is at work here"
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
    assert lines[1].split() == ["docker", "client", "\x1b[31merror\x1b[0m", "there", "is", "none", "on", "PATH"]
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
