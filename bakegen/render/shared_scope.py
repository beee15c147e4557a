"""What the targets of one Dockerfile have in common: the names that its template may use.

In: the targets that share a Dockerfile. Out: a `Scope`, in which what differs, or is free until bake time, is not
available, with the reason; or a `BakegenError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from posixpath import dirname, normpath
from typing import Any

from bakegen.errors import BakegenError
from bakegen.expressions.evaluate import FreeText, Scope
from bakegen.expressions.text import as_written
from bakegen.graph.expand import Names
from bakegen.graph.graph import Graph
from bakegen.graph.model import Parent, Target
from bakegen.manifest.model import Manifest
from bakegen.spec.platforms import Platform


def shared_scope(graph: Graph, manifest: Manifest, names: Names, path: str, targets: Sequence[Target]) -> Scope:
    """Return the names for a Dockerfile: what its targets have in common; the rest is not available, with reasons."""
    unavailable = {
        name: (
            f"{name} is free until bake time, so it cannot stand in a Dockerfile",
            f"pass it as a build arg: args: {{{name}: '{{{{ {name} }}}}'}}",
        )
        for name in manifest.variables
    }
    unavailable["platform"] = ("a Dockerfile serves all platforms", "loop over `platforms`, or use TARGETARCH")
    values: dict[str, Any] = {}
    properties = {}
    for name, texts in {
        "release": [target.release for target in targets],
        "target": [target.name for target in targets],
    }.items():
        if len(set(texts)) == 1:
            values[name] = texts[0]
        else:
            unavailable[name] = (f'"{path}" serves {len(set(texts))} values of `{name}`', "")
    for axis in manifest.axes:
        found = list(dict.fromkeys(target.values.get(axis.name) for target in targets))
        if len(found) == 1 and found[0] is not None:
            values[axis.name] = found[0]
            properties[axis.name] = axis.value(found[0])
        elif len(found) > 1:
            shown = ", ".join(str(value) for value in found)
            unavailable[axis.name] = (
                f'"{path}" serves several values of `{axis.name}` ({shown})',
                _arg_hint(axis.name, targets),
            )
        else:
            unavailable[axis.name] = (f'release "{targets[0].release}" does not span axis `{axis.name}`', "")
    platforms = dict.fromkeys(platform for target in targets for platform in target.platforms)
    parents = _parents(graph, manifest, path, targets)
    values |= {
        "platforms": tuple(Platform(platform) for platform in manifest.platforms if platform in platforms),
        "args": {name: FreeText(text) if "\0" in text else text for name, text in targets[-1].args.items()},
        "folder": normpath(_from_context(dirname(path), targets[0].context)),
        "parents": parents,
    }
    if parents:
        values["parent"] = parents[0]
    return names.scope(values, properties, unavailable)


def _parents(graph: Graph, manifest: Manifest, path: str, targets: Sequence[Target]) -> list[str]:
    """Return the parents' references as the Dockerfile writes them: what differs, as the build arg that carries it."""
    counts = {len(target.parents) for target in targets}
    if len(counts) > 1:
        raise manifest.source.failure(
            "shared-dockerfile",
            f'targets that share "{path}" have {" and ".join(map(str, sorted(counts)))} parents',
            next((target.parents[0].path for target in reversed(targets) if target.parents), targets[0].path),
            hint="give them different paths with `dockerfile:`, for example with {{ release }}",
        )
    written = []
    for parents in zip(*(target.parents for target in targets), strict=True):
        text = parametrize([parent.reference for parent in parents], [target.args for target in targets])
        if text is None:
            raise _parent_problem(graph, manifest, path, targets, parents)
        written.append(text)
    return written


def _parent_problem(
    graph: Graph, manifest: Manifest, path: str, targets: Sequence[Target], parents: Sequence[Parent]
) -> BakegenError:
    """Say why no text names the parents of all targets: a variable or a difference that no build arg carries."""
    args = "".join(text for target in targets for text in target.args.values())
    for parent in parents:
        for name in manifest.variables:
            if f"\0{name}\0" in parent.reference and f"\0{name}\0" not in args:
                return manifest.source.failure(
                    "not-available",
                    f'the parent is called "{as_written(parent.reference)}", and {name} is free until bake time, so it cannot stand in a Dockerfile',
                    parent.path,
                    hint=f"pass it as a build arg: args: {{{name}: '{{{{ {name} }}}}'}}",
                )
    shown = ", ".join(dict.fromkeys(graph.resolve(targets[0], parent.reference) for parent in parents))
    return manifest.source.failure(
        "shared-dockerfile",
        f'targets that share "{path}" have different parents ({shown}), and no build arg carries the difference',
        parents[0].path,
        hint="add a build arg whose value is the part that differs, or give them different paths",
    )


def parametrize(values: Sequence[str], args: Sequence[Mapping[str, str]]) -> str | None:
    """Return one text that gives `values[i]` when `${NAME}` is replaced by `args[i][NAME]`; None if there is none.

    >>> parametrize(["python:3.8-slim", "python:3.9-slim"], [{"PYTHON": "3.8"}, {"PYTHON": "3.9"}])
    'python:${PYTHON}-slim'
    """
    if len(set(values)) == 1 and "\0" not in values[0]:
        return values[0]
    first = args[0]
    carriers = [
        name for name in first if first[name] and ("\0" in first[name] or len({arg.get(name) for arg in args}) > 1)
    ]
    parts: list[tuple[str, bool]] = [(values[0], False)]  # text, and whether it is a build arg
    for name in sorted(carriers, key=lambda name: (-len(first[name]), name)):
        parts = [
            piece for text, is_arg in parts for piece in ([(text, True)] if is_arg else _split(text, first[name], name))
        ]
    for value, arg in zip(values, args, strict=True):
        if "".join(arg.get(text, "") if is_arg else text for text, is_arg in parts) != value:
            return None
    written = "".join(f"${{{text}}}" if is_arg else text for text, is_arg in parts)
    return None if "\0" in written else written


def _split(text: str, value: str, name: str) -> Iterator[tuple[str, bool]]:
    for index, piece in enumerate(text.split(value)):
        if index:
            yield name, True
        if piece:
            yield piece, False


def _arg_hint(axis: str, targets: Sequence[Target]) -> str:
    for name, text in targets[0].args.items():
        if text == targets[0].values.get(axis):
            return f"write ${{{name}}}, the build arg that carries it"
    return f"pass it as a build arg, or add {{{{ {axis} }}}} to `dockerfile:`"


def _from_context(folder: str, context: str) -> str:
    """Return the folder of a Dockerfile as its COPY instructions see it."""
    if context == "." or "://" in context:
        return folder
    return folder.removeprefix(context).lstrip("/") if f"{folder}/".startswith(f"{context}/") else folder
