"""The sandbox: Jinja, with names looked up in a `Scope`, nothing random, and variables that stay free.

In: text or the name of a template, and a `Scope`. Out: what it gives, a string or `FreeText`. This room and `render` are
the only users of Jinja.

Whatever a template makes of values passes through here, by a filter, a call, an operator or a bracket, and comes out as
`plain` says.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from types import BuiltinMethodType, CodeType, MethodType
from typing import TYPE_CHECKING, Any, NoReturn

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.loaders import BaseLoader
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment, SandboxedFormatter
from jinja2.utils import missing

from bakegen.errors import BakegenError
from bakegen.expressions.attributes import is_readable
from bakegen.expressions.filters import FILTERS, check_arguments, check_widths
from bakegen.expressions.generator import Generator
from bakegen.expressions.limits import Limits, OverrunError
from bakegen.expressions.plain import (
    MOST,
    bounded,
    check_repetition,
    check_spelling,
    no_spelling,
    too_large,
)
from bakegen.expressions.text import Text
from bakegen.expressions.values import BoundValue, FreeText, NotAvailableError, text_of
from bakegen.expressions.versions import TESTS

if TYPE_CHECKING:
    from bakegen.expressions.scope import Scope

MOST_OF_FILE = 16 * 1024 * 1024  # characters of a rendered file
_SCOPE = "bakegen scope"  # key in Jinja's own mapping of names; the space keeps templates from naming it
NAME_OF = "__name_of_"  # before an axis that a tag pattern mentions by itself
_LENGTH = re.compile(r"\$\{#")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\b", re.DOTALL)


class TemplateFailError(Exception):
    """A template called `fail("…")`."""


class UnsafeError(SecurityError):
    """A template asks for what it cannot have: an attribute or an operator."""

    def __init__(self, name: str) -> None:
        super().__init__(f'"{name}" is not available in expressions and templates')
        self.name = name


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
    raise no_spelling(value)


def _finalize_in_file(value: Any) -> str | FreeText:
    """Return what `{{ value }}` writes into a file, where no variable can stand."""
    if isinstance(value, FreeText):
        name = text_of(value).variables[0].name
        raise NotAvailableError(
            f"{name} can be set at bake time, so a file cannot contain its value", "pass it as a build arg", name
        )
    return _finalize(value)


def _joined(pieces: Iterable[str | FreeText], most: int) -> str | FreeText:
    """Join the pieces that a template gives; raises TooLargeError."""
    found, left = [], most
    for piece in pieces:
        # Jinja has finalized what `{{ }}` writes; a filter block gives whatever its filter gives.
        text = piece if type(piece) is str else _finalize(piece)
        found.append(text)
        if isinstance(text, str):
            left -= len(text)
            if left < 0:
                raise too_large(most)
    try:
        return "".join(found)  # type: ignore[arg-type]  # most texts hold no variable
    except TypeError:
        return FreeText(Text.joined(map(text_of, found)))


def _fail(message: str) -> NoReturn:
    """Let a template refuse what it was given."""
    check_spelling(message)
    raise TemplateFailError(message)


class _Formatter(SandboxedFormatter):
    """What `"{}".format(…)` does; each field is spelled as it would be elsewhere."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        """Return the value of a field, and its name."""
        value, name = super().get_field(field_name, args, kwargs)
        check_spelling(value)
        return value, name

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return a value as its field wants it, if that is not too wide."""
        check_arguments("format", "", (int(width[:12]) for width in re.findall(r"\d+", format_spec)))
        text: str = super().format_field(value, format_spec)
        return text


def _is_method_of_text(value: Any) -> bool:
    return isinstance(value, MethodType | BuiltinMethodType) and isinstance(value.__self__, str)


