"""bakegen: families of container images. One manifest in; Dockerfiles and one docker-bake.hcl out.

>>> import bakegen
>>> graph = bakegen.load("path/to/project")  # doctest: +SKIP
>>> [target.name for target in graph.select(["runtime", "python=3.9"])]  # doctest: +SKIP
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bakegen.graph.graph import Graph

__version__ = "0.1.0"


def load(root: str | PathLike[str] = ".") -> Graph:
    """Return the graph of the project at or above `root`; raises `bakegen.errors.BakegenError`."""
    from pathlib import Path  # `import bakegen` must cost nothing

    from bakegen.project import load_project
    from bakegen.source.paths import find_root

    return load_project(find_root(Path(root))).graph
