"""The records: which files bakegen made, with their hashes, in `generated/bakegen.sums` (`sha256sum -c` reads it).

A path may stand there twice, with the hash that its file has and the one that it is to get: so a run that is killed
leaves nothing that the next one does not know. A line that is no record, such as the marks of a merge conflict, says
nothing: at worst bakegen knows a file no more, and then leaves it alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from bakegen.output.files import RECORDS, read_output
from bakegen.source.open_folder import OpenFolder
from bakegen.source.paths import path_mistake

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")

Hashes = Mapping[str, frozenset[str]]


def read_records(folder: OpenFolder) -> tuple[bytes, Hashes]:
    """Return the records as they are on disk, and the hashes of each file that they list."""
    found = read_output(folder, RECORDS)
    content = found.content if found else b""
    hashes: dict[str, set[str]] = {}
    for line in content.decode(errors="replace").split("\n"):
        match = _LINE.fullmatch(line)
        if match and not path_mistake(match[2]) and match[2] != RECORDS:
            hashes.setdefault(match[2], set()).add(match[1])
    return content, {path: frozenset(known) for path, known in hashes.items()}


def records_text(hashes: Hashes) -> bytes:
    """Return the records of files as they are on disk."""
    return "".join(f"{digest}  {path}\n" for path in sorted(hashes) for digest in sorted(hashes[path])).encode()


def digest(content: bytes) -> str:
    """Return the hash of a file's content."""
    return hashlib.sha256(content).hexdigest()
