"""Which READMEs a family has: its own, and pages for repositories that hold only some of its images.

In: the graph. Out: a `Page` for each README.
"""

from __future__ import annotations

from dataclasses import dataclass

from bakegen.graph.draft import OUTPUT
from bakegen.graph.graph import Graph
from bakegen.graph.model import Target
from bakegen.manifest.model import Manifest
from bakegen.spec.references import with_host

README = "README.md"
PAGES = "readme/"  # both in the folder of a family


@dataclass(frozen=True, slots=True)
class Page:
    """A README: where it lies, and of which targets in which repositories it tells."""

    manifest: Manifest
    path: str
    title: str
    targets: tuple[Target, ...]
    repositories: tuple[str, ...]  # each with its host


def pages_of(graph: Graph, manifest: Manifest) -> tuple[Page, ...]:
    """Return the README of a family, then the pages that its repositories show instead where they hold different images.

    Repositories that hold the same images have a page in common, which goes by the first of them that shows READMEs.
    """
    published = tuple(target for target in graph.by_image[manifest.image] if target.publish)
    held: dict[str, list[Target]] = {}
    showing: set[str] = set()
    for target in published:
        for name in dict.fromkeys(with_host(text.with_defaults()) for text in target.repositories):
            held.setdefault(name, []).append(target)
        entries = zip(target.repositories, target.registries, strict=False)  # without an entry, it is the image's name
        showing.update(with_host(text.with_defaults()) for text, entry in entries if entry.readme)
    sharing: dict[tuple[str, ...], list[str]] = {}
    for name, targets in held.items():
        sharing.setdefault(tuple(target.name for target in targets), []).append(name)
    folder = f"{OUTPUT}/{manifest.image}"
    family = Page(manifest, f"{folder}/{README}", manifest.image, published, tuple(held))
    if len(sharing) == 1:
        return (family,)
    pages = []
    for names in sharing.values():
        if shown := [name for name in names if name in showing]:
            path = f"{folder}/{PAGES}{shown[0].replace(':', '_')}.md"  # of a port; hosts have no _
            pages.append(Page(manifest, path, shown[0].rpartition("/")[2], tuple(held[shown[0]]), tuple(names)))
    return (family, *pages)
