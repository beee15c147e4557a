"""The reference part of docs/manifest.md, made from the JSON Schema and the tables of the code.

In: the schema of manifests. Out: Markdown, one section per key, each with its type, default, keys and examples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bakegen.source.resources import schema_of
from bakegen.spec.bake_attributes import ATTRIBUTES
from bakegen.spec.platforms import KNOWN

Schema = Mapping[str, Any]

MARK = (
    "<!-- Everything below is made from schema/manifest.schema.json: `pytest tests/test_docs.py --update-golden`. -->"
)
_TYPES = {
    "object": "mapping",
    "array": "list",
    "string": "string",
    "integer": "integer",
    "boolean": "boolean",
    "null": "null",
}
_PLAIN = re.compile(r"[A-Za-z_/](?:[A-Za-z0-9_./*=() +@'-]|:(?=\S))*(?<! )")  # what YAML reads as itself, unquoted
_WORDS = frozenset("true false null yes no on off y n".split())
_KINDS = {
    "tag": "a tag",
    "entry": "an entry",
    "dockerfile": "an existing Dockerfile",
    "variable": "a variable",
    "registry": "a registry",
    "builder": "a builder",
    "node": "a node",
    "property": "a property",
    "value": "an axis value",
    "name": "a name",
    "exclusion": "an exclusion",
    "deprecation": "a deprecation",
    "group": "a group",
    "parent": "a parent",
    "file": "a side file",
    "check": "a check",
}


def resolved(schema: Schema) -> Schema:
    """Return a schema, or the one that it refers to."""
    if "$ref" not in schema:
        return schema
    found: Schema = schema_of("manifest")["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return found


def to_yaml(value: Any) -> str:
    """Return plain data as YAML on one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{to_yaml(key)}: {to_yaml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(to_yaml, value)) + "]"
        case str() if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
    return json.dumps(value, ensure_ascii=False)


def block(key: str, value: Any, width: int = 100) -> list[str]:
    """Return `key: value` as lines of YAML, written as a person would: on one line where that reads well."""
    line = f"{to_yaml(key)}: {to_yaml(value)}"
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(value, dict | list) or (len(line) <= width and not any(isinstance(item, dict) for item in inner)):
        return [line]
    if isinstance(value, dict):
        below = [line for name, item in value.items() for line in block(name, item, width - 2)]
    else:
        below = [f"- {to_yaml(item)}" for item in value]
    return [f"{to_yaml(key)}:", *(f"  {line}" for line in below)]


def example_of(key: str, value: Any) -> str:
    """Return an example as the lines of a manifest; a mapping by names always as a block."""
    if isinstance(value, dict) and key != "from":
        return "\n".join([f"{key}:", *(f"  {line}" for name, item in value.items() for line in block(name, item, 98))])
    return "\n".join(block(key, value))


def reference() -> str:
    """Return the whole reference."""
    schema = schema_of("manifest")
    top: Schema = schema["properties"]
    release: Schema = schema["$defs"]["release"]["properties"]
    settings = {key: part for key, part in top.items() if part == release.get(key)}
    parts = [
        "## Keys of a manifest",
        "These keys belong at the top of a manifest. The [settings](#settings) below are allowed there, too.",
        *(_section(key, part, required=key in schema["required"]) for key, part in top.items() if key not in settings),
        "## Settings",
        "These keys are allowed at the top of a manifest, for all releases, and in a release. See [how settings combine](#how-settings-combine).",
        *(_section(key, part) for key, part in settings.items()),
        "## Keys of a release",
        "A release takes the settings above, and these keys.",
        *(_section(key, part, of="of a release") for key, part in release.items() if key not in settings),
        "## Known platforms",
        "bakegen accepts these platforms. Other spellings, such as `linux/aarch64`, are errors that suggest the right one.",
        ", ".join(f"`{platform}`" for platform in KNOWN) + ".",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _section(key: str, part: Schema, *, required: bool = False, of: str = "") -> str:
    schema = resolved(part)
    title = f"`{key}` {of}".strip()
    lines = [f"### {title}", "", schema["description"], "", f"- Type: {_type(schema)}."]
    if required:
        lines.append("- Required.")
    if "default" in schema:
        lines.append(f"- Default: `{to_yaml(schema['default'])}`.")
    if "pattern" in schema:
        lines.append(f"- Matches `{schema['pattern']}`.")
    names = schema.get("propertyNames", {}).get("pattern")
    if names:
        lines.append(f"- Names match `{names}`.")
    lines.append("")
    if key != "releases":
        lines += _keys("parent" if key == "from" else key, schema)
    for example in schema["examples"]:
        lines += ["```yaml", example_of(key, example), "```", ""]
    if key == "bake":
        lines += _attributes()
    return "\n".join(lines)


def _type(schema: Schema) -> str:
    if "type" not in schema:
        return "anything"
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    words = []
    for kind in kinds:
        word = _TYPES[kind]
        if kind == "array":
            word += f" of {_plural(resolved(schema['items']))}"
        elif kind == "object" and isinstance(schema.get("additionalProperties"), dict):
            inner = resolved(schema["additionalProperties"])
            word += f" of names to {_plural(inner)}" if "type" in inner else " of names to anything"
        words.append(word)
    return _either(words)


def _plural(schema: Schema) -> str:
    if "type" not in schema:
        return "anything"
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    plural = {"object": "mappings", "array": "lists", "string": "strings", "integer": "integers", "boolean": "booleans"}
    return _either([plural.get(kind, _TYPES[kind]) for kind in kinds])


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _keys(kind: str, schema: Schema) -> Iterator[str]:
    """Yield a table for each kind of mapping with fixed keys that a value holds (releases have their own chapter)."""
    for name, part in _mappings(schema, kind):
        yield from (f"Keys of {_KINDS[name]}:", "", "| key | type | default | |", "|---|---|---|---|")
        for key, item in part["properties"].items():
            inner = resolved(item)
            default = f"`{to_yaml(inner['default'])}`" if "default" in inner else ""
            kind = _either([f"`{word}`" for word in inner["enum"]]) if "enum" in inner else _type(inner)
            yield f"| `{key}` | {kind} | {'required' if key in part.get('required', []) else default} | {inner['description']} |"
        yield ""


def _mappings(schema: Schema, name: str) -> Iterator[tuple[str, Schema]]:
    if "properties" in schema:
        yield name, schema
        if name == "parent":  # its items are parents again
            return
    for word in ("items", "additionalProperties"):
        part = schema.get(word)
        if isinstance(part, dict):
            yield from _mappings(resolved(part), part.get("$ref", f"#/$defs/{name}").rpartition("/")[2])


def _attributes() -> list[str]:
    """Return the table of the attributes that `bake:` takes."""
    lines = ["Attributes, and the oldest buildx version that supports them:", ""]
    lines += ["| attribute | type | buildx |", "|---|---|---|"]
    kinds = {"text": "string", "flag": "boolean", "list": "list of strings", "map": "mapping of names to strings"}
    for name, attribute in ATTRIBUTES.items():
        if not attribute.key:
            lines.append(f"| `{name}` | {kinds[attribute.kind]} | {'.'.join(map(str, attribute.since))} |")
    taken = _either([f"`{name}`" for name, attribute in ATTRIBUTES.items() if attribute.key])
    return [*lines, "", f"bakegen writes {taken} itself.".replace(" or ", " and "), ""]
