"""dockerfiles.json and images.json: what they say is so, fits their schemas, and stays current once it is made."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from harness import OUTPUTS, TESTS, copy_project, projects, run, tree
from jsonschema import Draft202012Validator, ValidationError
from test_schema import schemas

import bakegen
from bakegen.expressions.text import Text
from bakegen.output.files import OutputFile
from bakegen.render.files import METADATA
from bakegen.render.metadata import check_metadata, pattern

ROOT = TESTS.parent
GOLDEN = TESTS / "metadata"
CASES = projects(TESTS / "cases", 1)
SHOWN = ["include", "side-files", "tag-aliases"]  # the cases whose metadata is committed
FILES: Mapping[str, Any] = {
    kind: json.loads((ROOT / "schema" / f"{kind}.schema.json").read_text()) for kind in ("dockerfiles", "images")
}
PARTS = {f"{kind}{path}": part for kind, schema in FILES.items() for path, part in schemas(schema)}

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def images(root: Path) -> list[str]:
    return [manifest.image for manifest in bakegen.load(root).manifests]


def read(root: Path, image: str) -> tuple[dict[str, Any], dict[str, Any]]:
    dockerfiles, built = (json.loads((root / "generated" / image / name).read_text()) for name in METADATA)
    return dockerfiles, built


def metadata_of(root: Path) -> dict[str, tuple[str, bytes]]:
    return {path: file for path, file in tree(root, "generated").items() if path.endswith(METADATA)}


def put(root: Path, path: str, text: str) -> Path:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    return root / path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two images, one with a VERSION; one Dockerfile of a template that extends, includes and imports others."""
    root = tmp_path / "project"
    put(root, "manifest/tool.yml", "image: tool\nplatforms: [linux/amd64]\nfrom: alpine:3.22\ntags: [one]\n")
    put(root, "templates/tool.Dockerfile.j2", "FROM {{ parent }}\n")
    put(root, "manifest/data/pins.yml", "curl: '8'\n")
    put(
        root,
        "manifest/app.yml",
        """\
image: app
variables: # what is new
  VERSION: {default: 1.0.0a7, description: a release} # by hand
registries: [ghcr.io/acme/app, quay.io/acme/app]
platforms: [linux/amd64, linux/arm64]
data: {pins: data/pins.yml}
template: app.j2
dockerfile: "{{ release }}/Dockerfile"
args: {VERSION: "v{{ VERSION }}", PLAIN: "$ and ${x}"}
files: [{path: "repo-{{ platform.arch }}", template: repo.j2, each: platform}, {path: motd, copy: motd}]
releases:
  base: {from: alpine:3.22, tags: ["base-v{{ VERSION }}"], publish: false}
  run: {from: base, tags: ["{{ VERSION }}"]}
""",
    )
    put(root, "motd", "hello\n")
    put(root, "templates/repo.j2", "{{ platform }}\n")
    put(root, "templates/app.j2", '{% extends "frame.j2" %}{% block body %}{% include "part.j2" %}{% endblock %}')
    put(root, "templates/frame.j2", "ARG VERSION\nARG PLAIN\nFROM {{ parent }}\n{% block body %}{% endblock %}\n")
    put(root, "templates/part.j2", '{% from "macros.j2" import say %}{{ say("hi") }}')
    put(root, "templates/macros.j2", "{% macro say(word) %}RUN echo {{ word }}{% endmacro %}")
    put(root, "templates/unused.j2", "")
    return root


# ---- the schemas


@pytest.mark.parametrize("kind", FILES)
def test_a_schema_is_valid_written_in_one_way_and_printed(kind: str, tmp_path: Path) -> None:
    Draft202012Validator.check_schema(FILES[kind])
    text = (ROOT / "schema" / f"{kind}.schema.json").read_text()

    assert text == json.dumps(FILES[kind], indent=2, ensure_ascii=False) + "\n"
    assert run(tmp_path, ["schema", kind]).stdout == text


@pytest.mark.parametrize("path", PARTS)
def test_every_part_of_a_schema_is_described_and_closed(path: str) -> None:
    part = PARTS[path]

    assert ("$ref" in part) != part.get("description", "").endswith((".", "`."))
    if "properties" in part:
        assert part["additionalProperties"] is False
        assert part["required"] == list(part["properties"])
    elif part.get("type") == "object":
        assert "additionalProperties" in part
    elif part.get("type") == "array":
        assert "items" in part


