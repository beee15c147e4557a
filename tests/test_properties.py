"""Whatever stands in a manifest or template, bakegen ends in success or in problems, never in a traceback."""

from __future__ import annotations

import copy
import functools
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import TESTS, copy_project, projects, run
from hypothesis import given, settings
from hypothesis import strategies as st

from bakegen.source.resources import schema_of

CASES = projects(TESTS / "cases", 1)
TEMPLATE = "FROM {{ parent }}\n"

# Found errors stay found: the examples are the same in each run.
thorough = settings(max_examples=150, deadline=None, derandomize=True)


def judge(root: Path) -> None:
    """Validate a project, and generate it if it is valid: no third outcome."""
    outcome = run(root, ["validate"])
    assert outcome.code in {0, 1}, outcome.stderr
    if outcome.code == 0:
        outcome = run(root, ["generate"])
        assert outcome.code in {0, 1}, outcome.stderr
    assert "Traceback" not in outcome.stderr


def judge_manifest(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("manifest", "templates"):
            (root / name).mkdir()
        (root / "manifest" / "app.yml").write_bytes(content)
        (root / "templates" / "app.Dockerfile.j2").write_text(TEMPLATE)
        judge(root)


@thorough
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    judge_manifest(content)


@thorough
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    judge_manifest(text.encode(errors="surrogatepass"))


def words_of(schema: Any) -> Iterator[str]:
    """All keys and enumerated values of a schema."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        yield from schema.get("enum", ())
        for part in schema.values():
            yield from words_of(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from words_of(part)


WORDS = sorted(set(words_of(schema_of("manifest"))))
PIECES = [
    *": ,[]{}&*!|>'\"%@`#?-\n\t", ": ", "- ", "\n  ", "\n    ", "<<: *a", "&a ", "{{ ", " }}", "{% if ", " %}", "...", "---\n",
    "debian:12", "3.10", "1", "no", "null", "~", "\\x00", "é", "🚀", "../x", "linux/amd64", "app", "distro", "distro.gpu",
]  # fmt: skip


@thorough
@given(st.lists(st.sampled_from([*WORDS, *PIECES]), max_size=60))
def test_text_that_looks_like_a_manifest(pieces: Sequence[str]) -> None:
    judge_manifest("".join(pieces).encode())


@thorough
@given(st.lists(st.sampled_from([*PIECES, "FROM ", "COPY --from=", "ARG X", "$X", "${", "}", "parent", "fail('x')", "\\", "<<EOF"]), max_size=30))  # fmt: skip
def test_text_that_looks_like_a_template(pieces: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("manifest", "templates"):
            (root / name).mkdir()
        manifest = "image: app\nplatforms: [linux/amd64]\nfrom: debian:12\ntags: [latest]\nargs: {X: '1'}\n"
        (root / "manifest" / "app.yml").write_text(manifest)
        (root / "templates" / "app.Dockerfile.j2").write_text("".join(pieces))
        judge(root)


@functools.cache
def sources() -> tuple[tuple[Path, Path, Any], ...]:
    """Every YAML file of every case: the case, the file within it, its content."""
    return tuple(
        (case, file.relative_to(case), yaml.safe_load(file.read_text()))
        for case in CASES
        for file in sorted((case / "manifest").rglob("*.y*ml"))
    )


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value below the top."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths_in(item, (*path, key))


VALUES: Any = st.sampled_from([
    None, True, False, 0, -1, 10**30, 1.5, "", " ", "a b", "{{ x }}", "{{", "{{ distro }}", "{{ release }}", "{{ VERSION }}", "../x", "/etc",
    "x" * 300, "🚀", "\u2028", "\u0085", "${X}", "%{if}", "scratch", "debian:12", "a,b=c", "*", "true", [], {}, [[]], [None], {"": ""}, ["a", "a"],
    {"release": "base"}, {"name": ""}, {"default": []}, ["linux/s390x"],
])  # fmt: skip


@settings(thorough, max_examples=300)
@given(st.data())
def test_manifests_with_something_deleted_doubled_or_replaced(data: st.DataObject) -> None:
    case, file, content = data.draw(st.sampled_from(sources()))
    changed = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 3))):
        paths = list(paths_in(changed))
        if not paths:
            break
        *way, last = data.draw(st.sampled_from(paths))
        owner = functools.reduce(lambda value, key: value[key], way, changed)
        match data.draw(st.sampled_from(["delete", "double", "replace", "rename"])):
            case "delete":
                del owner[last]
            case "double" if isinstance(owner, list):
                owner.insert(last, copy.deepcopy(owner[last]))
            case "rename" if isinstance(owner, dict):
                owner[data.draw(st.sampled_from(["", "x", "a b", "image", "release", "names", "🚀"]))] = owner.pop(last)
            case _:
                owner[last] = copy.deepcopy(data.draw(VALUES))
    with tempfile.TemporaryDirectory() as folder:
        root = copy_project(case, Path(folder) / "project", outputs=False)
        (root / file).write_text(yaml.safe_dump(changed, allow_unicode=True, sort_keys=False), encoding="utf-8")
        judge(root)


@pytest.mark.parametrize("file", sorted({case / file for case, file, _ in sources()}), ids=lambda file: file.parts[-3])
def test_json_is_read_as_yaml_is(file: Path, tmp_path: Path) -> None:
    case = next(case for case in CASES if file.is_relative_to(case))
    root = copy_project(case, tmp_path / "project", outputs=True)
    text = json.dumps(yaml.safe_load(file.read_text()), ensure_ascii=False)
    (root / file.relative_to(case)).write_text(text)

    assert run(root, ["generate", "--check"]).code == 0
