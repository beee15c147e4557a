"""What images, releases, axis values and Dockerfiles are called in the bake file.

In: text of a manifest, or targets. Out: names for bake, which knows letters, digits, `_` and `-` only. Everywhere the
image comes first, then the release, then what else there is.
"""

from __future__ import annotations

import re

from bakegen.graph.model import Target

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def word(text: str) -> str:
    """Return text as a word of a bake name."""
    return _UNSAFE.sub("-", text)


def value_word(axis: str, value: str) -> str:
    """Return how an axis value is called in target and group names; a number gets its axis in front: `python3-9`."""
    return word(f"{axis}{value}" if value[0].isdigit() else value)


def release_name(target: Target) -> str:
    """Return how the names of all targets of its image and release begin: `app_runtime`, or `app` without releases."""
    words = [target.image, target.release] if target.path[0] == "releases" else [target.image]
    return "_".join(map(word, words))
