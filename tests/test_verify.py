"""`bakegen verify`: what buildx and python-hcl2 find in bake files that were tampered with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from harness import run, tree

from bakegen.bake.model import BAKE_FILE
from bakegen.bake.reading import Reading, canonical
from bakegen.bake.syntax import compare
from bakegen.bake.verify import find_tool, judge, model_reading, needed_buildx
from bakegen.docker.buildx import Buildx, find_buildx
from bakegen.errors import BakegenError, Problem
from bakegen.graph.graph import Graph
from bakegen.project import load_project

MANIFEST = """\
image: tool
variables: {VERSION: "1.0"}
platforms: [linux/amd64, linux/arm64]
registries: [ghcr.io/acme/tool]
axes: {python: ["3.11", "3.12"]}
args: {PYTHON: "{{ python }}"}
labels: {version: "{{ VERSION }}"}
secrets: ["id=token,env=TOKEN", "id=npmrc,src=.npmrc"]
ssh: [default]
template: Dockerfile.j2
releases:
  base: {from: "python:{{ python }}", publish: false}
  app: {from: base, tags: ["{{ VERSION }}-{{ python }}"], cache-to: [type=inline]}
"""
DOCKERFILE = "FROM {{ parent }}\nARG PYTHON\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A generated project."""
    return make(tmp_path, MANIFEST)


def make(root: Path, manifest: str) -> Path:
    for path, text in (("manifest/tool.yml", manifest), ("templates/Dockerfile.j2", DOCKERFILE)):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    outcome = run(root, ["generate"])
    assert outcome.code == 0, outcome.stderr
    return root


@pytest.fixture(scope="session", params=["oldest", "newest"])
def tool(request: pytest.FixtureRequest) -> Buildx:
    """Each buildx in turn."""
    found = find_buildx([(str(request.getfixturevalue(f"{request.param}_buildx")),)])
    assert found
    return found


def problems(root: Path, text: str, tool: Buildx) -> list[Problem]:
    graph = load_project(root).graph
    try:
        judge(graph, text.encode(), tool)
    except BakegenError as error:
        return list(error.problems)
    return []


def test_an_untouched_file_is_what_the_manifests_say(root: Path, tool: Buildx) -> None:
    graph = load_project(root).graph

    assert judge(graph, (root / BAKE_FILE).read_bytes(), tool) == (len(graph.targets), len(graph.groups))


