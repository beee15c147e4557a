"""Rows for a terminal of some width.

In: rows as plain data. Out: lines: a table where it fits, else a block for each row.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bakegen.views.listing import Row, table


def folded(rows: Sequence[Row], columns: Sequence[str], width: int | None) -> list[str]:
    """Return rows as lines of at most `width` characters, as far as words allow; None is for any width.

    What is None in a row is not known; a column without anything that is known is left out.
    """
    known = [column for column in columns if any(row[column] not in (None, [], ()) for row in rows)]
    lines = table([{column: _text(row[column]) or "-" for column in known} for row in rows], known)
    if width is None or max(map(len, lines)) <= width:
        return lines
    first, *rest = known
    margin = max(map(len, rest), default=0) + 4
    blocks = []
    for row in rows:
        blocks.append(_text(row[first]))
        for column in rest:
            blocks += textwrap.wrap(
                _text(row[column]),
                width,
                initial_indent=f"  {column}".ljust(margin),
                subsequent_indent=" " * margin,
                break_long_words=False,
                break_on_hyphens=False,
            )
    return blocks


def _text(value: object) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
