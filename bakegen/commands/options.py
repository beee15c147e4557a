"""What commands have in common: their class, and options and arguments that several take."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from bakegen.console import be_quiet
from bakegen.errors import fail
from bakegen.source.paths import absolute


class Command(typer.core.TyperCommand):
    """A command of bakegen: it takes `--quiet`, whatever else it takes."""

    def __init__(self, *args: Any, params: list[Any] | None = None, **kwargs: Any) -> None:
        quiet = typer.core.TyperOption(
            param_decls=["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=lambda _context, _option, wanted: be_quiet(wanted),
            help="Only print errors.",
        )
        super().__init__(*args, params=[*(params or []), quiet], **kwargs)


class Format(StrEnum):
    """How data is printed."""

    table = "table"
    json = "json"
    names = "names"


class TableFormat(StrEnum):
    """How a table is printed."""

    table = "table"
    json = "json"


class TextFormat(StrEnum):
    """How a result is printed."""

    text = "text"
    json = "json"


Images = Annotated[list[str] | None, typer.Argument(metavar="[IMAGE]...", help="Image families. Defaults to all.")]
Selectors = Annotated[
    list[str] | None, typer.Argument(metavar="[SELECTOR]...", help="Targets to select, such as runtime python=3.9.")
]


def output_file(context: typer.Context, named: Path | None) -> Path | None:
    """Return where to write a result, None if nowhere; raises `BakegenError` if that cannot be.

    Rather now than when the work of an hour is done.
    """
    if named is None:
        return None
    file = absolute(context.obj / named)
    why, hint = "", "choose another path"
    try:
        is_file = file.is_file()
        if not file.parent.is_dir():
            why, hint = "its folder does not exist", "create the folder first"
        elif not is_file and os.path.lexists(file):
            why = "it exists and is not a file"
        elif not os.access(file if is_file else file.parent, os.W_OK):
            why = "Permission denied"
    except OSError as error:
        why = error.strerror or "it cannot be read"
    if why:
        raise fail("cannot-write", f"cannot write {file}: {why}", hint=hint)
    return file
