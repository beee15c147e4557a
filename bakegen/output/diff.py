"""What a run would change, as a unified diff in the form that `git apply` reads."""

from __future__ import annotations

import difflib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bakegen.output.compare import Changes, Files
from bakegen.output.files import OutputFile, open_root, read_output

_MOST_PAIRS = 1_000_000  # of equal lines; difflib takes seconds for as many, and then ever longer


def unified_diff(root: Path, wanted: Files, changes: Changes) -> Iterator[str]:
    """Yield the lines, without newlines, of a diff from the files on disk to those that are wanted."""
    with open_root(root) as folder:
        for path in changes.differing:
            yield from _file_diff(path, read_output(folder, path), wanted.get(path))


def _file_diff(path: str, old: OutputFile | None, new: OutputFile | None) -> Iterator[str]:
    yield f"diff --git a/{path} b/{path}"
    modes = [f"100{755 if file.executable else 644}" if file else "" for file in (old, new)]
    if modes[0] != modes[1]:
        words = ("old", "new") if all(modes) else ("deleted file", "new file")
        yield from (f"{word} mode {mode}" for word, mode in zip(words, modes, strict=True) if mode)
    before, after = f"a/{path}" if old else "/dev/null", f"b/{path}" if new else "/dev/null"
    old_lines, new_lines = _lines(old), _lines(new)
    if old_lines is not None and new_lines is not None:
        for line in _hunks(old_lines, new_lines, before, after):
            yield line.removesuffix("\n")
            if not line.endswith("\n"):
                yield "\\ No newline at end of file"
    elif not (old and new and old.content == new.content):
        yield f"Binary files {before} and {after} differ"


def _hunks(old: Sequence[str], new: Sequence[str], before: str, after: str) -> Iterator[str]:
    """Yield a unified diff; where difflib would look for minutes, it says that every line is another."""
    counts = Counter(new)
    most = max(len(new) // 100 + 1, 200)  # difflib passes over lines that are more frequent
    if sum(counts[line] for line in old if counts[line] <= most) <= _MOST_PAIRS:
        yield from difflib.unified_diff(old, new, before, after)
        return
    yield from (f"--- {before}\n", f"+++ {after}\n", f"@@ -1,{len(old)} +1,{len(new)} @@\n")
    yield from (f"-{line}" for line in old)
    yield from (f"+{line}" for line in new)


def _lines(file: OutputFile | None) -> list[str] | None:
    """Return the lines with their ends, None if the file is binary; only a line feed ends a line, as in git."""
    if file is None:
        return []
    try:
        text = file.content.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else list(io.StringIO(text, newline="\n"))
