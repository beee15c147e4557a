"""Expressions: what names mean, what can be written, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from bakegen.errors import BakegenError
from bakegen.expressions.sandbox import Evaluator
from bakegen.expressions.scope import Condition, Expression, Scope, tree
from bakegen.expressions.text import Text, Variable
from bakegen.expressions.values import BoundValue, FreeText
from bakegen.source.yaml import parse_source

MANIFEST = b"k: x\n"


def scope(define: Any = None, **values: Any) -> Scope:
    source = parse_source(MANIFEST, "app.yml")
    definitions = {name: tree(value, ("define", name)) for name, value in (define or {}).items()}
    names = Scope(Evaluator(), source, definitions, {"platform": ("there is no platform here", "loop over them")})
    properties = {"base": "debian:{{ distro }}", "gpu": True, "none": None, "packages": ["a", "b"], "upper": "own"}
    axis = BoundValue("12", "distro", {key: tree(value, ("axes", key)) for key, value in properties.items()}, names)
    return names.add(
        {"distro": axis, "VERSION": FreeText(Text((Variable("VERSION", "APP_VERSION", "1.0"),))), **values}
    )


def text(expression: str, define: Any = None, **values: Any) -> str:
    found = scope(define, **values).text(Expression(expression, ("k",)))
    return found.replaced(lambda variable: f"${variable.name}$")


def problem(expression: str, define: Any = None) -> tuple[str, str]:
    with pytest.raises(BakegenError) as caught:
        text(expression, define)
    (found,) = caught.value.problems
    return found.code, found.message


def test_properties_and_definitions_know_the_names_of_the_scope_that_asks() -> None:
    outer = scope({"site": "{{ arch }}.org/{{ distro.base }}"}, arch="none")
    site = Expression("{{ site }}", ("k",))

    assert outer.text(site).with_defaults() == "none.org/debian:12"
    assert outer.with_names({"arch": "arm64"}).text(site).with_defaults() == "arm64.org/debian:12"
    outer.add({"distro": BoundValue("12", "distro", {"base": Expression("debian-{{ arch }}", ("k",))}, outer)})
    assert outer.with_names({"arch": "arm64"}).text(site).with_defaults() == "arm64.org/debian-arm64"


def test_a_comparison_that_has_a_name_is_true_or_false_where_it_is_used() -> None:
    define = {"stable": "{{ distro == '12' }}", "old": "{{ not stable }}", "both": ["{{ stable }}"]}

    for condition, holds in [("stable", True), ("old", False), ("not old", True), ("both[0] and not old", True)]:
        assert scope(define).test(Condition(condition, ("when",))) is holds
    assert text("{{ stable }} {{ old }} {{ 'x' if old }}{{ old == 'false' }}", define) == "true false true"


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("plain", "plain"),
        ("{{ distro }}", "12"),
        ("{{ distro.base }}", "debian:12"),
        ("{{ distro['base'] }}", "debian:12"),
        ("{{ distro.upper }}-{{ distro.upper() if false else distro | upper }}", "own-12"),
        ("{{ distro.gpu }}", "true"),
        ("{{ distro.packages | join(' ') }}", "a b"),
        ("{{ 1 + 1 }}", "2"),
        ("{{ 'x' if distro.gpu }}{{ 'y' if not distro.gpu }}", "x"),
        ("{{ '3.14.2' | major }} {{ '3.14.2' | minor }} {{ '3' | minor }}", "3 3.14 3"),
        ("{{ 'a\"$b\\\\' | quoted }}", '"a\\"\\$b\\\\"'),
        ("{{ VERSION }}-x", "$VERSION$-x"),
        ("{{ nothing | default('d') }}", "d"),
        ("{{ nothing is defined }} {{ platform is defined }} {{ distro is defined }}", "false false true"),
        ("{% if false %}{{ nothing }}{{ platform }}{{ VERSION | upper }}{% endif %}ok", "ok"),
        ("e\u0301", "e\u0301"),
        ("{{ 'e\u0301' }}", "\u00e9"),
    ],
)
def test_an_expression_means(expression: str, result: str) -> None:
    assert text(expression) == result


def test_definitions_are_evaluated_when_they_are_used() -> None:
    define = {
        "suite": "{{ distro }}-slim",
        "image": "debian:{{ suite }}",
        "broken": "{{ 1 / 0 }}",
        "all": ["{{ suite }}"],
    }

    assert text("{{ image }}", define) == "debian:12-slim"
    assert text("{% if distro == '13' %}{{ broken }}{% endif %}{{ all[0] }}", define) == "12-slim"
    assert problem("{{ broken }}", define) == ("template-failed", "cannot be evaluated: division by zero")


def test_a_definition_with_a_variable_can_be_written_and_nothing_else() -> None:
    define = {"tag": "{{ VERSION }}-x"}

    assert text("{{ tag }}", define) == "$VERSION$-x"
    assert problem("{{ tag | upper }}", define)[0] == "not-available"


@pytest.mark.parametrize(
    "expression",
    [
        "{{ VERSION | upper }}", "{{ VERSION ~ 'x' }}", "{{ VERSION + 'x' }}", "{{ VERSION[0] }}", "{{ VERSION.x }}", "{{ VERSION | length }}",
        "{{ VERSION == '1' }}", "{{ VERSION | minor }}", "{{ VERSION | quoted }}", "{{ 'x' in VERSION }}", "{{ VERSION | replace('.', '') }}",
        "{% for c in VERSION %}{% endfor %}", "{% if VERSION %}{% endif %}", "{{ '%s' % VERSION }}", "{{ [VERSION] | join }}", "{{ platform }}",
        "{{ platform.arch }}", "{{ {VERSION: 1} }}",
    ],
)  # fmt: skip
def test_nothing_is_computed_from_what_is_not_known_yet(expression: str) -> None:
    assert problem(expression)[0] == "not-available"


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("{{ nothing }}", "undefined-name"),
        ("{{ nothing.more }}", "undefined-name"),
        ("{{ distro.nothing }}", "undefined-name"),
        ("{{ distro.nothing.more }}", "undefined-name"),
        ("{{ nothing + 1 }}", "undefined-name"),
        ("{{ 'a' == nothing }}", "undefined-name"),
        ("{% for x in nothing %}{% endfor %}", "undefined-name"),
        ("{{ distro.packages }}", "template-failed"),
        ("{{ distro.none }}", "template-failed"),
        ("{{ {} }}", "template-failed"),
        ("{{ range }}", "template-failed"),
        ("{{ fail('no') }}", "template-refused"),
        ("{{ distro._properties }}", "unsafe-expression"),
        ("{{ distro.__class__ }}", "unsafe-expression"),
        ("{{ distro['__class__'] }}", "unsafe-expression"),
        ("{{ distro | attr('__class__') }}", "unsafe-expression"),
        ("{{ distro.packages.append('c') }}", "unsafe-expression"),
        ("{{ ''.format_map.__globals__ }}", "unsafe-expression"),
        ("{{ VERSION._text }}", "not-available"),
        ("{{ 2 ** 99 }}", "unsafe-expression"),
        ("{% include 'x' %}", "template-failed"),
        ("{{ 'x' * 10 ** 9 }}", "unsafe-expression"),
        ("{{ '\\x1b[31m' }}", "control-character"),
        ("{{ '\\ud800' }}", "control-character"),
        ("{{ '\\x00VERSION\\x00' }}", "control-character"),
        ("{{ '%c' | format(0) }}", "control-character"),
        ("{{ '\\x01' }}", "control-character"),
    ],
)
def test_an_expression_is_refused(expression: str, code: str) -> None:
    assert problem(expression)[0] == code


@pytest.mark.parametrize(
    ("condition", "holds"),
    [("distro.gpu", True), ("distro == '12'", True), ("not distro.gpu", False), ("'a' in distro.packages", True), ("distro.none", False)],
)  # fmt: skip
def test_a_condition_holds(condition: str, *, holds: bool) -> None:
    assert scope().test(Condition(condition, ("k",))) is holds


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("distro is version('>=12')", True),
        ("distro is version('>=12.5,<13')", False),
        ("'12.10' is version('>12.9')", True),
        ("'3.15.0b3' is version('>=3.15.0b1')", True),
        ("distro is newest", True),
    ],
)
def test_versions_compare_as_versions(condition: str, *, holds: bool) -> None:
    names = scope()
    names.add({"distro": BoundValue("12", "distro", {}, names, ("11", "12", "13rc1"))})

    assert names.test(Condition(condition, ("k",))) is holds


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("{{ 'x' if 'noble' is version('>1') }}", '"noble" is not a valid version'),
        ("{{ 'x' if distro is version('12') }}", '"12" is not a valid version specifier'),
        ("{{ 'x' if 'noble' is newest }}", "`newest` only applies to an axis"),
    ],
)
def test_what_is_no_version_cannot_be_compared(expression: str, message: str) -> None:
    assert problem(expression) == ("not-available", message)
