"""What commands have in common: their class, and options and arguments that several take."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer
import typer.core

from bakegen.console import be_quiet


class Command(typer.core.TyperCommand):
    """A command of bakegen: it takes `--quiet`, whatever else it takes."""

    def __init__(self, *args: Any, params: list[Any] | None = None, **kwargs: Any) -> None:
        quiet = typer.core.TyperOption(
            param_decls=["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=lambda _context, _option, wanted: be_quiet(wanted),
            help="Say nothing but what is wrong.",
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


Images = Annotated[
    list[str] | None, typer.Argument(metavar="[IMAGE]...", help="Image families; all of them if left out.")
]
Selectors = Annotated[
    list[str] | None, typer.Argument(metavar="[SELECTOR]...", help="What to pick, such as runtime python=3.9.")
]
