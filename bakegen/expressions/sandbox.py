"""The sandbox: Jinja, with names looked up in a `Scope`, nothing random, and variables that stay free.

In: text or the name of a template, and a `Scope`. Out: what it gives, a string or `FreeText`. This room and `render` are
the only users of Jinja.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, NoReturn

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.loaders import BaseLoader
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from bakegen.errors import BakegenError
from bakegen.expressions.limits import Limits
from bakegen.expressions.text import Text
from bakegen.expressions.values import BoundValue, FreeText, NotAvailableError, NoTextError, text_of
from bakegen.expressions.versions import TESTS

if TYPE_CHECKING:
    from bakegen.expressions.scope import Scope

_SCOPE = "bakegen scope"  # key in Jinja's own mapping of names; the space keeps templates from naming it
NAME_OF = "__name_of_"  # before an axis that a tag pattern mentions by itself
UNSTABLE_FILTERS = ("random", "pprint")  # differ from run to run


_LENGTH = re.compile(r"\$\{#")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\b", re.DOTALL)


class TemplateFailError(Exception):
    """A template called `fail("…")`."""


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


def _finalize(value: Any) -> str | FreeText:
    """Return what `{{ value }}` writes; raises NoTextError for what has no one spelling."""
    if isinstance(value, str | FreeText):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Undefined):  # strict ones raise when they are written
        return str(value)  # the others stand for the missing `else` of `{{ x if y }}`, which writes nothing
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


def _finalize_in_file(value: Any) -> str | FreeText:
    """Return what `{{ value }}` writes into a file, where no variable can stand."""
    if isinstance(value, FreeText):
        name = text_of(value).variables[0].name
        raise NotAvailableError(
            f"{name} is free until bake time, so it cannot stand in a file", "pass it as a build arg", name
        )
    return _finalize(value)


def _concat(pieces: Iterable[str | FreeText]) -> str | FreeText:
    """Join the pieces that a template gives; Jinja calls this wherever it makes one text of several."""
    found = list(pieces)
    try:
        return "".join(found)  # type: ignore[arg-type]  # most texts hold no variable
    except TypeError:
        return FreeText(Text.joined(map(text_of, found)))


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


class _Fail:
    """Let a template refuse what it was given: `fail("…")`. An object, since text made of a function is an address."""

    def __call__(self, message: str) -> NoReturn:
        """Raise the message as the problem of the template."""
        raise TemplateFailError(message)

    def __str__(self) -> NoReturn:
        raise NoTextError("a function cannot be written as text", "call it, or choose another name")


FILTERS = {"major": _major, "minor": _minor, "quoted": _quoted}


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's own sandbox refuses names beginning with `_` and mutation; random things are taken out of it."""

    intercepted_binops = frozenset({"**"})
    context_class = _ScopedContext
    code_generator_class = NativeCodeGenerator  # leaves what is written as it is, where others make strings of it
    concat = staticmethod(_concat)  # type: ignore[assignment]  # gives FreeText, too

    def __init__(self, loader: BaseLoader | None, finalize: Callable[[Any], str | FreeText] = _finalize) -> None:
        super().__init__(
            loader=loader,
            undefined=_Undefined,
            finalize=finalize,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        for name in UNSTABLE_FILTERS:
            del self.filters[name]
        del self.globals["lipsum"]
        self.filters.update(FILTERS)
        self.tests.update(TESTS)
        self.globals.update(fail=_Fail())
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

    def preprocess(self, source: str, name: str | None = None, filename: str | None = None) -> str:
        """Refuse the length of a shell variable, `${#x}`, which would begin a comment that swallows what follows."""
        found = _LENGTH.search(_RAW.sub(lambda raw: re.sub(r"[^\n]", " ", raw[0]), source))
        if found:
            line = source.count("\n", 0, found.start()) + 1
            raise TemplateSyntaxError("`${#` begins a comment here", line, name, filename)
        return super().preprocess(source, name, filename)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether an attribute may be read; of an axis value, only those of any text."""
        if isinstance(obj, BoundValue) and not hasattr(str, attr):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a property of an axis value, or an attribute of something else."""
        if isinstance(obj, BoundValue) and obj._has_property(attribute):  # noqa: SLF001 - hidden from expressions
            return obj._property(attribute)  # noqa: SLF001
        if isinstance(obj, FreeText):
            obj._refuse()  # noqa: SLF001
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return a property of an axis value, or an item of something else."""
        if isinstance(obj, BoundValue) and isinstance(argument, str) and obj._has_property(argument):  # noqa: SLF001
            return obj._property(argument)  # noqa: SLF001
        if isinstance(obj, FreeText):
            obj._refuse()  # noqa: SLF001
        return super().getitem(obj, argument)

    def call_binop(self, _context: Context, operator: str, _left: Any, _right: Any) -> Any:
        """Refuse the operators that make much of little."""
        raise SecurityError(f"the operator {operator} is not available in templates")


class TagSandbox(Sandbox):
    """The sandbox of tag patterns, where `{{ axis }}` and nothing else stands for a name of the axis's value."""

    def __init__(self, axes: frozenset[str]) -> None:
        super().__init__(None)
        self._axes = axes

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        own = {found.name for found in tree.find_all(nodes.Name) if found.ctx == "store"}
        for output in tree.find_all(nodes.Output):
            for node in output.nodes:
                if isinstance(node, nodes.Name) and node.name in self._axes - own:
                    node.name = NAME_OF + node.name
        return tree


def computed_from(pattern: str, axes: frozenset[str]) -> str | None:
    """Return an axis that a tag pattern computes text from, where it could have meant a name of its value; None if none.

    `{{ axis }}` means the names, and conditions compare the value: neither is meant here.
    """
    try:
        stack: list[nodes.Node] = [_LEXER.parse(pattern)]
    except (TemplateSyntaxError, RecursionError):  # whoever evaluates it says so
        return None
    while stack:
        node = stack.pop()
        if isinstance(node, nodes.Compare | nodes.Test | nodes.Getattr | nodes.Getitem):
            continue
        if isinstance(node, nodes.Name) and node.name in axes:
            return node.name
        left_out = [node.test] if isinstance(node, nodes.CondExpr | nodes.If) else []
        if isinstance(node, nodes.Output):
            left_out = [child for child in node.nodes if isinstance(child, nodes.Name)]
        stack += [child for child in node.iter_child_nodes() if child not in left_out]
    return None


def compared_with(text: str) -> Iterator[tuple[str, str]]:
    """Yield each name that an expression compares with a constant text (`==`, `!=`, `in`), and that text.

    >>> list(compared_with("{{ 'x' if distro != 'debian' }}"))
    [('distro', 'debian')]
    """
    try:
        tree = _LEXER.parse(text)
    except (TemplateSyntaxError, RecursionError):  # whoever evaluates it says so
        return
    for comparison in tree.find_all(nodes.Compare):
        sides = [comparison.expr, *(operand.expr for operand in comparison.ops)]
        plain = all(operand.op in {"eq", "ne", "in", "notin"} for operand in comparison.ops)
        names = [side.name for side in sides if isinstance(side, nodes.Name)]
        if len(sides) == 2 and len(names) == 1 and plain:  # noqa: PLR2004 - a name and what it is compared with
            other = next(side for side in sides if not isinstance(side, nodes.Name))
            if isinstance(other, nodes.List | nodes.Tuple) and comparison.ops[0].expr is not other:
                continue
            constants = other.items if isinstance(other, nodes.List | nodes.Tuple) else [other]
            within = comparison.ops[0].op in {"in", "notin"} and other is comparison.expr  # a text in a longer one
            for constant in constants if not within else ():
                if isinstance(constant, nodes.Const) and isinstance(constant.value, str):
                    yield names[0], constant.value


_LEXER = Sandbox(None)


class Evaluator:
    """Compiles each text once and evaluates it within limits. One for a project."""

    def __init__(self, loader: BaseLoader | None = None) -> None:
        self.limits = Limits()
        self.templates = Sandbox(loader, _finalize_in_file)
        self._inline = Sandbox(None)
        self._tags: dict[frozenset[str], TagSandbox] = {}
        self._texts: dict[tuple[str, frozenset[str]], Callable[[Scope], Any]] = {}
        self._conditions: dict[str, Callable[[Scope], Any]] = {}

    def text(self, text: str, scope: Scope, named: frozenset[str] = frozenset()) -> str | FreeText:
        """Return `text` with its expressions evaluated; raises whatever Jinja raises.

        In a tag pattern, a mention of one of the axes in `named` stands for a name of its value.
        """
        run = self._texts.get((text, named))
        if run is None:
            sandbox = self._tags.setdefault(named, TagSandbox(named)) if named else self._inline
            template = sandbox.from_string(text)
            run = self._texts[text, named] = lambda scope: template.render({_SCOPE: scope})
        found: str | FreeText = self._bounded(run, scope)
        return found

    def test(self, text: str, scope: Scope) -> bool:
        """Return whether a condition holds; raises whatever Jinja raises."""
        run = self._conditions.get(text)
        if run is None:
            condition = self._inline.compile_expression(text, undefined_to_none=False)
            run = self._conditions[text] = lambda scope: bool(condition({_SCOPE: scope}))
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
