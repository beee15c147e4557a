"""Check the values that pass through to bake, each at its place in the manifest.

In: the name of a bake attribute, one of its values as evaluated, and its place. Out: problems with what bake or BuildKit
would refuse. A value that holds variables is judged with their defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bakegen.errors import Problem, narrowed
from bakegen.expressions.text import Text
from bakegen.manifest.model import Manifest, Release
from bakegen.source.yaml import KeyPath
from bakegen.spec.bake_values import EXAMPLES, SEVERAL_ANNOTATION_TYPES, agents_mistake, form_mistake, meaning_mistake


def value_problems(manifest: Manifest, attribute: str, value: Text, path: KeyPath) -> Iterator[Problem]:
    """Yield what is wrong with a value; in a mapping, its key stands before it: `key=value`."""
    text = value.with_defaults()
    at_key = attribute == "annotations"  # whose values are free
    mistake = form_mistake(attribute, text, manifest.buildx) or meaning_mistake(attribute, text)
    if mistake:
        message = f'"{text}" is not a valid {EXAMPLES[attribute][0]}{mistake.reason and ": "}{mistake.reason}'
        problem = manifest.source.problem("wrong-value", message, path, hint=mistake.hint, at_key=at_key)
        yield narrowed(problem, mistake.word and rf"(?<![\w-])({re.escape(mistake.word)})(?![\w-])")
    elif attribute == "annotations" and manifest.buildx < SEVERAL_ANNOTATION_TYPES:
        types, colon, _ = text.partition("=")[0].partition(":")
        if colon and "," in types:
            yield manifest.source.problem(
                "newer-attribute",
                "an annotation with several types requires buildx 0.16; older clients read them as part of the key",
                path,
                hint='write one annotation per type, or add `buildx: "0.16"` if all clients are at least that new',
                at_key=at_key,
            )


def agent_problems(manifest: Manifest, release: Release, agents: Sequence[Text]) -> Iterator[Problem]:
    """Yield what is wrong with the SSH agents of a target together."""
    mistake = agents_mistake([agent.with_defaults() for agent in agents], manifest.buildx)
    if mistake:
        path = release.ssh[-1].path[:-1]
        yield manifest.source.problem("wrong-value", mistake.reason, path, hint=mistake.hint)


def attribute_problems(manifest: Manifest, release: Release, attribute: str, value: Any) -> Iterator[Problem]:
    """Yield what is wrong with the value of an attribute under `bake:`."""
    own = (*release.path, "bake", attribute)
    path = own if manifest.source.holds(own) else ("bake", attribute)
    if isinstance(value, Text):
        yield from value_problems(manifest, attribute, value, path)
    elif isinstance(value, Mapping):
        for key, text in value.items():
            yield from value_problems(manifest, attribute, Text.joined([f"{key}=", text]), (*path, key))
    elif isinstance(value, Sequence):
        for index, text in enumerate(value):
            yield from value_problems(manifest, attribute, text, (*path, index))
