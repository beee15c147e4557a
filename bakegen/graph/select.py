"""Selectors: `runtime`, `python=3.9`, `distro=debian*`, `platform=linux/ppc64le`, `python!=3.7`.

In: arguments of a command line or a manifest's `groups`. Out: a `Selector`, which matches targets or says why none.

`KEY=VALUE[,VALUE…]` compares one thing: image, release, platform, target, group or an axis. A bare word is looked up
in all of them. Values are globs. Of selectors with the same key, any may match (`python=3.8 python=3.9`, `runtime cudnn`);
all keys must match (`runtime debian11`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bakegen.errors import BakegenError, Problem, did_you_mean
from bakegen.graph.model import Absent, Group, Target
from bakegen.graph.names import value_word, word

_REASONS = 3  # why nothing matches: more would not be read
FIXED_KEYS = ("image", "release", "platform", "target", "group")


@dataclass(frozen=True, slots=True)
class Term:
    """One word: what it compares, the targets that agree with it, and whether it says what must not match."""

    text: str
    key: str
    names: frozenset[str]
    negated: bool


@dataclass(frozen=True, slots=True)
class Selector:
    """Parsed words over a set of targets."""

    terms: tuple[Term, ...]
    targets: tuple[Target, ...]
    absent: tuple[Absent, ...]

    def pick(self) -> tuple[Target, ...]:
        """Return the targets that all words agree on; raises `BakegenError` that says why there is none."""
        names = self._agreed(self.terms)
        picked = tuple(target for target in self.targets if target.name in names)
        if not picked:
            raise BakegenError([self._explain()])
        return picked

    def _agreed(self, terms: Iterable[Term]) -> set[str]:
        by_key: dict[str, set[str]] = {}
        left = {target.name for target in self.targets}
        for term in terms:
            if term.negated:
                left &= term.names
            else:
                by_key.setdefault(term.key, set()).update(term.names)
        for names in by_key.values():
            left &= names
        return left

    def _explain(self) -> Problem:
        said = " ".join(term.text for term in self.terms)
        if not self.targets:
            return Problem(code="empty-selection", message="there are no targets", hint="add a manifest to manifest/")
        reasons: dict[str, str] = {}
        for absent in self.absent:
            here = {**absent.values, "release": absent.release, "image": absent.image}
            meant = any(not term.negated for term in self.terms)
            if meant and all(_could_mean(term.text, here.get(term.key)) is not term.negated for term in self.terms):
                shown = " ".join([absent.release, *(f"{axis}={value}" for axis, value in absent.values.items())])
                reasons.setdefault(absent.reason, f"{shown} does not exist: {absent.reason}")
        if reasons:
            hint = "; ".join(list(reasons.values())[:_REASONS])
            return Problem(code="empty-selection", message=f"no targets match {said}", hint=hint)
        kept: list[Term] = []
        for term in self.terms:
            if not self._agreed([*kept, term]):
                before = " ".join(other.text for other in kept)
                return Problem(
                    code="empty-selection",
                    message=f"no targets match {said}",
                    hint=f"`{term.text}` and `{before}` have no target in common"
                    if kept
                    else f"`{term.text}` matches no targets",
                )
            kept.append(term)
        return Problem(code="empty-selection", message=f"no targets match {said}")


def _could_mean(text: str, value: str | None) -> bool:
    """Return whether a word could mean `value`."""
    _, equals, values = text.removeprefix("!").partition("=")
    return value is not None and any(fnmatchcase(value, part) for part in (values if equals else text).split(","))


def parse_selectors(
    words: Sequence[str], targets: Iterable[Target], groups: Iterable[Group] = (), absent: Iterable[Absent] = ()
) -> Selector:
    """Parse words against what there is; raises `BakegenError` for every word that means nothing."""
    everything = tuple(targets)
    names = {target.name for target in everything}
    index = _index(everything, groups)
    terms: list[Term] = []
    problems: list[Problem] = []
    for text in words:
        try:
            terms.append(_term(text, index, names))
        except _UnknownWordError as error:
            problems.append(Problem(code="unknown-selector", message=str(error), hint=error.hint))
    if problems:
        raise BakegenError(problems)
    return Selector(tuple(terms), everything, tuple(absent))


class _UnknownWordError(Exception):
    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


_USAGE = "use a name such as runtime, or KEY=VALUE such as python=3.9"

Index = Mapping[str, Mapping[str, set[str]]]  # key -> value -> target names


def _index(targets: Iterable[Target], groups: Iterable[Group]) -> Index:
    index: dict[str, dict[str, set[str]]] = {key: {} for key in FIXED_KEYS}
    for target in targets:
        pairs = [("image", target.image), ("release", target.release), ("target", target.name)]
        pairs += [("platform", platform) for platform in target.platforms]
        pairs += target.values.items()
        for key, value in pairs:
            index.setdefault(key, {}).setdefault(value, set()).add(target.name)
    for group in groups:
        index["group"][group.name] = set(group.members)
    return index


def _term(text: str, index: Index, everything: set[str]) -> Term:
    key, equals, values = text.partition("=")
    negated = key.endswith("!")
    key = key.removesuffix("!")
    if not equals:
        if not text.removeprefix("!"):
            raise _UnknownWordError(f'"{text}" is not a selector', _USAGE)
        if text.startswith("!"):
            term = _bare(text[1:], index)
            return Term(text, term.key, frozenset(everything - term.names), negated=True)
        return _bare(text, index)
    if not key or not values:
        raise _UnknownWordError(f'"{text}" lacks {"a value" if key else "a key"}', _USAGE)
    if key not in index:
        raise _UnknownWordError(f'"{text}": unknown key "{key}"', did_you_mean(key, index))
    names: set[str] = set()
    for pattern in values.split(","):
        found = _lookup(pattern, key, index[key])
        if not found:
            raise _UnknownWordError(f'"{text}": unknown {key} "{pattern}"', did_you_mean(pattern, index[key]))
        names |= found
    return Term(text, key, frozenset(everything - names if negated else names), negated)


def _bare(text: str, index: Index) -> Term:
    """Look a word up in everything; it must mean one kind of thing (groups come last), or the same targets in all."""
    found = {key: names for key, values in index.items() if (names := _lookup(text, key, values))}
    meanings = {key: names for key, names in found.items() if key != "group"} or found
    if not meanings:
        known = {value for values in index.values() for value in values}
        raise _UnknownWordError(f'unknown name "{text}"', did_you_mean(text, known))
    if len({frozenset(names) for names in meanings.values()}) > 1 and "*" not in text:
        kinds = " or ".join(f"{key}={text}" for key in meanings)
        raise _UnknownWordError(f'"{text}" is ambiguous', f"write {kinds}")
    key = next(iter(meanings))
    return Term(text, key, frozenset().union(*meanings.values()), negated=False)


def _lookup(pattern: str, key: str, values: Mapping[str, set[str]]) -> set[str]:
    if pattern in values:
        return set(values[pattern])
    found = [
        names
        for value, names in values.items()
        if fnmatchcase(value, pattern) or pattern in {word(value), value_word(key, value)}
    ]
    return set().union(*found)
