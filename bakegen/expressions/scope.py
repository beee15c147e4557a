"""The names that expressions may use, and what they make of them.

In: an `Expression` or `Condition` of a manifest. Out: `Text`, plain text, data or a boolean; or a problem at the
expression's place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2.utils import missing

from bakegen.errors import BakegenError, Problem, narrowed
from bakegen.expressions.failures import explain_failure
from bakegen.expressions.limits import TOO_LONG, OverrunError
from bakegen.expressions.plain import too_large
from bakegen.expressions.sandbox import NAME_OF, Evaluator
from bakegen.expressions.text import Text, Variable
from bakegen.expressions.values import BoundValue, NotAvailableError, Tree, seen_by_expressions, text_of
from bakegen.source.yaml import KeyPath, Source, normalized

_BRACES = re.compile(r"\{[{%#]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
MOST_TEXT = 128 * 1024  # characters of one text: what Linux passes on as one argument or variable (MAX_ARG_STRLEN)
EMPTY_NAME = "\1"  # stands for an empty name of an axis value until the tag is put together


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression without braces that is true or false."""

    text: str
    path: KeyPath


@dataclass(frozen=True, slots=True)
class Expression:
    """Text of a manifest that may hold expressions, where it stands, and the condition under which it does."""

    text: str
    path: KeyPath
    when: Condition | None = None  # the entry holds only then

    @property
    def is_literal(self) -> bool:
        """Whether the text means itself."""
        return not _BRACES.search(self.text)


def text_mistake(text: str) -> str:
    """Return what makes `text` unfit to be written anywhere, or an empty string."""
    found = _CONTROL.search(text)
    if found:
        return f"evaluates to text with the control character U+{ord(found[0]):04X}"
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        return "evaluates to text with half a surrogate pair"
    return ""


