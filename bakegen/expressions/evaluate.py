"""Evaluate the expressions of manifests and the templates of Dockerfiles, in one sandbox.

In: text with `{{ … }}`, and the names that it may use (a `Scope`). Out: text, or a problem that says where and why.
This module and `render` are the only users of Jinja.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, NoReturn, Self

from jinja2 import (
    StrictUndefined,
    Template,
    TemplateNotFound,
    TemplatesNotFound,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
)
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS as DEFAULT_FILTERS
from jinja2.loaders import BaseLoader
from jinja2.runtime import Context
from jinja2.sandbox import MAX_RANGE, ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as DEFAULT_TESTS
from jinja2.utils import missing

from bakegen.errors import BakegenError, Code, did_you_mean, narrowed
from bakegen.expressions.limits import SECONDS, Limits, TooExpensiveError
from bakegen.source.yaml import KeyPath, Source, normalized

Tree = Any  # plain data whose texts with braces are `Expression`s

_BRACES = re.compile(r"\{[{%#]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
VARIABLE_MARK = re.compile("\0([A-Z][A-Z0-9_]*)\0")  # how text holds a variable until the bake file is written
_SCOPE = "bakegen scope"  # key in Jinja's own mapping of names; the space keeps templates from naming it
EMPTY_NAME = "\1"  # stands for an empty name of an axis value until the tag is put together


@dataclass(frozen=True, slots=True)
class Expression:
    """Text of a manifest that may hold expressions, and where it stands."""

    text: str
    path: KeyPath

    @property
    def is_literal(self) -> bool:
        """Whether the text means itself."""
        return not _BRACES.search(self.text)


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression without braces that is true or false."""

    text: str
    path: KeyPath


