"""Versions as expressions compare them, in the order of PEP 440.

`cuda is version(">=12.5")` compares by a specifier (https://packaging.python.org/en/latest/specifications/version-specifiers/),
and `python is newest` tells whether no value of the axis is a newer stable one.
"""

from __future__ import annotations

from collections.abc import Iterable

from bakegen.expressions.plain import check_spelling
from bakegen.expressions.values import BoundValue, NotAvailableError


def newest_first(values: Iterable[str]) -> list[str]:
    """Return versions from the newest to the oldest, stable ones before all others; empty if they have no order."""
    from packaging.version import Version  # most families compare no versions

    try:
        versions = {value: Version(value) for value in values}
    except ValueError:  # as an invalid version is one, too; the other is a number that Python does not read
        return []
    return sorted(versions, key=lambda value: (not versions[value].is_prerelease, versions[value]), reverse=True)


def newest_of(values: Iterable[str]) -> str | None:
    """Return the newest stable version, or the newest of all if none is stable; None if they have no order."""
    candidates = list(values)
    return candidates[0] if len(candidates) == 1 else next(iter(newest_first(candidates)), None)


def _is_version(value: object, specifier: str) -> bool:
    """Return whether a version satisfies a specifier such as `>=12.5,<13`; a pre-release can, too."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    check_spelling([value, specifier])
    text = str(value)
    try:
        wanted = SpecifierSet(str(specifier))
    except InvalidSpecifier as error:
        raise NotAvailableError(
            f'"{specifier}" is not a valid version specifier',
            'put an operator before each version: version(">=12.5,<13")',
        ) from error
    try:
        return wanted.contains(Version(text), prereleases=True)
    except InvalidVersion as error:
        raise NotAvailableError(
            f'"{text}" is not a valid version', "compare it as text with ==, or use a property"
        ) from error


def _is_newest(value: object) -> bool:
    """Return whether an axis value is the newest stable one of its axis."""
    if not isinstance(value, BoundValue):
        raise NotAvailableError("`newest` only applies to an axis", "use the name of the axis: python is newest")
    newest = newest_of(value._siblings)  # noqa: SLF001 - hidden from expressions
    if newest is None:
        shown = ", ".join(value._siblings)  # noqa: SLF001
        raise NotAvailableError(f"{shown} cannot be ordered as versions", "compare with a value: ==")
    return str(value) == newest


TESTS = {"version": _is_version, "newest": _is_newest}
