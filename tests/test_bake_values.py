"""Values that pass through to bake: bakegen refuses what the real buildx refuses, and nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bakegen.docker.buildx import Buildx
from bakegen.spec.bake_values import agents_mistake, form_mistake, meaning_mistake

OLDEST = (0, 13)

# For each attribute: right values, to begin with, and what a mutation may put in.
SEEDS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "annotations": (
        ["org.example.title=x", "index:a.b=c", "manifest[linux/amd64]:a=b=c", "manifest-descriptor:k=v", "a:b=c"],
        ["index", "manifest", "index-descriptor", ":", "[linux/arm64]", "[a/b/c/d]", "[]", "=", "-", "[", "]", "x"],
    ),
    "attest": (
        ["type=provenance,mode=max", "type=sbom", "type=sbom,disabled=true", " TYPE =sbom", '"type=sbom"'],
        ["type", "disabled", "=", ",", "true", "maybe", '"', "mode", " ", "x"],
    ),
    "cache-from": (
        ["type=registry,ref=acme/cache", "acme/cache:x", "acme/a,acme/b", "type=gha,scope=x", 'type=local,"src=a,b"'],
        ["type", "=", ",", '"', "ref", "acme/x", " ", "TYPE", "registry"],
    ),
    "cache-to": (
        ["type=registry,ref=acme/cache,mode=max", "type=inline", "acme/cache", "type=local,dest=cache"],
        ["type", "=", ",", '"', "mode", "inline", "x"],
    ),
    "output": (
        ["type=local,dest=out", "out", "type=image,push=true", "type=cacheonly", "type=oci,tar=false,dest=out", "type=docker"],
        ["type", "=", ",", '"', "dest", "local", "oci", "tar", "false", "push", "cacheonly", "docker"],
    ),
    "secret": (
        ["id=token", "id=token,env=TOKEN", "id=a,src=file", "type=env,id=a,source=B", "ID=a,type=file", '"id=a"'],
        ["id", "src", "source", "env", "type", "=", ",", '"', "file", "a", "token", " "],
    ),
    "shm-size": (["128m", "1g", "1.5GiB", "64 kb", "0", "12b"], [*"019kmgbBi -+", "ib", "inf"]),
    "ulimits": (
        ["nofile=1024:2048", "nproc=-1", "core=0:-1", "cpu=+5", "memlock=-1:-1"],
        ["nofile", "=", ":", "-1", "-2", "+", "9", "0x1", "9223372036854775808", "as", " "],
    ),
}  # fmt: skip


@st.composite
def values(draw: st.DrawFn) -> tuple[str, str]:
    """An attribute, and a text near a right value of it: pieces taken out, put in, doubled or exchanged."""
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
@settings(max_examples=1, derandomize=True, deadline=None, phases=[Phase.generate])
@given(drawn=st.lists(values().filter(lambda value: judged(*value)), min_size=60, max_size=60, unique=True))
def test_bake_refuses_the_values_that_we_refuse_and_no_others(
    drawn: list[tuple[str, str]], oldest_buildx: Path, newest_buildx: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clients = [Buildx((str(path),), OLDEST, "") for path in (oldest_buildx, newest_buildx)]
    right = [value for value in drawn if not form_mistake(*value, OLDEST)]
    together = [value for value in right if value[0] != "output"]  # outputs get into each other's way
    apart = [value for value in drawn if value not in together]

    said = zip(*(each_printed(client, tmp_path_factory.mktemp("apart"), apart) for client in clients), strict=True)
    verdicts = {value: "".join(words) for value, words in zip(apart, said, strict=True)}
    words = "".join(printed(client, tmp_path_factory.mktemp("together"), together) for client in clients)
    verdicts |= dict.fromkeys(together, words)

    assert {value: verdicts[value] for value in right if verdicts[value]} == {}
    assert [value for value in drawn if value not in right and not verdicts[value]] == []


# What buildx says when it sends a build to BuildKit, or BuildKit when it begins.
UNUSABLE = [
    ("attest", "type=provenence", 'did you mean "provenance"?'),
    ("attest", "type=provenance,mode=maxi", 'did you mean "max"?'),
    ("cache-from", "type=regitsry,ref=acme/cache", 'did you mean "registry"?'),
    ("cache-from", "type=inline", "write type=registry,ref= and the name of the image"),
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
