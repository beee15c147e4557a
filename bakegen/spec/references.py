"""Names of images as Docker accepts them.

In: text. Out: what is wrong with it, and the familiar form that BuildKit uses as a key.
The grammar is https://github.com/distribution/reference (reference.go, regexp.go).
"""

from __future__ import annotations

import re

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"

_TAG_RE = re.compile(rf"{_TAG}\Z")
_REPOSITORY_RE = re.compile(rf"(?:{_HOST}/)?{_PATH}\Z")
_REFERENCE_RE = re.compile(rf"(?:{_HOST}/)?{_PATH}(?::{_TAG})?(?:@{_DIGEST})?\Z")

_LONGEST_REPOSITORY = 255


def is_tag(text: str) -> bool:
    """Return whether `text` can stand after the colon of a reference."""
    return bool(_TAG_RE.match(text))


def is_repository(text: str) -> bool:
    """Return whether `text` names a repository, with or without a host."""
    return len(text) <= _LONGEST_REPOSITORY and bool(_REPOSITORY_RE.match(text))


def is_reference(text: str) -> bool:
    """Return whether `text` names an image: repository, then perhaps tag and digest."""
    return len(text) <= _LONGEST_REPOSITORY + 200 and bool(_REFERENCE_RE.match(text))


def registry_host(repository: str) -> str:
    """Return the host that a repository lies on: docker.io where it names none.

    >>> registry_host("acme/app"), registry_host("ghcr.io/acme/app"), registry_host("localhost:5000/app")
    ('docker.io', 'ghcr.io', 'localhost:5000')
    """
    first, slash, _ = repository.partition("/")
    if not slash or not (re.search(r"[.:A-Z]", first) or first == "localhost"):
        return "docker.io"
    return "docker.io" if first == "index.docker.io" else first


def with_host(repository: str) -> str:
    """Return a repository with its host in front.

    >>> with_host("acme/app"), with_host("index.docker.io/acme/app"), with_host("ghcr.io/acme/app")
    ('docker.io/acme/app', 'docker.io/acme/app', 'ghcr.io/acme/app')
    """
    if registry_host(repository) != "docker.io":
        return repository
    return f"docker.io/{repository.removeprefix('index.').removeprefix('docker.io/')}"


def familiar(reference: str) -> str:
    """Return the short form by which BuildKit looks named contexts up: without docker.io, library and :latest."""
    for prefix in ("docker.io/", "index.docker.io/"):
        reference = reference.removeprefix(prefix)
    first, slash, rest = reference.partition("/")
    if slash and first == "library" and "/" not in rest:
        reference = rest
    return reference if "@" in reference else reference.removesuffix(":latest")
