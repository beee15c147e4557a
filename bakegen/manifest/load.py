"""Turn the `Source` of a manifest into a `Manifest`.

In: YAML that fits the schema, and the data files that it names. Out: frozen declarations in which every name that
can be looked up within the manifest has been, or a `BakegenError` with every problem.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bakegen.docker.attributes import ATTRIBUTES, OLDEST_BUILDX, fits
from bakegen.docker.platforms import platform_mistake
from bakegen.errors import BakegenError, Code, Position, Problem, did_you_mean, fail
from bakegen.manifest.schema import TYPES, check_schema, found, type_hint
from bakegen.manifest.source import KeyPath, Source, check_mapping, include, load_source
from bakegen.model import (
    Axis,
    AxisValue,
    Exclusion,
    FileRule,
    Manifest,
    NameRule,
    ParentRule,
    Registry,
    Release,
    Variable,
)
from bakegen.paths import leaves, path_mistake, relative
from bakegen.templating.expressions import Condition, Expression, tree

# Names that mean something in expressions and templates already.
RESERVED = frozenset(
    "image release target group platform platforms args parents parent folder fail range dict cycler joiner namespace "
    "true false none True False None and or not in is if else loop self super caller varargs kwargs".split()
)

# Prefixes of variables that CI systems and Docker set: bake would take their values for ours.
FOREIGN_PREFIXES = ("BAKE_", "BAKEGEN_", "BUILDKIT_", "BUILDX_", "CI_", "DOCKER_", "GITHUB_", "GITLAB_", "RUNNER_")


def load_manifest(file: Path, root: Path, source: Source | None = None) -> Manifest:
    """Read one manifest with what it includes and its data files; raises `BakegenError` with every problem."""
    name = relative(file, root)
    source = source or load_source(file, name)
    check_mapping(source)
    inputs = [name]
    includes = source.content.get("include", [])
    if isinstance(includes, list) and includes:
        source = _with_includes(source, includes, file.parent, root, inputs)
    problems = check_schema(source)
    if problems:
        raise BakegenError(problems)
    return _Builder(source, file.parent, root, inputs).build()


def mentioned_files(source: Source, folder: Path) -> Iterator[Path]:
    """Yield the files that a manifest includes or reads data from, whether they exist or not."""
    content = source.content if isinstance(source.content, dict) else {}
    include, data = content.get("include"), content.get("data")
    texts = [*(include if isinstance(include, list) else ()), *(data.values() if isinstance(data, dict) else ())]
    yield from (folder / text for text in texts if isinstance(text, str) and not path_mistake(text))


def _with_includes(source: Source, includes: list[Any], folder: Path, root: Path, inputs: list[str]) -> Source:
    below: Source | None = None
    for index, text in enumerate(includes):
        path = ("include", index)
        file = _input_file(source, str(text), path, folder, root, "an included file")
        part = load_source(file, relative(file, root))
        check_mapping(part)
        if "include" in part.content:
            problem = part.problem(
                "nested-include",
                "an included file cannot include others",
                ("include",),
                at_key=True,
                hint=f"list the files in {source.file}",
            )
            raise BakegenError([problem])
        inputs.append(part.file)
        below = part if below is None else include(below, part)
    return include(below, source) if below else source


def _input_file(source: Source, text: str, path: KeyPath, folder: Path, root: Path, what: str) -> Path:
    mistake = path_mistake(text)
    if mistake:
        raise BakegenError([source.problem("unsafe-path", f'the path "{text}" {mistake}', path)])
    file = folder / text
    if not file.exists():
        hint = _nearest_file(folder, text) or f"{what} is looked up in {relative(folder, root)}/"
        raise BakegenError([source.problem("missing-file", f'there is no file "{text}"', path, hint=hint)])
    if leaves(root, file):
        raise BakegenError([source.problem("unsafe-path", f'"{text}" is a link that leads out of the project', path)])
    return file


def _nearest_file(folder: Path, text: str) -> str:
    """Return a hint that names the file in the same folder whose name is nearest."""
    place = (folder / text).parent
    names = [file.name for file in place.iterdir()] if place.is_dir() else []
    near = difflib.get_close_matches(Path(text).name, names, n=1, cutoff=0.75)
    return f'did you mean "{(Path(text).parent / near[0]).as_posix()}"?' if near else ""


class _Builder:
    """Collects problems while it turns plain data into declarations."""

    def __init__(self, source: Source, folder: Path, root: Path, inputs: list[str]) -> None:
        self.source = source
        self.content: dict[str, Any] = source.content
        self.folder = folder
        self.root = root
        self.inputs = inputs
        self.problems: list[Problem] = []

    def report(self, code: Code, message: str, path: KeyPath, hint: str = "", *, at_key: bool = False) -> None:
        self.problems.append(self.source.problem(code, message, path, hint=hint, at_key=at_key))

    def build(self) -> Manifest:
        content = self.content
        major, minor = (int(part) for part in str(content.get("buildx", "0.13")).split(".")[:2])
        buildx = max((major, minor), OLDEST_BUILDX)
        self.check_names()
        axes = self.axes()
        releases = self.releases([axis.name for axis in axes], buildx)
        manifest = Manifest(
            image=content["image"],
            description=content.get("description", ""),
            source=self.source,
            buildx=buildx,
            syntax=content.get("syntax", ""),
            variables=self.variables(),
            registries=self.registries(),
            platforms=self.platforms(("platforms",)) or (),
            axes=axes,
            define={key: tree(value, ("define", key)) for key, value in content.get("define", {}).items()},
            data=self.data(),
            exclude=self.exclusions(axes, releases),
            groups={key: tuple(words) for key, words in content.get("groups", {}).items()},
            releases=releases,
            inputs=tuple(self.inputs),
        )
        if "platforms" not in content:
            self.report(
                "missing-key",
                'the manifest has no "platforms"',
                (),
                "for example platforms: [linux/amd64, linux/arm64]",
            )
        if self.problems:
            raise BakegenError(self.problems)
        return manifest

    def check_names(self) -> None:
        """One name, one meaning: axes, definitions, data and variables share the namespace of expressions."""
        first: dict[str, KeyPath] = {}
        for section in ("axes", "define", "data", "variables"):
            for name in self.content.get(section, {}):
                path = (section, name)
                if name in RESERVED:
                    self.report(
                        "reserved-name",
                        f'"{name}" means something else in expressions',
                        path,
                        "choose another name",
                        at_key=True,
                    )
                elif name in first:
                    other = self.source.place(first[name]).key
                    self.report(
                        "name-clash",
                        f'"{name}" is already declared at {other}',
                        path,
                        "rename one of them",
                        at_key=True,
                    )
                else:
                    first[name] = path

    def variables(self) -> dict[str, Variable]:
        prefix = "".join(c if c.isalnum() else "_" for c in self.content["image"]).upper()
        prefix = f"IMAGE_{prefix}" if prefix[0].isdigit() else prefix  # HCL's names begin with a letter
        variables = {}
        for name, value in self.content.get("variables", {}).items():
            path = ("variables", name)
            bake_name = f"{prefix}_{name}"
            if (bake_name.startswith(FOREIGN_PREFIXES) and not bake_name.startswith("BAKEGEN_")) or bake_name in {
                "BAKEGEN_REGISTRY",
                "BAKEGEN_PLATFORMS",
            }:
                self.report(
                    "foreign-variable",
                    f"{bake_name} may be set by Docker, bakegen or a CI system, and bake would take that value",
                    path,
                    "rename the variable or the image",
                    at_key=True,
                )
            declared = value if isinstance(value, dict) else {"default": value}
            default = str(declared["default"])
            if "{{" in default:
                self.report(
                    "wrong-value",
                    "the default of a variable is plain text",
                    (*path, "default"),
                    "use `define:` for what is computed",
                )
            variables[name] = Variable(name, bake_name, default, declared.get("description", ""), path)
        return variables

    def registries(self) -> tuple[Registry, ...]:
        registries = []
        for index, value in enumerate(self.content.get("registries", [])):
            path: KeyPath = ("registries", index)
            declared = value if isinstance(value, dict) else {"repository": value}
            repository = Expression(declared["repository"], (*path, "repository") if isinstance(value, dict) else path)
            registries.append(
                Registry(
                    repository,
                    declared.get("username", ""),
                    declared.get("password", ""),
                    declared.get("readme", False),
                    path,
                )
            )
        return tuple(registries)

    def platforms(self, path: KeyPath) -> tuple[str, ...] | None:
        """Return the platforms listed at `path`, checked; None if nothing is listed there."""
        value: Any = self.content
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            return None
        known = self.content.get("platforms", [])
        for index, platform in enumerate(value):
            here = (*path, index)
            mistake = platform_mistake(platform)
            if mistake:
                self.report("unknown-platform", f'"{platform}" is no platform', here, mistake)
            elif path != ("platforms",) and platform not in known:
                self.report(
                    "unlisted-platform",
                    f"{platform} is not among the platforms of the image",
                    here,
                    "list it under `platforms:` first; axis values and releases only narrow that list",
                )
        return tuple(value)

    def axes(self) -> tuple[Axis, ...]:
        declared = self.content.get("properties", {})
        rules = self.content.get("names", {})
        names = self.content.get("axes", {})
        for section, keys in (("properties", declared), ("names", rules)):
            for name in keys:
                if name not in names:
                    self.report(
                        "unknown-axis",
                        f'there is no axis "{name}"',
                        (section, name),
                        did_you_mean(name, names),
                        at_key=True,
                    )
        return tuple(self.axis(name, declared.get(name), rules.get(name, ())) for name in names)

    def axis(self, name: str, declared: Mapping[str, Any] | None, rules: Iterable[Any]) -> Axis:
        content = self.content["axes"][name]
        for key, declaration in (declared or {}).items():
            if "default" in declaration:
                path = ("properties", name, key, "default")
                self.check_type(f'the default of "{key}"', declaration["default"], declaration["type"], path)
        values = [self.value(name, value, declared) for value in content]
        seen: dict[str, AxisValue] = {}
        for value in values:
            if value.name in seen:
                self.report("duplicate-item", f'axis "{name}" has the value "{value.name}" twice', value.path)
            seen[value.name] = value
            if not value.name or any(c in value.name for c in " \t\n,=*?!/"):
                self.report(
                    "wrong-value",
                    f'"{value.name}" cannot be an axis value',
                    value.path,
                    "a value is a word without spaces, commas, `=`, `*`, `?`, `!` and `/`",
                    at_key=True,
                )
        return Axis(name, tuple(values), tuple(self.name_rules(name, rules, seen)), ("axes", name))

    def name_rules(self, axis: str, rules: Iterable[Any], known: Mapping[str, Any]) -> Iterator[NameRule]:
        for index, rule in enumerate(rules):
            path: KeyPath = ("names", axis, index)
            declared = rule if isinstance(rule, dict) else {"name": rule}
            wanted = declared.get("for", [])
            values = tuple(str(item) for item in (wanted if isinstance(wanted, list) else [wanted]))
            for number, value in enumerate(values):
                if value not in known:
                    here = (*path, "for", number) if isinstance(wanted, list) else (*path, "for")
                    message = f'axis "{axis}" has no value "{value}"'
                    self.report("unknown-value", message, here, did_you_mean(value, known))
            where = (*path, "name") if isinstance(rule, dict) else path
            yield NameRule(Expression(str(declared["name"]), where), values)

    def value(self, axis: str, key: Any, declared: Mapping[str, Any] | None) -> AxisValue:
        content = self.content["axes"][axis]
        if isinstance(content, list):
            path: KeyPath = ("axes", axis, content.index(key))
            given: dict[str, Any] = {}
        else:
            path = ("axes", axis, key)
            given = content[key] or {}
        properties = {
            name: tree(item, (*path, name))
            for name, item in given.items()
            if name not in {"names", "platforms", "args"}
        }
        if declared is not None:
            self.check_properties(path, f'{axis} "{key}"', given, properties, declared)
            for name, declaration in declared.items():
                if "default" in declaration and name not in properties:
                    properties[name] = tree(declaration["default"], ("properties", axis, name, "default"))
        names = given.get("names")
        return AxisValue(
            name=str(key),
            properties=properties,
            names=None if names is None else tuple(str(name) for name in names),
            platforms=self.platforms((*path, "platforms")) if "platforms" in given else None,
            args=self.expressions((*path, "args"), given.get("args", {})),
            path=path,
        )

    def check_properties(
        self,
        path: KeyPath,
        owner: str,
        given: Mapping[str, Any],
        properties: Mapping[str, Any],
        declared: Mapping[str, Any],
    ) -> None:
        for name in properties:
            if name not in declared:
                self.report(
                    "unknown-key",
                    f'{owner} has a property "{name}" that is not declared',
                    (*path, name),
                    did_you_mean(name, declared),
                    at_key=True,
                )
            else:
                self.check_type(f'property "{name}"', given[name], declared[name]["type"], (*path, name))
        for name, declaration in declared.items():
            if declaration.get("required") and name not in given:
                self.report(
                    "missing-key",
                    f'{owner} has no property "{name}"',
                    path,
                    declaration.get("description", "it is declared as required"),
                    at_key=True,
                )

    def check_type(self, owner: str, value: Any, kind: str, path: KeyPath) -> None:
        """Report a property whose value is not of the declared type."""
        if not _has_type(value, kind):
            word = _PROPERTY_TYPES[kind][1]
            message = f"{owner} must be {TYPES[word]}, not {found(value)}"
            self.report("wrong-type", message, path, type_hint([word], value))

    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for name, text in self.content.get("data", {}).items():
            try:
                place = _input_file(self.source, text, ("data", name), self.folder, self.root, "a data file")
                data[name] = self.data_of(place)
            except BakegenError as error:
                self.problems += error.problems
        return data

    def data_of(self, place: Path) -> Any:
        if place.is_dir():
            files = sorted(file for file in place.iterdir() if file.suffix in {".yml", ".yaml", ".json"})
            return {file.stem: self.data_of(file) for file in files}
        if leaves(self.root, place):
            position = Position(relative(place, self.root))
            raise fail("unsafe-path", "is a link that leads out of the project", position=position)
        source = load_source(place, relative(place, self.root))
        self.inputs.append(source.file)
        return source.content

    def exclusions(self, axes: tuple[Axis, ...], releases: tuple[Release, ...]) -> tuple[Exclusion, ...]:
        known = {axis.name: [value.name for value in axis.values] for axis in axes}
        known["release"] = [release.name for release in releases]
        exclusions = []
        for index, entry in enumerate(self.content.get("exclude", [])):
            path: KeyPath = ("exclude", index)
            patterns: dict[str, tuple[str, ...]] = {}
            for key, value in entry.items():
                if key == "because":
                    continue
                if key not in known:
                    self.report(
                        "unknown-axis", f'there is no axis "{key}"', (*path, key), did_you_mean(key, known), at_key=True
                    )
                    continue
                words = [str(item) for item in (value if isinstance(value, list) else [value])]
                for number, word in enumerate(words):
                    if not fnmatch.filter(known[key], word):
                        here = (*path, key, number) if isinstance(value, list) else (*path, key)
                        message = f'axis "{key}" has no value "{word}"'
                        if key == "release":
                            message = f'there is no release "{word}"'
                        self.report("unknown-value", message, here, did_you_mean(word, known[key]))
                patterns[key] = tuple(words)
            if not patterns and len(entry) == 1:
                self.report(
                    "empty-value",
                    "this exclusion names no axis, so it excludes everything",
                    path,
                    "say which values do not go together",
                )
            exclusions.append(Exclusion(patterns, entry["because"], path))
        return tuple(exclusions)

    def releases(self, axes: list[str], buildx: tuple[int, int]) -> tuple[Release, ...]:
        declared: dict[str, Any] = self.content.get("releases", {self.content["image"]: {}})
        return tuple(
            self.release(name, content or {}, axes, list(declared), buildx) for name, content in declared.items()
        )

    def release(
        self, name: str, own: Mapping[str, Any], axes: list[str], releases: list[str], buildx: tuple[int, int]
    ) -> Release:
        path: KeyPath = ("releases", name) if "releases" in self.content else ()

        def setting(key: str) -> tuple[Any, KeyPath]:
            return (own[key], (*path, key)) if key in own else (self.content.get(key), (key,))

        def text(key: str, default: str) -> Expression:
            value, place = setting(key)
            return Expression(default if value is None else value, place)

        def texts(key: str) -> tuple[Expression, ...]:
            value, place = setting(key)
            return tuple(Expression(str(item), (*place, index)) for index, item in enumerate(value or []))

        def mapping(key: str) -> dict[str, Expression]:
            merged = self.expressions((key,), self.content.get(key, {})) | self.expressions(
                (*path, key), own.get(key, {})
            )
            return {name: value for name, value in merged.items() if value is not None}

        spans = self.spans(path, own, axes)
        publish = setting("publish")[0] is not False
        called = f'release "{name}"' if path else f'image "{name}"'
        if setting("from")[0] is None:
            self.report(
                "missing-key",
                f'{called} has no "from"',
                path,
                "say which image or release it is built from",
                at_key=True,
            )
        if publish and setting("tags")[0] is None:
            self.report(
                "missing-key",
                f'{called} has no "tags"',
                path,
                "say what its images are called, or `publish: false`",
                at_key=True,
            )
        single = "releases" not in self.content
        folders = "".join(f"{{{{ {axis} }}}}/" for axis in spans)
        return Release(
            name=name,
            description=own.get("description", ""),
            axes=spans,
            parents=tuple(self.parents(*setting("from"), releases)),
            when=tuple(
                Condition(content["when"], place)
                for content, place in ((self.content, ("when",)), (own, (*path, "when")))
                if "when" in content
            ),
            platforms=self.platforms((*path, "platforms")) if path else None,
            publish=publish,
            tags=texts("tags"),
            template=text("template", "{{ image }}.Dockerfile.j2" if single else "{{ release }}.Dockerfile.j2"),
            dockerfile=text(
                "dockerfile", f"{folders}Dockerfile" if single else f"{folders}{{{{ release }}}}/Dockerfile"
            ),
            context=text("context", "."),
            contexts=mapping("contexts"),
            args=self.expressions(("args",), self.content.get("args", {})),
            own_args=self.expressions((*path, "args"), own.get("args", {})) if path else {},
            labels=mapping("labels"),
            annotations=mapping("annotations"),
            secrets=texts("secrets"),
            ssh=texts("ssh"),
            cache_from=texts("cache-from"),
            cache_to=texts("cache-to"),
            attest=texts("attest"),
            bake=self.bake_attributes(path, own, buildx),
            files=tuple(self.files(*setting("files"))),
            path=path or ("image",),
        )

    def spans(self, path: KeyPath, own: Mapping[str, Any], axes: list[str]) -> tuple[str, ...]:
        if "axes" not in own or not path:
            return tuple(axes)
        for index, axis in enumerate(own["axes"]):
            if axis not in axes:
                self.report(
                    "unknown-axis", f'there is no axis "{axis}"', (*path, "axes", index), did_you_mean(axis, axes)
                )
        return tuple(axis for axis in axes if axis in own["axes"])

    def parents(self, value: Any, path: KeyPath, releases: list[str]) -> Iterator[ParentRule]:
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            place = (*path, index) if isinstance(value, list) else path
            if isinstance(item, dict):
                image, release = item.get("image", ""), item["release"]
                if not image and release not in releases:
                    hint = did_you_mean(release, releases)
                    if "releases" not in self.content:
                        hint = "this image has no releases; an image from outside is written as text: from: debian:12"
                    message = f'there is no release "{release}"'
                    self.report("unknown-release", message, (*place, "release"), hint)
                at = {key: Expression(str(text), (*place, "at", key)) for key, text in item.get("at", {}).items()}
                when = Condition(item["when"], (*place, "when")) if "when" in item else None
                yield ParentRule(image, release, at, None, when, place)
            elif item in releases and "releases" in self.content:
                yield ParentRule("", item, {}, None, None, place)
            elif item is not None:
                if item != "scratch" and not any(mark in item for mark in ("{{", "{%", ":", "/", "@")):
                    known = did_you_mean(item, releases) if "releases" in self.content else ""
                    outside = f"an image from outside is written with its tag: {item}:latest"
                    hint = f"{known} Else, {outside}" if known.endswith("?") else outside
                    self.report("unknown-release", f'there is no release "{item}"', place, hint)
                yield ParentRule("", "", {}, Expression(item, place), None, place)

    def bake_attributes(self, path: KeyPath, own: Mapping[str, Any], buildx: tuple[int, int]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        places: list[tuple[KeyPath, Any]] = [(("bake",), self.content.get("bake", {}))]
        if path:
            places.append(((*path, "bake"), own.get("bake", {})))
        for place, attributes in places:
            for name, value in attributes.items():
                here = (*place, name)
                attribute = ATTRIBUTES.get(name)
                if attribute is None:
                    free = [key for key, known in ATTRIBUTES.items() if not known.key]
                    self.report(
                        "unknown-attribute",
                        f'bake targets have no attribute "{name}"',
                        here,
                        did_you_mean(name, free),
                        at_key=True,
                    )
                elif attribute.key:
                    self.report(
                        "owned-attribute",
                        f'"{name}" is written by bakegen',
                        here,
                        f"use the key `{attribute.key}`",
                        at_key=True,
                    )
                elif attribute.since > buildx:
                    since = ".".join(map(str, attribute.since))
                    self.report(
                        "newer-attribute",
                        f'"{name}" is known since buildx {since}; older clients drop it silently',
                        here,
                        f'write `buildx: "{since}"` if nobody uses an older one',
                        at_key=True,
                    )
                elif not fits(attribute, value):
                    words, kind = _ATTRIBUTE_TYPES[attribute.kind]
                    message = f'"{name}" must be {words}, not {found(value)}'
                    self.report("wrong-type", message, here, type_hint([kind], value))
                merged[name] = tree(value, here)
        return merged

    def files(self, value: Any, path: KeyPath) -> Iterator[FileRule]:
        for index, item in enumerate(value or []):
            place: KeyPath = (*path, index)
            if ("template" in item) == ("copy" in item):
                self.report(
                    "wrong-value",
                    "a file comes either from a `template` or from `copy`",
                    place,
                    "give exactly one of the two",
                )
            part = {key: Expression(item[key], (*place, key)) for key in ("path", "template", "copy") if key in item}
            when = Condition(item["when"], (*place, "when")) if "when" in item else None
            yield FileRule(
                part["path"], part.get("template"), part.get("copy"), item.get("each") == "platform", when, place
            )

    def expressions(self, path: KeyPath, content: Mapping[str, Any]) -> dict[str, Expression | None]:
        return {key: None if value is None else Expression(str(value), (*path, key)) for key, value in content.items()}


# How the types of declared properties are read, and what the schema calls them.
_PROPERTY_TYPES: Mapping[str, tuple[type, str]] = {
    "string": (str, "string"),
    "boolean": (bool, "boolean"),
    "integer": (int, "integer"),
    "list": (list, "array"),
    "mapping": (dict, "object"),
}


def _has_type(value: Any, kind: str) -> bool:
    return isinstance(value, _PROPERTY_TYPES[kind][0]) and not (kind == "integer" and isinstance(value, bool))


_ATTRIBUTE_TYPES: Mapping[str, tuple[str, str]] = {
    "text": ("text", "string"),
    "flag": ("true or false", "boolean"),
    "list": ("a list of texts", "array"),
    "map": ("a mapping of texts", "object"),
}
