"""What a run wrote or would write, told to the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bakegen.console import count, say

if TYPE_CHECKING:
    from bakegen.output.compare import Changes

_KINDS = ("new", "changed", "removed", "edited", "foreign")
_SHOWN = 20  # paths of one kind that are named


def say_waiting() -> None:
    """Tell that another run is at work in this project."""
    say("waiting for another bakegen process to finish")


def say_changes(changes: Changes, *, done: bool) -> None:
    """Tell what was written, or would be."""
    for kind in _KINDS:
        paths = getattr(changes, kind)
        for path in paths[:_SHOWN]:
            say(f"{kind:>9}  {path}")
        if len(paths) > _SHOWN:
            say(f"{kind:>9}  … and {len(paths) - _SHOWN} more")
    if changes.stale_records:
        say("  records  generated/bakegen.sums")
    verb = "written" if done else "would change"
    say(f"{count(len(changes.differing), 'file')} {verb}, {len(changes.unchanged)} up to date")


def changes_data(changes: Changes) -> dict[str, Any]:
    """Return what was written, or would be, as plain data."""
    return {**{kind: list(getattr(changes, kind)) for kind in _KINDS}, "unchanged": len(changes.unchanged)}
