"""`bakegen validate`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from bakegen.commands.options import Images
from bakegen.commands.selection import project_in
from bakegen.console import count, print_json, print_lines, say
from bakegen.errors import BakegenError, Problem, printable


class ProblemFormat(StrEnum):
    """How problems are printed."""

    text = "text"
    json = "json"
    github = "github"


def validate(
    context: typer.Context,
    images: Images = None,
    form: Annotated[ProblemFormat, typer.Option("--format", help="Output format.")] = ProblemFormat.text,
) -> None:
    """Report all problems at once; write nothing.

    Checks all manifests and templates, renders all Dockerfiles, and evaluates the expressions of all checks.
    """
    from bakegen.render.files import render_project
    from bakegen.testing.checks import evaluate_checks

    try:
        project = project_in(context)
        manifests = project.graph.restrict(images or [])
        render_project(project)
        evaluate_checks(project, {name: target.platforms for name, target in project.graph.targets.items()}, {})
    except BakegenError as error:
        if form is ProblemFormat.text:
            raise
        if form is ProblemFormat.json:
            print_json([_as_data(problem) for problem in error.problems])
        else:
            print_lines(map(_as_annotation, error.problems))
        raise typer.Exit(1) from error
    if form is ProblemFormat.json:
        print_json([])
    number = sum(len(project.graph.by_image[manifest.image]) for manifest in manifests)
    say(f"{', '.join(manifest.source.file for manifest in manifests)}: no problems in {count(number, 'target')}")


def _as_data(problem: Problem) -> dict[str, Any]:
    where = problem.position
    return {
        "code": problem.code,
        "message": problem.message,
        "file": where.file if where else None,
        "line": where.line if where else None,
        "column": where.column if where else None,
        "hint": problem.remedy,
    }


def _as_annotation(problem: Problem) -> str:
    """Return a problem as GitHub's runners read it from a log."""
    where = problem.position
    place = f" file={where.file},line={max(1, where.line)},col={max(1, where.column)}," if where else " "
    hint = f" ({problem.remedy})" if problem.remedy else ""
    text = f"{problem.message}{hint}".replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return printable(f"::error{place}title={problem.code}::{text}")
