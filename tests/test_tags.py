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
    settled, quarrels = settle_claims([({"version": value}, mine) for value, mine in claims.items()])
    assert not quarrels
    return {
        value: [name.text for name in names.get("version", ())]
        for value, (names, _) in zip(claims, settled, strict=True)
    }


def test_a_shared_name_goes_to_the_newest_by_version_not_by_text() -> None:
    assert winners({"3.9": [shared("3")], "3.10": [shared("3")]}) == {"3.9": [], "3.10": ["3"]}


def test_a_prerelease_gets_no_name_that_a_stable_version_could_have() -> None:
    claims = {"3.15.0a1": [own("3.15.0a1"), shared("3")], "3.14.2": [own("3.14.2"), shared("3")]}

    assert winners(claims) == {"3.15.0a1": ["3.15.0a1"], "3.14.2": ["3.14.2", "3"]}


def test_a_prerelease_keeps_a_name_that_no_stable_version_could_have() -> None:
    assert winners({"4.0rc1": [own("4.0rc1"), shared("4")]}) == {"4.0rc1": ["4.0rc1", "4"]}
    assert winners({"4.0rc1": [shared("4")], "4.0rc2": [shared("4")]}) == {"4.0rc1": [], "4.0rc2": ["4"]}


def test_values_compete_only_where_all_other_axes_agree() -> None:
    points = [{"version": "1", "distro": "a"}, {"version": "2", "distro": "a"}, {"version": "1", "distro": "b"}]

    settled, quarrels = settle_claims([(point, [shared("")]) for point in points])

    assert [[name.text for name in names.get("version", ())] for names, _ in settled] == [[], [""], [""]]
    assert quarrels == []


def test_who_wins_and_who_loses_a_name_is_known() -> None:
    settled, _ = settle_claims([({"version": value}, [shared("1")]) for value in ("1.2", "1.10")])

    assert [lost.winner for _, found in settled for lost in found] == ["1.10"]
    assert settled[1][0]["version"][0].rivals == ("1.2",)


def test_values_without_order_quarrel() -> None:
    _, quarrels = settle_claims([({"version": value}, [shared("")]) for value in ("slim", "full")])

    assert [(quarrel.axis, quarrel.name, quarrel.values) for quarrel in quarrels] == [("version", "", ("slim", "full"))]


def test_a_name_that_only_one_value_claims_needs_no_version() -> None:
    assert winners({"slim": [shared("small")]}) == {"slim": ["small"]}


def expanded(pattern: str, **names: tuple[str, ...]) -> list[str]:
    source = parse_source(b"k: x\n", "app.yml")
    scope = Scope(Evaluator(), source, {"both": Expression("{{ python }}-{{ distro }}", ("define", "both"))}, {})
    scope.add({axis: BoundValue(f"{axis}-value", axis, {}, scope) for axis in ("python", "distro")})
    return [tag.with_defaults() for tag in expand_pattern(names, scope, Expression(pattern, ("k",)))]


def test_a_pattern_expands_to_every_combination_in_order_and_each_tag_once() -> None:
    tags = expanded("{{ python }}-{{ distro }}", python=("3.14", "3"), distro=("slim", "", ""))

    assert tags == ["3.14-slim", "3.14", "3-slim", "3"]


@pytest.mark.parametrize(
    ("pattern", "tags"),
    [
        ("{{ python }}", ["3.14", "latest"]),
        ("{{ python | upper }}", ["PYTHON-VALUE"]),
        ("{{ python ~ '' }}", ["python-value"]),
        ("{{ both }}", ["python-value-distro-value"]),
        ("{{ 'multi' if python == 'python-value' else 'single' }}", ["multi"]),
        ("{% if true %}{{ python }}{% endif %}", ["3.14", "latest"]),
        ("{% for python in ['x'] %}{{ python }}{% endfor %}", ["x"]),
        ("{{ '' }}", [""]),
    ],
)
def test_only_a_mention_of_the_axis_itself_stands_for_its_names(pattern: str, tags: list[str]) -> None:
    assert expanded(pattern, python=("3.14", "")) == tags