def test_what_does_not_fit_is_noticed() -> None:
    with pytest.raises(ValidationError):
        check_metadata({"generated/app/images.json": OutputFile(b'{"format": 1}')})


def test_the_schemas_have_no_key_that_is_never_written(tmp_path: Path) -> None:
    """Every property of the schemas is in what the cases give: closed schemas prove the other direction."""
    seen: set[tuple[str, ...]] = set()

    def walk(value: Any, schema: Mapping[str, Any], whole: Mapping[str, Any], at: tuple[str, ...]) -> None:
        if "$ref" in schema:
            schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
            at = (at[0], "$defs")
        if isinstance(value, dict):
            for key, item in value.items():
                own = key in schema.get("properties", {})
                seen.update({(*at, key)} if own else ())
                walk(item, schema["properties"][key] if own else schema["additionalProperties"], whole, (*at, key))
        elif isinstance(value, list):
            for item in value:
                walk(item, schema["items"], whole, at)

    root = copy_project(TESTS / "cases" / "side-files", tmp_path / "project", outputs=False)
    assert run(root, ["generate", "--save-metadata"]).code == 0
    for image in images(root):
        for kind, data in zip(FILES, read(root, image), strict=True):
            walk(data, FILES[kind], FILES[kind], (kind,))
    top = {(kind, key) for kind, schema in FILES.items() for key in schema["properties"]}
    files = {
        ("dockerfiles", "files", key) for key in FILES["dockerfiles"]["properties"]["files"]["items"]["properties"]
    }
    targets = {("images", "targets", key) for key in FILES["images"]["properties"]["targets"]["items"]["properties"]}

    assert top | files | targets <= seen


# ---- what they say


@each_case
def test_metadata_is_what_the_graph_and_the_disk_say(case: Path, tmp_path: Path) -> None:
    root = copy_project(case, tmp_path / case.name, outputs=True)
    graph = bakegen.load(root)

    outcome = run(root, ["create-context", *images(root), "--validate"])

    assert outcome.code == 0, outcome.stderr
    assert "match the schemas" in outcome.stderr
    assert set(metadata_of(root)) == {f"generated/{image}/{name}" for image in images(root) for name in METADATA}
    others = {"README.md", "versions", *METADATA}
    for image in images(root):
        dockerfiles, built = read(root, image)
        below = (root / "generated" / image).rglob("*")
        made = {
            file
            for file in below
            if file.is_file()
            and file.relative_to(root / "generated" / image).as_posix() not in others
            and not file.is_relative_to(root / "generated" / image / "readme")
        }
        assert {root / file["path"] for file in dockerfiles["files"]} == made
        for file in dockerfiles["files"]:
            assert hashlib.sha256((root / file["path"]).read_bytes()).hexdigest() == file["sha256"]
            assert all((root / name).is_file() or name.startswith("bakegen:") for name in file["inputs"])
            assert (file["template"] or file["copied"]) in file["inputs"]
            if file["kind"] == "dockerfile":
                assert file["targets"] == [target.name for target in graph.by_dockerfile[file["path"]]]
        rows = json.loads(run(root, ["list", f"image={image}", "--format", "json"]).stdout)
        for row, target in zip(rows, built["targets"], strict=True):
            assert [reference["value"] for reference in target["references"]] == row["tags"]
            assert {name: text["value"] for name, text in target["args"].items()} == row["args"]
            same = {"target": "name", "release": "release", "axes": "axes", "platforms": "platforms",
                    "published": "published", "dockerfile": "dockerfile", "context": "context"}  # fmt: skip
            assert {key: row[key] for key in same} == {key: target[name] for key, name in same.items()}
            assert row["parents"] == [
                {"reference": parent["reference"]["value"], "target": parent["target"]} for parent in target["parents"]
            ]
    assert run(root, ["generate", "--check"]).code == 0


@pytest.mark.parametrize("name", SHOWN)
def test_metadata_is_what_is_committed(name: str, tmp_path: Path, update_golden: bool) -> None:
    root = copy_project(TESTS / "cases" / name, tmp_path / name, outputs=True)
    assert run(root, ["create-context", *images(root)]).code == 0
    made = {path.removeprefix("generated/"): content.decode() for path, (_, content) in metadata_of(root).items()}
    if update_golden:
        for path, text in made.items():
            put(GOLDEN / name, path, text)

    committed = {path: content.decode() for path, (_, content) in tree(GOLDEN / name).items()}
    assert made == committed