class Sandbox(SandboxedEnvironment):
    """Jinja's own sandbox, with a list of what can be read, and bounds on what can be made."""

    intercepted_binops = frozenset(SandboxedEnvironment.default_binop_table)
    context_class = _ScopedContext
    code_generator_class = Generator
    bounded = staticmethod(bounded)

    def __init__(self, loader: BaseLoader | None, finalize: Callable[[Any], str | FreeText] = _finalize) -> None:
        super().__init__(
            loader=loader,
            undefined=_Undefined,
            finalize=finalize,
            optimized=False,  # which would evaluate while a template is compiled
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self.filters = dict(FILTERS)
        del self.globals["lipsum"]
        self.tests.update(TESTS)
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

    def preprocess(self, source: str, name: str | None = None, filename: str | None = None) -> str:
        """Refuse the length of a shell variable, `${#x}`, which would begin a comment that swallows what follows."""
        found = _LENGTH.search(_RAW.sub(lambda raw: re.sub(r"[^\n]", " ", raw[0]), source))
        if found:
            line = source.count("\n", 0, found.start()) + 1
            raise TemplateSyntaxError("`${#` begins a comment here", line, name, filename)
        return super().preprocess(source, name, filename)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return what `obj.attribute` is: an own property of an axis value, an attribute, or an entry."""
        if isinstance(obj, BoundValue) and obj._has_property(attribute):  # noqa: SLF001 - hidden from expressions
            return obj._property(attribute)  # noqa: SLF001
        if isinstance(obj, FreeText):
            obj._refuse()  # noqa: SLF001
        if is_readable(obj, attribute):
            value = getattr(obj, attribute, missing)
            if value is not missing:
                return self.wrap_str_format(value) or value
        try:
            return obj[attribute]
        except (TypeError, LookupError, AttributeError):
            pass
        if hasattr(obj, attribute):
            return self.undefined(name=attribute, exc=lambda _: UnsafeError(attribute))  # type: ignore[arg-type]
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return what `obj[argument]` is: an own property of an axis value, an entry, or an attribute."""
        if isinstance(obj, FreeText):
            obj._refuse()  # noqa: SLF001
        if not (isinstance(obj, BoundValue) and isinstance(argument, str)):
            try:
                return obj[argument]
            except (TypeError, LookupError, AttributeError):
                pass
        return self.getattr(obj, str(argument)) if isinstance(argument, str) else self.undefined(obj=obj, name=argument)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return what stands for `"…".format` and `"…".format_map`, None for any other value."""
        if not _is_method_of_text(value) or value.__name__ not in ("format", "format_map"):
            return None
        text = str(value.__self__)
        formatter = _Formatter(self)
        if value.__name__ == "format":
            return lambda *args, **kwargs: formatter.vformat(text, args, kwargs)
        return lambda mapping: formatter.vformat(text, (), mapping)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Return what a function or method gives."""
        if args:
            bounded(args)
        if kwargs:
            bounded([value for name, value in kwargs.items() if not name.startswith("_")])  # Jinja's own begin with it
        if _is_method_of_text(obj):
            check_arguments(obj.__name__, obj.__self__, args)
        return bounded(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return what an operator gives; `**`, which makes much of little, is refused."""
        if operator == "**":
            raise UnsafeError(operator)
        if operator == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(value, str | list | tuple) and isinstance(times, int):
                    check_repetition(value, times)
        elif operator == "%" and isinstance(left, str):
            check_spelling(right)
            check_widths(left, right)
        return bounded(super().call_binop(context, operator, left, right))

    @staticmethod
    def call_tilde(values: Sequence[Any]) -> str:
        """Return values joined by `~`."""
        check_spelling(values)
        joined: str = bounded("".join(map(str, values)))
        return joined

    @staticmethod
    def concat(pieces: Iterable[str | FreeText]) -> str | FreeText:  # type: ignore[override]
        """Return what a block, macro or expression writes, as one text."""
        return _joined(pieces, MOST)

    def _compile(self, source: str, filename: str) -> CodeType:
        with warnings.catch_warnings(action="ignore", category=SyntaxWarning):  # Python's own about the code of Jinja
            return super()._compile(source, filename)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        try:
            return super()._parse(source, name, filename)
        except ValueError:  # about a number that Python does not read, without its place
            found = re.search(r"\d(_?\d){4300}", source)
            if not found:
                raise
            line = source.count("\n", 0, found.start()) + 1
            raise TemplateSyntaxError("a number has more than 4,300 digits", line, name, filename) from None


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
        """Return `text` with its expressions evaluated; raises what Jinja raises, and TooLargeError.

        In a tag pattern, a mention of one of the axes in `named` stands for a name of its value.
        """
        with self.limits.piece:
            run = self._texts.get((text, named))
            if run is None:
                sandbox = self._tags.setdefault(named, TagSandbox(named)) if named else self._inline
                template = sandbox.from_string(text)
                run = self._texts[text, named] = lambda scope: template.render({_SCOPE: scope})
            found: str | FreeText = run(scope)
            return found

    def test(self, text: str, scope: Scope) -> bool:
        """Return whether a condition holds; raises what Jinja raises, and TooLargeError."""
        with self.limits.piece:
            run = self._conditions.get(text)
            if run is None:
                condition = self._inline.compile_expression(text, undefined_to_none=False)
                run = self._conditions[text] = lambda scope: bool(condition({_SCOPE: scope}))
            return bool(run(scope))

    def render(self, name: str, scope: Scope) -> str:
        """Return the template file `name` rendered; raises what Jinja raises, and TooLargeError."""
        with self.limits.piece:
            self.templates.used.clear()
            try:
                pieces = self.templates.get_template(name).generate({_SCOPE: scope})
                return str(_joined(pieces, MOST_OF_FILE))
            except OverrunError:  # for which Jinja does not look up the line of the template
                self.templates.handle_exception()

    @property
    def used(self) -> tuple[str, ...]:
        """The templates that the last rendering needed, with all that they extend, include or import; sorted."""
        return tuple(sorted(self.templates.used))
