"""The JSON Schema and the code say the same: editors, docs/manifest.md and bakegen accept the same manifests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import reference
from harness import run
from jsonschema import Draft202012Validator

import bakegen.manifest.axes
import bakegen.manifest.load
from bakegen.errors import BakegenError
from bakegen.manifest.load import load_manifest
from bakegen.manifest.model import Manifest
from bakegen.manifest.schema import check_schema
from bakegen.source.resources import schema_of
from bakegen.source.yaml import Source, load_source, parse_source
from bakegen.spec.bake_attributes import ATTRIBUTES
from bakegen.spec.platforms import KNOWN

ROOT = Path(__file__).parent.parent
FILE = ROOT / "schema" / "manifest.schema.json"
MANIFESTS = sorted([*ROOT.glob("manifest/*.yml"), *ROOT.glob("tests/cases/*/manifest/*.yml")])
SCHEMA: Mapping[str, Any] = json.loads(FILE.read_text())
DEFS: Mapping[str, Any] = SCHEMA["$defs"]
APPLICATORS = ("properties", "$defs")  # keywords whose entries are schemas


def schemas(schema: Mapping[str, Any], path: str = "#") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every schema within a schema, with its path."""
    yield path, schema
    for word in APPLICATORS:
        for key, part in schema.get(word, {}).items():
            yield from schemas(part, f"{path}/{word}/{key}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield from schemas(schema[word], f"{path}/{word}")


ALL = dict(schemas(SCHEMA))
KEYS = [f"{path}/properties/{key}" for path, schema in ALL.items() for key in schema.get("properties", {})]


def test_the_schema_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_is_written_in_one_way() -> None:
    assert FILE.read_text() == json.dumps(SCHEMA, indent=2, ensure_ascii=False) + "\n"


def test_the_command_prints_the_schema(tmp_path: Path) -> None:
    assert run(tmp_path, ["schema"]).stdout == FILE.read_text()


@pytest.mark.parametrize("path", ALL)
def test_every_value_has_a_description(path: str) -> None:
    schema = ALL[path]

    assert ("$ref" in schema) != bool(schema.get("description", "").strip())
    assert "$ref" in schema or schema["description"][-1] in ".!"


@pytest.mark.parametrize("path", KEYS)
def test_every_key_has_examples(path: str) -> None:
    assert "$ref" in ALL[path] or ALL[path]["examples"]


@pytest.mark.parametrize("path", [path for path in ALL if "object" in ALL[path].get("type", ())])
def test_every_mapping_says_which_other_keys_it_has(path: str) -> None:
    assert "additionalProperties" in ALL[path]


@pytest.mark.parametrize("path", [path for path in ALL if "array" in ALL[path].get("type", ())])
def test_every_list_says_what_it_holds(path: str) -> None:
    assert "items" in ALL[path]


def test_every_definition_is_used() -> None:
    used = {schema["$ref"].removeprefix("#/$defs/") for schema in ALL.values() if "$ref" in schema}

    assert used == set(DEFS)


@pytest.mark.parametrize("path", [path for path in ALL if "examples" in ALL[path]])
def test_examples_fit_their_schema(path: str) -> None:
    for example in ALL[path]["examples"]:
        Draft202012Validator({**ALL[path], "$defs": DEFS}).validate(example)


@pytest.mark.parametrize("path", [path for path in ALL if "examples" in ALL[path]])
def test_examples_are_read_as_they_are_shown(path: str) -> None:
    for example in ALL[path]["examples"]:
        text = reference.example_of("key", example)
        assert parse_source(text.encode(), path).content == {"key": example}


@pytest.mark.parametrize("path", [path for path in ALL if "default" in ALL[path]])
def test_defaults_fit_their_schema(path: str) -> None:
    Draft202012Validator({**ALL[path], "$defs": DEFS}).validate(ALL[path]["default"])


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_manifest_fits(file: Path) -> None:
    if "include" in load_source(file.parent, file.name).content:
        load_manifest(file, file.parent.parent)  # only whole does it have to fit
    else:
        assert check_schema(load_source(file.parent, file.name)) == []


# ---- what the code reads is what the schema knows


class Recorder(dict[str, Any]):
    """A mapping of a manifest that notes the keys by which it is asked."""

    def __init__(self, content: Mapping[str, Any], asked: set[str]) -> None:
        super().__init__(content)
        self.asked = asked

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


# Every kind of mapping that has fixed keys, and where one stands in the manifest below.
KINDS: Mapping[str, tuple[str | int, ...]] = {
    "release": ("releases", "one"),
    "variable": ("variables", "VERSION"),
    "registry": ("registries", 0),
    "builder": ("builders", "farm"),
    "node": ("builders", "farm", "nodes", 0),
    "value": ("axes", "distro", "slim"),
    "property": ("properties", "distro", "size"),
    "name": ("names", "distro", 0),
    "exclusion": ("exclude", 0),
    "deprecation": ("deprecated", 0),
    "group": ("groups", "mine"),
    "parent": ("releases", "one", "from", 0),
    "file": ("releases", "one", "files", 0),
    "check": ("releases", "one", "test", "greets"),
}
MANIFEST = """\
image: all
platforms: [linux/amd64]
variables: {VERSION: {default: "1"}}
registries: [{repository: ghcr.io/acme/all}]
builders: {farm: {driver: docker-container, nodes: [{endpoint: there}]}}
properties: {distro: {size: {type: integer, required: true}}}
axes: {distro: {slim: {size: 1}, wide: {}}}
names: {distro: [{name: x}]}
exclude: [{distro: nothing, because: it is an example}]
deprecated: [{tags: latest, because: it is an example}]
groups: {mine: {select: [one]}}
releases:
  one: {from: [{release: one}], tags: [one], files: [{path: side, copy: side}], test: {greets: {run: hello}}}
  two: {}
"""


def read(monkeypatch: pytest.MonkeyPatch, folder: Path, source: Source) -> Manifest:
    """Let the code read a manifest unchecked (asking which keys there are is just what the check does)."""
    monkeypatch.setattr(bakegen.manifest.load, "load_source", lambda *_: source)
    monkeypatch.setattr(bakegen.manifest.load, "check_schema", lambda _: [])
    return load_manifest(folder / "all.yml", folder)


def test_the_code_asks_for_the_keys_that_the_schema_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = parse_source(MANIFEST.encode(), "all.yml")
    asked: dict[str, set[str]] = {kind: set() for kind in ("manifest", *KINDS)}
    content = Recorder(source.content, asked["manifest"])
    for kind, (*path, last) in KINDS.items():
        around: Any = content
        for part in path:
            around = dict.__getitem__(around, part) if isinstance(around, dict) else around[part]
        mapping = dict.__getitem__(around, last) if isinstance(around, dict) else around[last]
        recorder = Recorder(mapping, asked[kind])
        if isinstance(around, dict):
            dict.__setitem__(around, str(last), recorder)
        else:
            around[last] = recorder
    asked["manifest"].clear()
    with pytest.raises(BakegenError):  # "wide" has no size, so that the description is asked for
        read(monkeypatch, tmp_path, Source(source.file, content, source.places, source.lines))

    asked["value"] -= {"size"}
    known = {kind: set(DEFS[kind]["properties"]) for kind in KINDS} | {"manifest": set(SCHEMA["properties"])}
    assert {kind: asked[kind] ^ known[kind] for kind in asked if asked[kind] != known[kind]} == {}


DEFAULTS = {
    "#/properties/buildx": "buildx: {}",
    "#/$defs/publish": "publish: {}",
    "#/$defs/registry/properties/readme": "registries: [{{repository: ghcr.io/acme/app, readme: {}}}]",
    "#/$defs/group/properties/parents": "groups: {{mine: {{select: [app], parents: {}}}}}",
    "#/$defs/check/properties/exit": "test: {{a: {{run: x, exit: {}}}}}",
    "#/$defs/check/properties/timeout": "test: {{a: {{run: x, timeout: {}}}}}",
    "#/$defs/property/properties/required": "properties: {{distro: {{size: {{type: integer, required: {}}}}}}}",
}


def test_every_default_is_compared_with_the_code() -> None:
    assert set(DEFAULTS) == {path for path in ALL if "default" in ALL[path]}


@pytest.mark.parametrize("path", DEFAULTS)
def test_a_default_is_what_the_code_takes_when_nothing_is_said(path: str, tmp_path: Path) -> None:
    start = "image: app\nfrom: scratch\ntags: [one]\nplatforms: [linux/amd64]\naxes: {distro: {slim: {}}}\n"
    key = path.rpartition("/")[2]
    said = DEFAULTS[path].format(reference.to_yaml(ALL[path]["default"]))
    unsaid = re.sub(rf"(, )?{key}: [^}}\n]+", "", said)
    assert unsaid != said
    shown = []
    for text in (said, unsaid):
        (tmp_path / "app.yml").write_text(start + text)
        manifest = load_manifest(tmp_path / "app.yml", tmp_path)
        shown.append(re.sub(r"'properties', .*?\)", "", repr(manifest)))

    assert shown[0] == shown[1]


def test_types_of_properties_are_those_that_the_code_can_tell() -> None:
    examples = {"string": "x", "boolean": True, "integer": 1, "list": [], "mapping": {}}
    kinds = DEFS["property"]["properties"]["type"]["enum"]

    assert [kind for kind, value in examples.items() if bakegen.manifest.axes._has_type(value, kind)] == kinds
    for kind in kinds:
        assert [other for other, value in examples.items() if bakegen.manifest.axes._has_type(value, kind)] == [kind]


def test_an_attribute_of_bake_that_has_a_key_has_one_that_exists() -> None:
    assert {attribute.key for attribute in ATTRIBUTES.values() if attribute.key} <= set(SCHEMA["properties"])


def test_platforms_in_examples_are_known() -> None:
    examples = [platform for example in DEFS["platforms"]["examples"] for platform in example]

    assert set(examples) <= set(KNOWN)


def test_the_package_reads_this_schema() -> None:
    assert schema_of("manifest") == SCHEMA
