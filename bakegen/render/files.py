"""Render the graph into files: Dockerfiles, their side files, READMEs, versions, the bake file.

In: a `Project`. Out: `{path from the root: OutputFile}`, or a `BakegenError` with every problem. Nothing is written.

One Dockerfile may serve several targets. It is rendered once, and may use only what those targets have in common;
what differs between them reaches it as build args.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any, Literal

from jinja2 import TemplateNotFound, TemplatesNotFound, TemplateSyntaxError

from bakegen.bake.file import BAKE_FILE, bake_model
from bakegen.docker.platforms import Platform
from bakegen.errors import BakegenError, Code, Collector, Position, Problem, line_at, narrowed
from bakegen.graph.expand import OUTPUT, Names
from bakegen.manifest.source import KeyPath
from bakegen.model import FileRule, Manifest, Parent, Target, as_written
from bakegen.output import OutputFile, path_problems
from bakegen.paths import folders_of, leaves, path_mistake
from bakegen.project import Project
from bakegen.render.dockerfile_check import check_dockerfile
from bakegen.render.readme import readme_names
from bakegen.resources import BAKE_TEMPLATE
from bakegen.templating.expressions import Failure, FreeText, Scope, explain_failure, text_mistake

README_TEMPLATE = "README.md.j2"
METADATA = ("dockerfiles.json", "images.json")  # in the folder of a family, if asked for: `render.metadata` makes them
_DIRECTIVES = ("syntax", "escape", "check")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a Dockerfile or a side file comes from, and which targets are built with it."""

    image: str
    kind: Literal["dockerfile", "side file"]
    template: str | None  # as it is called, None for what is copied
    templates: tuple[str, ...]  # all that were used: the template, and what it extends, includes or imports
    copied: str | None  # from the root, None for what is rendered
    platform: str | None
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rendering:
    """What a project makes, by path from the root, and the origin of each Dockerfile and side file.

    `looked` is what that depends on outside of manifest/ and templates/: files that are copied, as they were read, and
    folders that had to be there (None).
    """

    files: Mapping[str, OutputFile]
    looked: Mapping[str, OutputFile | None]
    origins: Mapping[str, Origin]


def render_project(project: Project) -> dict[str, OutputFile]:
    """Return every file of the project; raises `BakegenError` with every problem found."""
    return dict(render(project).files)


def render(project: Project) -> Rendering:
    """Return every file of the project and what it depends on; raises `BakegenError` with every problem found."""
    renderer = _Renderer(project)
    with project.evaluator.limits:
        for manifest in project.graph.manifests:
            renderer.image(manifest)
        renderer.check_contexts()
        if not renderer.problems:
            renderer.bake_file()
            renderer.check_paths()
    renderer.problems.stop_if_any()
    return Rendering({path: made.file for path, made in renderer.made.items()}, renderer.looked, renderer.origins)


def render_bake_file(project: Project) -> bytes:
    """Return the bake file only; raises `BakegenError` with every problem found."""
    renderer = _Renderer(project)
    with project.evaluator.limits:
        renderer.bake_file()
    renderer.problems.stop_if_any()
    return renderer.made[BAKE_FILE].file.content


@dataclass(frozen=True, slots=True)
class _Made:
    """A rendered file and what asked for it."""

    file: OutputFile
    manifest: Manifest
    path: KeyPath
    own: bool = False  # made for every family, whatever its manifest says


