"""What axis values are called in tags, and the tags that patterns expand to.

In: names of axis values per target, and patterns. Out: tags.

An axis value may go by several names: `3.14.2`, `3.14`, `3` and the empty name. A pattern expands to every
combination. A name that several values could have belongs to the newest stable one, so nobody edits "newest" at a
release. An empty name takes its separator along; when nothing is left, the tag is `latest`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bakegen.expressions.scope import EMPTY_NAME, Expression, Scope
from bakegen.expressions.text import Text

Point = Mapping[str, str]  # axis -> value
_LATEST = Text.literal("latest")

# The separator before an empty name goes with it; at the start of the tag, the one after it.
_EMPTY_AFTER = re.compile(f"[-._]{EMPTY_NAME}")
_EMPTY_FIRST = re.compile(f"^{EMPTY_NAME}[-._]?")


@dataclass(frozen=True, slots=True)
class Claim:
    """A name that the value of `axis` at one point could go by; `shared` names go to the newest claimant only."""

    axis: str
    name: str
    shared: bool


def settle_claims(
    claims: Sequence[tuple[Point, Sequence[Claim]]],
) -> tuple[list[dict[str, tuple[str, ...]]], list[tuple[str, str, tuple[str, ...]]]]:
    """Decide who gets which name among the targets of one release.

    Returns, per point, the names of each axis; and the quarrels that cannot be settled, as axis, name and the values
    that cannot be ordered as versions. Values compete where all other axes agree.
    """
    rivals: dict[tuple[str, str, tuple[str, ...]], dict[str, None]] = {}
    for point, mine in claims:
        for claim in mine:
            if claim.shared:
                rivals.setdefault(_contest(point, claim), {})[point[claim.axis]] = None
    winners: dict[tuple[str, str, tuple[str, ...]], str | None] = {}
    quarrels = []
    for contest, values in rivals.items():
        winner, settled = _newest(values)
        winners[contest] = winner
        if not settled:
            quarrels.append((contest[0], contest[1], tuple(values)))
    names: list[dict[str, tuple[str, ...]]] = []
    for point, mine in claims:
        won: dict[str, dict[str, None]] = {}
        for claim in mine:
            if not claim.shared or winners[_contest(point, claim)] == point[claim.axis]:
                won.setdefault(claim.axis, {})[claim.name] = None
        names.append({axis: tuple(found) for axis, found in won.items()})
    return names, quarrels


def _contest(point: Point, claim: Claim) -> tuple[str, str, tuple[str, ...]]:
    return claim.axis, claim.name, tuple(value for axis, value in point.items() if axis != claim.axis)


def _newest(values: Iterable[str]) -> tuple[str | None, bool]:
    """Return the newest stable version (PEP 440's order), None if none is stable; False if they have no order."""
    from packaging.version import InvalidVersion, Version  # most families have no shared names

    candidates = list(values)
    try:
        versions = {value: Version(value) for value in candidates}
    except InvalidVersion:
        return (candidates[0], True) if len(candidates) == 1 else (None, False)
    stable = [value for value in candidates if not versions[value].is_prerelease]
    return (max(stable, key=versions.__getitem__) if stable else None), True


def expand_pattern(names: Mapping[str, Sequence[str]], scope: Scope, pattern: Expression) -> list[Text]:
    """Return the tags of one pattern: one for each combination of names, each once, in order."""
    if not names:
        return [scope.text(pattern) or _LATEST]
    tags: dict[Text, None] = {}
    for combination in itertools.product(*names.values()):
        chosen = dict(zip(names, combination, strict=True))
        tags[_without_empty_names(scope.renamed(chosen).text(pattern)) or _LATEST] = None
    return list(tags)


def _without_empty_names(tag: Text) -> Text:
    return Text.joined(
        _shortened(part, first=index == 0) if isinstance(part, str) else part for index, part in enumerate(tag.parts)
    )


def _shortened(text: str, *, first: bool) -> str:
    """Return a part of a tag without its empty names and their separators."""
    if EMPTY_NAME not in text:
        return text
    text = _EMPTY_AFTER.sub("", text)
    return (_EMPTY_FIRST.sub("", text) if first else text).replace(EMPTY_NAME, "")


def join_names(tag: str) -> str:
    """Return a tag without its empty names and their separators; `latest` if nothing is left."""
    return _shortened(tag, first=True) or "latest"
