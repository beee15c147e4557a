"""The graph of all targets, and the questions that it answers.

In: linked targets (`link`) and their groups (`groups`). Out: targets by name, image, Dockerfile or selector.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import networkx as nx

from bakegen.errors import BakegenError, Problem, did_you_mean
from bakegen.expressions.bake_environment import repositories_in
from bakegen.graph.model import Absent, Group, Target
from bakegen.graph.select import parse_selectors
from bakegen.manifest.model import Manifest


@dataclass(frozen=True)
class Graph:
    """All targets, with edges from parent to child; the order is that of the manifests."""

    manifests: tuple[Manifest, ...]
    targets: Mapping[str, Target]
    absent: tuple[Absent, ...]
    groups: tuple[Group, ...]
    edges: nx.DiGraph
    registry_rule: int  # of the whole project: what is left of repositories under BAKEGEN_REGISTRY

    def manifest(self, image: str) -> Manifest:
        """Return the manifest of an image family; raises KeyError."""
        for manifest in self.manifests:
            if manifest.image == image:
                return manifest
        raise KeyError(image)

    @cached_property
    def by_image(self) -> Mapping[str, tuple[Target, ...]]:
        """Targets of each image family."""
        found: dict[str, list[Target]] = {manifest.image: [] for manifest in self.manifests}
        for target in self.targets.values():
            found[target.image].append(target)
        return {image: tuple(targets) for image, targets in found.items()}

    @cached_property
    def by_dockerfile(self) -> Mapping[str, tuple[Target, ...]]:
        """The targets that each Dockerfile serves: all of one image, in whose folder it lies."""
        found: dict[str, list[Target]] = {}
        for target in self.targets.values():
            found.setdefault(target.dockerfile, []).append(target)
        return {path: tuple(targets) for path, targets in found.items()}

    def repositories_in(self, target: Target, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Return the repositories of a target, as bake pushes to them in an environment; each once."""
        names = (repository.at_bake_time(environment) for repository in target.repositories)
        return repositories_in(names, environment, self.registry_rule)

    def references_in(self, target: Target, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Return every repository of a target with every tag, as bake pushes or loads them in an environment; each once."""
        tags = [tag.at_bake_time(environment) for tag in target.tags]
        names = self.repositories_in(target, environment)
        return tuple(dict.fromkeys(f"{name}:{tag}" for tag in tags for name in names))

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """Return all targets that the named ones are built from, directly or not."""
        found: set[str] = set()
        pending = list(names)
        while pending:  # one walk for all names: networkx has walks from one node only
            new = set(self.edges.predecessors(pending.pop())) - found
            found |= new
            pending += new
        return found

    def part(self, names: Collection[str], groups: Iterable[Group] = ()) -> Graph:
        """Return the graph of the named targets only, in the same order, with other groups."""
        targets = {name: target for name, target in self.targets.items() if name in names}
        images = {target.image for target in targets.values()}
        manifests = tuple(manifest for manifest in self.manifests if manifest.image in images)
        edges = self.edges.subgraph(targets)
        return replace(self, manifests=manifests, targets=targets, groups=tuple(groups), edges=edges)

    def select(self, words: Sequence[str]) -> tuple[Target, ...]:
        """Return the targets that the selectors pick, in order; raises `BakegenError` if none does."""
        return parse_selectors(words, self.targets.values(), self.groups, self.absent).pick()

    def restrict(self, images: Sequence[str]) -> tuple[Manifest, ...]:
        """Return the manifests of the named images, all of them if none is named; raises `BakegenError`."""
        known = [manifest.image for manifest in self.manifests]
        for image in images:
            if image not in known:
                raise BakegenError(
                    [
                        Problem(
                            code="unknown-image",
                            message=f'there is no image "{image}"',
                            hint=did_you_mean(image, known),
                        )
                    ]
                )
        return tuple(manifest for manifest in self.manifests if not images or manifest.image in images)
