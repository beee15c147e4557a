"""Check a manifest against its JSON Schema.

In: a `Source`. Out: problems that point at the offending key or value. The schema (schema/manifest.schema.json) is
the only list of keys and types; it is also what editors and docs/manifest.md use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from bakegen.errors import Problem, did_you_mean
from bakegen.source.resources import schema_of
from bakegen.source.yaml import KeyPath, Source


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # 0.1 s that `--help` must not pay

    return Draft202012Validator(schema_of("manifest"))


def check_schema(source: Source) -> list[Problem]:
    """Return every difference between the manifest and the schema."""
    problems: list[Problem] = []
    for error in _validator().iter_errors(source.content):
        problems += _translate(source, error)
    return problems


TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "nothing",
}


def _translate(source: Source, error: Any) -> Iterator[Problem]:
    path: KeyPath = tuple(error.absolute_path)
    rule, value = error.validator, error.instance
    subject = _subject(path)
    match rule:
        case "additionalProperties":
            known = error.schema.get("properties", {})
            for key in value:
                if key not in known:
                    yield source.problem(
                        "unknown-key",
                        f'unknown key "{key}" in {subject}',
                        (*path, key),
                        hint=did_you_mean(str(key), known),
                        at_key=True,
                    )
        case "required":
            for key in error.validator_value:
                if key not in value:
                    meaning = error.schema.get("properties", {}).get(key, {}).get("description", "")
                    hint = f'add "{key}": {meaning[0].lower()}{meaning[1:]}' if meaning else f'add "{key}"'
                    yield source.problem("missing-key", f'{subject} has no "{key}"', path, hint=hint, at_key=bool(path))
        case "type":
            allowed = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
            wanted = " or ".join(TYPES[kind] for kind in allowed)
            message = f"{subject} must be {wanted}, not {found(value)}"
            hint = type_hint(allowed, value)
            if path[0] == "axes" and isinstance(value, str) and "{{" in value:
                hint = "list the values; they cannot be computed"
            elif path[0] == "axes" and isinstance(value, dict):
                hint = "use a mapping for values with properties: remove the `- `"
            yield source.problem("wrong-type", message, path, hint=hint)
        case "enum":
            yield source.problem(
                "wrong-value",
                f'{subject} cannot be "{value}"',
                path,
                hint=did_you_mean(str(value), error.validator_value),
            )
        case "pattern":
            yield _translate_pattern(source, error, path, subject)
        case "uniqueItems":
            seen: list[Any] = []
            for index, item in enumerate(value):
                if item in seen:
                    yield source.problem("duplicate-item", f'{subject} contains "{item}" twice', (*path, index))
                seen.append(item)
        case "minItems" | "minProperties" | "minLength":
            yield source.problem("empty-value", f"{subject} is empty", path, hint="add a value, or remove the key")
        case "maxLength":
            message = f"{subject} is longer than {error.validator_value} characters"
            yield source.problem("wrong-value", message, path, hint="shorten it")
        case "minimum" | "maximum":
            least, most = error.schema.get("minimum"), error.schema.get("maximum")
            hint = f"use a number from {least} to {most}" if most is not None else f"use a number of at least {least}"
            yield source.problem("wrong-value", f"{subject} cannot be {value}", path, hint=hint)
        case _:
            yield source.problem("wrong-value", f"{subject}: {error.message}", path)


def _subject(path: KeyPath) -> str:
    """Name a place by the names in the manifest, not by numbers: `releases.base.tags` (item 2)."""
    if not path:
        return "the manifest"
    words = [str(part) for part in path if isinstance(part, str)]
    name = f'"{".".join(words)}"'
    return f"item {path[-1] + 1} of {name}" if isinstance(path[-1], int) else name


def _translate_pattern(source: Source, error: Any, path: KeyPath, subject: str) -> Problem:
    value, pattern = error.instance, error.validator_value
    if path and path[-1] in {"username", "password"}:
        # What stands there may be the secret itself: neither it nor its line is shown.
        message = f"{subject} must be the name of an environment variable, not the {path[-1]} itself"
        problem = source.problem(
            "wrong-value", message, path, hint="use the name of a variable, such as DOCKER_PASSWORD"
        )
        return replace(problem, source="")
    rule = RULES.get(pattern, f"must match {pattern}")
    words = re.sub(r"[^A-Za-z0-9]+", "-", value).strip("-")
    ideas = (
        value.upper(),
        value.lower(),
        *(f(words.replace("-", c)) for c in "-_" for f in (str, str.lower, str.upper)),
    )
    better = next((idea for idea in ideas if idea != value and re.search(pattern, idea)), "")
    hint = f'write "{better}": {rule}' if better else rule
    if "propertyNames" in error.absolute_schema_path:  # they report the mapping's path; the instance is the key
        message = f'"{value}" is not a valid name in {subject}'
        return source.problem("wrong-value", message, (*path, value), hint=hint, at_key=True)
    return source.problem("wrong-value", f'{subject} cannot be "{value}"', path, hint=hint)


# The patterns of the schema, in words.
RULES = {
    "^[a-z0-9]+(?:[._-][a-z0-9]+)*$": "lower-case letters and digits, separated by single `.`, `_` or `-`",
    "^0\\.[0-9]+(?:\\.[0-9]+)?$": 'a version of buildx, such as "0.13"',
    "^\\S+$": "one word without spaces",
    "^[A-Z][A-Z0-9_]*$": "upper-case letters, digits and `_`, starting with a letter",
    "^[A-Za-z_][A-Za-z0-9_]*$": "letters, digits and `_`, not starting with a digit",
    "^[a-z][a-z0-9._-]*$": "lower-case letters, digits, `.`, `_` and `-`, starting with a letter",
    "^[A-Za-z0-9_.*?\\[\\]!-]+$": "characters of tags, and `*`, `?` or `[ab]`",
    '^https?://[^\\s<>"()\\[\\]\\\\|`]+$': "a URL such as https://github.com/acme/images/blob/main",
    "^[A-Za-z0-9][A-Za-z0-9_-]*$": "letters, digits, `_` and `-`, starting with a letter or digit",
}


def found(value: Any) -> str:
    """Return what a value is, for messages."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int():
            return f"the number {value}"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def type_hint(allowed: list[str], value: Any) -> str:
    """Return how to write a value so that it has an allowed type, as far as that can be guessed."""
    if value is None:
        return "add a value, or remove the key"
    if "array" in allowed and isinstance(value, str) and " - " in value:
        return "put each item on its own line below the key, after `- `"
    if "array" in allowed and isinstance(value, str | int):
        return f"write [{_quoted(value)}]"
    if "boolean" in allowed and value in ("true", "false"):
        return f"write {value}, without quotes"
    if "integer" in allowed and isinstance(value, str) and value.isdigit():
        return f"write {value}, without quotes"
    if "string" in allowed and isinstance(value, bool | int):
        return f'write it in quotes: "{str(value).lower()}"'
    shapes = {"array": "[…]", "object": "{key: …}", "string": '"…"', "integer": "a number", "boolean": "true or false"}
    return f"write {' or '.join(shapes[kind] for kind in allowed if kind in shapes)} instead"


def _quoted(value: str | int) -> str:
    """Return a value as it can stand in a list of YAML's."""
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z_/][\w./-]*", value):
        return f'"{value}"' if '"' not in value else f"'{value}'"
    return str(value)
