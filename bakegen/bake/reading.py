"""What buildx reads in a bake file, in one form, whatever its version; and what can be wrong with the file.

In: targets and groups as buildx prints them. Out: a `Reading`, which can be compared with another.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bakegen.bake.model import BAKE_FILE
from bakegen.errors import Position, Problem

Attributes = Mapping[str, Any]

_PLACE = re.compile(rf"{re.escape(BAKE_FILE)}:(\d+),(\d+)(?:-\d+(?:,\d+)?)?: ")
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})  # Go's strconv.ParseBool

# Attributes whose entries buildx takes as CSV (`type=registry,ref=…`) and prints as such, or since 0.20 as objects.
_CSV = frozenset({"attest", "cache-from", "cache-to", "output", "secret", "ssh"})


@dataclass(frozen=True, slots=True)
class Reading:
    """What bake reads in a file: targets with their canonical attributes, and groups with their members as listed."""

    targets: Mapping[str, Attributes]
    groups: Mapping[str, tuple[str, ...]]

    def members(self, group: str) -> set[str]:
        """Return the targets of a group, groups inside it unfolded; a group hides the target of its name."""
        found: set[str] = set()
        seen: set[str] = set()
        left = [group]
        while left:
            name = left.pop()
            if name in self.groups and name not in seen:
                left += self.groups[name]
            elif name not in self.groups:
                found.add(name)
            seen.add(name)
        return found


def canonical(attributes: Attributes) -> dict[str, Any]:
    """Return the attributes of a target as every buildx means them.

    Entries in CSV or as objects become CSV with sorted keys, lists become sorted tuples, what is empty is left out.
    """
    result: dict[str, Any] = {}
    for name, value in attributes.items():
        if name == "attest":
            kinds = {
                (entry := entry_of(name, item))["type"]: _csv(entry) for item in value
            }  # the last of a type counts
            result[name] = tuple(sorted(kinds.values()))
        elif name in _CSV:
            result[name] = tuple(sorted({_csv(entry_of(name, item)) for item in value}))
        elif isinstance(value, Mapping):
            result[name] = dict(value)
        else:
            result[name] = tuple(sorted(set(value))) if isinstance(value, list | tuple) else value
    defaults = {"context": ".", "dockerfile": "Dockerfile"}
    return {**defaults, **{name: value for name, value in result.items() if value not in ("", {}, (), None)}}


def entry_of(attribute: str, value: str | Mapping[str, Any]) -> dict[str, str]:
    """Return one entry as a mapping, short forms spelt out."""
    if isinstance(value, Mapping):
        entry = {key: ",".join(item) if isinstance(item, list) else _text(item) for key, item in value.items()}
    elif attribute == "ssh":
        name, _, paths = value.partition("=")
        entry = {"id": name, **({"paths": paths} if paths else {})}
    else:
        fields = next(csv.reader([value]), [])
        pairs = [field.partition("=") for field in fields]
        entry = {key.strip().lower(): text for key, equals, text in pairs if equals}
        if len(pairs) == 1 and not entry:
            entry = _short_form(attribute, value)
    if attribute == "secret":
        entry = _secret(entry)
    if attribute == "attest":
        disabled = entry.pop("disabled", "") in _TRUE
        entry = {"type": "", **entry, **({"disabled": "true"} if disabled else {})}
    return entry


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short_form(attribute: str, value: str) -> dict[str, str]:
    if attribute == "output":
        return {"type": "tar" if value == "-" else "local", "dest": value}
    return {"type": "registry", "ref": value} if attribute.startswith("cache-") else {"type": value}


def _secret(entry: Mapping[str, str]) -> dict[str, str]:
    names = {"source": "src", "target": "id"}
    entry = {names.get(key, key): text for key, text in entry.items()}
    kind = entry.pop("type", "")
    if kind == "env" and "src" in entry:
        entry["env"] = entry.pop("src")
    return entry


def _csv(entry: Mapping[str, str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(f"{key}={entry[key]}" for key in sorted(entry))
    return text.getvalue()


def mismatch(message: str, line: int = 0, column: int = 0) -> Problem:
    """Return the problem of a bake file that says something else than the manifests."""
    hint = "run `bakegen generate --bake --force` to overwrite it; --diff shows the difference"
    return Problem(code="bake-mismatch", message=message, position=Position(BAKE_FILE, line, column), hint=hint)


def unreadable(message: str, content: bytes, line: int = 0, column: int = 0) -> Problem:
    """Return the problem of a bake file that cannot be read; a place that buildx names in its message is used."""
    place = _PLACE.match(message)
    if place:
        line, column, message = int(place[1]), int(place[2]), message[place.end() :]
    lines = content.decode(errors="replace").split("\n")
    return Problem(
        code="bake-unreadable",
        message=message,
        position=Position(BAKE_FILE, line, column),
        source=lines[line - 1] if 0 < line <= len(lines) else "",
        hint=_hint(message),
    )


def _hint(message: str) -> str:
    if "stat " in message or "ssh" in message:
        return "buildx needs secrets and keys even for --print; `bakegen verify --with hcl2` does not"
    return "run `bakegen generate --bake --force` to undo manual edits"
