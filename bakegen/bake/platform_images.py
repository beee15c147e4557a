"""Add to a graph what pushes the image of each platform under tags of its own.

In: a `Graph`. Out: the graph as bake needs it, with a target for each platform of those that have such tags. It builds
nothing: it takes from the list of all platforms the image of one, and so pushes the very same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bakegen.bake.blocks import free_name
from bakegen.expressions.text import Text
from bakegen.graph.graph import Graph
from bakegen.graph.model import Parent, Target
from bakegen.graph.names import word
from bakegen.spec.platforms import Platform

_LIST = "list"  # the name of the context, which takes an image reference without slash or dot
_KEPT = ("output",)  # such as the compression of layers, without which the digests would differ


def with_platform_images(graph: Graph) -> Graph:
    """Return a graph with targets for the tags of single platforms; they belong to all groups of the list's target."""
    taken = {*graph.targets, *(group.name for group in graph.groups)}
    images = {target.name: tuple(_images_of(target, taken)) for target in graph.targets.values() if target.publish}
    if not any(images.values()):
        return graph
    targets: dict[str, Target] = {}
    for target in graph.targets.values():
        targets[target.name] = target
        targets |= {image.name: image for image in images.get(target.name, ())}
    edges = graph.edges.copy()
    edges.add_edges_from((name, image.name) for name, found in images.items() for image in found)
    groups = (replace(group, members=tuple(_members(group.members, images))) for group in graph.groups)
    return replace(graph, targets=targets, groups=tuple(groups), edges=edges)


def _images_of(target: Target, taken: set[str]) -> Iterator[Target]:
    for platform, tags in target.platform_tags.items():
        architecture = Platform(platform).name
        yield replace(
            target,
            name=free_name(f"{target.name}_{word(architecture)}", taken),
            values={**target.values, "platform": architecture},
            platforms=(platform,),
            tags=tuple(tags),
            platform_tags={},
            parents=(Parent(Text.literal(_LIST), target.name, target.path),),
            template=None,
            dockerfile="",
            context=Text.literal("."),
            contexts={},
            args={},
            labels={},
            annotations={},
            secrets=(),
            ssh=(),
            cache_from=(),
            cache_to=(),
            bake={
                "dockerfile-inline": f"FROM {_LIST}",
                **{name: value for name, value in target.bake.items() if name in _KEPT},
            },
        )


def _members(names: tuple[str, ...], images: Mapping[str, tuple[Target, ...]]) -> Iterator[str]:
    for name in names:
        yield name
        yield from (image.name for image in images.get(name, ()))