def test_inputs_are_all_that_a_file_is_made_from_and_nothing_else(project: Path) -> None:
    assert run(project, ["create-context", "app"]).code == 0
    files = {file["path"]: file for file in read(project, "app")[0]["files"]}
    manifest = ["manifest/app.yml", "manifest/data/pins.yml"]
    templates = ["templates/app.j2", "templates/frame.j2", "templates/macros.j2", "templates/part.j2"]

    for release in ("base", "run"):  # the second time, Jinja has them at hand
        assert files[f"generated/app/{release}/Dockerfile"]["inputs"] == [*manifest, *templates]
    assert files["generated/app/run/motd"] == {
        "path": "generated/app/run/motd",
        "kind": "side file",
        "template": None,
        "copied": "motd",
        "platform": None,
        "inputs": [*manifest, "motd"],
        "executable": False,
        "sha256": hashlib.sha256(b"hello\n").hexdigest(),
        "targets": ["app_run"],
    }
    repo = files["generated/app/run/repo-arm64"]
    assert (repo["platform"], repo["inputs"]) == ("linux/arm64", [*manifest, "templates/repo.j2"])


def test_texts_are_given_at_defaults_and_as_the_bake_file_has_them(project: Path) -> None:
    assert run(project, ["create-context", "app"]).code == 0
    base, target = read(project, "app")[1]["targets"]

    assert target["tags"] == [{"value": "1.0.0a7", "pattern": "${APP_VERSION}"}]
    assert [text["pattern"] for text in target["references"]] == [
        "ghcr.io/acme/app:${APP_VERSION}",
        "quay.io/acme/app:${APP_VERSION}",
    ]
    assert target["args"] == {
        "VERSION": {"value": "v1.0.0a7", "pattern": "v${APP_VERSION}"},
        "PLAIN": {"value": "$ and ${x}", "pattern": "$ and $${x}"},
    }
    assert target["parents"] == [
        {
            "reference": {
                "value": "ghcr.io/acme/app:base-v1.0.0a7",
                "pattern": "ghcr.io/acme/app:base-v${APP_VERSION}",
            },
            "target": "app_base",
        }
    ]
    assert (base["published"], base["tags"], base["references"]) == (False, [], [])
    assert pattern(Text.literal("${")) == "$${"


# ---- who keeps them current


def test_once_made_they_are_kept_current_and_removed_they_stay_away(project: Path) -> None:
    assert run(project, ["generate"]).code == 0
    assert not metadata_of(project)
    assert run(project, ["generate", "app", "--save-metadata"]).code == 0
    assert set(metadata_of(project)) == {f"generated/app/{name}" for name in METADATA}
    before = metadata_of(project)

    put(project, "motd", "bye\n")
    assert "generated/app/dockerfiles.json" in run(project, ["generate", "--check"]).stdout
    assert run(project, ["generate"]).code == 0
    assert metadata_of(project) != before
    assert run(project, ["generate", "--check"]).code == 0

    (project / "generated/app/images.json").unlink()
    assert run(project, ["generate", "--check"]).code == 1  # the records list it still
    assert run(project, ["generate"]).code == 0
    assert set(metadata_of(project)) == {"generated/app/dockerfiles.json"}
    assert run(project, ["generate", "--check"]).code == 0

    (project / "manifest/app.yml").unlink()
    assert run(project, ["generate"]).code == 0
    assert not metadata_of(project)


def test_what_others_put_there_or_edited_is_reported(project: Path) -> None:
    put(project, "generated/app/images.json", "{}\n")
    assert run(project, ["generate"]).code == 0  # nobody asked for metadata
    assert "[foreign-output]" in run(project, ["create-context", "app"]).stderr
    assert run(project, ["create-context", "app", "--force"]).code == 0
    put(project, "generated/app/images.json", "{}\n")
    for command in (["generate"], ["create-context", "app"]):
        assert "[edited-output]" in run(project, command).stderr


