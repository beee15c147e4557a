"""Names of axis values in tags: who gets a shared name, and what an empty name leaves of a pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from bakegen.expressions.sandbox import Evaluator
from bakegen.expressions.scope import EMPTY_NAME, Expression, Scope
from bakegen.expressions.values import BoundValue
from bakegen.graph.tag_names import Claim, expand_pattern, join_names, settle_claims
from bakegen.source.yaml import parse_source


@pytest.mark.parametrize(
    ("pattern", "tag"),
    [
        ("3.14-slim", "3.14-slim"),
        ("3.14-@", "3.14"),
        ("3.14_@", "3.14"),
        ("3.14.@", "3.14"),
        ("@-slim", "slim"),
        ("@", "latest"),
        ("@-@", "latest"),
        ("@-@-slim", "slim"),
        ("v@-slim", "v-slim"),
        ("3-@-slim", "3-slim"),
        ("", "latest"),
    ],
)
def test_an_empty_name_takes_its_separator_along(pattern: str, tag: str) -> None:
    assert join_names(pattern.replace("@", EMPTY_NAME)) == tag


def shared(name: str) -> Claim:
    return Claim("version", name, shared=True)


def own(name: str) -> Claim:
    return Claim("version", name, shared=False)


def winners(claims: Mapping[str, Sequence[Claim]]) -> dict[str, list[str]]:
    """Who goes by which names, when each value of one axis makes these claims."""
    names, quarrels = settle_claims([({"version": value}, mine) for value, mine in claims.items()])
    assert not quarrels
    return {value: list(found.get("version", ())) for value, found in zip(claims, names, strict=True)}


def test_a_shared_name_goes_to_the_newest_by_version_not_by_text() -> None:
    assert winners({"3.9": [shared("3")], "3.10": [shared("3")]}) == {"3.9": [], "3.10": ["3"]}


def test_a_prerelease_gets_no_shared_name() -> None:
    claims = {"3.15.0a1": [own("3.15.0a1"), shared("3")], "3.14.2": [own("3.14.2"), shared("3")]}

    assert winners(claims) == {"3.15.0a1": ["3.15.0a1"], "3.14.2": ["3.14.2", "3"]}


def test_a_lone_prerelease_gets_no_shared_name_either() -> None:
    assert winners({"4.0rc1": [own("4.0rc1"), shared("4")]}) == {"4.0rc1": ["4.0rc1"]}


def test_values_compete_only_where_all_other_axes_agree() -> None:
    points = [{"version": "1", "distro": "a"}, {"version": "2", "distro": "a"}, {"version": "1", "distro": "b"}]

    names, quarrels = settle_claims([(point, [shared("")]) for point in points])

    assert (names, quarrels) == ([{}, {"version": ("",)}, {"version": ("",)}], [])


def test_values_without_order_quarrel() -> None:
    _, quarrels = settle_claims([({"version": value}, [shared("")]) for value in ("slim", "full")])

    assert quarrels == [("version", "", ("slim", "full"))]


def test_a_name_that_only_one_value_claims_needs_no_version() -> None:
    assert winners({"slim": [shared("small")]}) == {"slim": ["small"]}


def test_a_pattern_expands_to_every_combination_in_order_and_each_tag_once() -> None:
    source = parse_source(b"k: x\n", "app.yml")
    scope = Scope(Evaluator(), source, {}, {})
    scope.add({axis: BoundValue(axis, axis, {}, scope) for axis in ("python", "distro")})
    names = {"python": ("3.14", "3"), "distro": ("slim", "", "")}

    tags = expand_pattern(names, scope, Expression("{{ python }}-{{ distro }}", ("k",)))

    assert [tag.with_defaults() for tag in tags] == ["3.14-slim", "3.14", "3-slim", "3"]
