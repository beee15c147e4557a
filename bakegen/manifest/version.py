"""Give VERSION another default, in the manifest's own text: comments, order and quoting stay as they are.

In: manifests that are loaded, and the new default. Out: `{path from the root: new bytes}`, or problems. Nothing is
written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bakegen.errors import BakegenError, Problem, fail
from bakegen.manifest.model import Manifest
from bakegen.source.yaml import KeyPath, parse_source, read_bytes
from bakegen.spec.references import is_tag

NAME = "VERSION"
_PLACE: KeyPath = ("variables", NAME)


def with_version(manifest: Manifest, version: str) -> Manifest:
    """Return a manifest whose VERSION, if it has one, has that default."""
    if NAME not in manifest.variables:
        return manifest
    variable = replace(manifest.variables[NAME], default=version)
    return replace(manifest, variables={**manifest.variables, NAME: variable})


def check_version(version: str) -> None:
    """Raise `BakegenError` unless the text can be part of a tag."""
    if not is_tag(f"v{version}") or not version:
        raise fail(
            "invalid-tag",
            f'"{version}" cannot be part of a tag',
            hint="use letters, digits, `_`, `.` and `-`, at most 128 characters",
        )


def rewritten(root: Path, manifests: Sequence[Manifest], chosen: Sequence[str], version: str) -> dict[str, bytes]:
    """Return the files in which the VERSION of the chosen images is declared, with its new default."""
    having = [manifest for manifest in manifests if manifest.image in chosen and NAME in manifest.variables]
    if not having:
        images = ", ".join(chosen)
        raise fail("no-version", f"no variable {NAME} is declared for {images}", hint=f"add variables: {{{NAME}: …}}")
    problems: list[Problem] = []
    files: dict[str, bytes] = {}
    for manifest in having:
        file = manifest.source.place(_place(manifest)).value.file
        if others := [other.image for other in _sharing(manifests, manifest) if other.image not in chosen]:
            message = f"{manifest.image} shares its {NAME} with {', '.join(others)}"
            hint = f"generate them together, or declare a separate {NAME} for {manifest.image}"
            problems.append(manifest.source.problem("fixed-version", message, _place(manifest), hint=hint))
        elif file not in files:
            new = _spliced(read_bytes(root, file), manifest, version)
            if new is None:
                message = f"the default of {NAME} cannot be changed here without changing something else"
                hint = "write it on one line, without anchor or alias"
                problems.append(manifest.source.problem("fixed-version", message, _place(manifest), hint=hint))
            else:
                files[file] = new
    if problems:
        raise BakegenError(problems)
    return files


def _place(manifest: Manifest) -> KeyPath:
    declared = manifest.source.content["variables"][NAME]
    return (*_PLACE, "default") if isinstance(declared, dict) else _PLACE


def _sharing(manifests: Iterable[Manifest], manifest: Manifest) -> Iterator[Manifest]:
    """Yield the manifests whose VERSION is declared at the same place."""
    place = manifest.source.place(_place(manifest)).value
    for other in manifests:
        if NAME in other.variables and other.source.place(_place(other)).value == place:
            yield other


def _spliced(raw: bytes, manifest: Manifest, version: str) -> bytes | None:
    """Return a file with the new default, None if that cannot be done in place. The result is read back to be sure."""
    path = _place(manifest)
    place = manifest.source.place(path)
    text = raw.decode("utf-8-sig")
    mark = b"\xef\xbb\xbf" if raw.startswith(b"\xef\xbb\xbf") else b""
    lines = text.splitlines(keepends=True)
    if place.value.line > len(lines):
        return None
    line, start = lines[place.value.line - 1], place.value.column - 1
    old = line[start : start + place.value_length]
    if old[:1] in {"&", "!", "*", "|", ">", ""}:
        return None
    wanted = _replaced(parse_source(raw, place.value.file).content, path, version)
    quote = old[0] if old[0] in "\"'" else ""
    for written in dict.fromkeys((f"{quote}{version}{quote}", f'"{version}"')):
        lines[place.value.line - 1] = line[:start] + written + line[start + place.value_length :]
        new = mark + "".join(lines).encode()
        try:
            content = parse_source(new, place.value.file).content
        except BakegenError:  # such as 1.10, which has to be quoted
            continue
        if _replaced(content, path, version) == wanted and str(_at(content, path)) == version:
            return new
    return None


def _at(content: Any, path: KeyPath) -> Any:
    for part in path:
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _replaced(content: Any, path: KeyPath, value: str) -> Any:
    """Return plain data with another value at a path."""
    if not path:
        return value
    return (
        {**content, path[0]: _replaced(content.get(path[0], {}), path[1:], value)}
        if isinstance(content, dict)
        else None
    )