class NotAvailableError(Exception):
    """A name exists, but not here: the message says why, `hint` what to write instead."""

    def __init__(self, message: str, hint: str, name: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.name = name


class NoTextError(NotAvailableError):
    """A value has no one spelling as text."""


class TemplateFailError(Exception):
    """A template called `fail("…")`."""


class FreeText:
    """Text that holds variables, which get their value only at bake time: it can be written, and nothing else."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def marked(self) -> str:
        """The text with its variables marked."""
        return self._text

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # Jinja asks for __html__
            raise AttributeError(name)
        self._refuse()

    def _refuse(self, *_: object) -> NoReturn:
        names = " and ".join(dict.fromkeys(VARIABLE_MARK.findall(self._text))) or "U+0000"
        raise NotAvailableError(
            f"{names} is free until bake time, so nothing can be computed from it here",
            f"write it as it is, {{{{ {names.split(' ')[0]} }}}}, or declare a second variable",
            names.split(" ")[0],
        )

    __str__ = __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = __add__ = __radd__ = __mod__ = _refuse
    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __hash__ = _refuse


class Value(str):
    """An axis value inside expressions: its name as text, its properties as attributes."""

    __slots__ = ("_axis", "_properties", "_scope")
    _axis: str
    _properties: Mapping[str, Tree]
    _scope: Scope

    def __new__(cls, text: str, axis: str, properties: Mapping[str, Tree], scope: Scope) -> Self:
        """Return the value called `text`, whose properties are evaluated in `scope` when they are read."""
        value = super().__new__(cls, text)
        value._axis = axis
        value._properties = properties
        value._scope = scope
        return value

    def within(self, scope: Scope) -> Value:
        """Return the same value with its properties evaluated in another scope."""
        return Value(str(self), self._axis, self._properties, scope)

    def has_property(self, name: str) -> bool:
        """Return whether the manifest gives the value this property."""
        return name in self._properties

    def read_property(self, name: str) -> Any:
        """Return a property, evaluated."""
        return self._scope.data(self._properties[name])

    def describe_missing(self, name: str) -> tuple[str, str]:
        """Return message and hint for a property that is not there."""
        return (
            f'{self._axis} "{self}" has no property "{name}"',
            did_you_mean(name, self._properties)
            or "declare it with a default under `properties:` if only some values have it",
        )


class _Undefined(StrictUndefined):
    """Jinja's strict undefined, with what is needed for a good message kept on the exception."""

    __slots__ = ()

    def _fail_with_undefined_error(self, *_: Any, **__: Any) -> NoReturn:
        error = self._undefined_exception(self._undefined_message)
        error.undefined = self  # type: ignore[attr-defined]
        raise error

    __iter__ = __str__ = __len__ = _fail_with_undefined_error
    __eq__ = __ne__ = __bool__ = __hash__ = __contains__ = _fail_with_undefined_error
    __add__ = __radd__ = __sub__ = __rsub__ = _fail_with_undefined_error
    __mul__ = __rmul__ = __div__ = __rdiv__ = _fail_with_undefined_error
    __truediv__ = __rtruediv__ = _fail_with_undefined_error
    __floordiv__ = __rfloordiv__ = _fail_with_undefined_error
    __mod__ = __rmod__ = _fail_with_undefined_error
    __pos__ = __neg__ = _fail_with_undefined_error
    __call__ = __getitem__ = _fail_with_undefined_error
    __lt__ = __le__ = __gt__ = __ge__ = _fail_with_undefined_error
    __int__ = __float__ = __complex__ = _fail_with_undefined_error
    __pow__ = __rpow__ = _fail_with_undefined_error


class _ScopedContext(Context):
    """Jinja's context, asking the scope for names that Jinja does not know: so names cost only when they are used."""

    def resolve_or_missing(self, key: str) -> Any:
        found = super().resolve_or_missing(key)
        if found is missing:
            scope = self.parent.get(_SCOPE)
            if scope is not None:
                try:
                    return scope.lookup(key)
                except (BakegenError, NotAvailableError) as error:
                    # Jinja asks for all names of a template at its beginning; an error counts where a name is used.
                    return _Undefined(name=key, exc=lambda _, error=error: error)  # type: ignore[arg-type]
        return found


def _finalize(value: Any) -> Any:
    """Return what `{{ value }}` writes; raises TypeError for what has no one spelling."""
    if isinstance(value, str):
        if "\0" in value:  # written by FreeText only: a computed one would pass for a variable
            FreeText(value)._refuse()  # noqa: SLF001 - same module
        return value
    if isinstance(value, FreeText):
        return value.marked
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Undefined):  # strict ones raise when they are written
        return value  # the others stand for the missing `else` of `{{ x if y }}`, which writes nothing
    kinds = {
        list: ("a list", "join its items: {{ … | join(', ') }}"),
        tuple: ("a list", "join its items: {{ … | join(', ') }}"),
        dict: ("a mapping", "name one of its entries"),
        type(None): ("nothing (null)", "give it a value, or say what to write instead: {{ … or '' }}"),
    }
    kind, hint = kinds.get(type(value), ("an object", ""))
    if callable(value):
        kind, hint = "a function", "call it, or choose another name"
    raise NoTextError(f"{kind} cannot be written as text", hint)


def _major(version: object) -> str:
    """Return the first part of a version: `3.14.2` -> `3`."""
    return str(version).partition(".")[0]  # str() refuses text that is not known yet


def _minor(version: object) -> str:
    """Return the first two parts of a version: `3.14.2` -> `3.14`."""
    return ".".join(str(version).split(".")[:2])


def _quoted(text: object) -> str:
    """Return text as a double-quoted word of a Dockerfile's ENV, ARG or LABEL, where `$` means a variable."""
    escaped = re.sub(r'([\\"$])', r"\\\1", str(text))
    return f'"{escaped}"'


def _fail(message: str) -> NoReturn:
    """Let a template refuse what it was given."""
    raise TemplateFailError(message)


