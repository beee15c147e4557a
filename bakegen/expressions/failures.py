"""What to say of an exception that Jinja raised or let pass."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from jinja2 import TemplateNotFound, TemplatesNotFound, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import MAX_RANGE
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import missing

from bakegen.errors import Code, did_you_mean
from bakegen.expressions.filters import FILTERS
from bakegen.expressions.limits import OverrunError
from bakegen.expressions.plain import TooLargeError
from bakegen.expressions.sandbox import TemplateFailError, UnsafeError
from bakegen.expressions.values import BoundValue, NotAvailableError, NoTextError
from bakegen.expressions.versions import TESTS

_SHOWN = 100  # characters of a name in a message
# What Python says of its own, and what to say of it to people who write templates.
_REWORDED = (
    (re.compile(r"[\w.]+\.Sandbox\.call\(\) "), ""),
    (re.compile(r"\b(?:sync_do|do|test|is)?_(\w+)\(\)"), r"`\1`"),
    (re.compile(r"Python int too large to convert to .*"), "a number is too large"),
    (re.compile(r" at 0x[0-9a-f]+"), ""),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong while Jinja ran; `patterns` find the words in the source that are to blame."""

    code: Code
    message: str
    hint: str = ""
    patterns: tuple[str, ...] = ()


def explain_failure(error: BaseException, names: Iterable[str]) -> Failure:
    """Return what to say of an exception that Jinja raised or let pass."""
    match error:
        case OverrunError():
            return Failure(error.problem.code, error.problem.message, error.problem.hint)
        case NoTextError():
            return Failure("template-failed", str(error), error.hint)
        case NotAvailableError():
            name = getattr(getattr(error, "undefined", None), "_undefined_name", None)
            return Failure("not-available", str(error), error.hint, _word(name or error.name))
        case UnsafeError():
            return Failure("unsafe-expression", str(error), "", (re.escape(error.name),))
        case SecurityError():
            return Failure("unsafe-expression", _reworded(error))
        case UndefinedError():
            return _explain_undefined(error, names)
        case TemplateSyntaxError():
            return _explain_syntax(str(error.message).rstrip("."))
        case TemplatesNotFound():
            return Failure("template-missing", str(error.message).rstrip("."))
        case TemplateNotFound():
            message = f'there is no template "{_shown(error.message)}"'
            return Failure("template-missing", message, "", (re.escape(str(error.message)),))
        case TemplateFailError():
            return Failure("template-refused", str(error))
        case RecursionError():
            return _NESTED
        case SyntaxError():  # of the Python that Jinja made
            said = str(error.msg)
            return _NESTED if "nested" in said or "too many levels" in said else _explain_syntax(said)
        case TooLargeError():
            return Failure("too-expensive", str(error), error.hint)
        case OverflowError() if "MAX_RANGE" in str(error):
            return Failure("too-expensive", f"the range has more than {MAX_RANGE:,} items", "use a smaller range")
        case MemoryError():
            return Failure("too-expensive", "needs too much memory", "use less text")
        case ValueError() if "integer string conversion" in str(error):
            return Failure("template-failed", "cannot be evaluated: a number has more than 4,300 digits")
    return Failure("template-failed", f"cannot be evaluated: {_reworded(error)}")


_NESTED = Failure(
    "too-expensive",
    "infinite recursion, or too deeply nested",
    "end the recursion, or reduce the nesting",
)


def _reworded(error: BaseException) -> str:
    said = str(error)
    for pattern, words in _REWORDED:
        said = pattern.sub(words, said)
    return said or type(error).__name__


def _shown(name: object) -> str:
    """Return a name for a message; what is not plain has only its type."""
    text = str(name) if isinstance(name, str | int | float) else type(name).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _word(name: object) -> tuple[str, ...]:
    """Return patterns that find a name, not as part of another or as an attribute, rather inside braces than outside."""
    word = rf"(?<![\w.])({re.escape(str(name))})(?!\w)"
    return (rf"\{{[{{%](?:(?!\}}\}}|%\}}).)*?{word}", word) if name else ()


