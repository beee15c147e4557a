"""What a command line is about: its project, and what its selectors pick, also as options that are called like an axis.

A command that takes selectors as options has `SELECTING` as its settings: `--releases cudnn --python-version 3.9` is
`release=cudnn python=3.9`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from bakegen.errors import MisuseError, did_you_mean

if TYPE_CHECKING:
    from bakegen.graph.model import Target
    from bakegen.project import Project

SELECTING: dict[str, Any] = {
    "context_settings": {"ignore_unknown_options": True},
    "options_metavar": "[OPTIONS] [--AXIS VALUE]...",
}


def project_in(context: typer.Context) -> Project:
    """Return the project that a command is about; raises `BakegenError` with every problem found."""
    from bakegen.project import load_project
    from bakegen.source.paths import find_root

    return load_project(find_root(context.obj))


def selected_in(
    context: typer.Context, project: Project, words: Sequence[str] | None, *, everything: bool, verb: str
) -> Sequence[Target]:
    """Return the targets that the words of a command line pick, or all if it says so.

    An option that is no selector, or no word at all, ends the command as misused.
    """
    from bakegen.build.plan import choices
    from bakegen.graph.select import FIXED_KEYS

    graph = project.graph
    axes = [axis.name for manifest in graph.manifests for axis in manifest.axes]
    options = [name for option in context.command.params for name in option.opts if name.startswith("--")]
    try:
        selectors = selectors_of(words or [], [*FIXED_KEYS, *axes], options)
    except MisuseError as error:
        context.fail(str(error))
    if not selectors and not everything:
        there_is = "\n".join(choices(graph))
        context.fail(f"select what to {verb}, or use --all for everything:\n{there_is}")
    return graph.select(selectors)


def selectors_of(words: Sequence[str], keys: Iterable[str], options: Iterable[str] = ()) -> list[str]:
    """Return words with each option `--KEY VALUE` as the selector `KEY=VALUE`; the options of one key add up.

    A key is written in the singular or plural, with or without `-version`. `options` are those of the command itself, to
    be suggested. Raises `MisuseError`.

    >>> selectors_of(["app", "--distros", "debian11,debian12", "--python_version=3.9"], ["distro", "python"])
    ['app', 'distro=debian11,debian12', 'python=3.9']
    """
    spelt: dict[str, str] = {}
    for key in keys:
        for spelling in _spellings(key):
            spelt.setdefault(spelling, key)
        spelt[_option(key)] = key  # whatever else could be called so
    found = []
    left = iter(words)
    for word in left:
        if not word.startswith("-"):
            found.append(word)
            continue
        name, equals, value = word.partition("=")
        key = spelt.get(_option(name.removeprefix("--")), "") if name.startswith("--") else ""
        if not key:
            known = [*options, *(f"--{_option(key)}" for key in spelt.values())]
            raise MisuseError(f"No such option: {name} ({did_you_mean(name, known)})")
        value = value if equals else next(left, "")
        if not value or value.startswith("-"):
            raise MisuseError(f"Option {name} needs a value")
        found.append(f"{key}={value}")
    return found


def _option(key: str) -> str:
    return key.replace("_", "-").lower()


def _spellings(key: str) -> Iterator[str]:
    name = _option(key)
    for stem in (name, name.removesuffix("s")):
        for ending in ("", "s", "-version", "-versions"):
            yield stem + ending