_FILTERS = {"major": _major, "minor": _minor, "quoted": _quoted}
_UNSTABLE_FILTERS = ("random", "pprint")  # differ from run to run


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox. Names beginning with `_` and mutation are refused by Jinja's own; random things are taken out."""

    intercepted_binops = frozenset({"**"})
    context_class = _ScopedContext

    def __init__(self, loader: BaseLoader | None) -> None:
        super().__init__(
            loader=loader,
            undefined=_Undefined,
            finalize=_finalize,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        for name in _UNSTABLE_FILTERS:
            del self.filters[name]
        del self.globals["lipsum"]
        self.filters.update(_FILTERS)
        self.globals.update(fail=_fail)
        self.used: dict[str, None] = {}  # the templates that were asked for since the last rendering began

    def get_template(
        self,
        name: str | Template,
        parent: str | None = None,
        globals: MutableMapping[str, Any] | None = None,  # noqa: A002 - Jinja calls it so
    ) -> Template:
        """Return a template, and note that it is used."""
        return self._noted(super().get_template(name, parent, globals))

    def select_template(
        self,
        names: Iterable[str | Template],
        parent: str | None = None,
        globals: MutableMapping[str, Any] | None = None,  # noqa: A002 - Jinja calls it so
    ) -> Template:
        """Return the first template that there is, and note that it is used."""
        return self._noted(super().select_template(names, parent, globals))

    def _noted(self, template: Template) -> Template:
        if template.name:
            self.used[template.name] = None
        return template

    def make_globals(self, d: MutableMapping[str, Any] | None) -> dict[str, Any]:
        """Return Jinja's own names as a plain dict: it is copied for every evaluation, and a ChainMap copies slowly."""
        return {**self.globals, **(d or {})}

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Value) and obj.has_property(attribute):
            return obj.read_property(attribute)
        if isinstance(obj, FreeText):
            obj._refuse()  # noqa: SLF001 - same module
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Value) and isinstance(argument, str) and obj.has_property(argument):
            return obj.read_property(argument)
        if isinstance(obj, FreeText):
            obj._refuse()  # noqa: SLF001 - same module
        return super().getitem(obj, argument)

    def call_binop(self, _context: Context, operator: str, _left: Any, _right: Any) -> Any:
        raise SecurityError(f"the operator {operator} is not available in templates")


_LEXER = _Environment(None)


class Evaluator:
    """Compiles each text once and evaluates it within limits. One for a project."""

    def __init__(self, loader: BaseLoader | None = None) -> None:
        self.limits = Limits()
        self.templates = _Environment(loader)
        self._inline = _Environment(None)
        self._compiled: dict[tuple[bool, str], Callable[[Scope], Any]] = {}

    def text(self, text: str, scope: Scope) -> str:
        """Return `text` with its expressions evaluated; raises whatever Jinja raises."""
        run = self._compiled.get((True, text))
        if run is None:
            template = self._inline.from_string(text)
            run = self._compiled[True, text] = lambda scope: template.render({_SCOPE: scope})
        return str(self._bounded(run, scope))

    def test(self, text: str, scope: Scope) -> bool:
        """Return whether a condition holds; raises whatever Jinja raises."""
        run = self._compiled.get((False, text))
        if run is None:
            condition = self._inline.compile_expression(text, undefined_to_none=False)
            run = self._compiled[False, text] = lambda scope: bool(condition({_SCOPE: scope}))
        return bool(self._bounded(run, scope))

    def render(self, name: str, scope: Scope) -> str:
        """Return the template file `name` rendered; raises whatever Jinja raises."""
        self.templates.used.clear()
        return str(self._bounded(lambda scope: self.templates.get_template(name).render({_SCOPE: scope}), scope))

    @property
    def used(self) -> tuple[str, ...]:
        """The templates that the last rendering needed, with all that they extend, include or import; sorted."""
        return tuple(sorted(self.templates.used))

    def _bounded(self, run: Callable[[Scope], Any], scope: Scope) -> Any:
        self.limits.start()
        try:
            return run(scope)
        finally:
            self.limits.stop()


