"""What the text of an expression says, without evaluating it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from jinja2 import TemplateSyntaxError, nodes

from bakegen.expressions.sandbox import Sandbox

_LEXER = Sandbox(None)


def split_expressions(text: str) -> list[str] | None:
    """Return literal text and expressions in turn: literal, expression, literal, …, literal.

    None stands for text with statements or comments, which has no such parts. The text must be valid.
    """
    parts = [""]
    for _, kind, value in _LEXER.lex(text):
        if kind in {"variable_begin", "variable_end"}:
            parts.append("")
        elif kind.endswith("_begin"):
            return None
        else:
            parts[-1] += value
    return [part.strip() if index % 2 else part for index, part in enumerate(parts)]


@lru_cache(maxsize=1024)  # asked for each target that a pattern gives tags to
def computed_from(pattern: str, axes: frozenset[str]) -> str | None:
    """Return an axis that a tag pattern computes text from, where it could have meant a name of its value; None if none.

    `{{ axis }}` means the names, and conditions compare the value: neither is meant here.
    """
    try:
        stack: list[nodes.Node] = [_LEXER.parse(pattern)]
    except (TemplateSyntaxError, RecursionError):  # whoever evaluates it says so
        return None
    while stack:
        node = stack.pop()
        if isinstance(node, nodes.Compare | nodes.Test | nodes.Getattr | nodes.Getitem):
            continue
        if isinstance(node, nodes.Name) and node.name in axes:
            return node.name
        left_out = [node.test] if isinstance(node, nodes.CondExpr | nodes.If) else []
        if isinstance(node, nodes.Output):
            left_out = [child for child in node.nodes if isinstance(child, nodes.Name)]
        stack += [child for child in node.iter_child_nodes() if child not in left_out]
    return None


def compared_with(text: str) -> Iterator[tuple[str, str]]:
    """Yield each name that an expression compares with a constant text (`==`, `!=`, `in`), and that text.

    >>> list(compared_with("{{ 'x' if distro != 'debian' }}"))
    [('distro', 'debian')]
    """
    for comparison in _all_nodes(text):
        if not isinstance(comparison, nodes.Compare):
            continue
        sides = [comparison.expr, *(operand.expr for operand in comparison.ops)]
        plain = all(operand.op in {"eq", "ne", "in", "notin"} for operand in comparison.ops)
        names = [side.name for side in sides if isinstance(side, nodes.Name)]
        if len(sides) == 2 and len(names) == 1 and plain:  # noqa: PLR2004 - a name and what it is compared with
            other = next(side for side in sides if not isinstance(side, nodes.Name))
            if isinstance(other, nodes.List | nodes.Tuple) and comparison.ops[0].expr is not other:
                continue
            constants = other.items if isinstance(other, nodes.List | nodes.Tuple) else [other]
            within = comparison.ops[0].op in {"in", "notin"} and other is comparison.expr  # a text in a longer one
            for constant in constants if not within else ():
                if isinstance(constant, nodes.Const) and isinstance(constant.value, str):
                    yield names[0], constant.value


def _all_nodes(text: str) -> Iterator[nodes.Node]:
    """Yield the nodes of a template in their order; none if it cannot be parsed, which whoever evaluates it says."""
    try:
        stack: list[nodes.Node] = [_LEXER.parse(text)]
    except (TemplateSyntaxError, RecursionError):
        return
    while stack:  # Jinja's own search is recursive
        node = stack.pop()
        yield node
        stack += reversed(list(node.iter_child_nodes()))
