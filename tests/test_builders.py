"""Builders: what manifests declare of them, what buildx makes of that, and what is built on them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from buildkit import endpoint, second_engine
from harness import Outcome, run
from test_build import HOST, bakes, digest_of, processes, wait_for
from test_engine import platforms_of, tags_in

from bakegen.build.builders import choose_builder, compare_instance
from bakegen.docker.endpoints import default_endpoint
from bakegen.docker.instances import Instance, read_instance
from bakegen.errors import BakegenError
from bakegen.manifest.load import load_manifest
from bakegen.manifest.model import Builder, Manifest
from bakegen.spec.builder_drivers import DRIVERS, endpoint_mistake, option_mistake

engine = pytest.mark.engine

MANIFEST = """\
image: {image}
registries: ["{registry}/{image}"]
platforms: [linux/amd64, linux/arm64, linux/ppc64le]
template: Dockerfile.j2
dockerfile: "{{{{ release }}}}/Dockerfile"
releases:
  base: {{from: "tiny:1", tags: [base], publish: false}}
  runtime: {{from: base, tags: ["1.0", latest]}}
  other: {{from: base, tags: [other]}}
"""
# Without a network, as the second engine has none to give.
TEMPLATE = "FROM {{ parent }}\nRUN --network=none echo {{ image }} {{ release }} > /made\n"


def declare(folder: Path, builders: str, image: str = "app") -> Manifest:
    """Read a manifest that declares builders."""
    file = folder / f"{image}.yml"
    file.write_text(f"image: {image}\nplatforms: [linux/amd64]\nfrom: scratch\ntags: [one]\nbuilders: {{{builders}}}\n")
    return load_manifest(file, folder)


def one(folder: Path, content: str) -> Builder:
    return declare(folder, f"farm: {{{content}}}").builders[0]


def node(name: str, at: str = "unix:///here", platforms: str = "", **more: Any) -> dict[str, Any]:
    """A node as buildx keeps it."""
    parts = [platform.split("/") for platform in platforms.split()]
    kept = [dict(zip(("os", "architecture", "variant"), part, strict=False)) for part in parts]
    return {"Name": name, "Endpoint": at, "Platforms": kept, "DriverOpts": None, "Flags": None, "Files": None} | more


# --- what is declared ---


@pytest.mark.parametrize(
    ("driver", "text", "right"),
    [
        ("docker-container", "", True),
        ("docker-container", "my-context", True),
        ("docker-container", "ssh://build@power.example.com", True),
        ("docker-container", "ssh://power:2222", True),
        ("docker-container", "tcp://[::1]:2376", True),
        ("docker-container", "tcp://build.example.com", False),
        ("docker-container", "unix://relative.sock", False),
        ("docker-container", "--use", False),
        ("docker-container", "fd://3", False),
        ("remote", "", False),
        ("remote", "power", False),
        ("remote", "unix:///run/buildkit/buildkitd.sock", True),
        ("remote", "tcp://10.0.0.1:1234", True),
        ("remote", "ssh://-oProxyCommand=reboot", False),
        ("remote", "ssh://-lroot@host", False),
        ("remote", "ssh://user:secret@host", False),
        ("remote", "ssh://me@host/run/user/1000/buildkit-2/buildkitd.sock", True),
        ("remote", "ssh://host/run/$(reboot)", False),
        ("remote", "ssh://host/run/%3Breboot", False),
        ("docker-container", "ssh://host/run/a;reboot", False),
        ("remote", "docker-container://buildkitd", False),
        ("remote", "unix:///a b", False),
        ("kubernetes", "", True),
        ("kubernetes", "tcp://10.0.0.1:6443", False),
    ],
)
def test_endpoints_name_a_place_and_nothing_else(driver: str, text: str, right: bool) -> None:
    assert (endpoint_mistake(driver, text) == "") is right


@pytest.mark.parametrize(
    ("driver", "option", "right"),
    [
        ("docker-container", "memory", True),
        ("docker-container", "env.HTTP_PROXY", True),
        ("docker-container", "env.", False),
        ("docker-container", "replicas", False),
        ("kubernetes", "replicas", True),
        ("remote", "env.A", False),
    ],
)
def test_options_are_those_of_the_driver(driver: str, option: str, right: bool) -> None:
    assert (option_mistake(driver, option) == "") is right


def test_options_of_a_node_go_on_top_and_are_text(tmp_path: Path) -> None:
    builder = one(
        tmp_path,
        "driver: kubernetes, options: {replicas: 4, rootless: false, namespace: b}, "
        "nodes: [{platforms: [linux/arm64], options: {replicas: 1}}, {options: {qemu.install: true}}]",
    )

    assert [dict(node.options) for node in builder.nodes] == [
        {"replicas": "1", "rootless": "false", "namespace": "b"},
        {"replicas": "4", "rootless": "false", "namespace": "b", "qemu.install": "true"},
    ]


def test_the_first_builder_must_be_for_all_platforms_and_others_need_not(tmp_path: Path) -> None:
    nodes = "nodes: [{platforms: [linux/arm64]}]"
    declare(tmp_path, f"farm: {{driver: kubernetes}}, small: {{driver: kubernetes, {nodes}}}")
    with pytest.raises(BakegenError, match=r'no node of the builder "small" \(app\.yml:5:12\) builds for linux/amd64'):
        declare(tmp_path, f"small: {{driver: kubernetes, {nodes}}}, farm: {{driver: kubernetes}}")


# --- which builder builds ---


def test_who_names_the_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUILDX_BUILDER", raising=False)
    plain = load_manifest_without_builders(tmp_path)
    app = declare(tmp_path, "farm: {driver: kubernetes}, far: {driver: docker-container}")
    same = declare(tmp_path, "farm: {driver: kubernetes}", "same")

    assert choose_builder([plain]).name == ""
    choice = choose_builder([plain, app, same])
    assert (choice.name, choice.source, choice.declared) == ("farm", "app.yml:5:12", app.builders[0])
    assert (choose_builder([app], "far").name, choose_builder([app], "far").declared) == ("far", None)
    monkeypatch.setenv("BUILDX_BUILDER", "mine")
    assert (choose_builder([app]).name, choose_builder([app]).source) == ("mine", "BUILDX_BUILDER")
    assert choose_builder([app], "far").name == "far"


def load_manifest_without_builders(folder: Path) -> Manifest:
    (folder / "plain.yml").write_text("image: plain\nplatforms: [linux/amd64]\nfrom: scratch\ntags: [one]\n")
    return load_manifest(folder / "plain.yml", folder)


def test_images_on_several_builders_are_not_built_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUILDX_BUILDER", raising=False)
    manifests = [declare(tmp_path, f"{name}: {{driver: kubernetes}}", name) for name in ("one", "two")]

    with pytest.raises(BakegenError, match='"one" on "one", "two" on "two"'):
        choose_builder(manifests)


@pytest.mark.parametrize(
    ("environment", "configured", "expected"),
    [
        ({}, None, "unix:///var/run/docker.sock"),
        ({}, "default", "unix:///var/run/docker.sock"),
        ({}, "desktop-linux", "desktop-linux"),
        ({"DOCKER_CONTEXT": "far"}, "desktop-linux", "far"),
        ({"DOCKER_HOST": "unix:///x", "DOCKER_CONTEXT": "far"}, "desktop-linux", "unix:///x"),
        ({"DOCKER_HOST": "10.0.0.1:1"}, None, "tcp://10.0.0.1:1"),
        ({"DOCKER_HOST": "tcp://10.0.0.1"}, None, "tcp://10.0.0.1:2375"),
    ],
)
def test_the_default_endpoint_is_that_of_docker(
    environment: Mapping[str, str],
    configured: str | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if configured:
        (tmp_path / "config.json").write_text(json.dumps({"currentContext": configured}))

    assert default_endpoint() == expected


# --- what differs, and what mends it ---

CREATE = "create --name farm --driver docker-container --node farm0"
CASES: dict[str, tuple[str, Instance | None, Sequence[str], Sequence[str]]] = {
    "none": (
        "driver: docker-container, max-parallelism: 5, nodes: [{platforms: [linux/arm64, linux/amd64]}, {endpoint: power}]",
        None,
        ["it does not exist"],
        [
            f"{CREATE} --platform linux/arm64,linux/amd64 --buildkitd-flags --oci-max-parallelism=5",
            "create --name farm --append --node farm1 --buildkitd-flags --oci-max-parallelism=5 power",
        ],
    ),
    "same": (
        "driver: docker-container, max-parallelism: 5, options: {memory: 2g}, nodes: [{platforms: [linux/arm/v7, linux/amd64]}]",
        Instance(
            "farm",
            "docker-container",
            (
                node(
                    "x",
                    platforms="linux/amd64 linux/arm/v7",
                    DriverOpts={"memory": "2g"},
                    Flags=["--oci-max-parallelism=5", "--allow-insecure-entitlement=network.host"],
                ),
            ),
        ),
        [],
        [],
    ),
    "options": (
        "driver: docker-container, max-parallelism: 5, options: {memory: 2g, env.TOKEN: new}",
        Instance(
            "farm",
            "docker-container",
            (node("farm0", DriverOpts={"env.TOKEN": "old", "network": "host"}, Flags=["--oci-max-parallelism=2", "--debug"]),),
        ),
        [
            "its node farm0 has another env.TOKEN than declared",
            "its node farm0 has max-parallelism 2 instead of 5",
            "its node farm0 has other flags of BuildKit --debug instead of none",
            "its node farm0 has memory none instead of 2g",
            "its node farm0 has network host instead of none",
        ],
        [
            "rm --keep-state farm",
            f"{CREATE} --buildkitd-flags --oci-max-parallelism=5 --driver-opt memory=2g --driver-opt env.TOKEN=new",
        ],
    ),
    "driver": (
        "driver: docker-container",
        Instance("farm", "remote", (node("farm0"),)),
        ["its driver is remote, not docker-container"],
        ["rm farm", CREATE],
    ),
    "a node is missing": (
        "driver: docker-container, nodes: [{platforms: [linux/ppc64le], endpoint: power}, {platforms: [linux/amd64]}]",
        Instance("farm", "docker-container", (node("farm0", platforms="linux/amd64"),)),
        ["it has no node for linux/ppc64le at power"],
        ["create --name farm --append --node farm1 --platform linux/ppc64le power"],
    ),
    "a container is not declared": (
        "driver: docker-container, nodes: [{platforms: [linux/amd64]}]",
        Instance("farm", "docker-container", (node("farm0", platforms="linux/amd64"), node("farm1", "a"))),
        ["its node farm1 for all other platforms at a is not declared"],
        ["rm --keep-state farm", f"{CREATE} --platform linux/amd64"],
    ),
    "a remote node has moved": (
        'driver: remote, nodes: [{platforms: [linux/amd64], endpoint: "tcp://a:1"}, {endpoint: "tcp://c:1"}]',
        Instance("farm", "remote", (node("farm0", "tcp://b:1"), node("farm1", "tcp://a:1", "linux/amd64"))),
        ["its node farm0 has endpoint tcp://b:1 instead of tcp://c:1"],
        ["create --name farm --leave --node farm0", "create --name farm --append --node farm0 tcp://c:1"],
    ),
    "all remote nodes have moved": (
        'driver: remote, nodes: [{endpoint: "tcp://c:1"}]',
        Instance("farm", "remote", (node("farm0", "tcp://b:1"),)),
        ["its node farm0 has endpoint tcp://b:1 instead of tcp://c:1"],
        ["rm farm", "create --name farm --driver remote --node farm0 tcp://c:1"],
    ),
    "kubernetes": (
        "driver: kubernetes, options: {nodeselector: 'a=b,c=\"d\"'}",
        Instance("farm", "kubernetes", (node("farm0", "kubernetes:///farm?deployment=farm0&kubeconfig=%2Fx"),)),
        ['its node farm0 has nodeselector none instead of a=b,c="d"'],
        ["rm farm", 'create --name farm --driver kubernetes --node farm0 --driver-opt "nodeselector=a=b,c=""d"""'],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_differs_is_told_and_mended(case: str, tmp_path: Path) -> None:
    content, instance, differences, commands = CASES[case]

    compared = compare_instance(one(tmp_path, content), instance, "unix:///here")

    assert list(compared.differences) == differences
    assert [" ".join(words) for words in compared.commands] == commands


