"""What there is: rows for `bakegen list`, as plain data.

In: the graph and selected targets. Out: rows (mappings of plain values) that the command prints as table, JSON or names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bakegen.graph.graph import Graph
from bakegen.graph.model import Target

Row = dict[str, Any]


def target_row(target: Target) -> Row:
    """Return all that is known of a target, variables at their defaults."""
    return {
        "target": target.name,
        "image": target.image,
        "release": target.release,
        "axes": dict(target.values),
        "platforms": list(target.platforms),
        "published": target.publish,
        "tags": [reference.with_defaults() for reference in target.references] if target.publish else [],
        "args": {name: value.with_defaults() for name, value in target.args.items()},
        "parents": [
            {"reference": parent.reference.with_defaults(), "target": parent.target} for parent in target.parents
        ],
        "dockerfile": target.dockerfile,
        "context": target.context.with_defaults(),
    }


def tag_rows(targets: Iterable[Target]) -> list[Row]:
    """Return a row for each published tag, with its references in all registries."""
    rows = []
    for target in targets:
        common = target_row(target)
        for tag in target.tags if target.publish else ():
            name = tag.with_defaults()
            references = [f"{repository.with_defaults()}:{name}" for repository in target.repositories]
            kept = {key: common[key] for key in ("target", "image", "release", "axes", "platforms", "args", "parents")}
            rows.append({"tag": name, "references": references, **kept})
    return rows


def group_rows(graph: Graph, targets: Sequence[Target]) -> list[Row]:
    """Return a row for each group that holds one of the targets."""
    names = {target.name for target in targets}
    return [
        {"group": group.name, "kind": group.kind, "targets": list(group.members)}
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
    cells = [[column.upper() for column in columns], *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) if all(isinstance(item, str) for item in value) else str(len(value))
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items())
    return str(value)
