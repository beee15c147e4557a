"""Read the `releases` section of a manifest, with the settings of the image below each release's own.

In: a `SectionReader`. Out: `Release` declarations; mistakes go to its problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bakegen.errors import did_you_mean
from bakegen.expressions.scope import Condition, Expression, tree
from bakegen.manifest.checks import read_checks
from bakegen.manifest.model import FileRule, ParentRule, Release
from bakegen.manifest.schema import found, type_hint
from bakegen.manifest.section import SectionReader, entry
from bakegen.source.yaml import KeyPath
from bakegen.spec.bake_attributes import ATTRIBUTES, fits

_ATTRIBUTE_TYPES: Mapping[str, tuple[str, str]] = {
    "text": ("text", "string"),
    "flag": ("true or false", "boolean"),
    "list": ("a list of strings", "array"),
    "map": ("a mapping of strings", "object"),
}


def read_releases(reader: SectionReader, axes: list[str], buildx: tuple[int, int]) -> tuple[Release, ...]:
    """Return the releases, given the names of the axes and the oldest buildx that must accept the bake file."""
    declared: dict[str, Any] = reader.content.get("releases", {reader.content["image"]: {}})
    return tuple(
        _release(reader, name, content or {}, axes, list(declared), buildx) for name, content in declared.items()
    )


def _release(
    reader: SectionReader,
    name: str,
    own: Mapping[str, Any],
    axes: list[str],
    releases: list[str],
    buildx: tuple[int, int],
) -> Release:
    path: KeyPath = ("releases", name) if "releases" in reader.content else ()

    def setting(key: str) -> tuple[Any, KeyPath]:
        return (own[key], (*path, key)) if key in own else (reader.content.get(key), (key,))

    def text(key: str, default: str) -> Expression:
        value, place = setting(key)
        return Expression(default if value is None else value, place)

    def texts(key: str) -> tuple[Expression, ...]:
        value, place = setting(key)
        return tuple(entry(item, (*place, index), "tag") for index, item in enumerate(value or []))

    def mapping(key: str) -> dict[str, Expression]:
        merged = reader.expressions((key,), reader.content.get(key, {})) | reader.expressions(
            (*path, key), own.get(key, {})
        )
        return {name: value for name, value in merged.items() if value is not None}

    spans = _spans(reader, path, own, axes)
    publish = setting("publish")[0] is not False
    called = f'release "{name}"' if path else f'image "{name}"'
    dockerfile, place = setting("dockerfile")
    existing = dockerfile["existing"] if isinstance(dockerfile, dict) else None
    remote = "://" in str(setting("context")[0] or "")
    if existing is not None:
        _check_existing(reader, own if path else reader.content, path)
    if setting("from")[0] is None and (existing is None or remote):
        reader.report(
            "missing-key",
            f'{called} has no "from"',
            path,
            "add `from` with the image or release that it is built from"
            + ("; remote Dockerfiles are not read" if remote else ""),
            at_key=True,
        )
    if publish and setting("tags")[0] is None:
        reader.report(
            "missing-key",
            f'{called} has no "tags"',
            path,
            "add `tags`, or `publish: false`",
            at_key=True,
        )
    single = "releases" not in reader.content
    folders = "".join(f"{{{{ {axis} }}}}/" for axis in spans)
    return Release(
        name=name,
        description=own.get("description", ""),
        axes=spans,
        parents=tuple(_parents(reader, *setting("from"), releases)),
        when=tuple(
            Condition(content["when"], place)
            for content, place in ((reader.content, ("when",)), (own, (*path, "when")))
            if "when" in content
        ),
        platforms=reader.platforms((*path, "platforms")) if path else None,
        publish=publish,
        tags=texts("tags"),
        platform_tags=texts("platform-tags"),
        template=text("template", "{{ image }}.Dockerfile.j2" if single else "{{ release }}.Dockerfile.j2")
        if existing is None
        else None,
        dockerfile=text("dockerfile", f"{folders}Dockerfile" if single else f"{folders}{{{{ release }}}}/Dockerfile")
        if existing is None
        else Expression(existing, (*place, "existing")),
        discovers=existing is not None and setting("from")[0] is None,
        context=text("context", "." if existing is None else "{{ folder }}"),
        contexts=mapping("contexts"),
        args=reader.expressions(("args",), reader.content.get("args", {})),
        own_args=reader.expressions((*path, "args"), own.get("args", {})) if path else {},
        labels=mapping("labels"),
        annotations=mapping("annotations"),
        secrets=texts("secrets"),
        ssh=texts("ssh"),
        cache_from=texts("cache-from"),
        cache_to=texts("cache-to"),
        attest=texts("attest"),
        bake=_bake_attributes(reader, path, own, buildx),
        files=tuple(_files(reader, *setting("files"))),
        checks=read_checks(reader, path, own),
        path=path or ("image",),
    )


def _check_existing(reader: SectionReader, own: Mapping[str, Any], path: KeyPath) -> None:
    for key in ("template", "files"):
        if key in own:
            reader.report(
                "wrong-value",
                f"`{key}` cannot be used with an existing Dockerfile",
                (*path, key),
                "remove one of the two",
                at_key=True,
            )


def _spans(reader: SectionReader, path: KeyPath, own: Mapping[str, Any], axes: list[str]) -> tuple[str, ...]:
    if "axes" not in own or not path:
        return tuple(axes)
    for index, axis in enumerate(own["axes"]):
        if axis not in axes:
            reader.report(
                "unknown-axis", f'there is no axis "{axis}"', (*path, "axes", index), did_you_mean(axis, axes)
            )
    return tuple(axis for axis in axes if axis in own["axes"])


def _parents(reader: SectionReader, value: Any, path: KeyPath, releases: list[str]) -> Iterator[ParentRule]:
    for index, item in enumerate(value if isinstance(value, list) else [value]):
        place = (*path, index) if isinstance(value, list) else path
        if isinstance(item, dict):
            when = Condition(item["when"], (*place, "when")) if "when" in item else None
            if ("release" in item) == ("reference" in item):
                reader.report(
                    "missing-key",
                    "a parent needs either `release` or `reference`",
                    place,
                    "use `release` for a release, `reference` for an outside image",
                )
            elif "reference" in item:
                yield ParentRule("", "", {}, Expression(item["reference"], (*place, "reference")), when, place)
            else:
                image, release = item.get("image", ""), item["release"]
                if not image and release not in releases:
                    hint = did_you_mean(release, releases)
                    if "releases" not in reader.content:
                        hint = "this image has no releases; for an outside image, write from: debian:12"
                    message = f'there is no release "{release}"'
                    reader.report("unknown-release", message, (*place, "release"), hint)
                at = {key: Expression(str(text), (*place, "at", key)) for key, text in item.get("at", {}).items()}
                yield ParentRule(image, release, at, None, when, place)
        elif item in releases and "releases" in reader.content:
            yield ParentRule("", item, {}, None, None, place)
        elif item is not None:
            if item != "scratch" and not any(mark in item for mark in ("{{", "{%", ":", "/", "@")):
                known = did_you_mean(item, releases) if "releases" in reader.content else ""
                outside = f"for an outside image, write the tag as well: {item}:latest"
                hint = f"{known} {outside[0].upper()}{outside[1:]}" if known.endswith("?") else outside
                reader.report("unknown-release", f'there is no release "{item}"', place, hint)
            yield ParentRule("", "", {}, Expression(item, place), None, place)


def _bake_attributes(
    reader: SectionReader, path: KeyPath, own: Mapping[str, Any], buildx: tuple[int, int]
) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    places: list[tuple[KeyPath, Any]] = [(("bake",), reader.content.get("bake", {}))]
    if path:
        places.append(((*path, "bake"), own.get("bake", {})))
    for place, attributes in places:
        for name, value in attributes.items():
            here = (*place, name)
            attribute = ATTRIBUTES.get(name)
            if attribute is None:
                free = [key for key, known in ATTRIBUTES.items() if not known.key]
                reader.report(
                    "unknown-attribute",
                    f'unknown bake attribute "{name}"',
                    here,
                    did_you_mean(name, free),
                    at_key=True,
                )
            elif attribute.key:
                reader.report(
                    "owned-attribute",
                    f'"{name}" is set by bakegen',
                    here,
                    f"use `{attribute.key}` of the manifest instead",
                    at_key=True,
                )
            elif attribute.since > buildx:
                since = ".".join(map(str, attribute.since))
                reader.report(
                    "newer-attribute",
                    f'"{name}" requires buildx {since}; older clients ignore it silently',
                    here,
                    f'add `buildx: "{since}"` if all clients are at least that new',
                    at_key=True,
                )
            elif not fits(attribute, value):
                words, kind = _ATTRIBUTE_TYPES[attribute.kind]
                message = f'"{name}" must be {words}, not {found(value)}'
                reader.report("wrong-type", message, here, type_hint([kind], value))
            merged[name] = tree(value, here)
    return merged


def _files(reader: SectionReader, value: Any, path: KeyPath) -> Iterator[FileRule]:
    for index, item in enumerate(value or []):
        place: KeyPath = (*path, index)
        if ("template" in item) == ("copy" in item):
            reader.report(
                "wrong-value",
                "a file needs either `template` or `copy`",
                place,
                "use exactly one of the two",
            )
        part = {key: Expression(item[key], (*place, key)) for key in ("path", "template", "copy") if key in item}
        when = Condition(item["when"], (*place, "when")) if "when" in item else None
        yield FileRule(
            part["path"], part.get("template"), part.get("copy"), item.get("each") == "platform", when, place
        )
