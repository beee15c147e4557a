"""The values that expressions make: plain data, bounded in size, with one spelling as text.

Plain data is text, numbers, true and false, nothing, and lists and mappings of these. Everything else, such as a
function, can be used but not written: Python would spell it with its address in memory, which differs from run to run.

A value's size is that of its characters and of its items, with all that is in them, counted as often as it appears. What
Python does to a value in one step takes time in proportion to that, and no signal interrupts it.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView
from itertools import islice
from math import isfinite
from typing import Any

from jinja2 import Undefined
from jinja2.runtime import LoopContext

from bakegen.expressions.values import FreeText, NoTextError

MOST = 4 * 1024 * 1024  # characters of a value: as many as a data file can have
ITEM = 8  # characters that an item of a list or mapping counts for
MOST_LEVELS = 250  # of lists in lists: somewhat more than YAML files have
MOST_BITS = 14_284  # of a whole number: 4,300 digits, which is as many as Python spells


class TooLargeError(Exception):
    """A value would be larger than it may be; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def bounded(value: Any) -> Any:
    """Return a value that an expression has made; raises TooLargeError.

    What gives its items one by one becomes a list: then it is bounded, has a spelling, and can be read twice.
    """
    kind = type(value)
    if kind is str:
        if len(value) > MOST:
            raise too_large()
    elif kind is float:
        if not isfinite(value):
            raise TooLargeError("a number is too large")
    elif isinstance(value, int):
        if value.bit_length() > MOST_BITS:
            raise TooLargeError("a number has more than 4,300 digits", "quote it if it is text")
    elif isinstance(value, str | list | tuple | dict):
        for _ in _parts(value):
            pass
    elif isinstance(value, Iterator | KeysView | ItemsView | ValuesView) and not isinstance(value, LoopContext):
        return bounded(list(islice(value, MOST // ITEM + 1)))
    return value


def check_spelling(value: Any) -> None:
    """Raise NoTextError unless text can be made of a value, and of all in it; NotAvailableError if it is not known yet.

    An undefined name raises what is always raised for it.
    """
    if type(value) is not str:
        for part in _parts(value):
            if not isinstance(part, str | int | float | list | tuple | dict | range | None):
                if isinstance(part, Undefined | FreeText):
                    str(part)
                raise no_spelling(part)


def no_spelling(value: Any) -> NoTextError:
    """Return (not raise) what to say of a value that cannot be written as text."""
    kinds = {
        list: ("a list", "join its items: {{ … | join(', ') }}"),
        tuple: ("a list", "join its items: {{ … | join(', ') }}"),
        range: ("a list", "join its items: {{ … | join(', ') }}"),
        dict: ("a mapping", "use one of its entries"),
        type(None): ("nothing (null)", "give it a value, or a default: {{ … or '' }}"),
    }
    kind, hint = kinds.get(type(value), ("an object", ""))
    if callable(value):
        kind, hint = "a function", "call it, or use another name"
    return NoTextError(f"{kind} cannot be converted to text", hint)


def too_large(most: int = MOST) -> TooLargeError:
    """Return (not raise) what to say of a value that is larger than it may be."""
    shown = f"{most // 1024**2} MiB" if most >= 1024**2 else f"{most // 1024} KiB"
    return TooLargeError(f"the result is larger than {shown}")


def check_repetition(value: str | list[Any] | tuple[Any, ...], times: int) -> None:
    """Raise TooLargeError if a value cannot be repeated that often."""
    if len(value) * times * (1 if isinstance(value, str) else ITEM) > MOST:
        raise too_large()


def _parts(value: Any) -> Iterator[Any]:
    """Yield a value and all that is in it, level by level; raises TooLargeError."""
    left = MOST
    level: Iterable[Any] = (value,)
    for _ in range(MOST_LEVELS):
        below: list[Any] = []
        for part in level:
            if isinstance(part, str | list | tuple | dict | range):
                left -= len(part) if isinstance(part, str) else ITEM * len(part)
            if left < 0:
                raise too_large()
            yield part
            if isinstance(part, dict):
                below += part.keys()
                below += part.values()
            elif isinstance(part, list | tuple):
                below += part
        if not below:
            return
        level = below
    raise TooLargeError(f"lists are nested more than {MOST_LEVELS} levels deep", "flatten them")
