"""Values that pass through to bake: bakegen refuses what the real buildx refuses, and nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from drawing import drawn
from hypothesis import strategies as st

import bakegen
from bakegen.docker.buildx import Buildx
from bakegen.spec.bake_values import agents_mistake, form_mistake, meaning_mistake

OLDEST = (0, 13)

# For each attribute: values to begin with, right and wrong, and what a mutation may put in.
SEEDS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "annotations": (
        [
            "org.example.title=x", "index:a.b=c", "manifest[linux/amd64]:a=b=c", "manifest-descriptor:k=v", "foo:bar=x", "a b=c", "=x", "a",
            "manifest[a/b/c/d]:e=f", "Index:a=b",
        ],
        ["index", "manifest", "index-descriptor", ":", "[linux/arm64]", "[a/b/c/d]", "[]", "=", "-", "[", "]", "x"],
    ),
    "attest": (
        [
            "type=provenance,mode=max", "type=sbom", "type=sbom,disabled=true", " TYPE =sbom", '"type=sbom"', "mode=max", "sbom",
            "type=sbom,disabled=maybe", "type=",
        ],
        ["type", "disabled", "=", ",", "true", "maybe", '"', "mode", " ", "x"],
    ),
    "cache-from": (
        [
            "type=registry,ref=acme/cache", "acme/cache:x", "acme/a,acme/b", "type=gha,scope=x", 'type=local,"src=a,b"', "tpye=registry",
            "acme/a,,acme/b", 'type=local,src="a"',
        ],
        ["type", "=", ",", '"', "ref", "acme/x", " ", "TYPE", "registry"],
    ),
    "cache-to": (
        ["type=registry,ref=acme/cache,mode=max", "type=inline", "acme/cache", "type=local,dest=cache", "type=registry,mode", "mode=max"],
        ["type", "=", ",", '"', "mode", "inline", "x"],
    ),
    "output": (
        [
            "type=local,dest=out", "out", "type=image,push=true", "type=cacheonly", "type=oci,tar=false,dest=out", "type=docker", "type=local",
            "type=oci,tar=false", "push=true,type=", "type=local,dest=-",
        ],
        ["type", "=", ",", '"', "dest", "local", "oci", "tar", "false", "push", "cacheonly", "docker"],
    ),
    "secret": (
        [
            "id=token", "id=token,env=TOKEN", "id=a,src=file", "type=env,id=a,source=B", "ID=a,type=file", '"id=a"', "token", "foo=bar",
            "id=a,type=zzz", "src=file", "env=TOKEN",
        ],
        ["id", "src", "source", "env", "type", "=", ",", '"', "file", "a", "token", " "],
    ),
    "shm-size": (
        ["128m", "1g", "1.5GiB", "64 kb", "0", "12b", "banana", "1  k", "-1", "1xb", "1.", "1kbb", ""],
        [*"019kmgbBi -+", "ib", "inf"],
    ),
    "ulimits": (
        [
            "nofile=1024:2048", "nproc=-1", "core=0:-1", "cpu=+5", "memlock=-1:-1", "nofile", "nofil=1", "nofile=2:1", "nofile=-1:5", "nofile=1:2:3",
            "nofile=x", "as=1",
        ],
        ["nofile", "=", ":", "-1", "-2", "+", "9", "0x1", "9223372036854775808", "as", " "],
    ),
}  # fmt: skip


@st.composite
def values(draw: st.DrawFn) -> tuple[str, str]:
    """An attribute, and a text near one of its values: pieces taken out, put in or exchanged."""
    attribute = draw(st.sampled_from(sorted(SEEDS)))
    seeds, pieces = SEEDS[attribute]
    text = draw(st.sampled_from(seeds))
    for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 4)))
        text = text[:start] + draw(st.sampled_from(["", *pieces])) + text[end:]
    return attribute, text


def touched(text: str) -> list[str]:
    """The files that a secret may name, which buildx looks for."""
    bare = text.replace('"', "")
    words = {word for field in (bare, *bare.split(",")) for word in (field.partition("=")[2], field)}
    return [word for word in words if word and "/" not in word]


def printed(buildx: Buildx, folder: Path, content: Sequence[tuple[str, str]]) -> str:
    """Let buildx read a bake file with a target for each value; return what it says against it."""
    targets: dict[str, dict[str, Any]] = {}
    for number, (attribute, text) in enumerate(content):
        targets[f"t{number}"] = {attribute: text if attribute == "shm-size" else [text]}
        for name in touched(text) if attribute == "secret" else ():
            (folder / name).touch()
    file = json.dumps({"group": {"default": {"targets": list(targets)}}, "target": targets})
    command = [*buildx.command, "bake", "-f", "-", "--progress=quiet", "--print"]
    done = subprocess.run(command, input=file, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr or "?"


def each_printed(buildx: Buildx, root: Path, content: Iterable[tuple[str, str]]) -> list[str]:
    """Return what buildx says against each value in a bake file of its own."""

    def one(item: tuple[int, tuple[str, str]]) -> str:
        folder = root / str(item[0])
        folder.mkdir()
        return printed(buildx, folder, [item[1]])

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, enumerate(content)))


def judged(attribute: str, text: str) -> bool:
    """Return whether bake and we have to agree: platforms of annotations have but one spelling in a manifest."""
    mistake = form_mistake(attribute, text, OLDEST)
    return not (mistake and attribute == "annotations" and mistake.reason.endswith("is not a platform"))


@pytest.mark.engine
def test_bake_refuses_the_values_that_we_refuse_and_no_others(
    oldest_buildx: Path, newest_buildx: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    right: list[tuple[str, str]] = []
    wrong: list[tuple[str, str]] = []
    seeds = [(attribute, text) for attribute, (texts, _) in SEEDS.items() for text in texts]
    for value in dict.fromkeys([*seeds, *drawn(values(), 80)]):
        if judged(*value):
            (wrong if form_mistake(*value, OLDEST) else right).append(value)
    outputs = [value for value in right if value[0] == "output"]  # which get into each other's way
    others = [value for value in right if value[0] != "output"]

    for path in (newest_buildx, oldest_buildx):
        client = Buildx((str(path),), OLDEST, "")
        assert printed(client, tmp_path_factory.mktemp("right"), others) == ""
        assert each_printed(client, tmp_path_factory.mktemp("outputs"), outputs) == [""] * len(outputs)
        said = each_printed(client, tmp_path_factory.mktemp("wrong"), wrong)
        wrong = [value for value, words in zip(wrong, said, strict=True) if not words]  # the other may refuse them
    assert wrong == []


# What buildx says when it sends a build to BuildKit, or BuildKit when it begins.
UNUSABLE = [
    ("attest", "type=provenence", 'did you mean "provenance"?'),
    ("attest", "type=provenance,mode=maxi", 'did you mean "max"?'),
    ("cache-from", "type=regitsry,ref=acme/cache", 'did you mean "registry"?'),
    ("cache-from", "type=inline", "use type=registry,ref=IMAGE"),
    ("cache-from", "type=registry", "add ref=…"),
    ("cache-from", "type=local,dest=x", "add src=…"),
    ("cache-to", "type=inlin", 'did you mean "inline"?'),
    ("cache-to", "type=local,src=x", "add dest=…"),
    ("cache-to", "type=registry,ref=acme/Cache", ""),
    ("cache-to", "type=local,dest=c,compression=lzma", ""),
    ("cache-to", "type=local,dest=c,compression-level=high", ""),
    ("cache-to", "type=local,dest=c,oci-mediatypes=yes", ""),
    ("call", "chek", 'did you mean "check"?'),
    ("call", "check,outline", ""),
    ("contexts", "docker-image://Acme", ""),
    ("contexts", "docker-image:acme/app", ""),
    ("contexts", "foo://acme", ""),
    ("entitlements", "network.hosts", 'did you mean "network.host"?'),
    ("extra-hosts", "db=1.2.3", ""),
    ("extra-hosts", "db=", ""),
    ("network", "bridge", ""),
    ("output", "type=imag", 'did you mean "image"?'),
    ("output", "type=image,push=yes", ""),
    ("output", "type=image,compression=lzma", ""),
]
USABLE = [
    ("attest", "type=provenance,mode=max"),
    ("cache-from", "acme/cache,acme/other"),
    ("cache-from", "type=gha,scope=x"),
    ("cache-to", "type=inline"),
    ("cache-to", "type=local,dest=cache,mode=max,compression=zstd,compression-level=3,force-compression="),
    ("contexts", "."),
    ("contexts", "docker-image://localhost:5000/library/tiny:1"),
    ("entitlements", "network.host"),
    ("extra-hosts", "db=10.0.0.1,[::1]"),
    ("extra-hosts", "gateway=host-gateway"),
    ("network", "none"),
    ("network", "default"),
    ("output", "type=image,push=false,store=true"),
    ("output", "type=local,dest=out"),
]


def built(folder: Path, values: Sequence[tuple[str, str]]) -> str:
    """Let bake build a target for each value; return what it says, if anything went wrong."""
    folder.mkdir()
    targets: dict[str, dict[str, Any]] = {}
    for number, (attribute, text) in enumerate(values):
        key, _, value = text.partition("=")
        form = {"contexts": {"x": text}, "extra-hosts": {key: value}, "network": text, "call": text}
        base = "x" if attribute == "contexts" and text != "." else "scratch"
        dockerfile = f"FROM {base}\nCOPY Dockerfile /{number}\n"
        targets[f"t{number}"] = {"dockerfile-inline": dockerfile, attribute: form.get(attribute, [text])}
    (folder / "Dockerfile").touch()
    (folder / "bake.json").write_text(json.dumps({"group": {"all": {"targets": list(targets)}}, "target": targets}))
    allowed = ["--allow=network.host", f"--allow=fs={folder}"]
    command = ["docker", "buildx", "bake", "-f", "bake.json", *allowed, "--set=*.platform=linux/amd64", "all"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode or "ERROR: unknown cache importer" in done.stderr else ""


@pytest.mark.engine
@pytest.mark.usefixtures("registry")
def test_no_build_can_use_the_values_that_we_refuse(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        said = pool.map(
            lambda item: built(tmp_path / str(item[0]), [item[1]]), enumerate(value[:2] for value in UNUSABLE)
        )
    assert [value for value, words in zip(UNUSABLE, said, strict=True) if not words] == []


@pytest.mark.engine
@pytest.mark.usefixtures("registry")
def test_builds_can_use_the_values_that_we_take(tmp_path: Path) -> None:
    assert built(tmp_path / "all", USABLE) == ""


@pytest.mark.parametrize(("attribute", "text", "hint"), UNUSABLE)
def test_values_that_no_build_can_use_are_refused(attribute: str, text: str, hint: str) -> None:
    assert form_mistake(attribute, text, OLDEST) is None
    mistake = meaning_mistake(attribute, text)
    assert mistake
    assert mistake.hint == hint if hint else mistake.hint


@pytest.mark.parametrize(("attribute", "text"), USABLE)
def test_values_that_builds_can_use_are_taken(attribute: str, text: str) -> None:
    assert form_mistake(attribute, text, OLDEST) is None
    assert meaning_mistake(attribute, text) is None


def test_a_mode_that_buildkit_would_leave_out_is_refused() -> None:
    assert meaning_mistake("cache-to", "type=inline,mode=maxi")


@pytest.mark.parametrize(
    ("agents", "buildx", "refused"),
    [
        (["default", "default"], (0, 13), False),
        (["default", "deploy=key"], (0, 13), False),
        (["default", "default=key"], (0, 13), True),
        (["default", "default=key"], (0, 20), False),
        (["default", "=key"], (0, 20), True),
        (["", ""], (0, 13), False),
    ],
)
def test_two_agents_of_one_name_are_refused_where_bake_refuses_them(
    agents: list[str], buildx: tuple[int, int], refused: bool
) -> None:
    assert bool(agents_mistake(agents, buildx)) == refused


def test_an_empty_attestation_is_refused_where_bake_crashes_on_it(
    oldest_buildx: Path, newest_buildx: Path, tmp_path: Path
) -> None:
    assert form_mistake("attest", "", (0, 19))
    assert printed(Buildx((str(oldest_buildx),), OLDEST, ""), tmp_path, [("attest", "")])
    assert form_mistake("attest", "", (0, 20)) is None
    assert printed(Buildx((str(newest_buildx),), OLDEST, ""), tmp_path, [("attest", "")]) == ""


@pytest.mark.parametrize(
    ("attribute", "text", "refused"),
    [
        ("policy", "filename=policy.rego,strict=true", False),
        ("policy", "filename=", True),
        ("policy", "strict=maybe", True),
        ("policy", "file=policy.rego", True),
        ("resources", "memory=2g", False),
        ("resources", "memory-swap=-1", False),
        ("resources", "cpu-quota=50000", False),
        ("resources", "memory=much", True),
        ("resources", "cpu-quota=0.5", True),
        ("resources", "cpus=2", True),
    ],
)
def test_what_only_newer_clients_know_is_judged_as_their_source_says(attribute: str, text: str, refused: bool) -> None:
    assert bool(form_mistake(attribute, text, (0, 36))) == refused


def test_what_a_context_takes_from_is_built_with_a_selection(tmp_path: Path) -> None:
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest" / "app.yml").write_text(
        'image: app\nplatforms: [linux/amd64]\nfrom: debian:12-slim\ntags: ["{{ release }}"]\ntemplate: app.Dockerfile.j2\n'
        'releases: {files: {}, other: {}, runtime: {contexts: {files: "target:app_files"}}}\n'
    )
    graph = bakegen.load(tmp_path)

    assert graph.ancestors(["app_runtime"]) == {"app_files"}
    assert graph.ancestors(["app_other"]) == set()
