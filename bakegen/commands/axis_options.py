"""Selectors as options: `--releases cudnn --python-version 3.9` is `release=cudnn python=3.9`.

In: the words of a command line that are none of its own options, and the keys that selectors know. Out: selectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bakegen.errors import MisuseError, did_you_mean


def selectors_of(words: Sequence[str], keys: Iterable[str], options: Iterable[str] = ()) -> list[str]:
    """Return words with each option `--KEY VALUE` as the selector `KEY=VALUE`; the options of one key add up.

    A key is written in the singular or plural, with or without `-version`. `options` are those of the command itself, to
    be suggested. Raises `MisuseError`.

    >>> selectors_of(["app", "--distros", "debian11,debian12", "--python_version=3.9"], ["distro", "python"])
    ['app', 'distro=debian11,debian12', 'python=3.9']
    """
    spelt: dict[str, str] = {}
    for key in keys:
        for spelling in _spellings(key):
            spelt.setdefault(spelling, key)
        spelt[_option(key)] = key  # whatever else could be called so
    found = []
    left = iter(words)
    for word in left:
        if not word.startswith("-"):
            found.append(word)
            continue
        name, equals, value = word.partition("=")
        key = spelt.get(_option(name.removeprefix("--")), "") if name.startswith("--") else ""
        if not key:
            known = [*options, *(f"--{_option(key)}" for key in spelt.values())]
            raise MisuseError(f"No such option: {name} ({did_you_mean(name, known)})")
        value = value if equals else next(left, "")
        if not value or value.startswith("-"):
            raise MisuseError(f"Option {name} needs a value")
        found.append(f"{key}={value}")
    return found


def _option(key: str) -> str:
    return key.replace("_", "-").lower()


def _spellings(key: str) -> Iterator[str]:
    name = _option(key)
    for stem in (name, name.removesuffix("s")):
        for ending in ("", "s", "-version", "-versions"):
            yield stem + ending
