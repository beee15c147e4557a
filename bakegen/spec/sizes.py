"""Sizes as people write them: `900 MB`, `1.5 GiB`.

In: text from a manifest, or a number of bytes. Out: the other of the two.
"""

from __future__ import annotations

import re

# Powers of 1000 as Docker prints them, and of 1024 (https://github.com/docker/go-units, size.go).
_UNITS = {
    "": 1,
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", 1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
}
_SIZE = re.compile(rf"([0-9]{{1,18}}(?:\.[0-9]{{1,18}})?) ?({'|'.join(sorted(_UNITS, reverse=True))})")


def size_in_bytes(text: str) -> int | None:
    """Return the bytes of a size, None if it is none.

    >>> size_in_bytes("1.5 GB"), size_in_bytes("1 KiB"), size_in_bytes("large")
    (1500000000, 1024, None)
    """
    found = _SIZE.fullmatch(text)
    return int(float(found[1]) * _UNITS[found[2]]) if found else None


def size_text(number: int) -> str:
    """Return a number of bytes as Docker prints it.

    >>> size_text(1_500_000_000), size_text(999)
    ('1.5 GB', '999 B')
    """
    for unit in ("TB", "GB", "MB", "kB"):
        if number >= _UNITS[unit]:
            return f"{number / _UNITS[unit]:.4g} {unit}"
    return f"{number} B"
