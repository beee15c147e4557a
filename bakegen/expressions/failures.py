"""What to say of an exception that Jinja raised or let pass."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from jinja2 import TemplateNotFound, TemplatesNotFound, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS as DEFAULT_FILTERS
from jinja2.sandbox import MAX_RANGE
from jinja2.tests import TESTS as DEFAULT_TESTS
from jinja2.utils import missing

from bakegen.errors import Code, did_you_mean
from bakegen.expressions.limits import SECONDS, TooExpensiveError
from bakegen.expressions.sandbox import FILTERS, UNSTABLE_FILTERS, TemplateFailError
from bakegen.expressions.values import BoundValue, NotAvailableError, NoTextError
from bakegen.expressions.versions import TESTS


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
    if isinstance(owner, BoundValue):
        return Failure("undefined-name", *owner._describe_missing(str(name)), patterns)  # noqa: SLF001
    if isinstance(owner, dict):
        hint = did_you_mean(str(name), map(str, owner))
        return Failure("undefined-name", f'there is no entry "{name}"', hint, patterns)
    if isinstance(owner, str):
        return Failure("undefined-name", f'the text "{owner}" has no property "{name}"', "", patterns)
    return Failure("undefined-name", f'there is no attribute "{name}" here', "", patterns)


_TAGS = "if elif else endif for endfor set endset include import from macro endmacro extends block endblock raw".split()
_OTHER_TAGS = {"elseif": "elif", "elsif": "elif", "end": "endif", "fi": "endif", "done": "endfor", "foreach": "for"}


def _explain_syntax(message: str) -> Failure:
    hint = ""
    patterns: tuple[str, ...] = ()
    known = re.search(r"No (filter|test) named '(\w+)'", message)
    tag = re.search(r"unknown tag '(\w+)'", message)
    block = re.search(r"looking for the following tags: (.*?)\. The innermost block .* is '(\w+)'", message)
    if known:
        message, patterns = f'there is no {known[1]} "{known[2]}"', _word(known[2])
        filters = {*DEFAULT_FILTERS, *FILTERS} - {*UNSTABLE_FILTERS}
        hint = did_you_mean(known[2], filters if known[1] == "filter" else {*DEFAULT_TESTS, *TESTS})
    elif tag:
        message, patterns = f'there is no tag "{tag[1]}"', _word(tag[1])
        near = _OTHER_TAGS.get(tag[1]) or next(iter(difflib.get_close_matches(tag[1], _TAGS, n=1)), "")
        hint = f"did you mean {{% {near} %}}?" if near else "to write `{%` itself, use {{ '{%' }}"
    elif block:
        message = f"{{% {block[2]} %}} is never closed; expected {block[1]}"
    elif "`${#`" in message:
        hint = "write {{ '${#' }}, or put the lines between {% raw %} and {% endraw %}"
        patterns = (r"\$\{#",)
    elif "got 'end of print statement'" in message:
        message, hint = "the expression ends too early", "finish it, as in {{ name | upper }}"
    elif "end of template" in message or "end of print statement" in message or "'}'" in message:
        hint = "braces come in pairs: {{ name }}"
    elif "chunk after expression" in message or "got '='" in message:
        message = "something follows the end of the expression"
        hint = "compare with ==, join with `and`, `or` or ~"
    return Failure("template-syntax", f"not valid Jinja: {message}", hint, patterns)