class _Renderer:
    def __init__(self, project: Project) -> None:
        self.project = project
        self.graph = project.graph
        self.made: dict[str, _Made] = {}
        self.looked: dict[str, OutputFile | None] = {}
        self.origins: dict[str, Origin] = {}
        self.problems = Collector()

    def image(self, manifest: Manifest) -> None:
        names = Names(manifest, self.project.evaluator)
        folder = f"{OUTPUT}/{manifest.image}"
        version = manifest.variables.get("VERSION")
        if version:
            file = OutputFile(f"{version.default}\n".encode())
            self.made[f"{folder}/versions"] = _Made(file, manifest, version.path, own=True)
        with self.problems.collecting():
            self.readme(manifest, folder)
        for path in dict.fromkeys(target.dockerfile for target in self.graph.by_image[manifest.image]):
            with self.problems.collecting():
                self.dockerfile(manifest, names, path, self.graph.by_dockerfile[path])

    def check_contexts(self) -> None:
        """Report build contexts that are no folders of the project; bake would notice only when it builds."""
        root = self.project.root
        made = {folder for path in self.made for folder in folders_of(path)}
        for target in self.graph.targets.values():
            manifest = self.graph.manifest(target.image)
            release = manifest.release(target.release)
            folders = {target.context: release.context.path}
            folders |= {target.contexts[name]: value.path for name, value in release.contexts.items()}
            for folder, path in folders.items():
                if folder == "." or ":" in folder or folder in made:
                    continue
                self.looked[folder] = None
                if leaves(root, root / folder):
                    message = f'the context "{folder}" is a link that leads out of the project'
                    self.problems.keep(manifest.source.problem("unsafe-path", message, path))
                elif not (root / folder).is_dir():
                    message = f'the context "{folder}" is no folder of the project'
                    self.problems.keep(
                        manifest.source.problem(
                            "missing-file", message, path, hint="the path is taken from the project root"
                        )
                    )

    def add(self, path: str, file: OutputFile, manifest: Manifest, origin: KeyPath) -> None:
        """Add a file; two different ones at one path are a problem that names both places."""
        own = path in (f"{OUTPUT}/{manifest.image}/{name}" for name in METADATA)  # made on request
        first = self.made.setdefault(path, _Made(file, manifest, origin, own=own))
        if first.file == file and not first.own:
            return
        place = first.manifest.source.place(first.path).value
        message, hint = f'"{path}" is already made, with other content, at {place}', "give one of them another path"
        if first.own:
            message, hint = f'"{path}" is a file that bakegen itself makes for every family', "choose another path"
        elif (first.manifest, first.path) == (manifest, origin):
            message = f'"{path}" would be written twice, with different content'
            hint = "let the path tell its targets apart, or give each Dockerfile a folder of its own"
        self.problems.keep(manifest.source.problem("output-clash", message, origin, hint=hint))

    def originates(
        self,
        path: str,
        manifest: Manifest,
        kind: Literal["dockerfile", "side file"],
        targets: Iterable[Target],
        *,
        template: str | None,
        copied: str | None = None,
        platform: str | None = None,
    ) -> None:
        """Note where the file that was made last comes from; what several Dockerfiles share serves all their targets."""
        names = tuple(target.name for target in targets)
        first = self.origins.get(path)
        used = self.project.evaluator.used if template else ()
        if first:
            self.origins[path] = replace(
                first,
                templates=tuple(sorted({*first.templates, *used})),
                platform=platform if first.platform == platform else None,
                targets=tuple(dict.fromkeys((*first.targets, *names))),
            )
        else:
            self.origins[path] = Origin(manifest.image, kind, template, used, copied, platform, names)

    def check_paths(self) -> None:
        """Report paths that no disk, or not every disk, can hold side by side."""
        for problem in path_problems(self.made):
            made = self.made.get(problem.position.file if problem.position else "")
            if made:
                self.problems.keep(
                    made.manifest.source.problem(problem.code, problem.message, made.path, hint=problem.hint)
                )

    def dockerfile(self, manifest: Manifest, names: Names, path: str, targets: Sequence[Target]) -> None:
        release = manifest.release(targets[0].release)
        templates = dict.fromkeys(target.template for target in targets)
        if len(templates) > 1:
            raise self.problem(
                manifest,
                "shared-dockerfile",
                f'targets that share "{path}" have different templates: {", ".join(templates)}',
                release.dockerfile.path,
                "give them different paths, for example with {{ release }}",
            )
        scope = self.shared_scope(manifest, names, path, targets)
        text = self.render(targets[0].template, scope, manifest, release.template.path, path)
        text = _with_header(text, manifest, targets[0].template)
        self.add(path, OutputFile(text.encode()), manifest, release.dockerfile.path)
        self.originates(path, manifest, "dockerfile", targets, template=targets[0].template)
        for problem in check_dockerfile(text, path, manifest, targets):
            self.problems.keep(self.at_template(problem, path, targets[0].template))
        for user in {target.release: target for target in targets}.values():
            rules = manifest.release(user.release).files
            for rule in rules:
                self.side_files(manifest, rule, scope, path, targets)

    def problem(self, manifest: Manifest, code: Code, message: str, path: KeyPath, hint: str = "") -> BakegenError:
        return BakegenError([manifest.source.problem(code, message, path, hint=hint)])

    def shared_scope(self, manifest: Manifest, names: Names, path: str, targets: Sequence[Target]) -> Scope:
        """Return the names for a Dockerfile: what its targets have in common; the rest is not available, with reasons."""
        unavailable = {
            name: (
                f"{name} is free until bake time, so it cannot stand in a Dockerfile",
                f"pass it as a build arg: args: {{{name}: '{{{{ {name} }}}}'}}",
            )
            for name in manifest.variables
        }
        unavailable["platform"] = ("a Dockerfile serves all platforms", "loop over `platforms`, or use TARGETARCH")
        values: dict[str, Any] = {}
        properties = {}
        for name, texts in {
            "release": [target.release for target in targets],
            "target": [target.name for target in targets],
        }.items():
            if len(set(texts)) == 1:
                values[name] = texts[0]
            else:
                unavailable[name] = (f'"{path}" serves {len(set(texts))} values of `{name}`', "")
        for axis in manifest.axes:
            found = list(dict.fromkeys(target.values.get(axis.name) for target in targets))
            if len(found) == 1 and found[0] is not None:
                values[axis.name] = found[0]
                properties[axis.name] = axis.value(found[0])
            elif len(found) > 1:
                shown = ", ".join(str(value) for value in found)
                unavailable[axis.name] = (
                    f'"{path}" serves several values of `{axis.name}` ({shown})',
                    _arg_hint(axis.name, targets),
                )
            else:
                unavailable[axis.name] = (f'release "{targets[0].release}" does not span axis `{axis.name}`', "")
        platforms = dict.fromkeys(platform for target in targets for platform in target.platforms)
        parents = self.parents(manifest, path, targets)
        values |= {
            "platforms": tuple(Platform(platform) for platform in manifest.platforms if platform in platforms),
            "args": {name: FreeText(text) if "\0" in text else text for name, text in targets[-1].args.items()},
            "folder": normpath(_from_context(dirname(path), targets[0].context)),
            "parents": parents,
        }
        if parents:
            values["parent"] = parents[0]
        return names.scope(values, properties, unavailable)

    def parents(self, manifest: Manifest, path: str, targets: Sequence[Target]) -> list[str]:
        """Return the parents' references as the Dockerfile writes them: what differs, as the build arg that carries it."""
        counts = {len(target.parents) for target in targets}
        if len(counts) > 1:
            raise self.problem(
                manifest,
                "shared-dockerfile",
                f'targets that share "{path}" have {" and ".join(map(str, sorted(counts)))} parents',
                next((target.parents[0].path for target in reversed(targets) if target.parents), targets[0].path),
                "give them different paths with `dockerfile:`, for example with {{ release }}",
            )
        written = []
        for parents in zip(*(target.parents for target in targets), strict=True):
            text = parametrize([parent.reference for parent in parents], [target.args for target in targets])
            if text is None:
                raise self.parent_problem(manifest, path, targets, parents)
            written.append(text)
        return written

    def parent_problem(
        self, manifest: Manifest, path: str, targets: Sequence[Target], parents: Sequence[Parent]
    ) -> BakegenError:
        """Say why no text names the parents of all targets: a variable or a difference that no build arg carries."""
        args = "".join(text for target in targets for text in target.args.values())
        for parent in parents:
            for name in manifest.variables:
                if f"\0{name}\0" in parent.reference and f"\0{name}\0" not in args:
                    return self.problem(
                        manifest,
                        "not-available",
                        f'the parent is called "{as_written(parent.reference)}", and {name} is free until bake time, so it cannot stand in a Dockerfile',
                        parent.path,
                        f"pass it as a build arg: args: {{{name}: '{{{{ {name} }}}}'}}",
                    )
        shown = ", ".join(dict.fromkeys(self.graph.resolve(targets[0], parent.reference) for parent in parents))
        return self.problem(
            manifest,
            "shared-dockerfile",
            f'targets that share "{path}" have different parents ({shown}), and no build arg carries the difference',
            parents[0].path,
            "add a build arg whose value is the part that differs, or give them different paths",
        )

    def at_template(self, problem: Problem, path: str, template: str) -> Problem:
        """Return a problem of a line of a Dockerfile as one of the line of its template, if that can be told."""
        file = self.project.loader.find(template)
        if not (problem.position and problem.position.file == path and problem.position.line and file):
            return problem
        lines = file.read_text(encoding="utf-8-sig", errors="replace").split("\n")
        same = [number for number, line in enumerate(lines, 1) if line == problem.source]
        if len(same) != 1:
            return problem
        position = Position(self.project.loader.shown[str(file)], same[0], problem.position.column)
        return replace(problem, position=position)

    def render(self, template: str, scope: Scope, manifest: Manifest, origin: KeyPath, output: str) -> str:
        """Render a template file; raises `BakegenError` at the template's line, or at `origin` if there is no such file."""
        try:
            text = self.project.evaluator.render(template, scope)
        except BakegenError:
            raise
        except Exception as error:
            problem = self.template_problem(error, template, scope, manifest, origin)
            if not problem.hint:
                problem = replace(problem, hint=f"this was on the way to {output}")
            raise BakegenError([problem]) from error
        mistake = "holds a variable, which is free until bake time" if "\0" in text else text_mistake(text)
        if mistake:
            position = Position(self.project.loader.shown.get(str(self.project.loader.find(template)), template))
            raise BakegenError(
                [Problem(code="control-character", message=mistake, position=position, hint="pass it as a build arg")]
            )
        return text

    def template_problem(
        self, error: Exception, template: str, scope: Scope, manifest: Manifest, origin: KeyPath
    ) -> Problem:
        failure = explain_failure(error, scope.names())
        shown = self.project.loader.shown
        file, line = "", 0
        if isinstance(error, TemplateSyntaxError) and error.filename:
            file, line = error.filename, error.lineno
        else:
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in shown]
            if frames:
                file, line = frames[-1].filename, frames[-1].lineno or 0
        if isinstance(error, TemplateNotFound) and not isinstance(error, TemplatesNotFound):
            failure = _explain_missing(str(error.message), failure, self.project.loader.list_templates())
            if not file:
                return manifest.source.problem(failure.code, failure.message, origin, hint=failure.hint)
        source = ""
        if file:
            source = line_at(Path(file).read_text(encoding="utf-8-sig", errors="replace"), line)
        position = Position(shown.get(file or str(self.project.loader.find(template)), template), line)
        problem = Problem(
            code=failure.code, message=failure.message, position=position, source=source, hint=failure.hint
        )
        return narrowed(problem, *failure.patterns)

    def side_files(
        self, manifest: Manifest, rule: FileRule, scope: Scope, dockerfile: str, targets: Sequence[Target]
    ) -> None:
        platforms = dict.fromkeys(platform for target in targets for platform in target.platforms)
        for platform in platforms if rule.per_platform else [None]:
            inner = scope if platform is None else scope.with_names({"platform": Platform(platform)})
            if rule.when and not inner.test(rule.when):
                continue
            name = inner.text(rule.file)
            mistake = path_mistake(name)
            if mistake:
                raise self.problem(manifest, "unsafe-path", f'the path "{name}" {mistake}', rule.file.path)
            path = join(dirname(dockerfile), name)
            template = copied = None
            if rule.template:
                template = inner.text(rule.template)
                file = OutputFile(self.render(template, inner, manifest, rule.template.path, path).encode())
            else:
                copied = inner.text(rule.copy or rule.file)
                file = self.copied(manifest, rule, inner)
            self.add(path, file, manifest, rule.path)
            self.originates(
                path,
                manifest,
                "side file",
                [target for target in targets if platform is None or platform in target.platforms],
                template=template,
                copied=copied,
                platform=platform,
            )

    def copied(self, manifest: Manifest, rule: FileRule, scope: Scope) -> OutputFile:
        expression = rule.copy or rule.file
        text = scope.text(expression)
        mistake = path_mistake(text)
        source = self.project.root / text
        if mistake:
            raise self.problem(manifest, "unsafe-path", f'the path "{text}" {mistake}', expression.path)
        if not source.is_file():
            raise self.problem(
                manifest,
                "missing-file",
                f'there is no file "{text}"',
                expression.path,
                "the path is taken from the project root",
            )
        if leaves(self.project.root, source):
            raise self.problem(
                manifest, "unsafe-path", f'"{text}" is a link that leads out of the project', expression.path
            )
        try:
            file = OutputFile(source.read_bytes(), bool(source.stat().st_mode & 0o100))
        except OSError as error:
            raise self.problem(
                manifest, "unreadable-file", f'cannot read "{text}": {error.strerror}', expression.path
            ) from error
        self.looked[text] = file
        return file

    def readme(self, manifest: Manifest, folder: str) -> None:
        scope = Scope(self.project.evaluator, manifest.source, {}, {}).add(readme_names(self.graph, manifest, folder))
        path = f"{folder}/README.md"
        text = self.render(README_TEMPLATE, scope, manifest, ("image",), path)
        self.made[path] = _Made(OutputFile(text.encode()), manifest, ("image",), own=True)

    def bake_file(self) -> None:
        first = self.graph.manifests[0]
        scope = Scope(self.project.evaluator, first.source, {}, {}).add({"bake": bake_model(self.graph)})
        with self.problems.collecting():
            text = self.render(BAKE_TEMPLATE, scope, first, (), BAKE_FILE)
            self.add(BAKE_FILE, OutputFile(text.encode()), first, ())