class Scope:
    """The names that one evaluation may use, each computed when it is first asked for."""

    __slots__ = ("_definitions", "_evaluator", "_open", "_source", "_unavailable", "_values", "allows_empty_names")

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
        self.allows_empty_names = False  # in tag patterns only
        self._open: dict[KeyPath, None] = {}  # what is being evaluated, outermost first

    def add(self, values: Mapping[str, Any]) -> Scope:
        """Give names their values, and return the scope."""
        self._values.update(values)
        return self

    def with_names(self, values: Mapping[str, Any]) -> Scope:
        """Return a scope with some names more (or other values for them).

        Definitions and properties are evaluated anew, since they may use these names.
        """
        scope = Scope(self._evaluator, self._source, self._definitions, self._unavailable)
        kept = {name: value for name, value in self._values.items() if name not in self._definitions}
        return scope.add(
            {name: value.within(scope) if isinstance(value, Value) else value for name, value in kept.items()}
        ).add(values)

    def names(self) -> Iterable[str]:
        """Return all names that can be used."""
        return (*self._values, *self._definitions)

    def lookup(self, name: str) -> Any:
        """Return the value of a name, Jinja's `missing` if there is none; raises NotAvailableError."""
        if name in self._values:
            return self._values[name]
        if name in self._definitions:
            value = self._values[name] = self.data(self._definitions[name])
            return value
        if name in self._unavailable:
            raise NotAvailableError(*self._unavailable[name], name)
        return missing

    def text(self, expression: Expression) -> str:
        """Return the text of an expression, variables marked; raises `BakegenError` at the expression's place."""
        if expression.is_literal:
            return expression.text
        try:
            return self._checked(expression)
        except NotAvailableError as error:
            raise self._error(expression.path, error) from error

    def test(self, condition: Condition) -> bool:
        """Return whether a condition holds; raises `BakegenError` at its place."""
        if "{{" in condition.text:
            bare = condition.text.replace("{{", "").replace("}}", "").strip()
            message = "a condition is an expression as it is, without braces"
            raise self._source.failure("template-syntax", message, condition.path, hint=f"write {bare}")
        try:
            return self._evaluator.test(condition.text, self)
        except BakegenError:
            raise
        except Exception as error:
            raise self._error(condition.path, error) from error

    def data(self, tree: Tree) -> Any:
        """Return plain data with every expression inside evaluated; names that are not available pass through."""
        if isinstance(tree, Expression):
            if tree.path in self._open:
                raise self._loop(tree.path)
            self._open[tree.path] = None
            try:
                text = self._checked(tree)
            finally:
                del self._open[tree.path]
            return FreeText(text) if "\0" in text else text
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
        others = f" by way of {', '.join(names[1:])}" if names[1:] else ""
        message = f'"{names[0]}" is defined by itself{others}'
        return self._source.failure("definition-loop", message, circle[0], hint="break the circle")

    def _checked(self, expression: Expression) -> str:
        try:
            text = self._evaluator.text(expression.text, self)
        except (BakegenError, NotAvailableError):
            raise
        except Exception as error:
            raise self._error(expression.path, error) from error
        mistake = text_mistake(text.replace(EMPTY_NAME, "") if self.allows_empty_names else text)
        if mistake:
            raise self._source.failure("control-character", mistake, expression.path, hint="remove it")
        return normalized(text)

    def _error(self, path: KeyPath, error: Exception) -> BakegenError:
        failure = explain_failure(error, self.names())
        problem = self._source.problem(failure.code, failure.message, path, hint=failure.hint)
        return BakegenError([narrowed(problem, *failure.patterns)])


def _name(path: KeyPath) -> str:
    """Return what expressions call the definition or property at `path`."""
    return str(path[1]) if path[0] == "define" else f"{path[1]}.{path[-1]}"


def split_expressions(text: str) -> list[str] | None:
    """Return literal text and expressions in turn: literal, expression, literal, …, literal.

    None stands for text with statements or comments, which has no such parts. The text must be valid.
    """
    parts = [""]
    for _, kind, value in _LEXER.lex(text):
        if kind in {"variable_begin", "variable_end"}:
            parts.append("")
        elif kind.endswith("_begin"):
            return None
        else:
            parts[-1] += value
    return [part.strip() if index % 2 else part for index, part in enumerate(parts)]


