"""What axis values are called in tags, and the tags that patterns expand to.

In: names that axis values could go by, and patterns. Out: who gets which name, who loses it to whom; tags.

An axis value may go by several names: `3.14.2`, `3.14`, `3` and the empty name. Where a pattern mentions the axis itself,
`{{ python }}`, it expands to every combination; anywhere else, a name in an expression is the value. A name that several
values could have belongs to the newest stable one, so nobody edits "newest" at a release. An empty name takes its
separator along; when nothing but empty names is left, the tag is `latest`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bakegen.expressions.scope import EMPTY_NAME, Expression, Scope
from bakegen.expressions.text import Text
from bakegen.expressions.versions import newest_of
from bakegen.graph.model import LostName, ValueName
from bakegen.source.yaml import KeyPath

LATEST = Text.literal("latest")

# The separator before an empty name goes with it; at the start of the tag, the one after it.
_EMPTY_AFTER = re.compile(f"[-._]{EMPTY_NAME}")
_EMPTY_FIRST = re.compile(f"^{EMPTY_NAME}[-._]?")

Values = Mapping[str, str]  # axis -> value
_Contest = tuple[str, str, tuple[str, ...]]  # axis, name, the values of all other axes


@dataclass(frozen=True, slots=True)
class Claim:
    """A name that the value of `axis` at one point could go by; `shared` names go to the newest claimant only."""

    axis: str
    name: str
    shared: bool
    path: KeyPath = ()


@dataclass(frozen=True, slots=True)
class Quarrel:
    """A name that several values claim that have no order as versions."""

    axis: str
    name: str
    values: tuple[str, ...]
    path: KeyPath


Settled = tuple[dict[str, tuple[ValueName, ...]], tuple[LostName, ...]]  # by axis; what went to other values


def settle_claims(claims: Sequence[tuple[Values, Sequence[Claim]]]) -> tuple[list[Settled], list[Quarrel]]:
    """Decide who gets which name among the targets of one release: per point its names and what it lost.

    Values compete where all other axes agree.
    """
    rivals: dict[_Contest, dict[str, KeyPath]] = {}
    for values, mine in claims:
        for claim in mine:
            if claim.shared:
                rivals.setdefault(_contest(values, claim), {}).setdefault(values[claim.axis], claim.path)
    winners = {contest: newest_of(candidates) for contest, candidates in rivals.items()}
    quarrels = [
        Quarrel(contest[0], contest[1], tuple(candidates), next(iter(candidates.values())))
        for contest, candidates in rivals.items()
        if not winners[contest]
    ]
    settled: list[Settled] = []
    for values, mine in claims:
        won: dict[str, dict[str, ValueName]] = {}
        lost: dict[tuple[str, str], LostName] = {}
        for claim in mine:
            value, contest = values[claim.axis], _contest(values, claim)
            if claim.shared and winners[contest] != value:
                lost[claim.axis, claim.name] = LostName(claim.axis, claim.name, winners[contest] or "", claim.path)
                continue
            others = tuple(other for other in rivals[contest] if other != value) if claim.shared else ()
            won.setdefault(claim.axis, {}).setdefault(claim.name, ValueName(claim.name, claim.path, others))
        names = {axis: tuple(found.values()) for axis, found in won.items()}
        settled.append((names, tuple(lost.values())))
    return settled, quarrels


def _contest(values: Values, claim: Claim) -> _Contest:
    return claim.axis, claim.name, tuple(value for axis, value in values.items() if axis != claim.axis)


def expand_pattern(names: Mapping[str, Sequence[str]], scope: Scope, pattern: Expression) -> list[Text]:
    """Return the tags of one pattern: one for each combination of names, each once, in order; empty for no text."""
    tags: dict[Text, None] = {}
    for combination in itertools.product(*names.values()):
        text = scope.named(dict(zip(names, combination, strict=True))).tag(pattern)
        tags[_without_empty_names(text) or (LATEST if text else text)] = None
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
