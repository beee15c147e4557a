"""What templates can read of the values that they meet: a list, so that nothing else can be reached.

Of an axis value, its own properties come first; they are no attributes.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from jinja2.environment import TemplateModule
from jinja2.runtime import BlockReference, LoopContext, Macro
from jinja2.utils import Cycler, Namespace
from markupsafe import Markup

from bakegen.spec.platforms import Platform


def is_readable(value: Any, attribute: str) -> bool:
    """Return whether templates can read an attribute of a value, if it has one of that name."""
    if isinstance(value, Namespace | TemplateModule):  # what is in them, a template has put there
        return not attribute.startswith("_")
    return attribute in _READABLE[type(value)]


class _Readable(dict[type, frozenset[str]]):
    """What can be read of a value, by its type; of a type that is not named here, what its bases have, and its data."""

    def __missing__(self, kind: type) -> frozenset[str]:
        names = set(getattr(kind, "_fields", ()))  # of a named tuple
        if is_dataclass(kind):  # for the README and the bake file
            names |= {field.name for field in fields(kind)}
            names |= {name for base in kind.__mro__ for name, part in vars(base).items() if isinstance(part, property)}
        inherited = (self.get(base, frozenset()) for base in kind.__mro__)
        self[kind] = frozenset(name for name in names if not name.startswith("_")).union(*inherited)
        return self[kind]


_READABLE = _Readable(
    {
        kind: frozenset(names.split())
        for kind, names in {
            str: "capitalize casefold center count endswith expandtabs find format format_map index isalnum isalpha"
            " isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust"
            " lower lstrip partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip"
            " split splitlines startswith strip swapcase title upper zfill",
            list: "count index",
            tuple: "count index",
            dict: "get items keys values",
            float: "is_integer",
            LoopContext: "index index0 revindex revindex0 first last length depth depth0 previtem nextitem cycle"
            " changed",
            Macro: "name arguments catch_kwargs catch_varargs caller",
            BlockReference: "super",
            Cycler: "next current reset",
        }.items()
    }
)
_READABLE[Platform] = _READABLE[str] | {"os", "arch", "variant", "name"}
_READABLE[Markup] = _READABLE[str] | {"striptags", "unescape"}
