"""The filters of expressions: Jinja's but for those that differ from run to run, and bakegen's own; all of them bounded.

In: Jinja's filters. Out: filters that refuse to spell what has no spelling, and give plain data.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import Environment
from jinja2.filters import FILTERS as JINJA
from jinja2.filters import make_attrgetter
from jinja2.nodes import EvalContext
from jinja2.utils import pass_environment, pass_eval_context

from bakegen.expressions.plain import MOST, TooLargeError, bounded, check_spelling

_UNSTABLE = ("random", "pprint")  # differ from run to run
# What takes values as they are, and makes no text of them.
_OF_ANYTHING = frozenset(
    "attr batch count d default dictsort first groupby items join last length list map max min reject rejectattr reverse"
    " select selectattr slice sort sum unique".split()
)
_WIDTHS = frozenset(
    "% batch center expandtabs format indent ljust rjust round slice tojson truncate wordwrap zfill".split()
)
# What looks for each character or word from the end, which Python does in a time of text by what is looked for.
_SEARCHES = frozenset("lstrip rfind rindex rpartition rsplit rstrip strip trim".split())
_CONVERSION = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\d*)\.?(\d*)")
_MOST_STEPS = 2**30  # of a search: a second


def check_arguments(name: str, text: Any, arguments: Iterable[Any]) -> None:
    """Raise TooLargeError if a filter or method would take too long on a text (or list) with these arguments."""
    if name in _WIDTHS:
        for argument in arguments:
            if isinstance(argument, int) and argument > MOST:
                raise TooLargeError(f"`{name}` takes at most {MOST:,}, not {argument:,}")
    elif name in _SEARCHES and isinstance(text, str):
        for argument in arguments:
            if isinstance(argument, str) and len(text) * len(argument) > _MOST_STEPS:
                raise TooLargeError(f"`{name}` would take too long on text of this length")


def check_widths(text: str, values: Any) -> None:
    """Raise TooLargeError if `text % values` would be padded too far."""
    widths = [int(width[:12]) for found in _CONVERSION.findall(text) for width in found if width]
    if "*" in text:  # by which a value says the width
        widths += values if isinstance(values, tuple) else [values]
    check_arguments("%", text, widths)


def _checked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that is bounded, and that spells nothing which has no spelling."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0  # before it comes what Jinja passes
    spells = name not in _OF_ANYTHING
    can_be_large = name in _WIDTHS or name in _SEARCHES

    @functools.wraps(function)
    def checked(*arguments: Any, **named: Any) -> Any:
        given = (*arguments[first:], *named.values())
        if spells:
            for argument in given:
                check_spelling(argument)
        if can_be_large:
            check_arguments(name, given[0] if given else None, given[1:])
        if name == "format":
            check_widths(str(given[0]), given[1:])
        return bounded(function(*arguments, **named))

    return checked


@pass_eval_context
def _join(context: EvalContext, items: Iterable[Any], separator: str = "", attribute: str | int | None = None) -> str:
    """Join what an attribute of each item says, or the items themselves."""
    if attribute is not None:
        items = list(map(make_attrgetter(context.environment, attribute), items))
    check_spelling([items, separator])
    joined: str = JINJA["join"](context, items, separator)
    return joined


@pass_environment
def _sum(environment: Environment, items: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    """Add items up. Python's own sum takes the square of the time for lists, in one step."""
    if attribute is not None:
        items = map(make_attrgetter(environment, attribute), items)
    summands = [start, *items]
    if all(isinstance(summand, list) for summand in summands):
        return list(itertools.chain.from_iterable(summands))
    return functools.reduce(lambda total, item: bounded(total + item), summands)


def _major(version: object) -> str:
    """Return the first part of a version: `3.14.2` -> `3`."""
    return str(version).partition(".")[0]


def _minor(version: object) -> str:
    """Return the first two parts of a version: `3.14.2` -> `3.14`."""
    return ".".join(str(version).split(".")[:2])


def _quoted(text: object) -> str:
    """Return text as a double-quoted word of a Dockerfile's ENV, ARG or LABEL, where `$` means a variable."""
    escaped = re.sub(r'([\\"$])', r"\\\1", str(text))
    return f'"{escaped}"'


FILTERS: Mapping[str, Callable[..., Any]] = {
    name: _checked(name, function)
    for name, function in {
        **JINJA,
        "join": _join,
        "sum": _sum,
        "major": _major,
        "minor": _minor,
        "quoted": _quoted,
    }.items()
    if name not in _UNSTABLE
}
