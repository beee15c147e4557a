"""Selectors: which targets words pick."""

from __future__ import annotations

import pytest

from bakegen.errors import BakegenError
from bakegen.graph.graph import Graph
from bakegen.project import load_project

MANIFEST = """\
image: app
platforms: [linux/amd64, linux/ppc64le]
axes:
  python: ["3.8", "3.9", "3.10"]
  distro: {debian12: {}, alpine3.20: {platforms: [linux/amd64]}}
exclude: [{distro: alpine3.20, python: "3.8", because: too old}]
releases:
  base: {from: "python:{{ python }}-{{ distro }}", tags: ["base-{{ python }}-{{ distro }}"], publish: false}
  runtime: {from: base, tags: ["{{ python }}-{{ distro }}"]}
groups: {new: ["python=3.9,3.10", "distro=debian*"]}
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    root = tmp_path_factory.mktemp("project")
    (root / "manifest").mkdir()
    (root / "manifest" / "app.yml").write_text(MANIFEST)
    return load_project(root).graph


def short(names: str) -> str:
    """`app_base_python3-8_debian12` as `b38d`."""
    words = names.split("_")
    return words[1][0] + words[2].removeprefix("python").replace("-", "") + words[3][0]


ALL = "b38d b39d b39a b310d b310a r38d r39d r39a r310d r310a"


@pytest.mark.parametrize(
    ("words", "picked"),
    [
        ("", ALL),
        ("app", ALL),
        ("image=app", ALL),
        ("runtime", "r38d r39d r39a r310d r310a"),
        ("release=runtime", "r38d r39d r39a r310d r310a"),
        ("runtime base", ALL),
        ("python=3.9", "b39d b39a r39d r39a"),
        ("3.9", "b39d b39a r39d r39a"),
        ("python3-9", "b39d b39a r39d r39a"),
        ("python=3.8 python=3.9", "b38d b39d b39a r38d r39d r39a"),
        ("python=3.8,3.9", "b38d b39d b39a r38d r39d r39a"),
        ("python!=3.9", "b38d b310d b310a r38d r310d r310a"),
        ("python!=3.9,3.10", "b38d r38d"),
        ("python!=3.9 python!=3.10", "b38d r38d"),
        ("python=3.* python!=3.9", "b38d b310d b310a r38d r310d r310a"),
        ("!runtime", "b38d b39d b39a b310d b310a"),
        ("runtime 3.9", "r39d r39a"),
        ("runtime alpine3.20", "r39a r310a"),
        ("runtime alpine3-20", "r39a r310a"),
        ("distro=alpine*", "b39a b310a r39a r310a"),
        ("*pine*", "b39a b310a r39a r310a"),
        ("platform=linux/ppc64le runtime", "r38d r39d r310d"),
        ("platform=*/ppc64le base", "b38d b39d b310d"),
        ("target=*3-10*", "b310d b310a r310d r310a"),
        ("app_runtime_python3-9_alpine3-20", "r39a"),
        ("group=new runtime", "r39d r310d"),
        ("new", "r39d r310d"),
        ("runtime runtime", "r38d r39d r39a r310d r310a"),
    ],
)
def test_words_pick_targets(graph: Graph, words: str, picked: str) -> None:
    assert " ".join(short(target.name) for target in graph.select(words.split())) == picked


@pytest.mark.parametrize("words", ["runtime 3.8 alpine3.20", "python=3.8 python!=3.8", "runtime !runtime", "[", "python=[", "a=b=c", "!"])  # fmt: skip
def test_words_that_pick_nothing_are_an_error(graph: Graph, words: str) -> None:
    with pytest.raises(BakegenError):
        graph.select(words.split())
