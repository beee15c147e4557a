"""Files that the package brings: schema, default templates, the bake template.

They lie at the top of the repository, where a project may have its own, and inside the package when it is installed.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

BAKE_TEMPLATE = "docker-bake.hcl.j2"

SchemaName = Literal["manifest", "dockerfiles", "images"]

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def resource(name: str) -> Path:
    """Return the path of `name` as the package brings it: inside the wheel, or beside the package in a checkout."""
    installed = _PACKAGE / "resources"
    return (installed if installed.is_dir() else _PACKAGE.parent) / name


@cache
def schema_of(kind: SchemaName) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of manifests, or of one kind of build metadata."""
    schema: dict[str, Any] = json.loads(resource(f"schema/{kind}.schema.json").read_text(encoding="utf-8"))
    return schema
