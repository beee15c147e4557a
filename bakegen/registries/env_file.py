"""The environment variables of a run, with what `.env` at the root of the project adds.

In: the root. Out: an `Environment`. What `.env` says never overrides the environment, and never becomes a part of it:
no program that is started sees it.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bakegen.errors import BakegenError, Position, Problem
from bakegen.source.yaml import read_text

FILE = ".env"


@dataclass(frozen=True)
class Environment:
    """Variables by name: those of the process, below them those of the file."""

    process: Mapping[str, str] = field(repr=False)
    file: Mapping[str, str] = field(repr=False)

    def get(self, name: str) -> str | None:
        """Return the value of a variable; None if it is not set."""
        return self.process.get(name, self.file.get(name))


def read_environment(root: Path) -> Environment:
    """Return the variables of this process and of `.env`; raises `BakegenError` if a line there cannot be read."""
    if not os.path.lexists(root / FILE):
        return Environment(os.environ, {})
    file = Path(os.path.realpath(root / FILE))  # it belongs to the machine, so it may be a link out of the project
    return Environment(os.environ, _parse(read_text(file.parent, file.name)))


def _parse(text: str) -> dict[str, str]:
    from dotenv.parser import parse_stream

    logging.getLogger("dotenv").addHandler(logging.NullHandler())  # it would tell stderr what is told below
    values: dict[str, str] = {}
    problems = []
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key and (binding.value is None or "\0" in binding.value)):
            line = binding.original.string
            blank = len(line[: len(line) - len(line.lstrip())].splitlines())
            problems.append(  # without the line itself: it may hold a password
                Problem(
                    code="env-syntax",
                    message="expected NAME=value",
                    position=Position(FILE, binding.original.line + blank),
                    hint="close the quotes; in single quotes, $ and \\ are literal",
                )
            )
        elif binding.key and binding.value is not None:
            values[binding.key] = binding.value
    if problems:
        raise BakegenError(problems)
    return values