def tree(value: Any, path: KeyPath) -> Tree:
    """Return plain data with its texts that hold braces as `Expression`s."""
    if isinstance(value, str):
        expression = Expression(value, path)
        return value if expression.is_literal else expression
    if isinstance(value, dict):
        return {key: tree(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [tree(item, (*path, index)) for index, item in enumerate(value)]
    return value


class Scope:
    """The names that one evaluation may use, each computed when it is first asked for."""

    __slots__ = ("_definitions", "_evaluator", "_named", "_open", "_source", "_unavailable", "_values")

    def __init__(
        self,
        evaluator: Evaluator,
        source: Source,
        definitions: Mapping[str, Tree],
        unavailable: Mapping[str, tuple[str, str]],
    ) -> None:
        self._evaluator = evaluator
        self._source = source
        self._definitions = definitions
        self._unavailable = unavailable  # name -> message and hint
        self._values: dict[str, Any] = {}
        self._named: Mapping[str, str] = {}  # axis -> name of its value, in tag patterns
        self._open: dict[KeyPath, None] = {}  # what is being evaluated, outermost first

    def add(self, values: Mapping[str, Any]) -> Scope:
        """Give names their values, and return the scope."""
        self._values.update(values)
        return self

    def with_names(self, values: Mapping[str, Any]) -> Scope:
        """Return a scope with some names more, or other values for them.

        Definitions and properties are evaluated anew, since they may use these names.
        """
        scope = Scope(self._evaluator, self._source, self._definitions, self._unavailable)
        for name, value in self._values.items():
            if name not in self._definitions:
                scope._values[name] = value._within(scope) if isinstance(value, BoundValue) else value  # noqa: SLF001
        return scope.add(values)

    def named(self, names: Mapping[str, str]) -> Scope:
        """Return the same scope for tag patterns, where a mention of one of these axes alone stands for its name."""
        scope = Scope(self._evaluator, self._source, self._definitions, self._unavailable)
        scope._values = self._values
        scope._named = {axis: name or EMPTY_NAME for axis, name in names.items()}
        return scope

    def names(self) -> Iterable[str]:
        """Return all names that can be used."""
        return (*self._values, *self._definitions)

    def lookup(self, name: str) -> Any:
        """Return the value of a name, Jinja's `missing` if there is none; raises NotAvailableError."""
        if name in self._values:
            return self._values[name]
        if name.startswith(NAME_OF):
            return self._named.get(name.removeprefix(NAME_OF), missing)
        if name in self._definitions:
            value = self._values[name] = self.data(self._definitions[name])
            return value
        if name in self._unavailable:
            raise NotAvailableError(*self._unavailable[name], name)
        return missing

    def text(self, expression: Expression) -> Text:
        """Return the text of an expression; raises `BakegenError` at the expression's place."""
        if expression.is_literal:
            return Text.literal(expression.text)
        try:
            return self._checked(expression)
        except NotAvailableError as error:
            raise self._error(expression.path, error) from error

    def tag(self, pattern: Expression) -> Text:
        """Return what a tag pattern gives, with `EMPTY_NAME` where a name is empty; raises `BakegenError` at its place."""
        if pattern.is_literal:
            return Text.literal(pattern.text)
        try:
            return self._checked(pattern, frozenset(self._named))
        except NotAvailableError as error:
            raise self._error(pattern.path, error) from error

    def plain(self, expression: Expression) -> str:
        """Return the text of an expression that no variable may stand in; raises `BakegenError` at its place."""
        text = self.text(expression)
        if text.variables:
            name = text.variables[0].name
            error = NotAvailableError(f"{name} can be set at bake time, so it cannot be used here", "", name)
            raise self._error(expression.path, error)
        return text.with_defaults()

    def test(self, condition: Condition) -> bool:
        """Return whether a condition holds; raises `BakegenError` at its place."""
        if "{{" in condition.text:
            bare = condition.text.replace("{{", "").replace("}}", "").strip()
            message = "a condition is an expression without braces"
            raise self._source.failure("template-syntax", message, condition.path, hint=f"write {bare}")
        try:
            return self._evaluator.test(condition.text, self)
        except BakegenError:
            raise
        except OverrunError as error:
            self._place(error, condition.path)
            raise
        except Exception as error:
            raise self._error(condition.path, error) from error

    def texts(self, tree: Tree) -> Any:
        """Return plain data with its texts as `Text`; raises `BakegenError` at the place of an expression."""
        if isinstance(tree, Expression):
            return self.text(tree)
        if isinstance(tree, dict):
            return {key: self.texts(item) for key, item in tree.items()}
        if isinstance(tree, list):
            return [self.texts(item) for item in tree]
        return Text.literal(tree) if isinstance(tree, str) else tree

    def data(self, tree: Tree) -> Any:
        """Return plain data with every expression inside evaluated; names that are not available pass through."""
        if isinstance(tree, Expression):
            if tree.path in self._open:
                raise self._loop(tree.path)
            self._open[tree.path] = None
            try:
                return seen_by_expressions(self._checked(tree))
            finally:
                del self._open[tree.path]
        if isinstance(tree, dict):
            return {key: self.data(item) for key, item in tree.items()}
        if isinstance(tree, list):
            return [self.data(item) for item in tree]
        return tree

    def _loop(self, path: KeyPath) -> BakegenError:
        """Say who is defined by way of whom, from the one that is written first."""
        paths = list(self._open)
        circle = paths[paths.index(path) :]
        first = min(range(len(circle)), key=lambda index: self._source.place(circle[index]).value)
        circle = circle[first:] + circle[:first]
        names = [_name(part) for part in circle]
        others = f" through {', '.join(names[1:])}" if names[1:] else ""
        message = f'"{names[0]}" is defined by itself{others}'
        return self._source.failure("definition-loop", message, circle[0], hint="remove the cycle")

    def _checked(self, expression: Expression, named: frozenset[str] = frozenset()) -> Text:
        try:
            text = text_of(self._evaluator.text(expression.text, self, named))
        except (BakegenError, NotAvailableError):
            raise
        except OverrunError as error:
            self._place(error, expression.path)
            raise
        except Exception as error:
            raise self._error(expression.path, error) from error
        literals = "".join(part for part in text.parts if isinstance(part, str))
        if len(literals) > MOST_TEXT:
            raise self._error(expression.path, too_large(MOST_TEXT))
        mistake = text_mistake(literals.replace(EMPTY_NAME, "") if self._named else literals)
        if mistake:
            raise self._source.failure("control-character", mistake, expression.path, hint="remove it")
        return text if literals.isascii() else Text.joined(map(_normalized, text.parts))

    def _place(self, error: OverrunError, path: KeyPath) -> None:
        """Say of an error that ends the run where it happened."""
        if error.problem is TOO_LONG:
            error.problem = self._problem(path, error)

    def _error(self, path: KeyPath, error: Exception) -> BakegenError:
        return BakegenError([self._problem(path, error)])

    def _problem(self, path: KeyPath, error: BaseException) -> Problem:
        failure = explain_failure(error, self.names())
        problem = self._source.problem(failure.code, failure.message, path, hint=failure.hint)
        return narrowed(problem, *failure.patterns)


def _normalized(part: str | Variable) -> str | Variable:
    return normalized(part) if isinstance(part, str) else part


def _name(path: KeyPath) -> str:
    """Return what expressions call the definition or property at `path`."""
    return str(path[1]) if path[0] == "define" else f"{path[1]}.{path[-1]}"
