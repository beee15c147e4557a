"""What the README of an image family tells: its tags by release and Dockerfile.

In: the graph. Out: the names that templates/README.md.j2 uses.
"""

from __future__ import annotations

from posixpath import relpath
from typing import Any

from bakegen.graph.graph import Graph
from bakegen.model import Manifest


def readme_names(graph: Graph, manifest: Manifest, folder: str) -> dict[str, Any]:
    """Return the names for the README of a family that lies in `folder`."""
    published = [target for target in graph.by_image[manifest.image] if target.publish]
    rows: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for target in published:
        key = (target.release, relpath(target.dockerfile, folder), target.platforms)
        rows.setdefault(key, []).extend(graph.resolve(target, tag) for tag in target.tags)
    tags = [tag for found in rows.values() for tag in found]
    # What nothing else is built from is what people pull.
    ends = [graph.resolve(target, target.tags[0]) for target in published if not graph.edges.out_degree(target.name)]
    return {
        "manifest": manifest,
        "images": len(published),
        "axes": [f"{axis.name} {', '.join(value.name for value in axis.values)}" for axis in manifest.axes],
        "repositories": list(
            dict.fromkeys(graph.resolve(target, name) for target in published for name in target.repositories)
        ),
        "example": "latest" if "latest" in tags else next(iter(ends), ""),
        "has_latest": "latest" in tags,
        "rows": [
            {"release": release, "dockerfile": dockerfile, "platforms": platforms, "tags": found}
            for (release, dockerfile, platforms), found in rows.items()
        ],
    }
