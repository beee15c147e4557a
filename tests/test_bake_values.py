"""Values that pass through to bake: bakegen refuses what the real buildx refuses, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakegen.docker.buildx import Buildx
from bakegen.spec.bake_values import EXAMPLES, agents_mistake, form_mistake, meaning_mistake

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


@pytest.mark.engine
@settings(
    max_examples=int(os.environ.get("GRAM", "1")),
    derandomize="GRAM" not in os.environ,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(drawn=st.lists(values(), min_size=80, max_size=80, unique=True))
def test_bake_refuses_the_values_that_we_refuse(
    drawn: list[tuple[str, str]], oldest_buildx: Path, newest_buildx: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clients = [Buildx((str(path),), OLDEST, "") for path in (oldest_buildx, newest_buildx)]
    right = [value for value in drawn if not form_mistake(*value, OLDEST)]
    together = [value for value in right if value[0] != "output"]  # outputs get into each other's way
    apart = [value for value in drawn if value not in together]

    said = zip(*(each_printed(client, tmp_path_factory.mktemp("apart"), apart) for client in clients), strict=True)
    verdicts = {value: "".join(words) for value, words in zip(apart, said, strict=True)}
    for client in clients:
        words = printed(client, tmp_path_factory.mktemp("together"), together)
        verdicts |= dict.fromkeys(together, words)
    print(len(right), len(drawn) - len(right))
    assert [value for value in right if verdicts[value]] == [], set(verdicts[v] for v in right)
    assert [value for value in drawn if value not in right and not verdicts[value]] == []
