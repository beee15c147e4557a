"""Render the graph into files: Dockerfiles, their side files, READMEs, versions, the bake file.

In: a `Project`. Out: `{path from the root: OutputFile}`, or a `BakegenError` with every problem. Nothing is written.

One Dockerfile may serve several targets. It is rendered once, and may use only what those targets have in common;
what differs between them reaches it as build args.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from posixpath import dirname, join
from typing import Literal

from bakegen.bake.model import BAKE_FILE, bake_model
from bakegen.errors import BakegenError, Collector
from bakegen.expressions.scope import Scope
from bakegen.graph.draft import OUTPUT
from bakegen.graph.link import no_dockerfile
from bakegen.graph.model import Target
from bakegen.graph.scope import FamilyNames
from bakegen.manifest.model import FileRule, Manifest
from bakegen.output.files import OutputFile, path_problems
from bakegen.project import Project, read_dockerfile
from bakegen.render.check_parents import check_dockerfile
from bakegen.render.pages import Page, pages_of
from bakegen.render.parents import parents_as_written
from bakegen.render.parts import own_part
from bakegen.render.readme import LIMIT, readme_of
from bakegen.render.template import at_template, render_template
from bakegen.source.inputs import MEBIBYTE, MOST_GENERATED, InputError, is_folder, read_input
from bakegen.source.paths import folders_of, path_mistake
from bakegen.source.resources import BAKE_TEMPLATE
from bakegen.source.yaml import KeyPath, decoded
from bakegen.spec.platforms import Platform

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


def render_readme(project: Project, page: Page) -> bytes:
    """Return the README of a page: of those that the template makes, the first that registries take, or the last."""
    content = b""
    for readme in readme_of(project.graph, page, project.evaluator):
        scope = Scope(project.evaluator, page.manifest.source, {}, {}).add({"readme": readme})
        content = render_template(project, README_TEMPLATE, scope, page.manifest, ("image",), page.path).encode()
        if len(content) <= LIMIT:
            break
    return content


@dataclass(frozen=True, slots=True)
class _Made:
    """A rendered file and what asked for it."""

    file: OutputFile
    manifest: Manifest
    path: KeyPath


class _Renderer:
    def __init__(self, project: Project) -> None:
        self.project = project
        self.graph = project.graph
        self.made: dict[str, _Made] = {}
        self.looked: dict[str, OutputFile | None] = {}
        self.origins: dict[str, Origin] = {}
        self.problems = Collector()
        self.size = 0

    def image(self, manifest: Manifest) -> None:
        names = FamilyNames(manifest, self.project.evaluator)
        version = manifest.variables.get("VERSION")
        if version:
            file = OutputFile(f"{version.default}\n".encode())
            self.made[f"{OUTPUT}/{manifest.image}/versions"] = _Made(file, manifest, version.path)
        for page in pages_of(self.graph, manifest):
            with self.problems.collecting():
                file = OutputFile(render_readme(self.project, page))
                self.made[page.path] = _Made(file, manifest, ("image",))
        for path in dict.fromkeys(target.dockerfile for target in self.graph.by_image[manifest.image]):
            with self.problems.collecting():
                targets = self.graph.by_dockerfile[path]
                if targets[0].template is None:
                    self.existing(path, manifest, targets)
                else:
                    self.dockerfile(manifest, names, path, targets[0].template, targets)

    def check_contexts(self) -> None:
        """Report build contexts that are no folders of the project; bake would notice only when it builds."""
        root = self.project.root
        made = {folder for path in self.made for folder in folders_of(path)}
        for target in self.graph.targets.values():
            manifest = self.graph.manifest(target.image)
            release = manifest.release(target.release)
            folders = {target.context.with_defaults(): release.context.path}
            folders |= {target.contexts[name].with_defaults(): value.path for name, value in release.contexts.items()}
            for folder, path in folders.items():
                if folder == "." or ":" in folder or folder in made:
                    continue
                self.looked[folder] = None
                try:
                    if is_folder(root, folder):
                        continue
                    mistake = InputError("missing-file", "is not a folder")
                except InputError as error:
                    mistake = error
                hint = "the path is relative to the project root" if mistake.code == "missing-file" else mistake.hint
                message = f'the context "{folder}" {mistake.reason}'
                self.problems.keep(manifest.source.problem(mistake.code, message, path, hint=hint))

    def add(self, path: str, file: OutputFile, manifest: Manifest, origin: KeyPath) -> None:
        """Add a file; two different ones at one path are a problem that names both places."""
        if self.size + len(file.content) > MOST_GENERATED:
            raise self.too_large(path, manifest, origin)
        self.size += len(file.content)
        first = self.made.setdefault(path, _Made(file, manifest, origin))
        own = own_part(path)
        if first.file == file and not own:
            return
        place = first.manifest.source.place(first.path).value
        message, hint = (
            f'"{path}" is already generated with different content at {place}',
            "use another path for one of them",
        )
        if own:
            message, hint = f'"{path}" is reserved for a file that bakegen generates', "choose another path"
        elif (first.manifest, first.path) == (manifest, origin):
            message = f'"{path}" would be written twice with different content'
            hint = "make the path unique per target, or use a separate folder for each Dockerfile"
        self.problems.keep(manifest.source.problem("output-clash", message, origin, hint=hint))

    def too_large(self, path: str, manifest: Manifest, origin: KeyPath) -> BakegenError:
        message = f'with "{path}", the generated files are larger than {MOST_GENERATED // MEBIBYTE} MiB'
        hint = "remove large files from `files`, and COPY them from the build context instead"
        return manifest.source.failure("too-large", message, origin, hint=hint)

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

    def existing(self, path: str, manifest: Manifest, targets: Sequence[Target]) -> None:
        """Check a Dockerfile that exists already; a remote one cannot be read."""
        if "://" in targets[0].context.with_defaults():
            return
        found = read_dockerfile(self.project.root, path)
        if found is None:
            raise no_dockerfile(manifest, targets[0])
        self.looked[path] = OutputFile(*found)
        for problem in check_dockerfile(decoded(found[0], path), path, manifest, targets):
            self.problems.keep(problem)

    def dockerfile(
        self, manifest: Manifest, names: FamilyNames, path: str, template: str, targets: Sequence[Target]
    ) -> None:
        release = manifest.release(targets[0].release)
        origin = release.template.path if release.template else release.path
        templates = dict.fromkeys(str(target.template) for target in targets)
        if len(templates) > 1:
            raise manifest.source.failure(
                "shared-dockerfile",
                f'targets that share "{path}" have different templates: {", ".join(templates)}',
                release.dockerfile.path,
                hint="use different paths, for example with {{ release }}",
            )
        scope = names.shared(targets, parents_as_written(manifest, targets))
        text = render_template(self.project, template, scope, manifest, origin, path)
        text = _with_header(text, manifest, template)
        self.add(path, OutputFile(text.encode()), manifest, release.dockerfile.path)
        self.originates(path, manifest, "dockerfile", targets, template=template)
        for problem in check_dockerfile(text, path, manifest, targets):
            self.problems.keep(at_template(self.project, problem, path, template))
        for user in {target.release: target for target in targets}.values():
            rules = manifest.release(user.release).files
            for rule in rules:
                self.side_files(manifest, rule, scope, path, targets)

    def side_files(
        self, manifest: Manifest, rule: FileRule, scope: Scope, dockerfile: str, targets: Sequence[Target]
    ) -> None:
        platforms = dict.fromkeys(platform for target in targets for platform in target.platforms)
        for platform in platforms if rule.per_platform else [None]:
            inner = scope if platform is None else scope.with_names({"platform": Platform(platform)})
            if rule.when and not inner.test(rule.when):
                continue
            name = inner.plain(rule.file)
            mistake = path_mistake(name)
            if mistake:
                raise manifest.source.failure("unsafe-path", f'the path "{name}" {mistake}', rule.file.path)
            path = join(dirname(dockerfile), name)
            template = copied = None
            if rule.template:
                template = inner.plain(rule.template)
                file = OutputFile(
                    render_template(self.project, template, inner, manifest, rule.template.path, path).encode()
                )
            else:
                copied = inner.plain(rule.copy or rule.file)
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
        text = scope.plain(expression)
        mistake = path_mistake(text)
        if mistake:
            raise manifest.source.failure("unsafe-path", f'the path "{text}" {mistake}', expression.path)
        if known := self.looked.get(text):
            return known
        try:
            content, executable = read_input(self.project.root, text, MOST_GENERATED - self.size)
        except InputError as error:
            message, hint = f'"{text}" {error.reason}', error.hint
            if error.code == "missing-file":
                message, hint = f'there is no file "{text}"', "the path is relative to the project root"
            elif error.code == "too-large":
                raise self.too_large(text, manifest, expression.path) from error
            raise manifest.source.failure(error.code, message, expression.path, hint=hint) from error
        self.looked[text] = file = OutputFile(content, executable)
        return file

    def bake_file(self) -> None:
        first = self.graph.manifests[0]
        scope = Scope(self.project.evaluator, first.source, {}, {}).add({"bake": bake_model(self.graph)})
        with self.problems.collecting():
            text = render_template(self.project, BAKE_TEMPLATE, scope, first, (), BAKE_FILE)
            self.add(BAKE_FILE, OutputFile(text.encode()), first, ())


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