APP, BASE = "tool_app_python3-11", "tool_base_python3-11"
APPS = [f"tool_app_python3-{minor}" for minor in (11, 12)]
BASES = [f"tool_base_python3-{minor}" for minor in (11, 12)]
EDITS = {
    "tag": (r'\["\$\{TOOL_VERSION\}-', '["', {f'target "tool_app_python3-{minor}", tags: found "ghcr.io/acme/tool:3.{minor}", expected "ghcr.io/acme/tool:1.0-3.{minor}"' for minor in (11, 12)}),
    "more tags": (r'(tags\(under_registry\(\["ghcr.io/acme/tool"\]\), \[".*")\]', r'\1, "a"]', {f'target "tool_app_python3-{minor}", tags: found "ghcr.io/acme/tool:1.0-3.{minor}", "ghcr.io/acme/tool:a", expected "ghcr.io/acme/tool:1.0-3.{minor}"' for minor in (11, 12)}),
    "platform": (r'(target "tool_base" {\n)', r'\1  platforms = ["linux/amd64"]' + "\n", {f'target "{name}", platforms: found "linux/amd64", expected "linux/amd64", "linux/arm64"' for name in BASES}),
    "arg": (r"PYTHON = python", 'PYTHON = "3.11"', {f'target "{name}", args.PYTHON: found "3.11", expected "3.12"' for name in (APPS[1], BASES[1])}),
    "arg added": (r'(target "tool_app" {\n(?:.*\n)*?  args = {)', r"\1 MORE = TOOL_VERSION,", {f'target "{name}", args.MORE: found "1.0", expected nothing' for name in APPS}),
    "context": (r'"target:tool_base_python\$\{replace\(python, ".", "-"\)\}"', '"docker-image://python"', {f'target "{app}", contexts.ghcr.io/acme/tool:{base}: found "docker-image://python", expected "target:{base}"' for app, base in zip(APPS, BASES, strict=True)}),
    "dockerfile": (r'"generated/tool/\$\{python\}/app/Dockerfile"', '"Dockerfile"', {f'target "tool_app_python3-{minor}", dockerfile: found "Dockerfile", expected "generated/tool/3.{minor}/app/Dockerfile"' for minor in (11, 12)}),
    "output": (r"type=cacheonly", "type=docker", {f'target "{name}", output: found "type=docker", expected "type=cacheonly"' for name in BASES}),
    "inherited list": (r'(target "tool_app" {\n)', r'\1  secret = ["id=more,env=MORE"]' + "\n", {f'target "{name}", secret: found "env=MORE,id=more", "env=TOKEN,id=token", "id=npmrc,src=.npmrc", expected "env=TOKEN,id=token", "id=npmrc,src=.npmrc"' for name in APPS}),
    "attribute": (r'(target "tool_app" {\n)', r"\1  pull = true" + "\n", {f'target "{name}", pull: found true, expected nothing' for name in APPS}),
    "variable": (r'default = "1.0"', 'default = "2.0"', {f'target "tool_{kind}_python3-{minor}", {field}' for minor in (11, 12) for kind, field in (("app", f'tags: found "ghcr.io/acme/tool:2.0-3.{minor}", expected "ghcr.io/acme/tool:1.0-3.{minor}"'), ("app", 'labels.version: found "2.0", expected "1.0"'), ("base", 'labels.version: found "2.0", expected "1.0"'))}),
    "target added": (r"\Z", '\ntarget "more" {\n}\n', {'target "more" is not in the manifests'}),
    "hidden target added": (r"\Z", '\ntarget "_more" {\n}\n', set()),
    "group added": (r"\Z", f'\ngroup "more" {{\n  targets = ["{APP}"]\n}}\n', {'group "more" is not in the manifests'}),
    "group removed": (r'group "app" {.*\n', "", {'group "app" is missing'}),
    "group renamed": (r'group "app" {', 'group "apps" {', {'group "app" is missing', 'group "apps" is not in the manifests'}),
    "member removed": (r'(group "app" { targets = \[)"tool_app"', rf'\1"{APP}"', {f'group "app", targets: found "{APP}", expected "{APP}", "tool_app_python3-12"'}),
    "default emptied": (r'(group "default" { targets = \[)"tool"', rf'\1"{APP}"', {f'group "default", targets: found "{APP}", expected "{APP}", "tool_app_python3-12"'}),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_named_by_target_and_field(root: Path, tool: Buildx, edit: str) -> None:
    pattern, replacement, expected = EDITS[edit]
    text, count = re.subn(pattern, replacement, (root / BAKE_FILE).read_text())
    assert count

    found = problems(root, text, tool)

    assert {problem.message for problem in found} == expected
    assert {problem.code for problem in found} <= {"bake-mismatch"}


def test_a_mismatch_shows_the_line_of_its_target(root: Path, tool: Buildx) -> None:
    text = (root / BAKE_FILE).read_text()
    wrong = text.replace('  dockerfile = "', '  dockerfile = "wrong/', 1)
    assert wrong != text

    found = problems(root, wrong, tool)

    assert found
    for problem in found:
        assert problem.position
        assert wrong.splitlines()[problem.position.line - 1].startswith(("target ", "  dockerfile = "))


def test_a_missing_target_is_named_whatever_else_bake_refuses(root: Path, tool: Buildx) -> None:
    text = re.sub(r'target "tool_app" {\n(.*\n)*?}\n', "", (root / BAKE_FILE).read_text())

    found = problems(root, text, tool)

    assert f'target "{APP}" is missing' in [problem.message for problem in found]
    assert {problem.code for problem in found} <= {"bake-mismatch", "bake-unreadable"}


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [('"3.11"', '"3.11'), (r"\Z", "}"), ("targets = ", "targets "), ("  args = {", "  args = "), (r"\n}", "\n")],
)
def test_a_file_that_is_no_hcl_is_unreadable(root: Path, tool: Buildx, pattern: str, replacement: str) -> None:
    text = re.sub(pattern, replacement, (root / BAKE_FILE).read_text(), count=1)

    found = problems(root, text, tool)

    unreadable = [problem for problem in found if problem.code == "bake-unreadable"]
    assert len(unreadable) == 1
    assert unreadable[0].position
    assert unreadable[0].position.line


