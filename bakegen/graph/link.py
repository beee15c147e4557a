"""Link the targets of all manifests into one graph, and check what only the whole can show.

In: the `Expansion` of every manifest. Out: a `Graph`, or a `BakegenError` with every problem: parents that do not
exist, cycles, platforms that a parent lacks, names, tags and caches that two targets claim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import networkx as nx

from bakegen.errors import Code, Collector, Position, did_you_mean
from bakegen.expressions.bake_environment import REGISTRY, under_registry
from bakegen.expressions.text import Text, Variable
from bakegen.graph.expand import Draft, Expansion, ParentRequest, word
from bakegen.graph.graph import Graph
from bakegen.graph.groups import make_groups
from bakegen.graph.model import Parent, Target
from bakegen.manifest.model import Builder, Manifest, Release
from bakegen.source.yaml import KeyPath
from bakegen.spec.bake_attributes import NARROWING_BUILDX
from bakegen.spec.references import familiar


def build_graph(expansions: Sequence[Expansion]) -> Graph:
    """Link and check the targets of all manifests."""
    linker = _Linker(expansions)
    linker.check_images()
    linker.check_variables()
    linker.check_builders()
    linker.link()
    edges = linker.edges()
    linker.check_cycles(edges)
    linker.check_platforms()
    linker.check_tags()
    linker.check_caches()
    linker.problems.stop_if_any()
    graph = Graph(
        manifests=tuple(expansion.manifest for expansion in expansions),
        targets=linker.targets,
        absent=tuple(absent for expansion in expansions for absent in expansion.absent),
        groups=(),
        edges=edges,
    )
    return replace(graph, groups=make_groups(graph))


class _Linker:
    """Collects problems while it links."""

    def __init__(self, expansions: Sequence[Expansion]) -> None:
        self.expansions = expansions
        self.targets: dict[str, Target] = {}
        self.problems = Collector()
        self.manifests = {expansion.manifest.image: expansion.manifest for expansion in expansions}
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

    def place(self, target: Target) -> Position:
        return self.manifests[target.image].source.place(target.path).key

    def drafts(self) -> Iterator[tuple[Manifest, Draft]]:
        for expansion in self.expansions:
            for draft in expansion.drafts:
                yield expansion.manifest, draft

    def check_images(self) -> None:
        first: dict[str, Manifest] = {}
        for expansion in self.expansions:
            manifest = expansion.manifest
            clash = first.setdefault(word(manifest.image).lower(), manifest)
            if clash is not manifest:
                place = clash.source.place(("image",)).value
                message = f'image "{manifest.image}" is already declared at {place}'
                if clash.image != manifest.image:
                    message = f'images "{manifest.image}" and "{clash.image}" ({place}) have one name in the bake file'
                self.report(manifest, "name-collision", message, ("image",), "rename one of them")
        self.problems.stop_if_any()

    def check_variables(self) -> None:
        first: dict[str, tuple[Manifest, Variable]] = {}
        for expansion in self.expansions:
            for variable in expansion.manifest.variables.values():
                manifest, clash = first.setdefault(variable.bake_name, (expansion.manifest, variable))
                if clash is not variable:
                    place = manifest.source.place(clash.path).key
                    self.report(
                        expansion.manifest,
                        "name-collision",
                        f'the variable would be called {variable.bake_name} in the bake file, as "{clash.name}" of '
                        f'"{manifest.image}" is ({place})',
                        variable.path,
                        "rename one of them: in the bake file, a variable's name begins with the image's",
                        at_key=True,
                    )

    def check_builders(self) -> None:
        """There is one builder of a name: who declares it again must say the same."""
        first: dict[str, tuple[Manifest, Builder]] = {}
        for expansion in self.expansions:
            for builder in expansion.manifest.builders:
                manifest, other = first.setdefault(builder.name, (expansion.manifest, builder))
                if other != builder:
                    place = manifest.source.place(other.path).key
                    self.report(
                        expansion.manifest,
                        "name-collision",
                        f'the builder "{builder.name}" is declared otherwise at {place}',
                        builder.path,
                        "declare it once, in a file that both `include:`, or rename one of them",
                        at_key=True,
                    )

    def link(self) -> None:
        first: dict[str, Target] = {}
        for manifest, draft in self.drafts():
            target = draft.target
            parents = [self.parent(manifest, target, wanted) for wanted in draft.parents]
            target = replace(target, parents=tuple(parent for parent in parents if parent))
            clash = first.setdefault(target.name, target)
            if clash is not target:
                other = self.manifests[clash.image]
                place = other.source.place(_differing_path(other, clash, target)).key
                self.report(
                    manifest,
                    "name-collision",
                    f'{_describe(target)} and {_describe(clash)} ({place}) would both be called "{target.name}"',
                    _differing_path(manifest, target, clash),
                    "rename one of the values: names keep letters, digits, `_` and `-` only",
                    at_key=True,
                )
                continue
            self.targets[target.name] = target

    def parent(self, manifest: Manifest, target: Target, wanted: ParentRequest) -> Parent | None:
        if wanted.outside:
            return Parent(_familiar(wanted.outside), None, wanted.path)
        family = self.manifests.get(wanted.image)
        if family is None:
            self.report(
                manifest,
                "unknown-image",
                f'there is no image family "{wanted.image}"',
                (*wanted.path, "image"),
                did_you_mean(wanted.image, self.manifests),
            )
            return None
        release = next((release for release in family.releases if release.name == wanted.release), None)
        if release is None:
            known = [release.name for release in family.releases]
            self.report(
                manifest,
                "unknown-release",
                f'image "{wanted.image}" has no release "{wanted.release}"',
                (*wanted.path, "release"),
                did_you_mean(wanted.release, known),
            )
            return None
        values = wanted.values or {}
        if self.wrong_axes(manifest, wanted, family, release):
            return None
        lacking = [axis for axis in release.axes if axis not in values]
        if lacking:
            self.report(
                manifest,
                "ambiguous-parent",
                f'release "{wanted.release}" spans axis "{lacking[0]}", and {_describe(target)} does not say which value of it',
                wanted.path,
                f"write {{release: {wanted.release}, at: {{{lacking[0]}: VALUE}}}}",
            )
            return None
        point = {axis: values[axis] for axis in release.axes}
        found = self.by_point.get(_point_key(wanted.image, wanted.release, point))
        if found is None:
            self.report(
                manifest,
                "missing-parent",
                f"{_describe(target)} is built from {_spell(wanted.release, point)}, which does not exist{self.why_absent(wanted, point)}",
                wanted.path,
                "exclude the child too, or keep the parent",
            )
            return None
        reference = _familiar(found.references[0])
        if wanted.image != manifest.image:  # the variables of another family have no build args here
            reference = reference.without_variables()
        return Parent(reference, found.name, wanted.path)

    def wrong_axes(self, manifest: Manifest, wanted: ParentRequest, family: Manifest, release: Release) -> bool:
        """Report what `at` says of axes and values that the parent does not have."""
        wrong = False
        for name in wanted.at:
            path = (*wanted.path, "at", name)
            if name not in release.axes:
                hint = did_you_mean(name, release.axes) or "it spans no axis"
                message = f'release "{release.name}" does not span an axis "{name}"'
                self.report(manifest, "unknown-axis", message, path, hint, at_key=True)
                wrong = True
                continue
            value = (wanted.values or {})[name]
            known = [other.name for other in family.axis(name).values]
            if value not in known:
                message = f'axis "{name}" has no value "{value}"'
                self.report(manifest, "unknown-value", message, path, did_you_mean(value, known))
                wrong = True
        return wrong

    def why_absent(self, wanted: ParentRequest, point: Mapping[str, str]) -> str:
        for axis, value in point.items():
            family = self.manifests[wanted.image]
            if value not in {other.name for other in family.axis(axis).values}:
                place = family.source.place(("axes", axis)).key
                return f': axis "{axis}" of "{family.image}" has no value "{value}" ({place})'
        for expansion in self.expansions:
            for absent in expansion.absent:
                if (absent.image, absent.release, absent.values) == (wanted.image, wanted.release, point):
                    place = expansion.manifest.source.place(absent.path).value
                    return f": {absent.reason} ({place})"
        return ""

    def edges(self) -> nx.DiGraph:
        graph = nx.DiGraph()
        graph.add_nodes_from(self.targets)
        for target in self.targets.values():
            graph.add_edges_from((parent.target, target.name) for parent in target.parents if parent.target)
        return graph

    def check_cycles(self, edges: nx.DiGraph) -> None:
        if nx.is_directed_acyclic_graph(edges):
            return
        order = {name: index for index, name in enumerate(self.targets)}
        for loop in nx.strongly_connected_components(edges):
            first = min(loop, key=order.__getitem__)
            if len(loop) == 1 and not edges.has_edge(first, first):
                continue
            circle = nx.find_cycle(edges.subgraph(loop), first, orientation="reverse")
            names = [first, *(edge[0] for edge in circle)]
            target = self.targets[first]
            path = next(parent.path for parent in target.parents if parent.target in loop)
            chain = " <- ".join(
                [*dict.fromkeys(_full_name(self.targets[name], target) for name in names), target.release]
            )
            message = f"releases are built from each other: {chain}"
            if len(loop) == 1:
                message = f'release "{target.release}" is built from itself'
            self.report(self.manifests[target.image], "parent-cycle", message, path, "break the circle")

    def check_platforms(self) -> None:
        for target in self.targets.values():
            manifest = self.manifests[target.image]
            for parent in target.parents:
                base = self.targets.get(parent.target or "")
                lacking = [platform for platform in target.platforms if base and platform not in base.platforms]
                if base and lacking:
                    self.report(
                        manifest,
                        "uncovered-platform",
                        f"{_describe(target)} is for {', '.join(lacking)}, which its parent {_describe(base)} ({self.place(base)}) is not",
                        parent.path,
                        "narrow the platforms of the child, or widen those of the parent",
                    )
                elif base and 1 < len(target.platforms) < len(base.platforms) and manifest.buildx < NARROWING_BUILDX:
                    self.report(
                        manifest,
                        "narrower-platforms",
                        f"{_describe(target)} is for {len(target.platforms)} of the {len(base.platforms)} platforms of its "
                        f"parent {_describe(base)} ({self.place(base)}), which buildx refuses before 0.20",
                        parent.path,
                        'write `buildx: "0.20"` if nobody uses an older one, or give both the same platforms',
                    )

    def check_tags(self) -> None:
        paths = {draft.target.name: draft.tag_paths for _, draft in self.drafts()}
        claimed: dict[str, tuple[Target, KeyPath]] = {}
        for target in self.targets.values():
            if not target.publish:
                continue
            manifest = self.manifests[target.image]
            declared = [repository.with_defaults() for repository in target.repositories]
            prefixed = {under_registry(repository, REGISTRY) for repository in declared}
            for repository in (*declared, *sorted(prefixed)):
                for tag, path in zip(target.tags, paths[target.name], strict=False):
                    reference = f"{repository}:{tag.with_defaults()}"
                    other, other_path = claimed.setdefault(reference, (target, path))
                    if other is target:
                        continue
                    where = self.manifests[other.image].source.place(other_path).value
                    self.report(
                        manifest,
                        "tag-collision",
                        f'the tag "{reference}" is claimed by {_describe(target)} and by {_describe(other)} ({where})',
                        path,
                        _tag_hint(target, other, repository),
                    )

    def check_caches(self) -> None:
        """Two targets that write one cache overwrite each other, and bake does not mind."""
        writers: dict[tuple[str, ...], Target] = {}
        for target in self.targets.values():
            manifest = self.manifests[target.image]
            for index, cache in enumerate(target.cache_to):
                place = _cache_place(cache.with_defaults())
                other = writers.setdefault(place, target) if place else target
                if other is not target:
                    release = manifest.release(target.release)
                    self.report(
                        manifest,
                        "cache-collision",
                        f"{_describe(target)} and {_describe(other)} write to the same cache: {', '.join(place)}",
                        release.cache_to[index].path,
                        "tell them apart with {{ target }}",
                    )


def _familiar(reference: Text) -> Text:
    """Return the form by which BuildKit looks named contexts up; what shortens a reference stands at its ends."""
    first, *rest = reference.parts
    if not isinstance(first, str) or not rest:
        return Text.literal(familiar(first)) if isinstance(first, str) else reference
    *middle, last = rest
    if isinstance(last, str) and "@" not in last:
        last = last.removesuffix(":latest")
    return Text.joined([familiar(f"{first}x").removesuffix("x"), *middle, last])


def _cache_place(cache: str) -> tuple[str, ...]:
    """Return what tells where a cache lies (https://docs.docker.com/build/cache/backends/); nothing for an inline one."""
    fields = dict(field.partition("=")[::2] for field in cache.split(","))
    kind = fields.get("type", "registry" if "=" not in cache else "")
    if kind == "inline":
        return ()
    if "=" not in cache:
        return kind, cache
    keys = ("ref", "dest", "bucket", "account_url", "name", "prefix", "scope")
    return kind, *(f"{key}={fields[key]}" for key in keys if key in fields)


def _full_name(target: Target, beside: Target) -> str:
    """Return the release of a target, with its image if that is another one."""
    return target.release if target.image == beside.image else f"{target.image}:{target.release}"


def _tag_hint(target: Target, other: Target, repository: str) -> str:
    if repository.startswith(f"{REGISTRY}/"):
        return "with BAKEGEN_REGISTRY, repositories go by their last part: give one of them another, or another tag"
    differing = [axis for axis in target.values if other.values.get(axis) != target.values[axis]]
    if target.release == other.release and target.image == other.image and differing:
        return f"let the pattern tell them apart, for example with {{{{ {differing[0]} }}}}"
    return "give one of them another tag"


def _point_key(image: str, release: str, values: Mapping[str, str]) -> tuple[object, ...]:
    return image, release, *values.items()


def _spell(release: str, values: Mapping[str, str]) -> str:
    return " ".join([f'"{release}"', *(f"{axis}={value}" for axis, value in values.items())])


def _describe(target: Target) -> str:
    return _spell(target.release, target.values)


def _differing_path(manifest: Manifest, target: Target, other: Target) -> KeyPath:
    """Return the place of the axis value by which two targets differ, or the target's own."""
    for axis, value in target.values.items():
        if other.values.get(axis) != value and target.image == other.image:
            return manifest.axis(axis).value(value).path
    return target.path
