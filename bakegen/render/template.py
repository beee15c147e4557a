"""A template and the names that it may use → text, with each failure at the line of the template that caused it."""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Iterable
from dataclasses import replace

from jinja2 import TemplateNotFound, TemplatesNotFound, TemplateSyntaxError

from bakegen.errors import BakegenError, Position, Problem, line_at, narrowed
from bakegen.expressions.failures import Failure, explain_failure
from bakegen.expressions.limits import TOO_LONG, OverrunError
from bakegen.expressions.scope import Scope, text_mistake
from bakegen.manifest.model import Manifest
from bakegen.project import Project
from bakegen.source.paths import path_mistake
from bakegen.source.yaml import KeyPath


def render_template(
    project: Project, template: str, scope: Scope, manifest: Manifest, origin: KeyPath, output: str
) -> str:
    """Render a template file; raises `BakegenError` at the template's line, or at `origin` if there is no such file."""
    try:
        text = project.evaluator.render(template, scope)
    except BakegenError:
        raise
    except OverrunError as error:
        if error.problem is TOO_LONG:
            error.problem = _template_problem(project, error, template, scope, manifest, origin)
        raise
    except Exception as error:
        problem = _template_problem(project, error, template, scope, manifest, origin)
        caller = _caller(project, error, template)
        if caller or (problem.code.startswith("template-") and not problem.hint):
            trail = f"called at {caller}, to render {output}" if caller else f"while rendering {output}"
            problem = replace(problem, hint=f"{problem.remedy} ({trail})")
        raise BakegenError([problem]) from error
    mistake = text_mistake(text)
    if mistake:
        position = Position(project.loader.shown.get(template, template))
        raise BakegenError([Problem(code="control-character", message=mistake, position=position, hint="remove it")])
    return text


def at_template(project: Project, problem: Problem, path: str, template: str) -> Problem:
    """Return a problem of a line of a Dockerfile as one of its template, and of the line there if that can be told."""
    shown = project.loader.shown.get(template, "")
    if not (problem.position and problem.position.file == path and shown):
        return problem
    if not problem.position.line:
        return replace(problem, position=Position(shown))
    lines = [line.removesuffix("\r") for line in project.loader.texts[shown].split("\n")]
    column = problem.position.column
    same = [number for number, line in enumerate(lines, 1) if line == problem.source]
    if same:
        return replace(problem, position=Position(shown, same[0], column))
    word = problem.source[column - 1 :][: problem.length] if column else ""
    near = [(number, line) for number, line in enumerate(lines, 1) if word and word in line]
    if len(near) == 1:  # expressions stand in that line, but not in the word that is wrong
        number, line = near[0]
        return replace(problem, position=Position(shown, number, line.index(word) + 1), source=line)
    # The line is made by expressions or by another template.
    line = f"{path}:{problem.position.line}: {problem.source.strip()}"
    return replace(problem, position=Position(shown), source="", message=f"{problem.message} ({line})")


def _template_problem(
    project: Project, error: BaseException, template: str, scope: Scope, manifest: Manifest, origin: KeyPath
) -> Problem:
    failure = explain_failure(error, scope.names())
    texts = project.loader.texts
    file, line = "", 0
    if isinstance(error, TemplateSyntaxError) and error.filename:
        file, line = error.filename, error.lineno
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in texts]
        if frames:
            file, line = frames[-1].filename, frames[-1].lineno or 0
    if isinstance(error, TemplateNotFound) and not isinstance(error, TemplatesNotFound):
        failure = _explain_missing(str(error.message), failure, project.loader.list_templates())
        if not file:
            return manifest.source.problem(failure.code, failure.message, origin, hint=failure.hint)
    if isinstance(error, TemplateSyntaxError) and "end of template" in str(error.message) and file:
        line = _unclosed(texts[file]) or line
    source = line_at(texts[file], line) if file else ""
    position = Position(file or project.loader.shown.get(template, template), line)
    problem = Problem(code=failure.code, message=failure.message, position=position, source=source, hint=failure.hint)
    return narrowed(problem, *failure.patterns)


def _caller(project: Project, error: BaseException, template: str) -> str:
    """Return the place in a template that called or included the one that failed, empty if it was none."""
    texts, own = project.loader.texts, project.loader.shown.get(template)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in texts]
    if not frames or frames[0].filename != own or frames[-1].filename == own:
        return ""
    return str(Position(frames[0].filename, frames[0].lineno or 0))


def _unclosed(text: str) -> int:
    """Return the line of the innermost block of a template that is never closed, 0 if there is none."""
    blocks: list[tuple[str, int]] = []
    for tag in re.finditer(r"\{%[-+]?\s*(end)?(if|for|block|macro|call|filter|with|raw)\b", text):
        if tag[1] and blocks and blocks[-1][0] == tag[2]:
            blocks.pop()
        elif not tag[1]:
            blocks.append((tag[2], text.count("\n", 0, tag.start()) + 1))
    return blocks[-1][1] if blocks else 0


def _explain_missing(template: str, failure: Failure, known: Iterable[str]) -> Failure:
    """Say why there is no such template, or which is nearest, compared without the ending that most have in common."""
    mistake = path_mistake(template)
    if mistake:
        return replace(failure, code="unsafe-path", message=f'the path "{template}" {mistake}')
    stems = {name.removesuffix(".j2").removesuffix(".Dockerfile"): name for name in known}
    near = difflib.get_close_matches(template.removesuffix(".j2").removesuffix(".Dockerfile"), stems, n=1)
    hint = f'did you mean "{stems[near[0]]}"?' if near else f"create templates/{template}, or use another template"
    return replace(failure, hint=hint)