# ---- Without buildx: what python-hcl2 parses of the file, and of what would be written


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_found_without_buildx(root: Path, edit: str) -> None:
    pattern, replacement, _ = EDITS[edit]
    written = (root / BAKE_FILE).read_text()
    text = re.sub(pattern, replacement, written)

    with pytest.raises(BakegenError) as raised:
        compare(text.encode(), written.encode())

    assert {problem.code for problem in raised.value.problems} == {"bake-mismatch"}


def test_layout_means_nothing(root: Path) -> None:
    written = (root / BAKE_FILE).read_text()
    text = re.sub(r"(?m)^#.*\n", "", written).replace("  inherits", "\n    inherits")

    assert compare(text.encode(), written.encode()) == compare(written.encode(), written.encode()) > 10


@pytest.mark.parametrize("text", ['target "t" {', "}", 'a = "b', "args = ", "[" * 5000])
def test_what_is_no_hcl_is_unreadable_without_buildx(root: Path, text: str) -> None:
    with pytest.raises(BakegenError) as raised:
        compare(text.encode(), (root / BAKE_FILE).read_bytes())

    assert [problem.code for problem in raised.value.problems] == ["bake-unreadable"]


# ---- The command


def test_the_command_says_who_read_what(root: Path) -> None:
    outcome = run(root, ["verify", "--with", "hcl2"])

    assert outcome.code == 0
    assert outcome.stdout == ""
    assert outcome.stderr == "reading docker-bake.hcl with python-hcl2\n15 blocks match the manifests\n"


