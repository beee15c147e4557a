"""Read the `test` sections of a manifest: the checks that its images must pass.

In: a `SectionReader`. Out: `CheckRule`s, those of a release on top of the image's; mistakes go to its problems.
Texts that hold no expression are checked here, the others where they are evaluated (`testing.checks`).
"""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bakegen.expressions.scope import Expression
from bakegen.manifest.model import CheckRule
from bakegen.manifest.section import SectionReader
from bakegen.source.yaml import KeyPath
from bakegen.spec.sizes import size_in_bytes

IMAGE = "image"  # what results call the look-up of an image, so that no check can be called so
EXIT = 0
TIMEOUT = 120  # seconds
_OF_RUN = ("entrypoint", "output", "matches", "exit", "timeout")
_WHAT = ("run", "files", "user", "environment", "labels", "size")


def read_checks(reader: SectionReader, path: KeyPath, own: Mapping[str, Any]) -> tuple[CheckRule, ...]:
    """Return the checks of a release: what the image says, and what the release says on top."""
    merged: dict[str, tuple[Any, KeyPath]] = {}
    for place, content in ((("test",), reader.content), ((*path, "test"), own if path else {})):
        for name, value in content.get("test", {}).items():
            merged[name] = value, (*place, name)
    return tuple(_check(reader, name, value, place) for name, (value, place) in merged.items() if value is not None)


def _check(reader: SectionReader, name: str, content: Mapping[str, Any], path: KeyPath) -> CheckRule:
    if name == IMAGE:
        message = f'"{IMAGE}" is reserved for the lookup of an image'
        reader.report("reserved-name", message, path, "choose another name", at_key=True)
    _report_missing(reader, name, content, path)

    def text(key: str) -> Expression | None:
        value = content.get(key)
        return None if value is None else Expression(str(value), (*path, key))

    def texts(key: str) -> tuple[Expression, ...]:
        return tuple(Expression(str(item), (*path, key, index)) for index, item in enumerate(content.get(key, [])))

    def mapping(key: str) -> dict[str, Expression]:
        return {name: Expression(str(item), (*path, key, name)) for name, item in content.get(key, {}).items()}

    rule = CheckRule(
        name=name,
        run=texts("run") if isinstance(content.get("run"), list) else text("run"),
        entrypoint=text("entrypoint"),
        output=text("output"),
        matches=text("matches"),
        exit=content.get("exit", EXIT),
        timeout=content.get("timeout", TIMEOUT),
        files=texts("files"),
        user=text("user"),
        environment=mapping("environment"),
        labels=mapping("labels"),
        size=text("size"),
        path=path,
    )
    for expression, mistake in expressions_of(rule):
        if expression.is_literal and (found := mistake(expression.text)):
            reader.report("wrong-value", found[0], expression.path, found[1])
    return rule


def _report_missing(reader: SectionReader, name: str, content: Mapping[str, Any], path: KeyPath) -> None:
    if not any(key in content for key in _WHAT):
        hint = "add `run`, `files`, `user`, `environment`, `labels` or `size`"
        reader.report("empty-value", f'the check "{name}" checks nothing', path, hint, at_key=True)
    elif "run" not in content:
        for key in _OF_RUN:
            if key in content:
                message = f'"{key}" needs a command, but the check "{name}" runs none'
                hint = "add `run`; [] runs the image's own command"
                reader.report("missing-key", message, (*path, key), hint, at_key=True)


Mistake = Callable[[str], tuple[str, str] | None]  # message and hint for text that is evaluated


def expressions_of(rule: CheckRule) -> Iterator[tuple[Expression, Mistake]]:
    """Yield every text of a check, and what tells whether it will do."""
    if isinstance(rule.run, Expression):
        yield rule.run, _words_mistake
    else:
        yield from ((word, _no_mistake) for word in rule.run or ())
    for expression, mistake in (
        (rule.entrypoint, _no_mistake),
        (rule.output, _no_mistake),
        (rule.matches, _pattern_mistake),
        (rule.user, _no_mistake),
        (rule.size, _size_mistake),
    ):
        if expression:
            yield expression, mistake
    yield from ((file, _file_mistake) for file in rule.files)
    yield from ((text, _no_mistake) for text in (*rule.environment.values(), *rule.labels.values()))


def _no_mistake(_text: str) -> None:
    return None


def _words_mistake(text: str) -> tuple[str, str] | None:
    try:
        shlex.split(text)
    except ValueError as error:
        return (
            f"the command cannot be split into words: {str(error).lower()}",
            "fix the quotes, or write it as a list of words",
        )
    return None


def _pattern_mistake(text: str) -> tuple[str, str] | None:
    try:
        compiled(text)
    except (re.error, RecursionError, OverflowError) as error:
        return (
            f'"{text}" is not a valid regular expression: {error}',
            "see https://docs.python.org/3/library/re.html",
        )
    return None


def compiled(pattern: str) -> re.Pattern[str]:
    """Return a regular expression, in which `^` and `$` stand for the ends of lines; raises re.error and others."""
    with warnings.catch_warnings(action="ignore"):  # about what another version of Python may read otherwise
        return re.compile(pattern, re.MULTILINE)


def _file_mistake(text: str) -> tuple[str, str] | None:
    if text.startswith("/"):
        return None
    return f'"{text}" is not an absolute path', "start it with /"


def _size_mistake(text: str) -> tuple[str, str] | None:
    if size_in_bytes(text):
        return None
    return f'"{text}" is not a valid size', "use a number and a unit, such as 900 MB or 1.5 GiB"