def text_mistake(text: str) -> str:
    """Return what makes `text` unfit to be written anywhere, or an empty string."""
    found = _CONTROL.search(VARIABLE_MARK.sub("", text) if "\0" in text else text)
    if found:
        return f"gives text with the control character U+{ord(found[0]):04X}"
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        return "gives text with half a surrogate pair"
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


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong while Jinja ran; `patterns` find the words in the source that are to blame."""

    code: Code
    message: str
    hint: str = ""
    patterns: tuple[str, ...] = ()


def explain_failure(error: Exception, names: Iterable[str]) -> Failure:
    """Return what to say of an exception that Jinja raised or let pass."""
    match error:
        case NoTextError():
            return Failure("template-failed", str(error), error.hint)
        case NotAvailableError():
            name = getattr(getattr(error, "undefined", None), "_undefined_name", None)
            return Failure("not-available", str(error), error.hint, _word(name or error.name))
        case SecurityError():
            attribute = re.search(r"attribute '(\w+)'", str(error))
            operator = str(error).split()[2]
            pattern = re.escape(attribute[1] if attribute else operator)
            return Failure("unsafe-expression", str(error).rstrip("."), "", (pattern,))
        case UndefinedError():
            return _explain_undefined(error, names)
        case TemplateSyntaxError():
            return _explain_syntax(str(error.message).rstrip("."))
        case TemplatesNotFound():
            return Failure("template-missing", str(error.message).rstrip("."))
        case TemplateNotFound():
            message = f'there is no template "{error.message}"'
            return Failure("template-missing", message, "", (re.escape(str(error.message)),))
        case TemplateFailError():
            return Failure("template-refused", str(error))
        case RecursionError() | SyntaxError():  # Python's own limit on nested blocks is a SyntaxError
            message = "calls or includes itself without end, or is nested too deeply"
            return Failure("too-expensive", message, "break the circle, or take it apart")
        case TooExpensiveError():
            return Failure("too-expensive", f"takes more than {SECONDS} seconds", "make the loops smaller")
        case OverflowError() if "MAX_RANGE" in str(error):
            return Failure("too-expensive", f"asks for a range of more than {MAX_RANGE:,}", "make the range smaller")
        case MemoryError() | OverflowError():
            return Failure("too-expensive", "asks for more memory than it may have", "make the text smaller")
    said = re.sub(r"\bdo_(\w+)\(\)", r"`\1`", str(error)) or type(error).__name__
    return Failure("template-failed", f"cannot be evaluated: {said}")


def _word(name: object) -> tuple[str, ...]:
    """Return patterns that find a name, not as part of another or as an attribute, rather inside braces than outside."""
    word = rf"(?<![\w.])({re.escape(str(name))})(?!\w)"
    return (rf"\{{[{{%](?:(?!\}}\}}|%\}}).)*?{word}", word) if name else ()


def _explain_undefined(error: UndefinedError, names: Iterable[str]) -> Failure:
    undefined = getattr(error, "undefined", None)
    if undefined is None:
        return Failure("undefined-name", str(error.message))
    owner, name = undefined._undefined_obj, undefined._undefined_name  # noqa: SLF001 - Jinja's documented hook
    if owner is missing:
        return Failure("undefined-name", f'undefined name "{name}"', did_you_mean(str(name), names), _word(name))
    patterns = (rf"(?<=\.){re.escape(str(name))}(?!\w)",)
    if isinstance(owner, Value):
        return Failure("undefined-name", *owner.describe_missing(str(name)), patterns)
    if isinstance(owner, dict):
        hint = did_you_mean(str(name), map(str, owner))
        return Failure("undefined-name", f'there is no entry "{name}"', hint, patterns)
    if isinstance(owner, str):
        return Failure("undefined-name", f'the text "{owner}" has no property "{name}"', "", patterns)
    return Failure("undefined-name", str(undefined._undefined_message), "", patterns)  # noqa: SLF001


def _explain_syntax(message: str) -> Failure:
    hint = ""
    patterns: tuple[str, ...] = ()
    known = re.search(r"No (filter|test) named '(\w+)'", message)
    tag = re.search(r"unknown tag '(\w+)'", message)
    block = re.search(r"looking for the following tags: (.*?)\. The innermost block .* is '(\w+)'", message)
    if known:
        message, patterns = f'there is no {known[1]} "{known[2]}"', _word(known[2])
        filters = {*DEFAULT_FILTERS, *_FILTERS} - {*_UNSTABLE_FILTERS}
        hint = did_you_mean(known[2], filters if known[1] == "filter" else DEFAULT_TESTS)
    elif tag:
        message, patterns = f'there is no tag "{tag[1]}"', _word(tag[1])
        hint = "to write `{%` itself, use {{ '{%' }}"
    elif block:
        message = f"{{% {block[2]} %}} is never closed; expected {block[1]}"
    elif "end of template" in message or "end of print statement" in message or "'}'" in message:
        hint = "braces come in pairs: {{ name }}"
    elif "chunk after expression" in message or "got '='" in message:
        message = "something follows the end of the expression"
        hint = "compare with ==, join with `and`, `or` or ~"
    return Failure("template-syntax", f"not valid Jinja: {message}", hint, patterns)
