"""Text that may hold variables, which stay free until bake time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bakegen.expressions.evaluate import VARIABLE_MARK
from bakegen.source.yaml import KeyPath


def split_references(text: str) -> list[str]:
    """Return literal text and variable names in turn: literal, name, literal, …, literal."""
    return VARIABLE_MARK.split(text)


def replace_references(text: str, value: Callable[[str], str]) -> str:
    """Return `text` with each variable reference replaced by `value(name)`."""
    return VARIABLE_MARK.sub(lambda match: value(match[1]), text) if "\0" in text else text


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that stays free at bake time."""

    name: str
    bake_name: str
    default: str
    description: str
    path: KeyPath


def with_defaults(text: str, variables: Mapping[str, Variable]) -> str:
    """Return `text` with each variable reference replaced by the variable's default."""
    return replace_references(text, lambda name: variables[name].default)


def as_written(text: str) -> str:
    """Return `text` with each variable reference as a manifest writes it, for messages."""
    return replace_references(text, lambda name: f"{{{{ {name} }}}}")
