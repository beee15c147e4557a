"""What expressions see: variables that stay free, and axis values with their properties.

Both are used by expressions that a stranger may have written, so each refuses whatever it is not meant for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Self

from bakegen.errors import did_you_mean
from bakegen.expressions.text import Text

if TYPE_CHECKING:
    from bakegen.expressions.scope import Scope

Tree = Any  # plain data whose texts with braces are `Expression`s


class NotAvailableError(Exception):
    """A name exists, but not here: the message says why, `hint` what to write instead."""

    def __init__(self, message: str, hint: str, name: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.name = name


class NoTextError(NotAvailableError):
    """A value has no one spelling as text."""


class FreeText:
    """Text that holds variables, which get their value only at bake time: it can be written, and nothing else."""

    __slots__ = ("_text",)

    def __init__(self, text: Text) -> None:
        self._text = text

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # Jinja asks for __html__
            raise AttributeError(name)
        self._refuse()

    def _refuse(self, *_: object) -> NoReturn:
        names = [variable.name for variable in self._text.variables]
        raise NotAvailableError(
            f"{' and '.join(names)} can be set at bake time, so expressions cannot compute with it",
            f"use it unchanged, {{{{ {names[0]} }}}}, or declare another variable",
            names[0],
        )

    __str__ = __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = __add__ = __radd__ = __mod__ = _refuse
    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __hash__ = _refuse


def text_of(value: str | FreeText) -> Text:
    """Return what an expression gave, as text."""
    return value._text if isinstance(value, FreeText) else Text.literal(value)  # noqa: SLF001 - hidden from expressions


class Truth(str):
    """`true` or `false`, as a comparison is written: text, but the second is false in a condition."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return self == "true"


def seen_by_expressions(text: Text) -> str | FreeText:
    """Return text as expressions see it."""
    if text.variables:
        return FreeText(text)
    written = text.with_defaults()
    return Truth(written) if written in {"true", "false"} else written


class BoundValue(str):
    """An axis value inside expressions: a name of it as text, its properties as attributes."""

    __slots__ = ("_axis", "_properties", "_scope", "_siblings")
    _axis: str
    _properties: Mapping[str, Tree]
    _scope: Scope
    _siblings: tuple[str, ...]  # all values of the axis

    def __new__(
        cls, text: str, axis: str, properties: Mapping[str, Tree], scope: Scope, siblings: tuple[str, ...] = ()
    ) -> Self:
        """Return the value called `text`, whose properties are evaluated in `scope` when they are read."""
        value = super().__new__(cls, text)
        value._axis = axis
        value._properties = properties
        value._scope = scope
        value._siblings = siblings
        return value

    def _within(self, scope: Scope) -> BoundValue:
        """Return the same value with its properties evaluated in another scope."""
        return BoundValue(str(self), self._axis, self._properties, scope, self._siblings)

    def _has_property(self, name: str) -> bool:
        return name in self._properties

    def _property(self, name: str) -> Any:
        return self._scope.data(self._properties[name])

    def _describe_missing(self, name: str) -> tuple[str, str]:
        """Return message and hint for a property that is not there."""
        return (
            f'{self._axis} "{self}" has no property "{name}"',
            did_you_mean(name, self._properties)
            or "if only some values have it, declare it with a default under `properties`",
        )
