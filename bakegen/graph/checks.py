"""What only the whole of all manifests can show to be wrong.

In: manifests, linked targets, the edges between them. Out: problems: cycles, platforms that a parent lacks; names, tags
and caches that two claim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import networkx as nx

from bakegen.errors import Problem, did_you_mean
from bakegen.expressions.bake_environment import REGISTRY, REGISTRY_RULES, under_registry
from bakegen.graph.model import Target
from bakegen.graph.names import word
from bakegen.manifest.model import Builder, Manifest
from bakegen.source.yaml import KeyPath
from bakegen.spec.bake_attributes import NARROWING_BUILDX

Manifests = Mapping[str, Manifest]  # by image


def check_images(manifests: Sequence[Manifest]) -> Iterator[Problem]:
    """Yield images that are declared twice, or that have the same name in the bake file."""
    images: dict[str, Manifest] = {}
    for manifest in manifests:
        clash = images.setdefault(word(manifest.image).lower(), manifest)
        if clash is not manifest:
            place = clash.source.place(("image",)).value
            message = f'image "{manifest.image}" is already declared at {place}'
            if clash.image != manifest.image:
                message = f'images "{manifest.image}" and "{clash.image}" ({place}) have the same name in the bake file'
            yield manifest.source.problem("name-collision", message, ("image",), hint="rename one of them")


def check_declarations(manifests: Sequence[Manifest]) -> Iterator[Problem]:
    """Yield variables of the bake file and builders that two manifests declare under one name."""
    variables: dict[str, tuple[Manifest, KeyPath, str]] = {}
    builders: dict[str, tuple[Manifest, Builder]] = {}
    for manifest in manifests:
        for variable in manifest.variables.values():
            other, path, name = variables.setdefault(variable.bake_name, (manifest, variable.path, variable.name))
            if other is not manifest:
                yield manifest.source.problem(
                    "name-collision",
                    f'the variable and "{name}" of "{other.image}" ({other.source.place(path).key}) would have the same name '
                    f"in the bake file: {variable.bake_name}",
                    variable.path,
                    hint="rename one of them: in the bake file, the image name is a prefix of the variable",
                    at_key=True,
                )
        for builder in manifest.builders:
            other, declared = builders.setdefault(builder.name, (manifest, builder))
            if declared != builder:
                yield manifest.source.problem(
                    "name-collision",
                    f'the builder "{builder.name}" is declared differently at {other.source.place(declared.path).key}',
                    builder.path,
                    hint="declare it once, in a file that both include, or rename one of them",
                    at_key=True,
                )


def check_targets(targets: Mapping[str, Target], edges: nx.DiGraph, manifests: Manifests) -> Iterator[Problem]:
    """Yield what is wrong between targets."""
    yield from _missing_links(targets, manifests)
    yield from _cycles(targets, edges, manifests)
    yield from _uncovered_platforms(targets, manifests)
    yield from _tag_collisions(targets, manifests)
    yield from _cache_collisions(targets, manifests)


def _links(target: Target, manifest: Manifest) -> Iterator[tuple[str, KeyPath]]:
    """Yield the targets that named contexts take from, each with its place."""
    contexts = manifest.release(target.release).contexts
    yield from ((linked, contexts[name].path) for name, linked in target.linked.items())


def _missing_links(targets: Mapping[str, Target], manifests: Manifests) -> Iterator[Problem]:
    for target in targets.values():
        manifest = manifests[target.image]
        for linked, path in _links(target, manifest):
            if linked not in targets:
                message = f'the context refers to the target "{linked}", which does not exist'
                yield manifest.source.problem("missing-parent", message, path, hint=did_you_mean(linked, targets))


def _cycles(targets: Mapping[str, Target], edges: nx.DiGraph, manifests: Manifests) -> Iterator[Problem]:
    if nx.is_directed_acyclic_graph(edges):
        return
    order = {name: index for index, name in enumerate(targets)}
    for loop in nx.strongly_connected_components(edges):
        first = min(loop, key=order.__getitem__)
        if len(loop) == 1 and not edges.has_edge(first, first):
            continue
        target = targets[first]
        circle = nx.find_cycle(edges.subgraph(loop), first, orientation="reverse")
        releases = dict.fromkeys(_full_name(targets[name], target) for name in (first, *(edge[0] for edge in circle)))
        message = f"releases depend on each other: {' <- '.join([*releases, target.release])}"
        if len(loop) == 1:
            message = f'release "{target.release}" depends on itself'
        manifest = manifests[target.image]
        named = [*((parent.target, parent.path) for parent in target.parents), *_links(target, manifest)]
        path = next(path for name, path in named if name in loop)
        yield manifest.source.problem("parent-cycle", message, path, hint="remove the cycle")


def _uncovered_platforms(targets: Mapping[str, Target], manifests: Manifests) -> Iterator[Problem]:
    for target in targets.values():
        manifest = manifests[target.image]
        named = [*((parent.target or "", parent.path) for parent in target.parents), *_links(target, manifest)]
        for index, (name, path) in enumerate(named):
            base = targets.get(name)
            # What a context takes from may be for one platform only, as bake allows: it is not what runs.
            role = "parent" if index < len(target.parents) else "context"
            if not base or (role == "context" and 1 in (len(target.platforms), len(base.platforms))):
                continue
            lacking = [platform for platform in target.platforms if platform not in base.platforms]
            place = manifests[base.image].source.place(base.path).key
            if lacking:
                yield manifest.source.problem(
                    "uncovered-platform",
                    f"{described(target)} is built for {', '.join(lacking)}, but its {role} {described(base)} ({place}) is not",
                    path,
                    hint="remove the platform from the child, or add it to the parent",
                )
            elif 1 < len(target.platforms) < len(base.platforms) and manifest.buildx < NARROWING_BUILDX:
                yield manifest.source.problem(
                    "narrower-platforms",
                    f"{described(target)} is built for {len(target.platforms)} of the {len(base.platforms)} platforms of its "
                    f"{role} {described(base)} ({place}), which buildx before 0.20 rejects",
                    path,
                    hint='add `buildx: "0.20"` if all clients are at least that new, or give both the same platforms',
                )


def _tag_collisions(targets: Mapping[str, Target], manifests: Manifests) -> Iterator[Problem]:
    claimed: dict[str, tuple[Target, str, KeyPath]] = {}
    for target in targets.values():
        if not target.publish:
            continue
        source = manifests[target.image].source
        declared = [repository.with_defaults() for repository in target.repositories]
        prefixed = {under_registry(repository, REGISTRY, len(REGISTRY_RULES) - 1) for repository in declared}
        for repository in (*declared, *sorted(prefixed)):
            for tag, platform, path in _tags(target):
                reference = f"{repository}:{tag}"
                other, part, other_path = claimed.setdefault(reference, (target, platform, path))
                if (other, part) == (target, platform):
                    continue
                where = manifests[other.image].source.place(other_path).value
                yield source.problem(
                    "tag-collision",
                    f'the tag "{reference}" is used by both {described(target)}{platform} and {described(other)}{part} ({where})',
                    path,
                    hint=_tag_hint(target, other, repository),
                )


def _tags(target: Target) -> Iterator[tuple[str, str, KeyPath]]:
    """Yield each tag of a target with how a message calls the platform that it is for alone, and its place."""
    for tag, path in zip(target.tags, target.tag_paths, strict=False):
        yield tag.with_defaults(), "", path
    for platform, tags in target.platform_tags.items():
        for tag, path in tags.items():
            yield tag.with_defaults(), f" for {platform}", path


def _cache_collisions(targets: Mapping[str, Target], manifests: Manifests) -> Iterator[Problem]:
    """Two targets that write one cache overwrite each other, and bake does not mind."""
    writers: dict[tuple[str, ...], Target] = {}
    for target in targets.values():
        for index, cache in enumerate(target.cache_to):
            place = _cache_place(cache.with_defaults())
            other = writers.setdefault(place, target) if place else target
            if other is not target:
                manifest = manifests[target.image]
                yield manifest.source.problem(
                    "cache-collision",
                    f"{described(target)} and {described(other)} write to the same cache: {', '.join(place)}",
                    manifest.release(target.release).cache_to[index].path,
                    hint="add {{ target }} to make it unique",
                )


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
        return "BAKEGEN_REGISTRY turns the colon of a port into a hyphen: use another repository or tag"
    if set(target.platforms).isdisjoint(other.platforms) and target.release == other.release:
        return (
            "one target can have several platforms: list them all under `platforms`; for tags of single platforms, "
            "use `platform-tags`"
        )
    differing = [axis for axis in target.values if other.values.get(axis) != target.values[axis]]
    for axis in differing:
        mine, others = ({name.text for name in one.names.get(axis, ())} for one in (target, other))
        if mine & others:
            return f"both values of {axis} have the same name in tags: give it to only one of them"
    if target.release == other.release and target.image == other.image and differing:
        return f"make the pattern unique, for example with {{{{ {differing[0]} }}}}"
    return "use another tag for one of them"


def spelt(release: str, values: Mapping[str, str]) -> str:
    """Return how messages call a target, or a combination that is none."""
    return " ".join([f'"{release}"', *(f"{axis}={value}" for axis, value in values.items())])


def described(target: Target) -> str:
    """Return how messages call a target."""
    return spelt(target.release, target.values)
