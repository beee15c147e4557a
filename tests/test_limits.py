"""Time, memory and spelling: what expressions and templates are kept from, beyond what the sandbox keeps them from."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from random_templates import outcomes

from bakegen.errors import BakegenError
from bakegen.expressions import limits as module
from bakegen.expressions.limits import BYTES, Limits
from bakegen.expressions.sandbox import Evaluator
from bakegen.expressions.scope import Expression, Scope
from bakegen.source.yaml import parse_source

TESTS = Path(__file__).parent


@pytest.fixture
def short_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.02)


def work_for_ever(piece: AbstractContextManager[None], begun: list[int]) -> None:
    """Begin one piece of work after another, and let no exception stop it."""
    while True:
        with contextlib.suppress(Exception), piece:
            begun.append(sum(range(1000)))


@pytest.mark.usefixtures("short_seconds")
def test_a_piece_of_work_that_lasts_too_long_ends_the_run_whatever_catches_exceptions() -> None:
    limits = Limits()
    message = r"needs more than 5 seconds of CPU time \[too-expensive\]"
    with pytest.raises(BakegenError, match=message), limits, limits.piece:
        work_for_ever(limits.piece, [])  # pieces within a piece


@pytest.mark.usefixtures("short_seconds")
def test_many_short_pieces_may_last_as_long_as_all_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALL_SECONDS", 20)
    limits = Limits()
    begun: list[int] = []
    with pytest.raises(BakegenError, match="the project needs more than 20 seconds of CPU time"), limits:
        work_for_ever(limits.piece, begun)
    assert len(begun) > 100


@pytest.mark.usefixtures("short_seconds")
def test_work_that_is_no_piece_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALL_SECONDS", 20)
    with pytest.raises(BakegenError, match="the project needs more than 20 seconds of CPU time"), Limits():
        work_for_ever(contextlib.nullcontext(), [])


def test_a_lack_of_memory_is_a_problem_and_leaves_the_process_as_it_was() -> None:
    before = [resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU)]
    handler, timer = signal.getsignal(signal.SIGPROF), signal.getitimer(signal.ITIMER_PROF)

    with (
        pytest.raises(BakegenError, match=r"the project needs more than 1.5 GiB of memory \[too-expensive\]"),
        Limits(),
    ):
        bytearray(2 * BYTES)  # much of what the process had may have been freed

    assert [resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU)] == before
    assert (signal.getsignal(signal.SIGPROF), signal.getitimer(signal.ITIMER_PROF)) == (handler, timer)


def test_a_limit_of_the_shell_is_kept() -> None:
    script = (
        "import resource\n"
        "from bakegen.expressions.limits import BYTES, Limits\n"
        "shell = BYTES - 1, resource.RLIM_INFINITY\n"
        "resource.setrlimit(resource.RLIMIT_AS, shell)\n"
        "with Limits():\n"
        "    assert resource.getrlimit(resource.RLIMIT_AS) == shell\n"
        "assert resource.getrlimit(resource.RLIMIT_AS) == shell\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_single_operation_that_does_not_end_is_ended_by_the_kernel() -> None:
    script = (
        "import resource\n"
        "from bakegen.expressions import limits\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "limits.STUCK, limits.TICK = 1, 0.02\n"
        "tower = 1\n"
        "for _ in range(60):\n"
        "    tower = (tower, tower)\n"
        "with limits.Limits() as bounds, bounds.piece:\n"
        "    hash(tower)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=300)
    assert done.returncode == -signal.SIGXCPU


def test_limits_are_refused_where_they_would_not_hold() -> None:
    refused = []

    def enter() -> None:
        try:
            with Limits():
                pass
        except RuntimeError as error:
            refused.append(str(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert refused == ["limits are kept by signals, which reach the main thread only"]


@pytest.mark.parametrize(
    "expression",
    [
        "'x' * 9999999", "9999999 * 'x'", "[0] * 999999", "(0,) * 999999", "[['x' * 9999] * 99] * 99", "range(99999) | list * 9",
        "'x'.ljust(9999999)", "'x'.rjust(9999999)", "'x'.center(9999999)", "'1'.zfill(9999999)", "'\\t'.expandtabs(9999999)", "'x' | center(9999999)",
        "'%9999999d' % 1", "'%*d' % (9999999, 1)", "'%9999999d' | format(1)", "'{:9999999}'.format(1)", "'{:{w}}'.format(1, w=9999999)", "'%.9999999f' % 1",
        "('a' * 99999).replace('a', 'b' * 99)", "('a' * 99999) | replace('a', 'b' * 99)", "('\\t' * 99999).expandtabs(99)", "('a' * 9999).join('b' * 9999)",
        "('b' * 9999) | join('a' * 9999)", "('x\\n' * 9999) | indent(999)", "[1] | tojson(indent=9999999)", "[1] | batch(9999999, 0) | list", "[1] | slice(9999999)",
        "1.5 | round(9999999, 'ceil')", "('1' * 9999) | int(base=16)", "('ß' * 3999999) | upper", "('<' * 1999999) | e", "('é' * 999999) | urlencode", "('a' * 999999) | list",
        "('a' * 3999999).rfind('b' ~ 'a' * 999999)", "('a' * 3999999) | trim('b' * 999999 ~ 'a')", "('a' * 3999999).rsplit('b' ~ 'a' * 999999)",
        "'x' * 3999999 ~ 'x' * 3999999", "'x' * 3999999 + 'x' * 3999999", "1e308 * 10", "1e999", "9" * 5000, "0x" + "9" * 5000,
        "('<b>' * 999999) | forceescape", "('x' | safe).ljust(9999999)", "dict(a='x' * 3999999, b='x' * 3999999)", "{'a': 'x' * 3999999, 'b': 'x' * 3999999}",
        "['x' * 3999999, 'x' * 3999999]", "('x' * 3999999, 'x' * 3999999)", "[[0] * 400000] | sum(start=[0] * 400000)",
    ],
)  # fmt: skip
def test_nothing_large_is_made_of_something_small(expression: str) -> None:
    assert refusal(f"{{{{ ({expression}) is defined }}}}") in {"too-expensive", "template-syntax"}


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% for i in range(99) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
        "{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == ns.x }}",
        "{% for i in range(99) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}",
        "{% for i in range(99) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x | tojson }}",
        "{% for i in range(99) %}{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x | string }}",
        "{% for i in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | string }}",
        "{% set ns.x = 9 %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
        "{% macro m() %}{{ m(varargs, varargs) }}{% endmacro %}{{ m(1) }}",
        "{% macro m() %}{{ m(a=kwargs, b=kwargs) }}{% endmacro %}{{ m() }}",
        "{% macro m() %}{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}{% endmacro %}{{ m() }}",
        "{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
        "{% filter upper %}{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}{% endfilter %}",
        "{% autoescape 'x' | center(9999999) %}{% endautoescape %}",
    ],
)
def test_nothing_grows_without_end(template: str) -> None:
    assert refusal("{% set ns = namespace(x='x') %}" + template) == "too-expensive"


@pytest.mark.parametrize(
    "expression",
    [
        "{{ [fail] | map('string') | join }}", "{{ fail ~ '' }}", "{{ '%s' % fail }}", "{{ '%s' % [fail] }}", "{{ '%(a)s' % {'a': fail} }}", "{{ [[fail]] | string }}",
        "{{ '{}'.format(fail) }}", "{{ '{a}'.format(a=fail) }}", "{{ '{0[0]}'.format([fail]) }}", "{{ '{0.upper}'.format('x') }}", "{{ '{a.upper}'.format_map({'a': 'x'}) }}",
        "{{ ('{}' | safe).format(fail) }}", "{{ ['x'] | map(attribute='upper') | join }}", "{{ ['x'] | join(attribute='upper') }}", "{{ 'x'.upper | string }}",
        "{{ cycler(1) | string }}", "{{ joiner() | upper }}", "{{ namespace() | string }}", "{{ dict | string }}", "{{ [range, cycler] | string }}", "{{ {1: dict}.values() | string }}",
        "{% macro m() %}{% endmacro %}{{ m | string }}", "{% for i in [1] %}{{ loop | string }}{% endfor %}", "{% for i in [1] %}{{ loop.cycle | string }}{% endfor %}",
        "{% block b %}{% endblock %}{{ self | string }}", "{% block b %}{% endblock %}{{ self.b | string }}", "{{ fail(fail) }}", "{{ fail | replace('a', 'b') }}",
        "{{ 'a' | replace('a', fail) }}", "{{ fail | quoted }}", "{{ fail | major }}", "{{ fail | urlize }}", "{{ [fail] | tojson }}", "{{ fail is version('>1') }}",
    ],
)  # fmt: skip
def test_what_has_no_spelling_is_not_written(expression: str) -> None:
    assert refusal(expression) == "template-failed"


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("{{ {'a': 1, 'b': 2}.keys() | join }}{{ {'a': 1}.items() | string }}", "ab[('a', 1)]"),
        ("{{ range(3) | map('string') | list }}", None),
        ("{{ 'abc' | map('upper') | join }}{{ ['b', 'a', 'b'] | unique | string }}", "ABC['b', 'a']"),
        ("{{ [1, 2, 3] | select('odd') | string }}{{ 'ab' | reverse | string }}", "[1, 3]ba"),
        ("{{ [[1], [2]] | sum(start=[]) | join }}{{ [1, 2] | sum }}{{ [{'a': 2}] | sum(attribute='a') }}", "1232"),
        ("{% filter length %}abc{% endfilter %}", "3"),
        ("{{ {'update': 1}.update }}{{ {'copy': 2}['copy'] }}", "12"),
    ],
)
def test_what_is_counted_out_one_by_one_becomes_a_list(expression: str, result: str | None) -> None:
    if result is None:
        assert refusal(expression) == "template-failed"
    else:
        assert scope().text(Expression(expression, ("k",))).with_defaults() == result


def test_templates_give_text_or_problems_and_the_same_in_every_process() -> None:
    outputs = []
    for seed in ("1", "2"):
        command = [sys.executable, str(TESTS / "random_templates.py"), "7", "600"]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append(done.stdout)

    assert outputs[0] == outputs[1]
    assert " at 0x" not in outputs[0]
    assert len(outputs[0].splitlines()) == 600


def test_the_grammar_of_templates_reaches_most_of_what_there_is() -> None:
    found = [what for _, what in outcomes(3, 300)]

    assert len([text for text in found if "app.yml" not in text]) > 20
    codes = ("template-failed", "template-syntax", "undefined-name", "not-available", "unsafe-expression")
    assert all(any(f"[{code}]" in text for text in found) for code in codes)


def scope() -> Scope:
    return Scope(Evaluator(), parse_source(b"k: x\n", "app.yml"), {}, {})


def refusal(template: str) -> str:
    with pytest.raises(BakegenError) as caught:
        scope().text(Expression(template, ("k",)))
    (problem,) = caught.value.problems
    return problem.code
