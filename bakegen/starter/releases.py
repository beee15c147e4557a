"""The releases of a new family, as a command line names them: `runtime, cudnn(gpu), devel`.

In: the text. Out: `Release`s in its order; what cannot be read is misuse, with the place underlined.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from bakegen.errors import MisuseError, underlined

BASE: Final = "base"
TAKEN = frozenset({"args", "base", "names", "platforms"})  # properties with a meaning of their own

_TOKEN = re.compile(r"\s*([(),]|[^(),\s]+|\Z)")
_RELEASE = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*\Z")
_PROPERTY = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Release:
    """A release, and the properties of an axis value that it depends on."""

    name: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Token:
    text: str  # empty at the end
    at: int


def parse_releases(text: str) -> tuple[Release, ...]:
    """Return the releases that `text` names; raises `MisuseError`.

    >>> parse_releases("runtime, cudnn(gpu)")
    (Release(name='runtime', needs=()), Release(name='cudnn', needs=('gpu',)))
    """
    return _Parser(text).releases()


class _Parser:
    """Goes through the text once; the token at hand is looked at before it is taken."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [_Token(found[1], found.start(1)) for found in _TOKEN.finditer(text)]

    def releases(self) -> tuple[Release, ...]:
        found: list[Release] = []
        while True:
            token = self._name("a release")
            if not _RELEASE.match(token.text):
                raise self._mistake(token, "use lower-case letters and digits, separated by `.`, `_` or `-`")
            if any(token.text == release.name for release in found):
                raise self._mistake(token, "this release is listed twice")
            if token.text == BASE and found:
                raise self._mistake(token, f"the other releases are built on `{BASE}`: list it first, or leave it out")
            needs = self._needs() if self._next().text == "(" else ()
            if token.text == BASE and needs:
                raise self._mistake(token, f"the other releases are built on `{BASE}`: it cannot depend on a property")
            found.append(Release(token.text, needs))
            end = self.tokens.pop(0)
            if not end.text:
                break
            if end.text != ",":
                raise self._mistake(
                    end, "a comma is missing before this" if end.text != ")" else "unmatched closing parenthesis"
                )
        if [release.name for release in found] == [BASE]:
            raise self._mistake(_Token(BASE, self.text.index(BASE)), "add a release that is built on this one")
        return tuple(found)

    def _needs(self) -> tuple[str, ...]:
        opening = self.tokens.pop(0)
        found: list[str] = []
        while True:
            token = self._name("a property")
            if not _PROPERTY.match(token.text):
                raise self._mistake(token, "a property is a letter followed by letters, digits or `_`")
            if token.text in TAKEN:
                raise self._mistake(token, "this property name is reserved")
            if token.text in found:
                raise self._mistake(token, "this property is listed twice")
            found.append(token.text)
            end = self.tokens.pop(0)
            if end.text == ")":
                return tuple(found)
            if not end.text:
                raise self._mistake(opening, "unclosed parenthesis")
            if end.text != ",":
                raise self._mistake(
                    end, "a comma is missing before this" if end.text != "(" else "parentheses cannot be nested"
                )

    def _name(self, what: str) -> _Token:
        token = self.tokens.pop(0)
        if token.text in {"(", ")", ",", ""}:
            raise self._mistake(token, f"{what} is missing here")
        return token

    def _next(self) -> _Token:
        return self.tokens[0]

    def _mistake(self, token: _Token, why: str) -> MisuseError:
        shown, mark = underlined(self.text, token.at + 1, len(token.text))
        return MisuseError(f"--releases: {why}\n  {shown}\n  {mark}")
