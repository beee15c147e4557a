"""The checks of each target on each of its platforms, their expressions evaluated.

In: a `Project`, targets with their platforms, and an environment. Out: `Check`s, or a `BakegenError` with every problem.

Only `bakegen test` and `bakegen validate` evaluate them: no output depends on them, and they are many.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bakegen.errors import BakegenError, Collector
from bakegen.expressions.scope import Expression, Scope
from bakegen.expressions.text import Text
from bakegen.graph.scope import FamilyNames
from bakegen.manifest.checks import Mistake, expressions_of
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
                work = _Evaluation(manifest, inner, environment, problems)
                checks = [work.check(rule) for rule in manifest.release(target.release).checks]
                found[name, platform] = tuple(check for check in checks if check)
    problems.stop_if_any()
    return found


class _Evaluation:
    """The texts of one target's checks on one platform."""

    def __init__(self, manifest: Manifest, scope: Scope, environment: Mapping[str, str], problems: Collector) -> None:
        self.manifest = manifest
        self.scope = scope
        self.environment = environment
        self.problems = problems

    def check(self, rule: CheckRule) -> Check | None:
        """Return a check, None if a text of it is wrong; then the problems have grown."""
        texts: dict[Expression, Text] = {}
        sound = True
        for expression, mistake in expressions_of(rule):
            try:
                texts[expression] = self.text(expression, mistake, whole=expression is not rule.run)
            except BakegenError as error:
                sound = False
                for problem in error.problems:
                    self.problems.keep(problem)
        if not sound:
            return None

        def plain(expression: Expression | None) -> str | None:
            return self.resolved(texts[expression]) if expression else None

        def mapping(expressions: Mapping[str, Expression]) -> dict[str, str]:
            return {key: self.resolved(texts[expression]) for key, expression in expressions.items()}

        run: tuple[str, ...] | None = None
        if rule.run is not None:  # split before variables are put in, so that no value of theirs becomes two words
            words = (
                _words(texts[rule.run])
                if isinstance(rule.run, Expression)
                else [texts[expression] for expression in rule.run]
            )
            run = tuple(map(self.resolved, words))
        size = plain(rule.size)
        return Check(
            name=rule.name,
            run=run,
            entrypoint=plain(rule.entrypoint),
            output=plain(rule.output),
            matches=plain(rule.matches),
            exit=rule.exit,
            timeout=rule.timeout,
            files=tuple(self.resolved(texts[expression]) for expression in rule.files),
            user=plain(rule.user),
            environment=mapping(rule.environment),
            labels=mapping(rule.labels),
            size=None if size is None else size_in_bytes(size),
        )

    def text(self, expression: Expression, mistake: Mistake, *, whole: bool) -> Text:
        text = self.scope.text(expression)
        if found := mistake(self.resolved(text) if whole else text.as_written()):
            raise BakegenError([self.manifest.source.problem("wrong-value", found[0], expression.path, hint=found[1])])
        return text

    def resolved(self, text: Text) -> str:
        return text.at_bake_time(self.environment)


_PRIVATE = 0xF0000  # the first of the characters that nobody else uses


def _words(text: Text) -> list[Text]:
    """Split text as a shell does, before variables have values, so that no value becomes two words."""
    marks = {variable: chr(_PRIVATE + index) for index, variable in enumerate(text.variables)}
    variables = {mark: variable for variable, mark in marks.items()}
    words = shlex.split(text.replaced(marks.__getitem__))
    return [Text.joined(variables.get(character, character) for character in word) for word in words]
