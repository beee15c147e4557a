"""Plain text → Markdown that shows it as it is: GitHub's dialect (https://github.github.com/gfm/), which registries show.

What a manifest says is plain text, but for code between backticks, which stays code.
"""

from __future__ import annotations

import re
from urllib.parse import quote

_CODE = re.compile(r"(?<!`)`(?!`)([^`]+)`(?!`)")
_SPECIAL = re.compile(r"[\\`*\[\]<~]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")
_OPENING = re.compile(r"^(?:([0-9]+)(?=[.)](?:\s|$))|(?=[-+#>=]))")  # a list, a heading, a quotation


def paragraph(text: str, most: int = 0) -> str:
    """Return text as a paragraph of one line, cut after `most` characters (0: whole)."""
    return _OPENING.sub(r"\1\\", prose(text, most))


def prose(text: str, most: int = 0) -> str:
    """Return text as it can stand in the middle of a line, cut after `most` characters (0: whole)."""
    parts = _CODE.split(cut(text, most))
    return "".join(code(part) if index % 2 else _SPECIAL.sub(r"\\\g<0>", part) for index, part in enumerate(parts))


def cut(text: str, most: int) -> str:
    """Return text in one line, cut after `most` characters (0: whole), and between words if there are several.

    >>> cut("one two three", 10), cut("one-two-three", 10)
    ('one two…', 'one-two-t…')
    """
    words = " ".join(text.split())
    if not most or len(words) <= most:
        return words
    return f"{words[:most].rpartition(' ')[0] or words[: most - 1]}…"


def code(text: str) -> str:
    """Return text as code."""
    words = " ".join(text.split())
    runs = [len(run) for run in re.findall("`+", words)]
    fence = "`" * next(length for length in range(1, len(runs) + 2) if length not in runs)
    around = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{around}{words}{around}{fence}"


def link(text: str, base: str, path: str) -> str:
    """Return a link to a path below `base`, which is a URL or a relative path; its text is shown as it is."""
    return f"[{prose(text)}]({base}{quote(path)})"
