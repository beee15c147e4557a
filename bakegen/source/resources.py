"""Files that the package brings: schema, default templates, the bake template.

They lie in its folder `resources`; in a checkout, the schema and the bake template lie at the top of the repository. The
templates there are those of this repository's own images, which other projects do not get.
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
    """Return the path of `name` as the package brings it: inside, or beside the package in a checkout."""
    inside = _PACKAGE / "resources" / name
    return inside if inside.exists() else _PACKAGE.parent / name


@cache
def schema_of(kind: SchemaName) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of manifests, or of one kind of build metadata."""
    schema: dict[str, Any] = json.loads(resource(f"schema/{kind}.schema.json").read_text(encoding="utf-8"))
    return schema
