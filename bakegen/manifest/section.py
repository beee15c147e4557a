"""What the readers of a manifest's sections share: its data, its problems, and the values that stand everywhere.

In: a `Source` that fits the schema. Out: platforms and expressions, and a list of problems.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bakegen.errors import Code, Problem
from bakegen.expressions.scope import Condition, Expression
from bakegen.source.yaml import KeyPath, Source
from bakegen.spec.platforms import platform_mistake


class SectionReader:
    """One manifest while it is read; problems collect in `problems`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.content: dict[str, Any] = source.content
        self.problems: list[Problem] = []

    def report(self, code: Code, message: str, path: KeyPath, hint: str = "", *, at_key: bool = False) -> None:
        """Add a problem at a place of the manifest."""
        self.problems.append(self.source.problem(code, message, path, hint=hint, at_key=at_key))

    def platforms(self, path: KeyPath) -> tuple[str, ...] | None:
        """Return the platforms listed at `path`, checked; None if nothing is listed there."""
        value: Any = self.content
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            return None
        known = self.content.get("platforms", [])
        for index, platform in enumerate(value):
            here = (*path, index)
            mistake = platform_mistake(platform)
            if mistake:
                self.report("unknown-platform", f'"{platform}" is not a valid platform', here, mistake)
            elif path != ("platforms",) and platform not in known:
                self.report(
                    "unlisted-platform",
                    f"{platform} is not a platform of the image",
                    here,
                    "add it to `platforms` of the image; axis values and releases can only restrict them",
                )
        return tuple(value)

    def expressions(self, path: KeyPath, content: Mapping[str, Any]) -> dict[str, Expression | None]:
        """Return the texts of a mapping as expressions; null stays None, and takes an inherited entry away."""
        return {key: None if value is None else entry(value, (*path, key), "value") for key, value in content.items()}


def entry(content: Any, path: KeyPath, key: str) -> Expression:
    """Return an entry that is text, or a mapping of text at `key` and the condition under which it holds."""
    if not isinstance(content, dict):
        return Expression(str(content), path)
    when = Condition(content["when"], (*path, "when")) if "when" in content else None
    return Expression(str(content[key]), (*path, key), when)
