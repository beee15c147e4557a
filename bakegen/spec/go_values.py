"""Values as Docker's tools read them, which are written in Go: booleans, numbers, durations, sizes, addresses.

In: text. Out: its value, None if it is refused. The rules are those of https://pkg.go.dev/strconv and
https://pkg.go.dev/time, and for sizes of https://github.com/docker/go-units (size.go).
"""

from __future__ import annotations

import ipaddress
import re
from fractions import Fraction

_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_DIGITS = {8: re.compile(r"[0-7]+"), 10: re.compile(r"[0-9]+")}
_LONGEST_NUMBER = 40  # digits; what is longer fits into no number of Go's, and costs time
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"([+-]?)((?:{_PART.pattern})+)")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:b|[kmgtp](?:i?b)?)?", re.IGNORECASE)


def go_bool(text: str) -> bool | None:
    """Return a boolean (strconv.ParseBool)."""
    return _BOOLS.get(text)


def go_integer(text: str, bits: int = 64) -> int | None:
    """Return a whole number with or without a sign, if it fits into so many bits (strconv.ParseInt).

    >>> go_integer("+7"), go_integer("-1"), go_integer("1_000"), go_integer("9" * 20)
    (7, -1, None, None)
    """
    digits = text[1:] if text[:1] in ("+", "-") else text
    number = go_natural(digits, bits)
    if number is None:
        return None
    number = -number if text[0] == "-" else number
    return number if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else None


def go_natural(text: str, bits: int, base: int = 10) -> int | None:
    """Return a whole number without a sign, of base 10 or 8, if it fits into so many bits (strconv.ParseUint)."""
    if len(text.lstrip("0")) > _LONGEST_NUMBER or not _DIGITS[base].fullmatch(text):
        return None
    number = int(text.lstrip("0") or "0", base)
    return number if number < 2**bits else None


def go_duration(text: str) -> Fraction | None:
    """Return a duration in nanoseconds (time.ParseDuration).

    >>> int(go_duration("1m30s") or 0), go_duration("5")
    (90000000000, None)
    """
    found = _DURATION.fullmatch(text)
    if text in ("0", "+0", "-0"):
        return Fraction(0)
    if not found or len(text) > _LONGEST_NUMBER:
        return None
    total = sum(
        (
            Fraction(f"0{number}0" if "." in number else number) * _UNITS[unit]
            for number, unit in _PART.findall(found[2])
        ),
        Fraction(0),
    )
    if total > 2**63 - (found[1] != "-"):
        return None
    return -total if found[1] == "-" else total


def is_size(text: str) -> bool:
    """Return whether `text` is a number of bytes with or without a unit, such as `1.5g` (RAMInBytes).

    Newer versions also take `.5g` and `1e3`; what all take is right here.
    """
    found = _SIZE.fullmatch(text)
    return found is not None and float(found[1]) < float("inf")


def is_address(text: str) -> bool:
    """Return whether `text` is an IP address without a zone."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
