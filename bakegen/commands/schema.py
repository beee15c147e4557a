"""`bakegen schema`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from bakegen.console import print_json


class SchemaKind(StrEnum):
    """What there is a schema of."""

    manifest = "manifest"
    dockerfiles = "dockerfiles"
    images = "images"


def schema(
    kind: Annotated[
        SchemaKind,
        typer.Argument(metavar="[manifest|dockerfiles|images]", help="What the schema is of.", show_default=False),
    ] = SchemaKind.manifest,
) -> None:
    """Print the JSON Schema of manifests, for editors.

    Or that of what create-context writes.
    """
    from bakegen.source.resources import schema_of

    print_json(schema_of(kind.value))
