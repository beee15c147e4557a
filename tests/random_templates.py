"""Templates that nobody would write: a grammar that knows every filter, test and operator, and many attributes.

Run as a program, it evaluates some of them and prints what comes of each, a line for each: python random_templates.py SEED COUNT
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

from jinja2.filters import FILTERS
from jinja2.tests import TESTS

from bakegen.errors import BakegenError
from bakegen.expressions.sandbox import Evaluator
from bakegen.expressions.scope import Expression, Scope, tree
from bakegen.expressions.text import Text, Variable
from bakegen.expressions.values import BoundValue, FreeText
from bakegen.source.yaml import parse_source
from bakegen.spec.platforms import Platform

NAMES = (
    "distro VERSION platforms platform data image suffix list_ circle nowhere nothing range dict cycler joiner namespace fail"
    " loop self varargs kwargs caller none true false macro a ns"
).split()
ATTRIBUTES = (
    "upper lower format format_map join split rsplit replace find rfind index count items keys values get append pop"
    " update encode translate title center ljust zfill expandtabs strip startswith partition splitlines copy next reset"
    " current super name arguments os arch variant base gpu none_ packages m k __class__ __init__ _scope _property mro"
    " bit_length real hex striptags unescape escape cycle previtem index0 length x y mapping send gi_frame description"
).split()
NUMBERS = (
    "0 1 -1 2 7 100 100000 4194304 1000000000 99999999999999999999 0x1F 1_000 1e5 1.5 1e308 1e400 -0.0 0b11".split()
)
TEXTS = ("", "a", "%s", "%d", "{}", "{0.upper}", "{x}", "{:>10}", "%(a)s", "%*d", "<b>", "3.14.2", "é", "\n", "\0", "\ud800", "a b", ",", "upper", "k", ">=1", "__class__")  # fmt: skip
LITERALS = [*NUMBERS, "9" * 100, "9" * 5000, *map(repr, TEXTS)]
KEYWORDS = "a b x attribute start width default reverse separator indent fill_with method base".split()
OPERATORS = [*"+ - * / // % ** ~ == != < <= > >= and or in".split(), "not in"]
MANY = [*FILTERS, "major", "minor", "quoted", "nothing"]
JUDGED = [*TESTS, "version", "newest"]


class Grammar:
    """Writes templates; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def some(self, depth: int, most: int, least: int = 0) -> list[str]:
        """Some expressions."""
        return [self.expression(depth) for _ in range(self.random.randrange(least, most + 1))]

    def arguments(self, depth: int) -> str:
        """What stands in the brackets of a call."""
        before = self.random.choices(["", f"{self.random.choice(KEYWORDS)}=", "*", "**"], [8, 2, 1, 1])[0]
        return ", ".join([*self.some(depth, 2), *(before + one for one in self.some(depth, 1))])

    def expression(self, depth: int) -> str:
        """What stands between two braces."""
        choose = self.random.choice
        below = depth - 1
        if depth <= 0 or self.random.random() < 0.2:
            return choose(choose((NAMES, LITERALS)))
        brackets = f"({self.arguments(below)})" if self.random.random() < 0.7 else ""
        one, two = self.expression(below), self.expression(below)
        return choose(
            (
                f"{one} | {choose(MANY)}{brackets}",
                f"{one} | {choose(MANY)} | {choose(MANY)}{brackets}",
                f"({one} {choose(OPERATORS)} {two})",
                f"({one}).{choose(ATTRIBUTES)}{brackets}",
                f"({one})[{two}]",
                f"({one})[{choose(('', choose(LITERALS)))}:{choose(('', two))}]",
                f"[{', '.join(self.some(below, 3))}]",
                f"{{{one}: {two}}}",
                f"({', '.join(self.some(below, 3, 1))},)",
                f"{choose(NAMES)}{brackets}",
                f"({one} is {choose(('', 'not '))}{choose(JUDGED)}{brackets})",
                f"({one} if {two} else {self.expression(below)})",
            )
        )

    def template(self, depth: int = 3) -> str:
        """A statement with others within, or an expression in braces."""
        choose = self.random.choice
        if depth <= 0 or self.random.random() < 0.5:
            return f"{{{{ {self.expression(choose((1, 2, 3, 4)))} }}}}"
        one, two, body = self.expression(2), self.expression(3), self.template(depth - 1)
        loop = f"{{{{ loop.{choose(ATTRIBUTES)} }}}}"
        grown = two.replace("VERSION", "ns.x")
        return choose(
            (
                f"{{% for {choose(('a', 'a, b'))} in {one}{choose(('', ' recursive', f' if {two}'))} %}}{body}{loop}{{% endfor %}}",
                f"{{% if {two} %}}{body}{{% endif %}}",
                f"{{% set {choose(('a', 'a, b', 'ns.x', 'distro'))} = {two} %}}{body}",
                f"{{% set a %}}{body}{{% endset %}}{{{{ a | {choose(MANY)} }}}}",
                f"{{% set ns = namespace(x={one}) %}}{{% for i in [1, 2] %}}{{% set ns.x = {grown} %}}{{% endfor %}}{{{{ ns.x | string }}}}",
                f"{{% macro macro({choose(('', 'a', 'a, b=1'))}) %}}{body}{{% endmacro %}}{{{{ macro({self.arguments(2)}) }}}}",
                f"{{% filter {choose(MANY)} %}}{body}{{% endfilter %}}",
                f"{{% call macro() %}}{body}{{% endcall %}}",
                f"{{% with a = {one} %}}{body}{{% endwith %}}",
                f"{{% block b %}}{body}{{% endblock %}}{{{{ self.b() }}}}",
                f"{{% autoescape {one} %}}{body}{{% endautoescape %}}",
                f"{{% include {one} %}}",
                body[:-2] + body[-1:],
            )
        )


def scope(evaluator: Evaluator) -> Scope:
    """A scope with every kind of value that there is."""
    define = {"suffix": "{{ distro }}-x", "list_": ["{{ VERSION }}", "y"], "circle": "{{ circle }}"}
    definitions = {name: tree(value, ("define", name)) for name, value in define.items()}
    names = Scope(evaluator, parse_source(b"k: x\n", "app.yml"), definitions, {"nowhere": ("not here", "not at all")})
    properties = {"base": "debian:{{ distro }}", "gpu": True, "none_": None, "packages": ["a", "b"], "m": {"k": [1, {"z": "é"}]}}  # fmt: skip
    bound = {key: tree(value, ("axes", key)) for key, value in properties.items()}
    return names.add(
        {
            "distro": BoundValue("12", "distro", bound, names, ("11", "12")),
            "VERSION": FreeText(Text((Variable("VERSION", "APP_VERSION", "1.0"),))),
            "platforms": (Platform("linux/amd64"), Platform("linux/arm/v7")),
            "platform": Platform("linux/arm/v7"),
            "data": {"x": [1, 2, {"y": "z"}], "items": 5, "update": "entry"},
            "image": "app",
        }
    )


def outcomes(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Templates, and the text or the problems that each gives. No third outcome: other exceptions are not caught."""
    grammar, evaluator = Grammar(seed), Evaluator()
    with evaluator.limits:
        for _ in range(count):
            template = grammar.template()
            try:
                found = scope(evaluator).text(Expression(template, ("k",))).as_written()
            except BakegenError as error:
                found = str(error)
            yield template, found


if __name__ == "__main__":
    for _, found in outcomes(int(sys.argv[1]), int(sys.argv[2])):
        sys.stdout.write(f"{found!a}\n")
