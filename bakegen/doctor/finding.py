"""What doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; unless it is ok, `fix` is a command for a shell."""

    check: str
    state: Severity
    found: str
    fix: str = ""


def unknown(check: str, cause: Finding) -> Finding:
    """Return the finding for what is not known because of something else that is wrong."""
    return Finding(check, "warning", f"unknown, see {cause.check}", cause.fix)
