"""Link the targets of all manifests into one graph.

In: the `Expansion` of every manifest. Out: a `Graph` that `checks` has nothing against, or a `BakegenError` with every
problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import networkx as nx

from bakegen.errors import BakegenError, Code, Collector, did_you_mean
from bakegen.expressions.bake_environment import REGISTRY, REGISTRY_RULES, under_registry
from bakegen.expressions.text import Text, Variable
from bakegen.graph.checks import check_declarations, check_images, check_targets, described, spelt
from bakegen.graph.draft import Draft, ParentRequest
from bakegen.graph.expand import Expansion
from bakegen.graph.graph import Graph
from bakegen.graph.groups import make_groups
from bakegen.graph.model import Parent, Target
from bakegen.manifest.model import Manifest, Release
from bakegen.source.yaml import KeyPath
from bakegen.spec.dockerfile import Dockerfile, parse_dockerfile, references, syntax_problem
from bakegen.spec.dockerfile_words import DockerfileError
from bakegen.spec.references import familiar


def build_graph(expansions: Sequence[Expansion], read: Callable[[str], str | None]) -> Graph:
    """Link and check the targets of all manifests; raises `BakegenError` with every problem found.

    `read` gives the text of a Dockerfile that exists, by its path from the root.
    """
    declared = [expansion.manifest for expansion in expansions]
    if problems := list(check_images(declared)):
        raise BakegenError(problems)  # two families of one name cannot be told apart
    manifests = {manifest.image: manifest for manifest in declared}
    linker = _Linker(expansions, manifests, read)
    targets = linker.link()
    edges = _edges(targets)
    for problem in (*check_declarations(declared), *check_targets(targets, edges, manifests)):
        linker.problems.keep(problem)
    linker.problems.stop_if_any()
    graph = Graph(
        manifests=tuple(manifests.values()),
        targets=targets,
        absent=tuple(absent for expansion in expansions for absent in expansion.absent),
        groups=(),
        edges=edges,
        registry_rule=_registry_rule(targets),
    )
    return replace(graph, groups=make_groups(graph))


def _edges(targets: Mapping[str, Target]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(targets)
    for target in targets.values():
        graph.add_edges_from((parent.target, target.name) for parent in target.parents if parent.target)
        graph.add_edges_from((linked, target.name) for linked in target.linked.values() if linked in targets)
    return graph


def _registry_rule(targets: Mapping[str, Target]) -> int:
    """Return the first rule by which no two targets have one tag under BAKEGEN_REGISTRY; checks hold for the last."""
    published = [
        (
            target.name,
            {repository.with_defaults() for repository in target.repositories},
            {tag.with_defaults() for tags in (target.tags, *target.platform_tags.values()) for tag in tags},
        )
        for target in targets.values()
        if target.publish
    ]
    *rules, last = range(len(REGISTRY_RULES))
    for rule in rules:
        owners: dict[tuple[str, str], str] = {}
        if all(
            owners.setdefault((repository, tag), name) == name
            for name, repositories, tags in published
            for repository in {under_registry(repository, REGISTRY, rule) for repository in repositories}
            for tag in tags
        ):
            return rule
    return last


class _Linker:
    """Gives each target its parents; what is wrong goes to `problems`."""

    def __init__(
        self, expansions: Sequence[Expansion], manifests: Mapping[str, Manifest], read: Callable[[str], str | None]
    ) -> None:
        self.read = read
        self.expansions = expansions
        self.manifests = manifests
        self.problems = Collector()
        drafts = [draft for expansion in expansions for draft in expansion.drafts]
        self.makers = {  # familiar reference -> the target that makes it; of several, the first
            familiar(reference.with_defaults()): draft.target.name
            for draft in reversed(drafts)
            for reference in reversed(draft.target.references)
        }
        self.by_point = {
            _point_key(draft.target.image, draft.target.release, draft.target.values): draft.target
            for expansion in expansions
            for draft in expansion.drafts
        }

    def report(
        self, manifest: Manifest, code: Code, message: str, path: KeyPath, hint: str = "", *, at_key: bool = False
    ) -> None:
        problem = manifest.source.problem(code, message, path, hint=hint, at_key=at_key)
        self.problems.keep(problem)

    def drafts(self) -> Iterator[tuple[Manifest, Draft]]:
        for expansion in self.expansions:
            for draft in expansion.drafts:
                yield expansion.manifest, draft

    def link(self) -> dict[str, Target]:
        """Return the targets with their parents; of two with one name the first."""
        targets: dict[str, Target] = {}
        for manifest, draft in self.drafts():
            target = draft.target
            parents: Iterable[Parent | None] = (
                self.discovered(target)
                if draft.discovers
                else [self.parent(manifest, target, wish) for wish in draft.parents]
            )
            target = replace(target, parents=tuple(parent for parent in parents if parent))
            clash = targets.setdefault(target.name, target)
            if clash is not target:
                other = self.manifests[clash.image]
                place = other.source.place(_differing_path(other, clash, target)).key
                self.report(
                    manifest,
                    "name-collision",
                    f'{described(target)} and {described(clash)} ({place}) would both have the target name "{target.name}"',
                    _differing_path(manifest, target, clash),
                    _name_hint(target, clash),
                    at_key=True,
                )
        return targets

    def discovered(self, target: Target) -> list[Parent]:
        """Return what the Dockerfile of a target takes from, linked to the targets that make it."""
        images: dict[Text, None] = {}
        with self.problems.collecting():
            text = self.read(target.dockerfile)
            if text is None:
                raise no_dockerfile(self.manifests[target.image], target)
            try:
                images = dict.fromkeys(_taken(parse_dockerfile(text), target))
            except DockerfileError as error:
                raise BakegenError([syntax_problem(error, text, target.dockerfile)]) from error
        return [Parent(image, self.makers.get(image.with_defaults()), target.path) for image in images]

    def parent(self, manifest: Manifest, target: Target, request: ParentRequest) -> Parent | None:
        if request.outside:
            return Parent(_familiar(request.outside), None, request.path)
        family = self.manifests.get(request.image)
        if family is None:
            self.report(
                manifest,
                "unknown-image",
                f'there is no image family "{request.image}"',
                (*request.path, "image"),
                did_you_mean(request.image, self.manifests),
            )
            return None
        release = next((release for release in family.releases if release.name == request.release), None)
        if release is None:
            known = [release.name for release in family.releases]
            self.report(
                manifest,
                "unknown-release",
                f'image "{request.image}" has no release "{request.release}"',
                (*request.path, "release"),
                did_you_mean(request.release, known),
            )
            return None
        values = request.values or {}
        if self.wrong_axes(manifest, request, family, release):
            return None
        lacking = [axis for axis in release.axes if axis not in values]
        if lacking:
            self.report(
                manifest,
                "ambiguous-parent",
                f'release "{request.release}" has the axis "{lacking[0]}", and {described(target)} does not choose a value of it',
                request.path,
                f"write {{release: {request.release}, at: {{{lacking[0]}: VALUE}}}}",
            )
            return None
        point = {axis: values[axis] for axis in release.axes}
        found = self.by_point.get(_point_key(request.image, request.release, point))
        if found is None:
            self.report(
                manifest,
                "missing-parent",
                f"{described(target)} is built from {spelt(request.release, point)}, which does not exist{self.why_absent(request, point)}",
                request.path,
                "exclude the child as well, or keep the parent",
            )
            return None
        reference = _familiar(found.references[0])
        carried = {variable for text in target.args.values() for variable in text.variables}
        if not carried.issuperset(reference.variables):  # the link holds whatever the reference says
            reference = reference.without_variables()
        return Parent(reference, found.name, request.path)

    def wrong_axes(self, manifest: Manifest, request: ParentRequest, family: Manifest, release: Release) -> bool:
        """Report what `at` says of axes and values that the parent does not have."""
        wrong = False
        for name in request.at:
            path = (*request.path, "at", name)
            if name not in release.axes:
                hint = did_you_mean(name, release.axes) or "it has no axes"
                message = f'release "{release.name}" has no axis "{name}"'
                self.report(manifest, "unknown-axis", message, path, hint, at_key=True)
                wrong = True
                continue
            value = (request.values or {})[name]
            known = [other.name for other in family.axis(name).values]
            if value not in known:
                message = f'axis "{name}" has no value "{value}"'
                self.report(manifest, "unknown-value", message, path, did_you_mean(value, known))
                wrong = True
        return wrong

    def why_absent(self, request: ParentRequest, point: Mapping[str, str]) -> str:
        for axis, value in point.items():
            family = self.manifests[request.image]
            if value not in {other.name for other in family.axis(axis).values}:
                place = family.source.place(("axes", axis)).key
                return f': axis "{axis}" of "{family.image}" has no value "{value}" ({place})'
        for expansion in self.expansions:
            for absent in expansion.absent:
                if (absent.image, absent.release, absent.values) == (request.image, request.release, point):
                    place = expansion.manifest.source.place(absent.path).value
                    return f": {absent.reason} ({place})"
        return ""


def _taken(dockerfile: Dockerfile, target: Target) -> Iterator[Text]:
    """Yield the images that a Dockerfile takes from, with the variables that build args carry into their names."""
    stage = target.bake["target"].with_defaults() if "target" in target.bake else None
    variables = dict.fromkeys(variable for text in target.args.values() for variable in text.variables)
    marks = {variable: chr(0xE000 + number) for number, variable in enumerate(variables)}  # in no name of an image
    marked = {mark: variable for variable, mark in marks.items()}

    def taken(platform: str, value: Callable[[Variable], str]) -> Sequence[str]:
        args = {name: text.replaced(value) for name, text in target.args.items()}
        return [use.image for use in references(dockerfile, args, platform, stage)]

    for platform in target.platforms:
        plain = [Text.literal(familiar(image)) for image in taken(platform, lambda variable: variable.default)]
        found = plain
        with suppress(DockerfileError):  # where the value decides, as in FROM build-${MODE}
            asked = taken(platform, marks.__getitem__) if variables else ()
            found = [_familiar(Text.joined(marked.get(letter, letter) for letter in image)) for image in asked]
        as_meant = [text.without_variables() for text in found] == plain
        yield from found if as_meant else plain


def _familiar(reference: Text) -> Text:
    """Return the form by which BuildKit looks named contexts up; what shortens a reference stands at its ends."""
    first, *rest = reference.parts
    if not isinstance(first, str) or not rest:
        return Text.literal(familiar(first)) if isinstance(first, str) else reference
    *middle, last = rest
    if isinstance(last, str) and "@" not in last:
        last = last.removesuffix(":latest")
    return Text.joined([familiar(f"{first}x").removesuffix("x"), *middle, last])


def _name_hint(target: Target, other: Target) -> str:
    nameless = all(
        [name.text for name in one.names.get(axis, ())] == [""]
        for axis in target.values
        for one in (target, other)
        if target.values[axis] != other.values.get(axis)
    )
    if nameless:
        return 'values with `names: [""]` are left out of target names: use that for one value per axis'
    return "rename one of the values: other characters than letters, digits, `_` and `-` become `-`"


def no_dockerfile(manifest: Manifest, target: Target) -> BakegenError:
    """Return the error of a Dockerfile that is said to exist, and does not."""
    return manifest.source.failure(
        "missing-file",
        f'there is no Dockerfile "{target.dockerfile}"',
        manifest.release(target.release).dockerfile.path,
        hint="the path is relative to the project root",
    )


def _point_key(image: str, release: str, values: Mapping[str, str]) -> tuple[object, ...]:
    return image, release, *values.items()


def _differing_path(manifest: Manifest, target: Target, other: Target) -> KeyPath:
    """Return the place of the axis value by which two targets differ, or the target's own."""
    for axis, value in target.values.items():
        if other.values.get(axis) != value and target.image == other.image:
            return manifest.axis(axis).value(value).path
    return target.path
