"""Turn the `Source` of a manifest into a `Manifest`.

In: YAML that fits the schema, and the data files that it names. Out: frozen declarations in which every name that
can be looked up within the manifest has been, or a `BakegenError` with every problem.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bakegen.errors import BakegenError, Position, did_you_mean
from bakegen.expressions.bake_environment import PLATFORMS, REGISTRY
from bakegen.expressions.scope import Condition, Expression, tree
from bakegen.expressions.syntax import compared_with
from bakegen.expressions.text import Variable
from bakegen.manifest.axes import read_axes
from bakegen.manifest.builders import read_builders
from bakegen.manifest.model import Axis, Deprecation, Exclusion, GroupRule, Manifest, Registry, Release
from bakegen.manifest.releases import read_releases
from bakegen.manifest.schema import check_schema
from bakegen.manifest.section import SectionReader
from bakegen.source.inputs import InputError, is_folder, list_input, real_path
from bakegen.source.paths import path_mistake, relative
from bakegen.source.yaml import KeyPath, Source, check_mapping, include, load_source
from bakegen.spec.bake_attributes import OLDEST_BUILDX

# Names that mean something in expressions and templates already.
RESERVED = frozenset(
    "image release target group platform platforms args parents parent folder fail range dict cycler joiner namespace "
    "true false none True False None and or not in is if else loop self super caller varargs kwargs".split()
)

# What a manifest says is added to what it includes says.
_ADDED = ("exclude",)

# Prefixes of variables that CI systems and Docker set: bake would take their values for ours.
FOREIGN_PREFIXES = ("BAKE_", "BUILDKIT_", "BUILDX_", "CI_", "DOCKER_", "GITHUB_", "GITLAB_", "RUNNER_")


def load_manifest(file: Path, root: Path, source: Source | None = None) -> Manifest:
    """Read one manifest with what it includes and its data files; raises `BakegenError` with every problem."""
    source = source or load_source(root, relative(file, root))
    check_mapping(source)
    includes = source.content.get("include", [])
    if isinstance(includes, list) and includes:
        source = _with_includes(source, includes, file.parent, root)
    problems = check_schema(source)
    if problems:
        raise BakegenError(problems)
    return _ManifestReader(source, file.parent, root).manifest()


def mentioned_files(source: Source, folder: Path) -> Iterator[Path]:
    """Yield the files that a manifest includes or reads data from, whether they exist or not."""
    content = source.content if isinstance(source.content, dict) else {}
    include, data = content.get("include"), content.get("data")
    texts = [*(include if isinstance(include, list) else ()), *(data.values() if isinstance(data, dict) else ())]
    yield from (folder / text for text in texts if isinstance(text, str) and not path_mistake(text))


def variable_prefix(image: str) -> str:
    """Return what stands before the names of a family's variables in the bake file, without the `_` between.

    >>> variable_prefix("bento-server"), variable_prefix("7zip")
    ('BENTO_SERVER', 'IMAGE_7ZIP')
    """
    prefix = "".join(c if c.isalnum() else "_" for c in image).upper()
    return f"IMAGE_{prefix}" if prefix[0].isdigit() else prefix  # HCL's names begin with a letter


def _with_includes(source: Source, includes: list[Any], folder: Path, root: Path) -> Source:
    below: Source | None = None
    for index, text in enumerate(includes):
        path = ("include", index)
        file = _input_file(source, str(text), path, folder, root, "an included file")
        part = load_source(root, relative(file, root))
        check_mapping(part)
        if "include" in part.content:
            raise part.failure(
                "nested-include",
                "an included file cannot include others",
                ("include",),
                at_key=True,
                hint=f"list all files in {source.file}",
            )
        below = part if below is None else include(below, part, _ADDED)
    return include(below, source, _ADDED) if below else source


def _input_file(source: Source, text: str, path: KeyPath, folder: Path, root: Path, what: str) -> Path:
    mistake = path_mistake(text)
    if mistake:
        raise source.failure("unsafe-path", f'the path "{text}" {mistake}', path)
    file = folder / text
    try:
        real_path(root, relative(file, root))
    except InputError as error:
        if error.code != "missing-file":
            raise source.failure(error.code, f'"{text}" {error.reason}', path, hint=error.hint) from error
        hint = (
            _nearest_file(root, relative(folder, root), text)
            or f"the path of {what} is relative to {relative(folder, root)}/"
        )
        raise source.failure("missing-file", f'there is no file "{text}"', path, hint=hint) from error
    return file


def _nearest_file(root: Path, folder: str, text: str) -> str:
    """Return a hint that names the file in the same folder whose name is nearest."""
    place, _, name = f"{folder}/{text}".rpartition("/")
    try:
        near = difflib.get_close_matches(name, list_input(root, place), n=1, cutoff=0.75)
    except InputError:
        return ""
    return f'did you mean "{text.removesuffix(name)}{near[0]}"?' if near else ""


def _issues_of(source: str) -> str:
    """Return where problems with what lies at a URL are reported, if its host tells.

    >>> _issues_of("https://github.com/acme/images/blob/main"), _issues_of("https://gitlab.com/acme/images/-/tree/main")
    ('https://github.com/acme/images/issues', 'https://gitlab.com/acme/images/-/issues')
    """
    if found := re.match(r"https://github\.com/[^/]+/[^/]+", source):
        return f"{found[0]}/issues"
    found = re.match(r"(https://gitlab\.com/.+?)(?:/-/|/?$)", source)
    return f"{found[1]}/-/issues" if found else ""


class _ManifestReader(SectionReader):
    """Turns plain data into declarations."""

    def __init__(self, source: Source, folder: Path, root: Path) -> None:
        super().__init__(source)
        self.folder = folder
        self.root = root
        self.inputs = [source.file, *(file for file in source.lines if file != source.file)]

    def manifest(self) -> Manifest:
        content = self.content
        major, minor = (int(part) for part in str(content.get("buildx", "0.13")).split(".")[:2])
        buildx = max((major, minor), OLDEST_BUILDX)
        self.check_names()
        axes = read_axes(self)
        releases = read_releases(self, [axis.name for axis in axes], buildx)
        platforms = self.platforms(("platforms",)) or ()
        self.check_comparisons(axes)
        manifest = Manifest(
            image=content["image"],
            description=content.get("description", ""),
            source=self.source,
            source_url=content.get("source", "").rstrip("/"),
            issues_url=content.get("issues", "") or _issues_of(content.get("source", "")),
            licenses=content.get("licenses", ""),
            buildx=buildx,
            syntax=content.get("syntax", ""),
            variables=self.variables(),
            registries=self.registries(),
            builders=read_builders(self, platforms),
            platforms=platforms,
            axes=axes,
            define={key: tree(value, ("define", key)) for key, value in content.get("define", {}).items()},
            data=self.data(),
            exclude=self.exclusions(axes, releases, platforms),
            deprecated=self.deprecations(),
            groups=self.groups(),
            releases=releases,
            inputs=tuple(self.inputs),
        )
        if "platforms" not in content:
            self.report(
                "missing-key",
                'the manifest has no "platforms"',
                (),
                "add it, such as platforms: [linux/amd64, linux/arm64]",
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
                        f'"{name}" is a reserved name in expressions',
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

    def check_comparisons(self, axes: tuple[Axis, ...]) -> None:
        """Report comparisons of an axis with what is none of its values: they are the same for every target."""
        known = {axis.name: [value.name for value in axis.values] for axis in axes}
        known["release"] = list(self.content.get("releases", {self.content["image"]: None}))
        stack: list[tuple[KeyPath, Any]] = [((), self.content)]
        while stack:
            path, value = stack.pop()
            if isinstance(value, dict | list):
                items = value.items() if isinstance(value, dict) else enumerate(value)
                stack += [((*path, key), item) for key, item in items]
            elif isinstance(value, str) and (path[-1] == "when" or "{{" in value or "{%" in value):
                for name, text in compared_with(f"{{{{ {value} }}}}" if path[-1] == "when" else value):
                    own = self.source.place(path).value.file == self.source.file  # others include the rest, too
                    if name in known and text not in known[name] and own:
                        message = f'"{name}" is compared with "{text}", which is not one of its values'
                        self.report("unknown-value", message, path, did_you_mean(text, known[name]))

    def variables(self) -> dict[str, Variable]:
        prefix = variable_prefix(self.content["image"])
        variables = {}
        for name, value in self.content.get("variables", {}).items():
            path = ("variables", name)
            bake_name = f"{prefix}_{name}"
            if bake_name.startswith(FOREIGN_PREFIXES) or bake_name in {REGISTRY, PLATFORMS}:
                self.report(
                    "foreign-variable",
                    f"Docker, bakegen or a CI system may set {bake_name}, and bake would use that value",
                    path,
                    "rename the variable or the image",
                    at_key=True,
                )
            declared = value if isinstance(value, dict) else {"default": value}
            default = str(declared["default"])
            if "{{" in default:
                self.report(
                    "wrong-value",
                    "the default of a variable must be plain text",
                    (*path, "default"),
                    "use `define` for expressions",
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
                    declared.get("kind", ""),
                    declared.get("username", ""),
                    declared.get("password", ""),
                    declared.get("readme", False),
                    path,
                    Condition(declared["when"], (*path, "when")) if "when" in declared else None,
                )
            )
        return tuple(registries)

    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for name, text in self.content.get("data", {}).items():
            try:
                place = _input_file(self.source, text, ("data", name), self.folder, self.root, "a data file")
                data[name] = self.data_of(relative(place, self.root))
            except BakegenError as error:
                self.problems += error.problems
        return data

    def data_of(self, path: str) -> Any:
        try:
            names = list_input(self.root, path) if is_folder(self.root, path) else None
        except InputError as error:
            raise error.at(Position(path)) from error
        if names is None:
            return self.data_in(path)
        files = {Path(name).stem: f"{path}/{name}" for name in names if Path(name).suffix in {".yml", ".yaml", ".json"}}
        return {stem: self.data_in(file) for stem, file in files.items()}

    def data_in(self, path: str) -> Any:
        source = load_source(self.root, path)
        self.inputs.append(source.file)
        return source.content

    def exclusions(
        self, axes: tuple[Axis, ...], releases: tuple[Release, ...], platforms: tuple[str, ...]
    ) -> tuple[Exclusion, ...]:
        known = {axis.name: [value.name for value in axis.values] for axis in axes}
        known["release"] = [release.name for release in releases]
        known["platform"] = list(platforms)
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
                        if key in {"release", "platform"}:
                            message = f'there is no {key} "{word}"'
                        self.report("unknown-value", message, here, did_you_mean(word, known[key]))
                patterns[key] = tuple(words)
            if not patterns and len(entry) == 1:
                self.report(
                    "empty-value",
                    "this entry has no axis, so it excludes everything",
                    path,
                    "add the values to exclude",
                )
            exclusions.append(Exclusion(patterns, entry["because"], path))
        return tuple(exclusions)

    def groups(self) -> dict[str, GroupRule]:
        groups = {}
        for name, value in self.content.get("groups", {}).items():
            declared = value if isinstance(value, dict) else {"select": value}
            groups[name] = GroupRule(tuple(declared["select"]), declared.get("parents", True))
        return groups

    def deprecations(self) -> tuple[Deprecation, ...]:
        entries = self.content.get("deprecated", [])
        return tuple(
            Deprecation(
                tuple([entry["tags"]] if isinstance(entry["tags"], str) else entry["tags"]),
                entry["because"],
                entry.get("use", ""),
            )
            for entry in entries
        )
