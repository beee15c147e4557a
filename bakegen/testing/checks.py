"""The checks of each target on each of its platforms, their expressions evaluated.

In: a `Project`, targets with their platforms, and an environment. Out: `Check`s, or a `BakegenError` with every problem.

Only `bakegen test` and `bakegen validate` evaluate them: no output depends on them, and they are many.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bakegen.errors import Collector
from bakegen.expressions.scope import Expression, Scope
from bakegen.expressions.text import Text
from bakegen.graph.scope import FamilyNames
from bakegen.manifest.checks import expressions_of
from bakegen.manifest.model import CheckRule, Manifest
from bakegen.project import Project
from bakegen.spec.platforms import Platform
from bakegen.spec.sizes import size_in_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What an image must pass on one platform; None and nothing are not looked at."""

    name: str
    run: tuple[str, ...] | None
    entrypoint: str | None
    output: str | None
    matches: str | None
    exit: int
    timeout: int  # seconds
    files: tuple[str, ...]
    user: str | None
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    size: int | None  # bytes


def evaluate_checks(
    project: Project, platforms: Mapping[str, Iterable[str]], environment: Mapping[str, str]
) -> dict[tuple[str, str], tuple[Check, ...]]:
    """Return the checks by target and platform, with variables as the environment says."""
    problems = Collector()
    names: dict[str, FamilyNames] = {}
    found = {}
    with project.evaluator.limits:
        for name, declared in platforms.items():
            target = project.graph.targets[name]
            manifest = project.graph.manifest(target.image)
            family = names.setdefault(manifest.image, FamilyNames(manifest, project.evaluator))
            scope = family.of(target)
            for platform in declared:
                inner = scope.with_names({"platform": Platform(platform)})
                checks = [
                    _check(rule, manifest, inner, environment, problems)
                    for rule in manifest.release(target.release).checks
                ]
                found[name, platform] = tuple(check for check in checks if check)
    problems.stop_if_any()
    return found


def _check(
    rule: CheckRule, manifest: Manifest, scope: Scope, environment: Mapping[str, str], problems: Collector
) -> Check | None:
    """Return a check, None if a text of it is wrong; then the problems have grown."""
    texts: dict[Expression, Text] = {}
    expressions = list(expressions_of(rule))
    for expression, mistake in expressions:
        with problems.collecting():
            text = scope.text(expression)
            # A command is split before variables are put in, so that no value of theirs becomes two words.
            if found := mistake(text.as_written() if expression is rule.run else text.at_bake_time(environment)):
                raise manifest.source.failure("wrong-value", found[0], expression.path, hint=found[1])
            texts[expression] = text
    if len(texts) < len(expressions):
        return None

    def plain(expression: Expression) -> str:
        return texts[expression].at_bake_time(environment)

    def optional(expression: Expression | None) -> str | None:
        return plain(expression) if expression else None

    def mapping(expressions: Mapping[str, Expression]) -> dict[str, str]:
        return {key: plain(expression) for key, expression in expressions.items()}

    run: tuple[str, ...] | None = None
    if isinstance(rule.run, Expression):
        run = tuple(word.at_bake_time(environment) for word in _words(texts[rule.run]))
    elif rule.run is not None:
        run = tuple(map(plain, rule.run))
    return Check(
        name=rule.name,
        run=run,
        entrypoint=optional(rule.entrypoint),
        output=optional(rule.output),
        matches=optional(rule.matches),
        exit=rule.exit,
        timeout=rule.timeout,
        files=tuple(map(plain, rule.files)),
        user=optional(rule.user),
        environment=mapping(rule.environment),
        labels=mapping(rule.labels),
        size=size_in_bytes(plain(rule.size)) if rule.size else None,
    )


_PRIVATE = 0xF0000  # the first of the characters that nobody else uses


def _words(text: Text) -> list[Text]:
    """Split text as a shell does, before variables have values, so that no value becomes two words."""
    marks = {variable: chr(_PRIVATE + index) for index, variable in enumerate(text.variables)}
    variables = {mark: variable for variable, mark in marks.items()}
    words = shlex.split(text.replaced(marks.__getitem__))
    return [Text.joined(variables.get(character, character) for character in word) for word in words]
