"""What images, releases, axis values and Dockerfiles are called in the bake file.

In: text of a manifest, or targets. Out: names for bake, which knows letters, digits, `_` and `-` only. Everywhere the
image comes first, then the release, then what else there is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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


def dockerfile_name(served: Sequence[Target]) -> str:
    """Name a Dockerfile by the targets that it `served`, and the words of its path.

    `generated/app/debian12/base/Dockerfile-conda` is `app_base_debian12_conda`. A folder that is called like an axis
    value has the name that the value has in target names: `python3-13`.
    """
    first = served[0]
    *folders, file = first.dockerfile.split("/")[
        2 if first.template else 0 :
    ]  # below generated/IMAGE, or below the root
    begin = word(first.image)
    if all(target.release == first.release for target in served):
        begin = release_name(first)
        folders = [folder for folder in folders if folder != first.release]
    axes = {
        value: axis
        for axis, value in first.values.items()
        if all(target.values.get(axis) == value for target in served)
    }
    words = [value_word(axes[folder], folder) if folder in axes else word(folder) for folder in folders]
    variant = word(file.removeprefix("Dockerfile").strip("-."))
    return "_".join(filter(None, [begin, *words, variant]))
