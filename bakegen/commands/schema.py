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
        typer.Argument(metavar="[manifest|dockerfiles|images]", help="Which schema to print.", show_default=False),
    ] = SchemaKind.manifest,
) -> None:
    """Print the JSON Schema of manifests, for editors.

    Or that of the files that create-context writes.
    """
    from bakegen.source.resources import schema_of

    print_json(schema_of(kind.value))
