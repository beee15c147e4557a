"""How the tags of a family are made: patterns with parts that differ, read from the manifest's expressions.

In: a manifest and its published targets. Out: patterns such as `<VERSION>-python<python>[-<variant>]`, the texts that
stand for each part, and a picture of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bakegen.expressions.sandbox import Evaluator
from bakegen.expressions.scope import EMPTY_NAME, Expression
from bakegen.expressions.syntax import split_expressions
from bakegen.graph.model import Target
from bakegen.graph.scope import FamilyNames
from bakegen.graph.tag_names import join_names
from bakegen.manifest.model import Manifest, Release

_NAME = re.compile(r"(?<![\w.'\"])[A-Za-z_][\w.]*")
_SEPARATORS = "-._"

PartTexts = Mapping[str, tuple[str, ...]]  # part -> what stands for it; `EMPTY_NAME` takes its separator along


@dataclass(frozen=True, slots=True)
class TagPart:
    """What differs from tag to tag, by the name that readers see, and its expression."""

    name: str
    expression: Expression

    @property
    def is_name(self) -> bool:
        """Whether the expression is nothing but the name."""
        return self.expression.text == f"{{{{ {self.name} }}}}"


@dataclass(frozen=True, slots=True)
class TagPattern:
    """Literal text and parts in turn: literal, part, literal, …, literal."""

    literals: tuple[str, ...]
    parts: tuple[TagPart, ...]

    def text(self, texts: PartTexts, kept: Iterable[str] = ()) -> str:
        """Return the pattern for readers: a part that has one text, and is not to be `kept`, is written out.

        >>> python = TagPart("python", Expression("{{ python }}", ()))
        >>> TagPattern(("py", ""), (python,)).text({"python": ("3.8", "3.9")})
        'py<python>'
        """
        shown = self.literals[0]
        swallowed = ""
        for part, literal in zip(self.parts, self.literals[1:], strict=True):
            found = texts[part.name]
            if len(found) == 1 and part.name not in kept:
                shown += found[0]
            elif EMPTY_NAME in found and shown[-1:] in _SEPARATORS and shown:
                shown = f"{shown[:-1]}[{shown[-1]}<{part.name}>]"
            elif EMPTY_NAME in found and not shown and literal[:1] in _SEPARATORS:
                swallowed = literal[:1]
                shown = f"[<{part.name}>{swallowed}]"
            elif "" in found or EMPTY_NAME in found:
                shown += f"[<{part.name}>]"
            else:
                shown += f"<{part.name}>"
            shown += literal.removeprefix(swallowed)
            swallowed = ""
        return join_names(shown)


class TagPatterns:
    """The patterns of a family, and what stands for their parts."""

    def __init__(self, manifest: Manifest, evaluator: Evaluator) -> None:
        self._manifest = manifest
        self._names = FamilyNames(manifest, evaluator)
        pieces = {release.name: [split_expressions(tag.text) for tag in release.tags] for release in manifest.releases}
        expressions = [text for found in pieces.values() for texts in found if texts for text in texts[1::2]]
        self._called = self._call(dict.fromkeys(expressions))
        self._patterns = {release.name: self._read(release, pieces[release.name]) for release in manifest.releases}
        self.variables = frozenset(manifest.variables)

    def patterns(self, release: str) -> tuple[TagPattern, ...]:
        """Return the patterns of a release; none if one of them has statements, so that it has no parts."""
        return self._patterns[release]

    def texts(self, targets: Iterable[Target]) -> dict[str, tuple[str, ...]]:
        """Return the texts that stand for each part in the tags of targets, in the order of the targets."""
        found: dict[str, dict[str, None]] = {}
        for target in targets:
            for pattern in self._patterns[target.release]:
                for part in pattern.parts:
                    found.setdefault(part.name, {}).update(dict.fromkeys(self._texts_of(part, target)))
        return {name: tuple(texts) for name, texts in found.items()}

    def _read(self, release: Release, pieces: Sequence[Sequence[str] | None]) -> tuple[TagPattern, ...]:
        fixed = {"release": release.name, "image": self._manifest.image}
        patterns = []
        for tag, found in zip(release.tags, pieces, strict=True):
            if found is None:
                return ()
            literals, parts = [found[0]], []
            for expression, literal in zip(found[1::2], found[2::2], strict=True):
                if expression in fixed:
                    literals[-1] += fixed[expression] + literal
                else:
                    parts.append(TagPart(self._called[expression], Expression(f"{{{{ {expression} }}}}", tag.path)))
                    literals.append(literal)
            patterns.append(TagPattern(tuple(literals), tuple(parts)))
        return tuple(patterns)

    def _call(self, expressions: Iterable[str]) -> dict[str, str]:
        """Return a name for each expression: itself if it is a name, or one that it mentions."""
        manifest = self._manifest
        known = {*manifest.variables, *manifest.define, *manifest.data, *(axis.name for axis in manifest.axes)}
        called = {expression: expression for expression in expressions if _NAME.fullmatch(expression)}
        for expression in expressions:
            names = [name for name in _NAME.findall(expression) if name.partition(".")[0] in known]
            name = first = names[0] if names else "part"
            number = 1
            while expression not in called and name in called.values():
                number += 1
                name = f"{first}-{number}"
            called.setdefault(expression, name)
        return called

    def _texts_of(self, part: TagPart, target: Target) -> Sequence[str]:
        if part.is_name and part.name in self.variables:
            return (self._manifest.variables[part.name].default,)
        if part.is_name and part.name in target.names:
            return tuple(name.text or EMPTY_NAME for name in target.names[part.name])
        return (self._names.of(target).text(part.expression).with_defaults(),)


def picture(pattern: str, notes: Mapping[str, str]) -> list[str]:
    r"""Return a pattern with a line to the note of each of its parts.

    >>> print("\n".join(picture("<a>-<b>", {"a": "one", "b": "1, 2"})))
    <a>-<b>
     │   │
     │   └─ b: 1, 2
     └─ a: one
    """
    found: dict[str, int] = {}
    for match in re.finditer("<([^<>]+)>", pattern):
        found.setdefault(match[1], match.start() + 1)
    lines = [pattern, _bars(found.values())]
    for index, (name, place) in reversed(list(enumerate(found.items()))):
        bars = _bars(list(found.values())[:index])
        lines.append(f"{bars.ljust(place)}└─ {name}: {notes[name]}")
    return lines if found else [pattern]


def _bars(places: Iterable[int]) -> str:
    line = ""
    for place in places:
        line = f"{line.ljust(place)}│"
    return line
