"""Text that may hold variables, whose values stay free until bake time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from bakegen.source.yaml import KeyPath


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that stays free at bake time: the environment may give it, under its name in the bake file."""

    name: str
    bake_name: str
    default: str
    description: str = ""
    path: KeyPath = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text and variables in turn; no part is empty, and no two literal parts follow each other.

    >>> version = Variable("VERSION", "APP_VERSION", "1.0")
    >>> tag = Text.joined([version, "-", "slim"])
    >>> tag.with_defaults(), tag.as_written(), tag.at_bake_time({"APP_VERSION": "2.0"})
    ('1.0-slim', '{{ VERSION }}-slim', '2.0-slim')
    """

    parts: tuple[str | Variable, ...] = ()

    @classmethod
    def joined(cls, pieces: Iterable[str | Variable | Text]) -> Text:
        """Return pieces as one text."""
        parts: list[str | Variable] = []
        for piece in pieces:
            for part in piece.parts if isinstance(piece, Text) else (piece,):
                if isinstance(part, str) and parts and isinstance(parts[-1], str):
                    parts[-1] += part
                elif part:
                    parts.append(part)
        return cls(tuple(parts))

    @classmethod
    def literal(cls, text: str) -> Text:
        """Return text without variables."""
        return cls((text,) if text else ())

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables that the text holds, each once."""
        return tuple(dict.fromkeys(part for part in self.parts if isinstance(part, Variable)))

    def __bool__(self) -> bool:
        return bool(self.parts)

    def strip(self) -> Text:
        """Return the text without white space around it."""
        parts = list(self.parts)
        if parts and isinstance(parts[0], str):
            parts[0] = parts[0].lstrip()
        if parts and isinstance(parts[-1], str):
            parts[-1] = parts[-1].rstrip()
        return Text.joined(parts)

    def replaced(self, value: Callable[[Variable], str]) -> str:
        """Return the text with `value(variable)` for each variable."""
        match self.parts:
            case ():
                return ""
            case (str() as literal,):  # most texts
                return literal
        return "".join(part if isinstance(part, str) else value(part) for part in self.parts)

    def with_defaults(self) -> str:
        """Return the text with the default of each variable."""
        return self.replaced(lambda variable: variable.default)

    def at_bake_time(self, environment: Mapping[str, str]) -> str:
        """Return the text as bake reads it in an environment."""
        return self.replaced(lambda variable: environment.get(variable.bake_name, variable.default))

    def as_written(self) -> str:
        """Return the text as a manifest writes it, for messages."""
        return self.replaced(lambda variable: f"{{{{ {variable.name} }}}}")

    def without_variables(self) -> Text:
        """Return the text with its variables replaced by their defaults."""
        return Text.literal(self.with_defaults()) if self.variables else self
