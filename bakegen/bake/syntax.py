"""Compare a bake file with the one that bakegen would write, for where there is no buildx to say what a file means.

In: both texts. Out: how many blocks and constants are the same, or a `BakegenError` with a problem for each that is not.
python-hcl2 parses both, so comments, line breaks and the order of blocks make no difference.
"""

from __future__ import annotations

from itertools import zip_longest

import hcl2
from lark import Token, Tree
from lark.exceptions import LarkError, UnexpectedInput

from bakegen.bake.reading import mismatch, unreadable
from bakegen.errors import BakegenError, Problem

# python-hcl2 takes these escapes, and all that follows up to a `}` on whatever line, for one piece of text. So it gets
# characters in their place that no text holds (https://www.unicode.org/faq/private_use.html#nonchar1).
_ESCAPES = {"$${": "\ufdd0" * 3, "%%{": "\ufdd1" * 3}

Tokens = list[Token]


def compare(content: bytes, expected: bytes) -> int:
    """Compare a bake file with what it should be; raises `BakegenError` with a problem for each block that differs."""
    here, there = _statements(content), _statements(expected)
    problems = [mismatch(f"{name} is missing", 0) for name in there if name not in here]
    problems += [
        mismatch(f"{name} is not in the manifests", tokens[0].line or 0, tokens[0].column or 0)
        for name, tokens in here.items()
        if name not in there
    ]
    for name, tokens in here.items():
        if name in there and (problem := _difference(name, tokens, there[name])):
            problems.append(problem)
    if problems:
        raise BakegenError(problems)
    return len(there)


def _statements(content: bytes) -> dict[str, Tokens]:
    """Return the tokens of each block and constant, without line breaks and comments."""
    found: dict[str, Tokens] = {}
    for statement in _parse(content).children:
        if isinstance(statement, Tree) and statement.data != "new_line_or_comment":
            tokens: Tokens = [
                token
                for token in statement.scan_values(lambda each: isinstance(each, Token))
                if token.type != "NL_OR_COMMENT"
            ]
            name = called = _called(statement, tokens)
            count = 1
            while name in found:
                count += 1
                name = f"{called}, number {count},"
            found[name] = tokens
    return found


def _called(statement: Tree[Token], tokens: Tokens) -> str:
    """Return how messages call a block or constant: `target "app"`."""
    if statement.data == "attribute":
        return f'the constant "{tokens[0]}"'
    label = "".join(tokens[1 : [token.type for token in tokens].index("LBRACE")]).strip('"')
    return f'{tokens[0]} "{label}"' if label else str(tokens[0])


def _difference(name: str, here: Tokens, there: Tokens) -> Problem | None:
    """Return a problem at the first token that should be another."""
    for found, wanted in zip_longest(here, there):
        if found is None or wanted is None or found.strip() != wanted.strip():
            place = found if found is not None else here[-1]
            message = f"{name}: found {_shown(found)}, expected {_shown(wanted)}"
            return mismatch(message, place.line or 0, place.column or 0)
    return None


def _shown(token: Token | None) -> str:
    if token is None:
        return "nothing"
    text = token.strip()
    for escape, stand_in in _ESCAPES.items():
        text = text.replace(stand_in, escape)
    return f"`{text}`"


def _parse(content: bytes) -> Tree[Token]:
    """Return the body of a file; raises `BakegenError` (`bake-unreadable`) if it is no HCL."""
    try:
        text = content.decode("utf-8-sig")
        for escape, stand_in in _ESCAPES.items():
            text = text.replace(escape, stand_in)
        tree: Tree[Token] = hcl2.parses_to_tree(text)
        return tree.children[0]  # type: ignore[return-value]  # `start` holds just the `body`
    except UnicodeDecodeError as error:
        problem = unreadable("is not UTF-8", content, content[: error.start].count(b"\n") + 1)
    except UnexpectedInput as error:
        found = getattr(error, "token", None) or getattr(error, "char", None) or "the end of the file"
        problem = unreadable(f"python-hcl2 did not expect {str(found)!r} here", content, error.line, error.column)
    except LarkError as error:
        problem = unreadable(f"python-hcl2: {error}", content)
    except RecursionError:
        problem = unreadable("is nested too deeply", content)
    raise BakegenError([problem])