def parametrize(values: Sequence[str], args: Sequence[Mapping[str, str]]) -> str | None:
    """Return one text that gives `values[i]` when `${NAME}` is replaced by `args[i][NAME]`; None if there is none.

    >>> parametrize(["python:3.8-slim", "python:3.9-slim"], [{"PYTHON": "3.8"}, {"PYTHON": "3.9"}])
    'python:${PYTHON}-slim'
    """
    if len(set(values)) == 1 and "\0" not in values[0]:
        return values[0]
    first = args[0]
    carriers = [
        name for name in first if first[name] and ("\0" in first[name] or len({arg.get(name) for arg in args}) > 1)
    ]
    parts: list[tuple[str, bool]] = [(values[0], False)]  # text, and whether it is a build arg
    for name in sorted(carriers, key=lambda name: (-len(first[name]), name)):
        parts = [
            piece for text, is_arg in parts for piece in ([(text, True)] if is_arg else _split(text, first[name], name))
        ]
    for value, arg in zip(values, args, strict=True):
        if "".join(arg.get(text, "") if is_arg else text for text, is_arg in parts) != value:
            return None
    written = "".join(f"${{{text}}}" if is_arg else text for text, is_arg in parts)
    return None if "\0" in written else written


def _split(text: str, value: str, name: str) -> Iterator[tuple[str, bool]]:
    for index, piece in enumerate(text.split(value)):
        if index:
            yield name, True
        if piece:
            yield piece, False


