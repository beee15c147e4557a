"""What images, releases, axis values and Dockerfiles are called in the bake file.

In: text of a manifest. Out: a word of a bake name, which knows letters, digits, `_` and `-` only.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def word(text: str) -> str:
    """Return text as a word of a bake name, which knows letters, digits, `_` and `-` only."""
    return _UNSAFE.sub("-", text)


def value_word(axis: str, value: str) -> str:
    """Return how an axis value is called in target and group names; a number gets its axis in front: `python3-9`."""
    return word(f"{axis}{value}" if value[0].isdigit() else value)


def dockerfile_word(path: str) -> str:
    """Name a Dockerfile by its folders: `generated/app/debian11/base/Dockerfile-conda` is `app_debian11_base_conda`."""
    parts = path.split("/")[1:]
    parts[-1] = parts[-1].removeprefix("Dockerfile").strip("-.")
    return "_".join(word(part) for part in parts if part)