def test_the_command_asks_buildx_if_it_can(root: Path, buildx: Buildx, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("bin")
    (folder / "docker-buildx").symlink_to(buildx.command[0])
    monkeypatch.setenv("PATH", f"{folder}:/nowhere")
    for name in ("TOOL_VERSION", "BAKEGEN_REGISTRY", "BAKEGEN_PLATFORMS"):
        monkeypatch.setenv(name, "linux/s390x")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("BUILDX_BAKE_FILE", "elsewhere.hcl")

    for words in (["verify"], ["verify", "--with", "buildx"]):
        outcome = run(root, words)
        assert outcome.stderr.startswith(f"reading docker-bake.hcl with buildx {buildx.text}\n")
        assert outcome.code == 0


def test_without_buildx_python_hcl2_reads(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert run(root, ["verify"]).stderr.startswith("reading docker-bake.hcl with python-hcl2\n")
    assert "[no-buildx]" in run(root, ["verify", "--with", "buildx"]).stderr


def test_a_buildx_that_is_too_old_is_not_asked(tmp_path: Path, buildx: Buildx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bakegen.bake.verify.find_buildx", lambda: buildx)
    graph = load_project(make(tmp_path, f'buildx: "0.999"\n{MANIFEST}')).graph

    assert find_tool(graph) is None
    with pytest.raises(BakegenError, match=r"buildx 0\.999 or newer was not found \[no-buildx\]"):
        find_tool(graph, "buildx")


def test_the_newest_buildx_that_a_manifest_states_is_needed(tmp_path: Path) -> None:
    narrow = MANIFEST.replace("[linux/amd64, linux/arm64]", "[linux/amd64, linux/arm64, linux/s390x]")
    narrow = narrow.replace("app: {", "app: {platforms: [linux/amd64, linux/arm64], ") + 'buildx: "0.20"\n'

    assert needed_buildx(load_project(make(tmp_path, MANIFEST)).graph) == (0, 13)
    assert needed_buildx(load_project(make(tmp_path, narrow)).graph) == (0, 20)


def test_reading_leaves_the_project_alone(tmp_path: Path, tool: Buildx) -> None:
    (tmp_path / "out.tar").write_text("precious")
    root = make(tmp_path, MANIFEST + 'bake: {output: ["type=tar,dest=out.tar"]}\n')
    before = tree(root)

    assert judge(load_project(root).graph, (root / BAKE_FILE).read_bytes(), tool)
    assert tree(root) == before


def test_a_folder_in_place_of_the_file_is_reported(root: Path) -> None:
    (root / BAKE_FILE).unlink()
    (root / BAKE_FILE).mkdir()

    outcome = run(root, ["verify", "--with", "hcl2"])

    assert outcome.code == 1
    assert "docker-bake.hcl: this cannot be read: Is a directory [unreadable-file]" in outcome.stderr


@pytest.mark.parametrize("script", ["exit 1", "echo unexpected", "echo 'docker: unknown command'; exit 125"])
def test_what_is_no_buildx_is_not_taken_for_one(tmp_path: Path, script: str) -> None:
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)

    assert find_buildx([(str(program), "buildx"), (str(tmp_path / "absent"),)]) is None


def test_a_buildx_is_known_by_its_version(tmp_path: Path) -> None:
    program = tmp_path / "buildx"
    program.write_text("#!/bin/sh\necho github.com/docker/buildx v0.36.1 0123abc\n")
    program.chmod(0o755)

    assert find_buildx([(str(program),)]) == Buildx((str(program),), (0, 36), "0.36.1")


# ---- One form for what versions print differently


@pytest.mark.parametrize(
    ("attribute", "text", "printed"),
    [
        ("output", "type=image,push=false", {"type": "image", "push": "false"}),
        ("output", "out", {"type": "local", "dest": "out"}),
        ("output", "-", {"type": "tar", "dest": "-"}),
        ("output", 'type=image,"name=a,b"', {"type": "image", "name": "a,b"}),
        ("cache-from", "ghcr.io/a/b", {"type": "registry", "ref": "ghcr.io/a/b"}),
        ("cache-from", "TYPE=registry,Ref=X", {"type": "registry", "ref": "X"}),
        ("cache-to", "type=gha,mode=max", {"type": "gha", "mode": "max"}),
        ("secret", "id=a,env=A", {"id": "a", "env": "A"}),
        ("secret", "type=file,id=a,source=b", {"id": "a", "src": "b"}),
        ("secret", "type=env,id=a,src=A", {"id": "a", "env": "A"}),
        ("ssh", "default", {"id": "default"}),
        ("ssh", "a=b,c", {"id": "a", "paths": ["b", "c"]}),
        ("attest", "type=sbom", {"type": "sbom"}),
        ("attest", "type=sbom,disabled=false", {"type": "sbom"}),
        ("attest", "type=provenance,disabled=1", {"type": "provenance", "disabled": True}),
    ],
)
def test_text_and_object_mean_the_same(attribute: str, text: str, printed: Mapping[str, Any]) -> None:
    assert canonical({attribute: [text]}) == canonical({attribute: [printed]})


def test_the_order_of_lists_and_what_is_empty_mean_nothing() -> None:
    assert canonical({"tags": ["b", "a", "b"], "args": {}, "target": "", "pull": False}) == {
        "context": ".",
        "dockerfile": "Dockerfile",
        "tags": ("a", "b"),
        "pull": False,
    }


def test_groups_inside_groups_are_unfolded_once() -> None:
    reading = Reading({}, {"a": ("b", "x"), "b": ("a", "y", "b")})

    assert reading.members("a") == {"x", "y"}


def test_the_model_has_variables_at_their_defaults(root: Path) -> None:
    graph: Graph = load_project(root).graph

    assert model_reading(graph, (0, 29)).targets[APP]["tags"] == ("ghcr.io/acme/tool:1.0-3.11",)
