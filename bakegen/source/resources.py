"""Files that the package brings: schema, default templates, the bake template.

They lie at the top of the repository, where a project may have its own, and inside the package when it is installed.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

BAKE_TEMPLATE = "docker-bake.hcl.j2"

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def resource(name: str) -> Path:
    """Return the path of `name` as the package brings it: inside the wheel, or beside the package in a checkout."""
    installed = _PACKAGE / "resources"
    return (installed if installed.is_dir() else _PACKAGE.parent) / name