def _explain_undefined(error: UndefinedError, names: Iterable[str]) -> Failure:
    undefined = getattr(error, "undefined", None)
    if undefined is None:
        return Failure("undefined-name", str(error.message))
    owner, name = undefined._undefined_obj, undefined._undefined_name  # noqa: SLF001 - Jinja's documented hook
    shown = _shown(name)
    if owner is missing:
        return Failure("undefined-name", f'undefined name "{shown}"', did_you_mean(shown, names), _word(shown))
    patterns = (rf"(?<=\.){re.escape(shown)}(?!\w)",)
    if isinstance(owner, BoundValue):
        return Failure("undefined-name", *owner._describe_missing(shown), patterns)  # noqa: SLF001
    if isinstance(owner, dict):
        hint = did_you_mean(shown, (key for key in owner if isinstance(key, str)))
        return Failure("undefined-name", f'there is no entry "{shown}"', hint, patterns)
    if isinstance(owner, str):
        return Failure("undefined-name", f'the text "{_shown(owner)}" has no property "{shown}"', "", patterns)
    return Failure("undefined-name", f'there is no attribute "{shown}" here', "", patterns)


_TAGS = "if elif else endif for endfor set endset include import from macro endmacro extends block endblock raw".split()
_INNER_TAGS = {"elif", "else", *(tag for tag in _TAGS if tag.startswith("end"))}
_OTHER_TAGS = {"elseif": "elif", "elsif": "elif", "end": "endif", "fi": "endif", "done": "endfor", "foreach": "for"}


def _explain_syntax(message: str) -> Failure:
    hint = ""
    patterns: tuple[str, ...] = ()
    known = re.search(r"No (filter|test) named '(\w+)'", message)
    tag = re.search(r"unknown tag '(\w+)'", message)
    block = re.search(r"innermost block that needs to be closed is '(\w+)'", message)
    if known:
        message, patterns = f'there is no {known[1]} "{known[2]}"', _word(known[2])
        hint = did_you_mean(known[2], FILTERS if known[1] == "filter" else {*JINJA_TESTS, *TESTS})
    elif tag and tag[1] in _INNER_TAGS:
        patterns = (rf"\{{%[-+]?\s*({tag[1]})\b",)
        if block:
            message = f"{{% {tag[1]} %}} does not belong to {{% {block[1]} %}}, which is still open"
            hint = f"write {{% end{block[1]} %}} first"
        else:
            message = f"{{% {tag[1]} %}} belongs to no open block"
            hint = "remove it, or open its block above"
    elif tag:
        message, patterns = f'there is no tag "{tag[1]}"', _word(tag[1])
        near = _OTHER_TAGS.get(tag[1]) or next(iter(difflib.get_close_matches(tag[1], _TAGS, n=1)), "")
        hint = f"did you mean {{% {near} %}}?" if near else "for a literal `{%`, write {{ '{%' }}"
    elif block:
        message, hint = f"{{% {block[1]} %}} is never closed", f"add {{% end{block[1]} %}} where it ends"
        patterns = (rf"\{{%[-+]?\s*({block[1]})\b",)
    elif "`${#`" in message:
        hint = "write {{ '${#' }}, or put the lines between {% raw %} and {% endraw %}"
        patterns = (r"\$\{#",)
    elif re.search(r"(?:got|unexpected) 'end of print statement'", message):
        message, hint = "the expression is incomplete", "finish it, as in {{ name | upper }}"
    elif re.search(r"(?:got|unexpected) 'end of statement block'", message):
        message, hint = "the tag is incomplete", "finish it, as in {% if name %}"
    elif "end of template" in message or "end of print statement" in message or "'}'" in message:
        hint = "close the braces: {{ name }}"
    elif "chunk after expression" in message or "got '='" in message:
        message = "the expression ends, but more text follows"
        hint = "use == to compare, and `and`, `or` or ~ to combine"
    return Failure("template-syntax", f"invalid Jinja: {message}", hint, patterns)