def test_paths_below_home_are_those_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    builder = one(tmp_path, 'driver: remote, options: {cacert: ~/ca.pem, key: /key}, nodes: [{endpoint: "tcp://a:1"}]')
    [command] = compare_instance(builder, None, "").commands

    assert " ".join(command).endswith("--driver-opt cacert=/home/me/ca.pem --driver-opt key=/key tcp://a:1")


# --- with buildx ---


@pytest.fixture(params=["oldest", "newest"])
def client(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each client in turn, with builders of its own."""
    buildx: Path = request.getfixturevalue(f"{request.param}_buildx")
    request.getfixturevalue("registry")
    config = tmp_path / "docker"
    shutil.copytree(os.environ["DOCKER_CONFIG"], config, ignore=shutil.ignore_patterns("cli-plugins", "buildx"))
    (config / "cli-plugins").mkdir()
    (config / "cli-plugins" / "docker-buildx").symlink_to(buildx)
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    monkeypatch.setenv("BUILDX_CONFIG", str(tmp_path / "buildx"))
    monkeypatch.delenv("BUILDX_BUILDER", raising=False)
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path, registry: str) -> Path:
    """A family under a name of its own, which declares no builder yet."""
    folder = tmp_path / "project"
    (folder / "manifest").mkdir(parents=True)
    (folder / "templates").mkdir()
    image = f"built-{uuid.uuid4().hex[:8]}"
    (folder / "manifest" / "app.yml").write_text(MANIFEST.format(image=image, registry=registry))
    (folder / "templates" / "Dockerfile.j2").write_text(TEMPLATE)
    assert run(folder, ["generate"]).code == 0
    return folder


def image_of(root: Path) -> str:
    found = re.search("^image: (.+)$", (root / "manifest" / "app.yml").read_text(), re.MULTILINE)
    assert found
    return found[1]


def set_builders(root: Path, builders: Mapping[str, Any]) -> None:
    file = root / "manifest" / "app.yml"
    text = re.sub("^builders:.*\n", "", file.read_text(), flags=re.MULTILINE)
    file.write_text(f"{text}builders: {json.dumps(builders)}\n")


def create(root: Path, *words: str) -> list[str]:
    """Run `builder create`; return what it told."""
    outcome = run(root, ["builder", "create", *words])
    assert outcome.code == 0, outcome.text()
    assert outcome.stdout == ""
    return outcome.stderr.splitlines()


def kept(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(os.environ["BUILDX_CONFIG"], "instances", name).read_bytes())
    return content


def bakegen(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run bakegen in a process of its own, as bake writes to the terminal by itself."""
    command = [sys.executable, "-m", "bakegen", *words]
    return subprocess.run(command, cwd=root, text=True, capture_output=True, check=False)


@engine
@pytest.mark.usefixtures("client")
def test_a_builder_is_made_once_and_mended(root: Path) -> None:
    at = os.environ["DOCKER_HOST"]
    farm: dict[str, Any] = {
        "driver": "docker-container",
        "max-parallelism": 5,
        "options": {"memory": "1g", "env.A": 'x,"y"'},
    }
    set_builders(root, {"farm": farm})
    dry = run(root, ["builder", "create", "--dry-run"])
    assert not Path(os.environ["BUILDX_CONFIG"], "instances", "farm").exists()

    assert create(root) == ["farm: it does not exist", dry.stdout.strip()]
    [node] = kept("farm")["Nodes"]
    assert node["DriverOpts"] == {"memory": "1g", "env.A": 'x,"y"'}
    assert node["Flags"][0] == "--oci-max-parallelism=5"
    assert node["Endpoint"] == at
    before = kept("farm")
    assert create(root) == ["farm matches the manifest"]
    assert run(root, ["builder", "create", "--dry-run"]).stdout == ""
    assert kept("farm") == before
    shown = json.loads(run(root, ["builder", "show", "--format", "json"]).stdout)
    assert (shown[0]["exists"], shown[0]["differences"], shown[0]["images"]) == (True, [], [image_of(root)])

    farm |= {"max-parallelism": 2}
    set_builders(root, {"farm": farm})
    assert "its node farm0 has max-parallelism 5 instead of 2" in run(root, ["builder", "show"]).stdout
    assert create(root)[1] == "docker buildx rm --keep-state farm"
    assert kept("farm")["Nodes"][0]["Flags"][0] == "--oci-max-parallelism=2"
    assert create(root) == ["farm matches the manifest"]

    set_builders(root, {"farm": {"driver": "remote", "nodes": [{"endpoint": "tcp://127.0.0.1:1"}]}})
    assert create(root)[0] == "farm: its driver is docker-container, not remote"
    assert create(root) == ["farm matches the manifest"]

    removed = [run(root, ["builder", "remove"]) for _ in range(2)]
    assert [(one.code, one.stderr) for one in removed] == [(0, "docker buildx rm farm\n"), (0, "farm does not exist\n")]
    assert not Path(os.environ["BUILDX_CONFIG"], "instances", "farm").exists()


@engine
@pytest.mark.usefixtures("client")
def test_nodes_come_and_go(root: Path) -> None:
    nodes = [{"platforms": [f"linux/{name}"], "endpoint": f"tcp://127.0.0.1:{port}"} for port, name in enumerate(["amd64", "arm64", "ppc64le"], 1)]  # fmt: skip

    def declare_nodes(*indices: int) -> None:
        rest = {"endpoint": "tcp://127.0.0.1:9"}
        set_builders(root, {"farm": {"driver": "remote", "nodes": [*(nodes[index] for index in indices), rest]}})

    declare_nodes(0, 1)
    create(root)
    assert create(root) == ["farm matches the manifest"]
    declare_nodes(2, 1)
    told = create(root)
    assert told == [
        "farm: it has no node for linux/ppc64le at tcp://127.0.0.1:3",
        "farm: its node farm0 for linux/amd64 at tcp://127.0.0.1:1 is not declared",
        "docker buildx create --name farm --leave --node farm0",
        "docker buildx create --name farm --append --node farm0 --platform linux/ppc64le tcp://127.0.0.1:3",
    ]
    assert {node["Endpoint"][-1] for node in kept("farm")["Nodes"]} == {"2", "3", "9"}
    declare_nodes(1, 2)
    assert create(root) == ["farm matches the manifest"]


@engine
@pytest.mark.usefixtures("client")
def test_a_node_that_does_not_answer_is_told_and_what_that_broke_is_mended(root: Path) -> None:
    """A failed `--append` makes buildx forget the platforms and flags of the other nodes."""
    near: dict[str, Any] = {"platforms": ["linux/amd64", "linux/arm64"]}
    far = {"platforms": ["linux/ppc64le"], "endpoint": "ssh://build@127.0.0.1:1"}
    set_builders(root, {"farm": {"driver": "docker-container", "max-parallelism": 3, "nodes": [near, far]}})

    outcome = run(root, ["builder", "create"])

    assert outcome.code == 1
    assert re.search(r'buildx cannot create the builder "farm": .*refused.* \[builder-mismatch\]', outcome.stderr)
    assert run(root, ["build", "runtime"]).code == 1
    set_builders(root, {"farm": {"driver": "docker-container", "max-parallelism": 3, "nodes": [{}]}})
    create(root)
    assert create(root) == ["farm matches the manifest"]
    assert kept("farm")["Nodes"][0]["Flags"][0] == "--oci-max-parallelism=3"


@engine
@pytest.mark.usefixtures("client")
def test_a_cluster_is_declared_before_it_answers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
        "current-context": "c",
    }
    (root / "kubeconfig").write_text(json.dumps(content))
    nodes = [
        {"platforms": ["linux/amd64"]},
        {"platforms": ["linux/arm64", "linux/ppc64le"], "options": {"replicas": 2}},
    ]
    options = {"namespace": "builds", "nodeselector": "a=b,c=d", "qemu.install": True}
    kube = {"driver": "kubernetes", "max-parallelism": 4, "options": options, "nodes": nodes}
    set_builders(root, {"kube": kube})
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    outcome = run(root, ["builder", "create"])
    assert outcome.code == 1
    assert "namespace" in outcome.stderr

    monkeypatch.setenv("KUBECONFIG", str(root / "kubeconfig"))
    create(root)
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert create(root) == ["kube matches the manifest"]
    assert [node["DriverOpts"] for node in kept("kube")["Nodes"]] == [
        {"namespace": "builds", "nodeselector": "a=b,c=d", "qemu.install": "true"},
        {"namespace": "builds", "nodeselector": "a=b,c=d", "qemu.install": "true", "replicas": "2"},
    ]
    assert kept("kube")["Nodes"][1]["Flags"][0] == "--oci-max-parallelism=4"


