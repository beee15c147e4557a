"""One line of CSV, as Docker's tools take options: `type=registry,ref=ghcr.io/acme/cache,"note=a, b"`.

In: text. Out: its fields, or a `ValueError`. The rules are those of https://github.com/tonistiigi/go-csvvalue, which
buildx (since 0.16) and BuildKit use; Python's `csv` takes quotes that they refuse.
"""

from __future__ import annotations

import re

_END_OF_LINE = re.compile(r"\r?\n\Z")
_FIELD = re.compile(r'"((?:[^"]|"")*)"(?=,|\Z)|[^",]*(?=,|\Z)')


def csv_fields(text: str) -> list[str]:
    """Return the fields of a line; raises ValueError if there is none, or if a quote is misplaced.

    >>> csv_fields('id=a,"src=b,c"')
    ['id=a', 'src=b,c']
    """
    text = _END_OF_LINE.sub("", text)
    if not text:
        raise ValueError("it is empty")
    if "\n" in text:  # older versions read only the first line, newer ones all of it
        raise ValueError("it has more than one line")
    fields: list[str] = []
    at = 0
    while at <= len(text):
        found = _FIELD.match(text, at)
        if not found:
            raise ValueError('a " is misplaced: quote a whole KEY=VALUE, and write "" for a quote inside')
        fields.append(found[0] if found[1] is None else found[1].replace('""', '"'))
        at = found.end() + 1
    return fields


def csv_options(text: str) -> list[tuple[str, str]]:
    """Return the keys (in lower case) and values of a line of KEY=VALUE; raises ValueError where a field is none."""
    pairs = []
    for field in csv_fields(text):
        key, given, value = field.partition("=")
        if not given:
            raise ValueError(f'"{field}" is not KEY=VALUE')
        pairs.append((key.lower(), value))
    return pairs