def _arg_hint(axis: str, targets: Sequence[Target]) -> str:
    for name, text in targets[0].args.items():
        if text == targets[0].values.get(axis):
            return f"write ${{{name}}}, the build arg that carries it"
    return f"pass it as a build arg, or add {{{{ {axis} }}}} to `dockerfile:`"


def _from_context(folder: str, context: str) -> str:
    """Return the folder of a Dockerfile as its COPY instructions see it."""
    if context == "." or "://" in context:
        return folder
    return folder.removeprefix(context).lstrip("/") if f"{folder}/".startswith(f"{context}/") else folder


def _with_header(text: str, manifest: Manifest, template: str) -> str:
    """Put the generated-file note after parser directives, which must come first."""
    lines = text.split("\n")
    directives = [f"# syntax={manifest.syntax}"] if manifest.syntax else []
    while (
        lines
        and lines[0].startswith("#")
        and lines[0].lstrip("# ").partition("=")[0].strip().lower() in _DIRECTIVES
        and "=" in lines[0]
    ):
        directives.append(lines.pop(0))
    note = f"# Generated by bakegen from {manifest.source.file} and templates/{template}. Do not edit."
    return "\n".join([*directives, note, *lines])


def _explain_missing(template: str, failure: Failure, known: Iterable[str]) -> Failure:
    """Say why there is no such template, or which is nearest, compared without the ending that most have in common."""
    mistake = path_mistake(template)
    if mistake:
        return replace(failure, code="unsafe-path", message=f'the path "{template}" {mistake}')
    stems = {name.removesuffix(".j2").removesuffix(".Dockerfile"): name for name in known}
    near = difflib.get_close_matches(template.removesuffix(".j2").removesuffix(".Dockerfile"), stems, n=1)
    hint = f'did you mean "{stems[near[0]]}"?' if near else f"write templates/{template}, or name another one"
    return replace(failure, hint=hint)
