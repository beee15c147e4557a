"""The releases of a new family, as a command line names them: `runtime, cudnn(gpu), devel`.

In: the text. Out: `NewRelease`s in its order; what cannot be read is misuse, with the place underlined.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from bakegen.errors import MisuseError, underlined

BASE: Final = "base"
TAKEN = frozenset({"args", "base", "names", "platforms"})  # properties with a meaning of their own

_TOKEN = re.compile(r"\s*([(),]|[^(),\s]+|\Z)")
_RELEASE = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*\Z")
_PROPERTY = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class NewRelease:
    """A release, and the properties of an axis value that it depends on."""

    name: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Token:
    text: str  # empty at the end
    at: int


def parse_releases(text: str) -> tuple[NewRelease, ...]:
    """Return the releases that `text` names; raises `MisuseError`.

    >>> parse_releases("runtime, cudnn(gpu)")
    (NewRelease(name='runtime', needs=()), NewRelease(name='cudnn', needs=('gpu',)))
    """
    tokens = (_Token(found[1], found.start(1)) for found in _TOKEN.finditer(text))

    def mistake(token: _Token, why: str) -> MisuseError:
        shown, mark = underlined(text, token.at + 1, len(token.text))
        return MisuseError(f"--releases: {why}\n  {shown}\n  {mark}")

    def name(what: str, pattern: re.Pattern[str], rule: str, known: Collection[str]) -> _Token:
        token = next(tokens)
        if token.text in {"(", ")", ",", ""}:
            raise mistake(token, f"a {what} is missing here")
        if not pattern.match(token.text):
            raise mistake(token, f"{rule}")
        if token.text in known:
            raise mistake(token, f"this {what} is listed twice")
        return token

    found: dict[str, list[str]] = {}
    end = _Token(",", 0)
    while end.text:
        if end.text != ",":
            raise mistake(end, "a comma is missing before this" if end.text != ")" else "unmatched closing parenthesis")
        release = name("release", _RELEASE, "use lower-case letters and digits, separated by `.`, `_` or `-`", found)
        if release.text == BASE and found:
            raise mistake(release, f"the other releases are built on `{BASE}`: list it first, or leave it out")
        needs = found[release.text] = []
        opening = end = next(tokens)
        if opening.text != "(":
            continue
        while end.text != ")":
            needed = name("property", _PROPERTY, "a property is a letter followed by letters, digits or `_`", needs)
            if needed.text in TAKEN:
                raise mistake(needed, "this property name is reserved")
            needs.append(needed.text)
            end = next(tokens)
            if not end.text:
                raise mistake(opening, "unclosed parenthesis")
            if end.text not in ",)":
                raise mistake(
                    end, "a comma is missing before this" if end.text != "(" else "parentheses cannot be nested"
                )
        if release.text == BASE:
            raise mistake(release, f"the other releases are built on `{BASE}`: it cannot depend on a property")
        end = next(tokens)
    if list(found) == [BASE]:
        raise mistake(_Token(BASE, text.index(BASE)), "add a release that is built on this one")
    return tuple(NewRelease(release, tuple(needs)) for release, needs in found.items())