def test_problems_leave_everything_as_it_is(project: Path) -> None:
    put(project, "templates/part.j2", "{{ nothing }}")
    before = tree(project)

    for command in (["create-context", "app", "--validate"], ["generate", "--save-metadata"]):
        assert "[undefined-name]" in run(project, command).stderr
    assert "[unknown-image]" in run(project, ["create-context", "ap"]).stderr
    assert run(project, ["create-context"]).code == 2
    assert tree(project) == before


def test_a_remembered_run_does_not_hide_a_wish_for_metadata(project: Path) -> None:
    for _ in range(2):
        assert run(project, ["generate"]).code == 0
    assert run(project, ["generate", "--save-metadata"]).code == 0
    assert len(metadata_of(project)) == 4
    for _ in range(2):
        assert "0 files would change" in run(project, ["generate", "--check"]).stderr


# ---- parts


@pytest.mark.parametrize(
    ("options", "made"),
    [
        (["--dockerfiles"], {"generated/app/base/Dockerfile", "generated/app/run/motd", "generated/tool/Dockerfile"}),
        (["--docs"], {"generated/app/README.md", "generated/tool/README.md"}),
        (["--bake"], {"docker-bake.hcl", "generated/app/versions"}),
        (["--docs", "--bake"], {"docker-bake.hcl", "generated/app/versions", "generated/app/README.md"}),
        (["tool", "--dockerfiles"], {"generated/tool/Dockerfile"}),
        (["tool", "--docs", "--save-metadata"], {"generated/tool/README.md", "generated/tool/images.json"}),
        (["--docs", "--all"], {"docker-bake.hcl", "generated/app/README.md", "generated/tool/Dockerfile"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_run_for_some_files_leaves_the_others_alone(project: Path, options: list[str], made: set[str]) -> None:
    assert run(project, ["generate", *options]).code == 0
    there = set(tree(project, *OUTPUTS))

    assert made <= there
    if "--all" not in options:
        kinds = {Path(path).name for path in made} | {"bakegen.sums"}
        spare = {"repo-amd64", "repo-arm64", "dockerfiles.json"} if kinds & {"Dockerfile", "images.json"} else set()
        assert {Path(path).name for path in there} <= kinds | spare
    assert run(project, ["generate", *options, "--check"]).code == 0
    recorded = {line.split("  ")[1] for line in (project / "generated/bakegen.sums").read_text().splitlines()}
    assert recorded == there - {"generated/bakegen.sums"}
    assert run(project, ["generate"]).code == 0
    assert run(project, ["generate", "--check"]).code == 0


def test_what_is_no_longer_made_goes_with_the_files_of_its_kind(project: Path) -> None:
    assert run(project, ["generate"]).code == 0
    (project / "manifest/tool.yml").unlink()

    assert run(project, ["generate", "--docs"]).code == 0
    assert set(tree(project, "generated/tool")) == {"generated/tool/Dockerfile"}
    assert run(project, ["generate", "--dockerfiles"]).code == 0
    assert not (project / "generated/tool").exists()


# ---- a new version


def spliced(root: Path, version: str, *options: str) -> str:
    outcome = run(root, ["generate", "--target-version", version, *options])
    assert outcome.code == 0, outcome.stderr
    return (root / "manifest/app.yml").read_text()


def test_a_new_version_changes_its_text_only_and_the_tree_is_in_step(project: Path) -> None:
    assert run(project, ["generate"]).code == 0
    before = (project / "manifest/app.yml").read_text()

    assert spliced(project, "1.0.1") == before.replace("1.0.0a7", "1.0.1")
    assert (project / "generated/app/versions").read_text() == "1.0.1\n"
    assert 'default = "1.0.1"' in (project / "docker-bake.hcl").read_text()
    assert run(project, ["generate", "--check"]).code == 0
    assert spliced(project, "1.10") == before.replace("1.0.0a7", '"1.10"')  # unquoted, it would be the number 1.1
    assert run(project, ["generate", "app", "--target-version", "1.10"]).stderr.startswith("0 files written")


@pytest.mark.parametrize(
    ("written", "version", "new"),
    [
        ("variables: {VERSION: '1.0'}", "2.0", "variables: {VERSION: '2.0'}"),
        ('variables: {"VERSION": {"default": "1.0"}}', "2.0", 'variables: {"VERSION": {"default": "2.0"}}'),
        ("variables: {VERSION: 7}", "8", "variables: {VERSION: 8}"),
        ("variables:\n  VERSION: v1  # é\n", "007", 'variables:\n  VERSION: "007"  # é\n'),
        ("description: 'ünï'\r\nvariables: {VERSION: v1}\r", "v2", "description: 'ünï'\r\nvariables: {VERSION: v2}\r"),
        ("variables:\n  VERSION: v1", "no", 'variables:\n  VERSION: "no"'),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_quotes_comments_and_line_ends_stay(tmp_path: Path, written: str, version: str, new: str, mark: str) -> None:
    rest = '\nimage: app\nplatforms: [linux/amd64]\nfrom: debian:12\ntags: ["v{{ VERSION }}"]\n'
    put(tmp_path, "templates/app.Dockerfile.j2", "FROM {{ parent }}\n")
    manifest = put(tmp_path, "manifest/app.yml", "")
    manifest.write_bytes(f"{mark}{written}{rest}".encode())
    manifest.chmod(0o640)

    assert run(tmp_path, ["generate", "--target-version", version]).code == 0
    assert manifest.read_bytes().decode() == f"{mark}{new}{rest}"
    assert manifest.stat().st_mode & 0o777 == 0o640
    assert sorted(file.name for file in manifest.parent.iterdir()) == ["app.yml"]
    assert run(tmp_path, ["generate", "--check"]).code == 0


@pytest.mark.parametrize("written", ["|\n    1.0", ">-\n    1.0", "&v '1.0'", "'1.\n    0'"])
def test_a_default_that_cannot_be_replaced_in_place_is_left_alone(tmp_path: Path, written: str) -> None:
    put(tmp_path, "templates/app.Dockerfile.j2", "FROM {{ parent }}\n")
    put(
        tmp_path,
        "manifest/app.yml",
        f"image: app\nvariables:\n  VERSION: {written}\nplatforms: [linux/amd64]\nfrom: debian:12\ntags: [one]\n",
    )
    before = tree(tmp_path)

    outcome = run(tmp_path, ["generate", "--target-version", "2.0"])

    assert outcome.code == 1
    assert any(f"[{code}]" in outcome.stderr for code in ("fixed-version", "control-character"))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("option", ["--check", "--diff"])
def test_a_look_at_a_new_version_writes_nothing(project: Path, option: str) -> None:
    assert run(project, ["generate"]).code == 0
    before = tree(project)

    outcome = run(project, ["generate", "--target-version", "1.0.1", option])

    assert outcome.code == (1 if option == "--check" else 0)
    assert "+  VERSION: {default: 1.0.1, description: a release} # by hand" in outcome.stdout
    assert '{ default = "1.0.1" }' in outcome.stdout
    assert tree(project) == before


def test_a_refused_run_leaves_the_manifest_alone(project: Path) -> None:
    assert run(project, ["generate"]).code == 0
    put(project, "generated/app/versions", "by hand\n")
    before = tree(project)

    assert "[edited-output]" in run(project, ["generate", "--target-version", "1.0.1"]).stderr
    assert tree(project) == before


def test_images_that_share_a_version_get_it_together(tmp_path: Path) -> None:
    root = copy_project(TESTS / "errors" / "fixed-version" / "shared", tmp_path / "project", outputs=False)

    assert run(root, ["generate", "--target-version", "1.0.1"]).code == 0
    assert '{default: "1.0.1", description: release of both}' in (root / "manifest/common.yaml").read_text()
    assert run(root, ["generate", "--check"]).code == 0


def test_a_manifest_behind_a_link_keeps_its_link(project: Path) -> None:
    (project / "manifest/app.yml").rename(project / "real.yml")
    (project / "manifest/app.yml").symlink_to("../real.yml")

    assert "1.0.1" in spliced(project, "1.0.1")
    assert (project / "manifest/app.yml").is_symlink()


def test_a_manifest_keeps_its_permissions_and_nothing_stays_beside_it(project: Path) -> None:
    (project / "manifest/app.yml").chmod(0o640)
    (project / "manifest/.app.yml.bakegen").write_text("what a killed run left")

    assert "1.0.1" in spliced(project, "1.0.1")
    assert stat.S_IMODE((project / "manifest/app.yml").stat().st_mode) == 0o640
    assert not (project / "manifest/.app.yml.bakegen").exists()