@engine
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_newest_buildx_takes_all_options_that_are_known(
    driver: str,
    newest_buildx: Path,
    registry: str,  # noqa: ARG001 - the engine must run
    tmp_path: Path,
) -> None:
    values = {
        "memory": "1g",
        "timeout": "9s",
        "loadbalance": "random",
        "restart-policy": "always",
        "tolerations": "key=a",
    }
    numbers = ("cpu-", "replicas", "requests.", "limits.", "buildkit-root")
    flags = ("default-load", "rootless", "qemu.install")
    env = {**os.environ, "BUILDX_CONFIG": str(tmp_path)}
    words: list[str] = []
    for option in sorted(DRIVERS[driver].options):
        made = "1" if option.startswith(numbers) else "true" if option in flags else "/a=b"
        value = values.get(option, values.get(option.removesuffix("-swap"), made))
        words += ["--driver-opt", f"{option}={value}"]
    (tmp_path / "kubeconfig").write_text(
        "{clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], contexts: [{name: c, context: {cluster: c}}], current-context: c}"
    )
    done = subprocess.run(
        [newest_buildx, "create", "--driver", driver, *words, *(["tcp://127.0.0.1:1"] if driver == "remote" else [])],
        env={**env, "KUBECONFIG": str(tmp_path / "kubeconfig")},
        text=True,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


# --- building on them ---


@pytest.fixture(scope="session")
def engines(registry: str) -> Iterator[tuple[str, str]]:  # noqa: ARG001 - the first engine must run
    """Two engines: only one BuildKit each can be two nodes of a builder."""
    with second_engine() as second:
        yield os.environ["DOCKER_HOST"], second


@engine
def test_two_nodes_build_one_image_together(client: str, root: Path, engines: tuple[str, str], registry: str) -> None:
    image = image_of(root)
    with endpoint(engines[0], tcp=True) as first, endpoint(engines[1]) as second:
        near = {"platforms": ["linux/amd64", "linux/arm64"], "endpoint": first}
        far = {"platforms": ["linux/ppc64le"], "endpoint": second}
        set_builders(root, {"farm": {"driver": "remote", "nodes": [near, far]}})
        refused = bakegen(root, "build", "runtime", "--push")
        assert refused.returncode == 1
        assert (
            f'the builder "farm", declared at manifest/app.yml:{len(MANIFEST.splitlines()) + 1}:12, does not exist'
            in refused.stderr
        )
        create(root)

        # One after the other: two pushes by digest to one repository are more than the store of a Docker engine takes.
        before: dict[str, int | None] = {}
        for release, tags in (("runtime", ["1.0", "latest"]), ("other", ["other"])):
            done = bakegen(root, "build", release, "--push", "--format", "json")
            assert done.returncode == 0, done.stderr
            [row] = json.loads(done.stdout)
            assert row["tags"] == [f"{registry}/{image}:{tag}" for tag in tags]
            assert row["digest"] == digest_of(row["tags"][0], root)
            assert platforms_of(row["tags"][0], root) == {"linux/amd64", "linux/arm64", "linux/ppc64le"}
            assert row["result"] == "pushed"
            assert ((row["seconds"] or 0) > 0, (row["steps"] or 0) > 6) == (client == "newest", client == "newest")
            before[release] = row["cached_steps"]
            assert 'with "farm" instance using remote driver' in done.stderr

        again = bakegen(root, "build", "runtime", "--push", "--format", "json")
        [row] = json.loads(again.stdout)
        if client == "newest":
            assert row["cached_steps"] > (before["runtime"] or 0)
        assert [steps_of(host, f"echo {image} runtime") for host in engines] == [2, 1]  # each for its own platforms


def steps_of(host: str, command: str) -> int:
    """How many results of a command an engine's BuildKit has."""
    words = ["docker", "--host", host, "buildx", "du", "--builder", "default", "--verbose"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.count(command)


@engine
def test_after_a_failure_each_target_is_told(client: str, root: Path, engines: tuple[str, str], registry: str) -> None:
    image = image_of(root)
    first = bakegen(root, "build", "--all", "--push", "--platform", HOST)
    assert first.returncode == 0, first.stderr
    before = digest_of(f"{registry}/{image}:other", root)
    first_digest = digest_of(f"{registry}/{image}:1.0", root)
    template = root / "templates" / "Dockerfile.j2"
    template.write_text(
        f'{TEMPLATE}RUN --network=none {{% if release == "other" %}}sleep 4; exit 7{{% else %}}echo again{{% endif %}}\n'
    )
    assert run(root, ["generate"]).code == 0

    done = bakegen(root, "build", "--all", "--push", "--platform", HOST, "--quiet")

    assert (done.returncode, done.stdout) == (1, "")
    assert "[internal] load" not in done.stderr  # bake was quiet, too
    lines = [line.split() for line in done.stderr.splitlines()[-3:]]
    told = client == "newest"
    columns = (
        ["TARGET", "RESULT", "SECONDS", "CACHED", "PLATFORMS", "TAGS"]
        if told
        else ["TARGET", "RESULT", "PLATFORMS", "TAGS"]
    )
    assert lines[0] == columns
    pushed = (
        digest_of(f"{registry}/{image}:1.0", root) != first_digest
    )  # perhaps too slow to be there before the failure
    state = ("pushed" if pushed else "canceled") if told else "unknown"
    assert [*lines[1][:2], lines[1][-2]] == [f"{image}_runtime", state, f"{registry}/{image}:1.0,"]
    assert [*lines[2][:2], lines[2][-1]] == [
        f"{image}_other",
        "failed" if told else "unknown",
        f"{registry}/{image}:other",
    ]
    assert "tags of targets that were not pushed are unchanged:" in done.stderr
    assert ("does not report which targets failed" in done.stderr) is not told
    assert digest_of(f"{registry}/{image}:other", root) == before

    with endpoint(engines[0]) as near, endpoint(engines[1]) as far:
        nodes = [{"endpoint": near}, {"platforms": ["linux/ppc64le"], "endpoint": far}]
        set_builders(root, {"farm": {"driver": "remote", "nodes": nodes}})
        create(root)
        template.write_text(f"{TEMPLATE}RUN --network=none test $(uname -m) != ppc64le || exit 7 # {uuid.uuid4()}\n")
        assert run(root, ["generate"]).code == 0
        done = bakegen(root, "build", "runtime", "--push", "--quiet")
        assert done.returncode == 1
        rows = [line.split()[:2] for line in done.stderr.splitlines()[-2:]]
        # What is built on it fails with it, if the far node is slow to write down how the base has ended.
        assert any(row in rows for row in ([f"{image}_base", "failed"], [f"{image}_runtime", "failed"])) is told
        assert digest_of(f"{registry}/{image}:other", root) == before


@engine
@pytest.mark.usefixtures("client")
def test_a_remote_buildkit_that_is_silent_is_told_at_once(root: Path) -> None:
    nodes = [
        {"endpoint": "tcp://127.0.0.1:1"},
        {"platforms": ["linux/ppc64le"], "endpoint": "unix:///nowhere/buildkit.sock"},
    ]
    set_builders(root, {"farm": {"driver": "remote", "nodes": nodes}})
    create(root)

    done = bakegen(root, "build", "runtime")

    assert done.returncode == 1
    where = "farm0 at tcp://127.0.0.1:1, farm1 at unix:///nowhere/buildkit.sock"
    assert f"docker cannot build here: no response from {where} [no-docker]" in done.stderr
    assert "waiting for connection" not in done.stderr  # bake would, for twenty seconds, and not say for whom


def after_bake(
    root: Path, scratch: Path, *words: str, then: Callable[[], object] = lambda: None
) -> tuple[float, str, str]:
    """Build, and do something once bake runs; return the seconds between bake's end and ours, and what was printed."""
    scratch.mkdir()
    command = [sys.executable, "-m", "bakegen", "build", *words]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: bool(bakes(scratch)) or process.poll() is not None)
        then()
        wait_for(lambda: not bakes(scratch), 120)
        ended = time.monotonic()
    finally:
        if bakes(scratch):
            process.terminate()
        printed, problems = process.communicate(timeout=60)
    return time.monotonic() - ended, printed, problems


@engine
def test_a_node_that_dies_while_it_builds_is_named(
    client: str, root: Path, engines: tuple[str, str], registry: str, tmp_path: Path
) -> None:
    image = image_of(root)
    file = root / "manifest" / "app.yml"
    file.write_text(file.read_text().replace("other: {from: base,", f'other: {{from: "tiny:1", platforms: [{HOST}],'))
    sleep = f"{600 + os.getpid() % 100}.{time.monotonic_ns()}"
    (root / "templates" / "Dockerfile.j2").write_text(
        f'{TEMPLATE}RUN --network=none {{% if release == "other" %}}true{{% else %}}sleep {sleep}{{% endif %}}\n'
    )
    with endpoint(engines[0]) as near, contextlib.ExitStack() as far:
        at = far.enter_context(endpoint(engines[1]))
        nodes = [
            {"platforms": ["linux/amd64", "linux/arm64"], "endpoint": near},
            {"platforms": ["linux/ppc64le"], "endpoint": at},
        ]
        set_builders(root, {"farm": {"driver": "remote", "nodes": nodes}})
        assert run(root, ["generate"]).code == 0
        create(root)

        def die() -> None:
            wait_for(lambda: len(processes(sleep)) >= 3, 120)
            wait_for(lambda: tags_in(registry, image) == {"other"}, 120)
            time.sleep(1)  # until BuildKit has written down that it is pushed
            far.close()

        seconds, printed, problems = after_bake(root, tmp_path / "scratch", "--all", "--push", "--quiet", then=die)

    assert printed == ""
    assert seconds < 10, "buildx would wait twenty seconds for it"
    rows = {line.split()[0]: line.split()[1] for line in problems.splitlines()[-2:]}
    if client == "newest":
        assert f"farm1 at {at} does not respond; what it has built is unknown" in problems
        assert rows == {f"{image}_runtime": "unknown", f"{image}_other": "pushed"}
    else:
        assert rows == {f"{image}_runtime": "unknown", f"{image}_other": "unknown"}


@engine
@pytest.mark.usefixtures("client")
def test_a_node_that_is_not_needed_may_be_down(root: Path, registry: str, tmp_path: Path) -> None:
    """What takes the rest of the platforms has nothing to do where all are another's."""
    with endpoint(os.environ["DOCKER_HOST"]) as near:
        nodes = [{"platforms": [HOST], "endpoint": near}, {"endpoint": "unix:///nowhere/buildkit.sock"}]
        set_builders(root, {"farm": {"driver": "remote", "nodes": nodes}})
        create(root)

        seconds, printed, problems = after_bake(root, tmp_path / "scratch", "runtime", "--push", "--platform", HOST)

        assert printed.splitlines()[1].split()[:2] == [f"{image_of(root)}_runtime", "pushed"], problems
        assert seconds < 10, "buildx would wait twenty seconds for it"
        assert tags_in(registry, image_of(root)) == {"1.0", "latest"}
        refused = bakegen(root, "build", "runtime", "--push")
        assert "no response from farm1 at unix:///nowhere/buildkit.sock [no-docker]" in refused.stderr


@engine
@pytest.mark.parametrize("source", ["option", "environment"])
def test_another_builder_can_be_named(source: str, root: Path, monkeypatch: pytest.MonkeyPatch, registry: str) -> None:
    monkeypatch.delenv("BUILDX_BUILDER", raising=False)
    set_builders(root, {"farm": {"driver": "kubernetes"}})
    assert "--builder farm" in run(root, ["build", "runtime", "--dry-run"]).stderr
    if source == "environment":
        monkeypatch.setenv("BUILDX_BUILDER", "default")
    words = ["--builder", "default"] if source == "option" else []

    done = bakegen(root, "build", "runtime", "--push", "--platform", HOST, *words)

    assert done.returncode == 0, done.stderr
    assert tags_in(registry, image_of(root)) == {"1.0", "latest"}


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "[]",
        '{"Driver": "remote", "Nodes": [{}]}',
        '{"Driver": "remote", "Nodes": [{"Name": "a", "Endpoint": "b", "Platforms": [{}]}]}',
    ],
)
def test_what_buildx_does_not_keep_so_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    monkeypatch.setenv("BUILDX_CONFIG", str(tmp_path))
    (tmp_path / "instances").mkdir()
    (tmp_path / "instances" / "farm").write_text(kept)

    with pytest.raises(BakegenError, match="this is not a valid buildx builder"):
        read_instance("farm")


def test_a_folder_of_buildx_that_is_none_holds_no_builders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BUILDX_CONFIG", str(tmp_path / "file"))

    assert read_instance("farm") is None


def test_showing_needs_no_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (tmp_path / "manifest").mkdir()
    declare(tmp_path / "manifest", "farm: {driver: docker-container}")

    outcome: Outcome = run(tmp_path, ["builder", "show"])

    assert outcome.text() == (
        "BUILDER  DRIVER            NODE  PLATFORMS  ENDPOINT  STATE\n"
        "farm     docker-container  -     -          -         missing\n"
        "farm: it does not exist\n[exit 0]\n"
    )
    assert run(tmp_path, ["builder", "create"]).code == 1
    assert "docker not found on PATH" in run(tmp_path, ["builder", "create"]).stderr
