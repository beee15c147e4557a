"""Rows of plain data, and tables of them for a terminal of some width.

In: the graph, selected targets and an environment. Out: the rows of `bakegen list`, which hold what bake reads in that
environment. In: any rows. Out: lines.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bakegen.errors import fail, printable
from bakegen.expressions.bake_environment import PLATFORMS, platforms_in
from bakegen.graph.graph import Graph
from bakegen.graph.model import Target

Row = dict[str, Any]


def built_targets(targets: Iterable[Target], environment: Mapping[str, str]) -> list[Target]:
    """Return those of the targets that bake builds; raises `BakegenError` if they are for other platforms than asked."""
    everything = list(targets)
    found = [target for target in everything if platforms_in(target.platforms, environment)]
    if not found:
        raise fail(
            "empty-selection",
            f"no selected target is built for {PLATFORMS}={environment.get(PLATFORMS, '')}",
            hint=f"available: {', '.join(dict.fromkeys(name for target in everything for name in target.platforms))}",
        )
    return found


def target_row(graph: Graph, target: Target, environment: Mapping[str, str]) -> Row:
    """Return all that is known of a target."""
    return {
        "target": target.name,
        "image": target.image,
        "release": target.release,
        "axes": dict(target.values),
        "platforms": list(platforms_in(target.platforms, environment)),
        "published": target.publish,
        "tags": list(graph.references_in(target, environment)) if target.publish else [],
        "args": {name: value.at_bake_time(environment) for name, value in target.args.items()},
        "parents": [
            {"reference": parent.reference.at_bake_time(environment), "target": parent.target}
            for parent in target.parents
        ],
        "dockerfile": target.dockerfile,
        "context": target.context.at_bake_time(environment),
    }


def tag_rows(graph: Graph, targets: Iterable[Target], environment: Mapping[str, str]) -> list[Row]:
    """Return a row for each published tag, with its references in all registries."""
    rows = []
    for target in targets:
        common = target_row(graph, target, environment)
        kept = {key: common[key] for key in ("target", "image", "release", "axes", "args", "parents")}
        repositories = graph.repositories_in(target, environment)
        built: list[str] = common["platforms"]
        tags = [(tag, built) for tag in target.tags]
        tags += [(tag, [platform]) for platform in built for tag in target.platform_tags.get(platform, ())]
        for tag, platforms in tags if target.publish else ():
            name = tag.at_bake_time(environment)
            references = [f"{repository}:{name}" for repository in repositories]
            place = {"repositories": list(repositories), "references": references}
            rows.append({"tag": name, **place, "platforms": platforms, **kept})
    return rows


def group_rows(graph: Graph, targets: Iterable[Target], environment: Mapping[str, str]) -> list[Row]:
    """Return a row for each group that holds one of the targets."""
    names = {target.name for target in targets}
    built = {target.name for target in graph.targets.values() if platforms_in(target.platforms, environment)}
    return [
        {"group": group.name, "kind": group.kind, "targets": [name for name in group.members if name in built]}
        for group in graph.groups
        if names.intersection(group.members)
    ]


def dockerfile_rows(targets: Iterable[Target]) -> list[Row]:
    """Return a row for each Dockerfile, with the targets that it serves."""
    rows: dict[str, Row] = {}
    for target in targets:
        row = rows.setdefault(
            target.dockerfile, {"dockerfile": target.dockerfile, "template": target.template, "targets": []}
        )
        row["targets"].append(target.name)
    return list(rows.values())


def table(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Return rows as aligned lines under a header; lists are counted or joined, so that a row stays one line."""
    found = ([printable(_cell(row[column])) for column in columns] for row in rows)
    cells = [[column.upper() for column in columns], *found]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def folded(rows: Sequence[Row], columns: Sequence[str], width: int | None) -> list[str]:
    """Return rows as lines of at most `width` characters, as far as words allow; None is for any width.

    What is None in a row is not known; a column without anything that is known is left out.
    """
    known = [column for column in columns if any(row[column] not in (None, [], ()) for row in rows)]
    lines = table([{column: _cell(row[column]) or "-" for column in known} for row in rows], known)
    if width is None or max(map(len, lines)) <= width:
        return lines
    first, *rest = known
    margin = max(map(len, rest), default=0) + 4
    blocks = []
    for row in rows:
        blocks.append(_cell(row[first]))
        for column in rest:
            blocks += textwrap.wrap(
                _cell(row[column]),
                width,
                initial_indent=f"  {column}".ljust(margin),
                subsequent_indent=" " * margin,
                break_long_words=False,
                break_on_hyphens=False,
            )
    return blocks


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) if all(isinstance(item, str) for item in value) else str(len(value))
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items())
    return str(value)
