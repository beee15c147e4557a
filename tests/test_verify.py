"""`bakegen verify`: what buildx and python-hcl2 find in bake files that were tampered with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from harness import run, tree

from bakegen.bake.hcl_reader import read_with_hcl2
from bakegen.bake.model import BAKE_FILE
from bakegen.bake.print import Names, read_with_buildx
from bakegen.bake.reading import Reading, canonical
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


@pytest.fixture(scope="session", params=["hcl2", "oldest", "newest"])
def tool(request: pytest.FixtureRequest) -> Buildx | None:
    """Each judge in turn: None is python-hcl2."""
    if request.param == "hcl2":
        return None
    return find_buildx([(str(request.getfixturevalue(f"{request.param}_buildx")),)])


def problems(root: Path, text: str, tool: Buildx | None) -> list[Problem]:
    graph = load_project(root).graph
    try:
        judge(graph, text.encode(), tool)
    except BakegenError as error:
        return list(error.problems)
    return []


def test_an_untouched_file_is_what_the_manifests_say(root: Path, tool: Buildx | None) -> None:
    graph = load_project(root).graph

    assert judge(graph, (root / BAKE_FILE).read_bytes(), tool) == (len(graph.targets), len(graph.groups))


APP, BASE = "tool_app_python3-11", "tool_base_python3-11"
EDITS = {
    "tag": (r'tags\((\w+), \["\$\{TOOL_VERSION\}-3.11"', r'tags(\1, ["3.11"', {f'target "{APP}", tags: bake reads "ghcr.io/acme/tool:3.11", the manifests say "ghcr.io/acme/tool:1.0-3.11"'}),
    "more tags": (r'(tags\(\w+, \["\$\{TOOL_VERSION\}-3.11")', r'\1, "a"', {f'target "{APP}", tags: bake reads "ghcr.io/acme/tool:1.0-3.11", "ghcr.io/acme/tool:a", the manifests say "ghcr.io/acme/tool:1.0-3.11"'}),
    "platform": (rf'(target "{BASE}" {{\n)', r'\1  platforms = ["linux/amd64"]' + "\n", {f'target "{BASE}", platforms: bake reads "linux/amd64", the manifests say "linux/amd64", "linux/arm64"'}),
    "arg": (r'"PYTHON" = "3.11"', '"PYTHON" = "3.10"', {f'target "{name}", args.PYTHON: bake reads "3.10", the manifests say "3.11"' for name in (APP, BASE)}),
    "arg added": (rf'(target "{APP}" {{\n(?:.*\n)*?  args = {{\n)', r'\1    "MORE" = "${TOOL_VERSION}"' + "\n", {f'target "{APP}", args.MORE: bake reads "1.0", the manifests say nothing'}),
    "context": (rf'"target:{BASE}"', '"docker-image://python"', {f'target "{APP}", contexts.ghcr.io/acme/tool:{BASE}: bake reads "docker-image://python", the manifests say "target:{BASE}"'}),
    "dockerfile": ('"generated/tool/3.11/app/Dockerfile"', '"Dockerfile"', {f'target "{APP}", dockerfile: bake reads "Dockerfile", the manifests say "generated/tool/3.11/app/Dockerfile"'}),
    "output": (rf'(target "{BASE}" {{\n(?:.*\n)*?  output = \[)"type=cacheonly"', r'\1"type=docker"', {f'target "{BASE}", output: bake reads "type=docker", the manifests say "type=cacheonly"'}),
    "inherited list": (rf'(target "{APP}" {{\n)', r'\1  secret = ["id=more,env=MORE"]' + "\n", {f'target "{APP}", secret: bake reads "env=MORE,id=more", "env=TOKEN,id=token", "id=npmrc,src=.npmrc", the manifests say "env=TOKEN,id=token", "id=npmrc,src=.npmrc"'}),
    "attribute": (rf'(target "{APP}" {{\n)', r"\1  pull = true" + "\n", {f'target "{APP}", pull: bake reads true, the manifests say nothing'}),
    "variable": (r'default = "1.0"', 'default = "2.0"', {f'target "tool_{kind}_python3-{minor}", {field}' for minor in (11, 12) for kind, field in (("app", f'tags: bake reads "ghcr.io/acme/tool:2.0-3.{minor}", the manifests say "ghcr.io/acme/tool:1.0-3.{minor}"'), ("app", 'labels.version: bake reads "2.0", the manifests say "1.0"'), ("base", 'labels.version: bake reads "2.0", the manifests say "1.0"'))}),
    "target added": (r"\Z", '\ntarget "more" {\n}\n', {'target "more" is superfluous: no manifest makes it'}),
    "hidden target added": (r"\Z", '\ntarget "_more" {\n}\n', set()),
    "group added": (r"\Z", f'\ngroup "more" {{\n  targets = ["{APP}"]\n}}\n', {'group "more" is superfluous: no manifest makes it'}),
    "group removed": (r'group "app" {\n(.*\n)*?}\n', "", {'group "app" is missing: bake reads nothing of that name'}),
    "group renamed": (r'group "app" {', 'group "apps" {', {'group "app" is missing: bake reads nothing of that name', 'group "apps" is superfluous: no manifest makes it'}),
    "member removed": (rf'(group "app" {{\n(?:.*\n)*?.*)"{APP}", ', r"\1", {f'group "app", targets: bake reads "tool_app_python3-12", the manifests say "{APP}", "tool_app_python3-12"'}),
    "default emptied": (r'(group "default" {\n)(.*\n)*?}\n', rf'\1  targets = ["{APP}"]' + "\n}\n", {f'group "default", targets: bake reads "{APP}", the manifests say "{APP}", "tool_app_python3-12"'}),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_named_by_target_and_field(root: Path, tool: Buildx | None, edit: str) -> None:
    pattern, replacement, expected = EDITS[edit]
    text, count = re.subn(pattern, replacement, (root / BAKE_FILE).read_text())
    assert count

    found = problems(root, text, tool)

    assert {problem.message for problem in found} == expected
    assert {problem.code for problem in found} <= {"bake-mismatch"}


def test_a_mismatch_shows_the_line_of_its_target(root: Path, tool: Buildx | None) -> None:
    text = (root / BAKE_FILE).read_text().replace('"PYTHON" = "3.12"', '"PYTHON" = "3"')

    for problem in problems(root, text, tool):
        assert problem.position
        name = problem.message.split('"')[1]
        assert text.splitlines()[problem.position.line - 1] == f'target "{name}" {{'


def test_a_missing_target_is_named_whatever_else_bake_refuses(root: Path, tool: Buildx | None) -> None:
    text = re.sub(rf'target "{APP}" {{\n(.*\n)*?}}\n', "", (root / BAKE_FILE).read_text())

    found = problems(root, text, tool)

    assert f'target "{APP}" is missing: bake reads nothing of that name' in [problem.message for problem in found]
    assert {problem.code for problem in found} <= {"bake-mismatch", "bake-unreadable"}


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [('"3.11"', '"3.11'), (r"\Z", "}"), ("targets = ", "targets "), ("  args = {", "  args = "), (r"\n}", "\n")],
)
def test_a_file_that_is_no_hcl_is_unreadable(root: Path, tool: Buildx | None, pattern: str, replacement: str) -> None:
    text = re.sub(pattern, replacement, (root / BAKE_FILE).read_text(), count=1)

    found = problems(root, text, tool)

    unreadable = [problem for problem in found if problem.code == "bake-unreadable"]
    assert len(unreadable) == 1
    assert unreadable[0].position
    assert unreadable[0].position.line


# ---- What only python-hcl2 refuses: what bakegen never writes

VARIABLE = 'variable "V" {\n  default = "v"\n}\n'


def target(*lines: str) -> str:
    return "".join([VARIABLE, 'target "t" {\n', *(f"  {line}\n" for line in lines), "}\n"])


REFUSED = {
    "arithmetic": (target('tags = ["a${1 + 1}"]'), "no binary op"),
    "number": (target("tags = [1]"), "no int lit"),
    "null": (target("args = null"), "no literal value such as null"),
    "parentheses": (target('tags = ["${(V)}"]'), "no expr term"),
    "for": (target('tags = [for v in ["a"] : v]'), "no for tuple expr"),
    "condition": (target('target = V == "" ? "a" : "b"'), "no conditional"),
    "heredoc": (target("target = <<EOT\nx\nEOT"), "no heredoc template"),
    "directive": (target('target = "%{if true}a%{endif}"'), "no template_if_start"),
    "index": (target('target = ["a"][0]'), "no index expr term"),
    "foreign call": (target('tags = split(",", V)'), "no such call of split"),
    "own function that is not defined": (target('platforms = platforms(["a"])'), "no such call of platforms"),
    "unknown variable": (target("target = W"), 'no variable "W"'),
    "list in a text": (target('target = "${["a"]}"'), "only texts stand inside a text"),
    "wrong type": (target('tags = "a"'), '"tags" must be a list'),
    "unknown attribute": (target('colour = "red"'), 'bake ignores the attribute "colour"'),
    "nested block": (target('args {\n    A = "b"\n  }'), "bake ignores a block inside a block"),
    "unknown block": ('image "t" {\n}\n', 'bake ignores a block of the kind "image"'),
    "no label": ("target {\n}\n", "one label"),
    "bare label": ("target t {\n}\n", "one label"),
    "two labels": ('target "t" "u" {\n}\n', "one label"),
    "attribute twice": (target('target = "a"', 'target = "b"'), 'a second attribute "target"'),
    "key twice": (target('args = {\n    "A" = "1"\n    "A" = "2"\n  }'), 'a second key "A"'),
    "bare key": (target('args = {\n    A = "1"\n  }'), 'no variable "A"'),
    "target twice": (target() + 'target "t" {\n}\n', 'a second target "t"'),
    "two on a line": (target('target = "a" pull = true'), "a line of its own"),
    "unknown escape": (target('target = "\\x41"'), r"HCL knows no escape \x"),
    "text of two lines": (target('target = "a\nb"'), "a text ends on its line"),
    "unclosed escape": (target('target = "$${a"', 'context = "b}"'), "python-hcl2 misreads $${"),
    "inherits nothing": (target('inherits = ["u"]'), 'inherits from "u", which does not exist'),
    "inherits itself": (target('inherits = ["t"]'), "inherits from itself"),
    "changed function": ('function "asked" {\n  params = [declared]\n  result = declared\n}\n', "is not one that bakegen writes"),
    "number as default": ('variable "V" {\n  default = 1\n}\n', "no int lit"),
    "members": ('group "g" {\n  targets = "t"\n}\n', "a list of names"),
    "depth": (target(f"tags = {'[' * 5000}{']' * 5000}"), "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_python_hcl2_is_not_trusted_beyond_what_bakegen_writes(case: str) -> None:
    text, message = REFUSED[case]

    with pytest.raises(BakegenError, match=re.escape(message)) as raised:
        read_with_hcl2(text.encode())

    assert [problem.code for problem in raised.value.problems] == ["bake-unreadable"]


def test_latin_1_is_refused_and_a_byte_order_mark_is_not() -> None:
    with pytest.raises(BakegenError, match=r"docker-bake\.hcl:2: is not UTF-8"):
        read_with_hcl2(b'target "t" {\n  target = "\xe9"\n}\n')

    assert read_with_hcl2(b'\xef\xbb\xbftarget "t" {\n}\n').targets


def test_inheritance_merges_as_in_bake(buildx: Buildx) -> None:
    text = VARIABLE + "".join(
        f'target "{name}" {{\n{body}}}\n'
        for name, body in {
            "a": '  args = {\n    "A" = "a"\n    "B" = V\n  }\n  cache-from = ["a"]\n  target = "a"\n  tags = ["a"]\n  output = ["type=docker"]\n',
            "b": '  args = {\n    "B" = "b"\n  }\n  cache-from = ["b"]\n  no-cache-filter = ["b"]\n  pull = true\n',
            "c": '  inherits = ["a", "b"]\n  args = {\n    "C" = "c"\n  }\n  cache-from = ["c"]\n  tags = ["c", "d"]\n  pull = false\n  annotations = ["x=y"]\n',
            "d": '  inherits = ["c"]\n  no-cache-filter = ["d"]\n  annotations = ["x=z"]\n',
        }.items()
    )  # fmt: skip
    names = ["a", "b", "c", "d"]

    assert read_with_buildx(buildx, text.encode(), Names([], names)) == read_with_hcl2(text.encode())


# ---- The command


def test_the_command_says_who_read_what(root: Path) -> None:
    outcome = run(root, ["verify", "--with", "hcl2"])

    assert outcome.code == 0
    assert outcome.stdout == ""
    assert (
        outcome.stderr == "docker-bake.hcl is read by python-hcl2\n4 targets and 6 groups are what the manifests say\n"
    )


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
        assert outcome.stderr.startswith(f"docker-bake.hcl is read by buildx {buildx.text}\n")
        assert outcome.code == 0


def test_without_buildx_python_hcl2_reads(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert run(root, ["verify"]).stderr.startswith("docker-bake.hcl is read by python-hcl2\n")
    assert "[no-buildx]" in run(root, ["verify", "--with", "buildx"]).stderr


def test_a_buildx_that_is_too_old_is_not_asked(tmp_path: Path, buildx: Buildx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bakegen.bake.verify.find_buildx", lambda: buildx)
    graph = load_project(make(tmp_path, f'buildx: "0.999"\n{MANIFEST}')).graph

    assert find_tool(graph) is None
    with pytest.raises(BakegenError, match=r"no buildx of version 0.999 or newer here \[no-buildx\]"):
        find_tool(graph, "buildx")


def test_the_newest_buildx_that_a_manifest_states_is_needed(tmp_path: Path) -> None:
    narrow = MANIFEST.replace("[linux/amd64, linux/arm64]", "[linux/amd64, linux/arm64, linux/s390x]")
    narrow = narrow.replace("app: {", "app: {platforms: [linux/amd64, linux/arm64], ") + 'buildx: "0.20"\n'

    assert needed_buildx(load_project(make(tmp_path, MANIFEST)).graph) == (0, 13)
    assert needed_buildx(load_project(make(tmp_path, narrow)).graph) == (0, 20)


def test_reading_leaves_the_project_alone(tmp_path: Path, tool: Buildx | None) -> None:
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
    assert "docker-bake.hcl: cannot be read: Is a directory [unreadable-file]" in outcome.stderr


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

    assert model_reading(graph).targets[APP]["tags"] == ("ghcr.io/acme/tool:1.0-3.11",)
