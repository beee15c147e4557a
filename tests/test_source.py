"""YAML files: what is text, what is refused, and where everything stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bakegen.errors import BakegenError, Position
from bakegen.source.yaml import KeyPath, Place, include, parse_source


def read(text: str) -> Any:
    return parse_source(text.encode(), "app.yml").content


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("a", "a"), ('"3.10"', "3.10"), ("'no'", "no"), ("3.14.2", "3.14.2"), ("1.0.0a7", "1.0.0a7"), ("v1.0", "v1.0"), ("12-slim", "12-slim"),
        ("debian:12-slim", "debian:12-slim"), ("0", 0), ("8080", 8080), ("-1", -1), ("true", True), ("false", False), ("null", None), ("~", None),
        ("", None), ("y", "y"), ("n", "n"), ("nope", "nope"), ("None", "None"), ("1.2.3.4", "1.2.3.4"), ("11-5", "11-5"), ("a: b", {"a": "b"}),
        ("|\n  1.10\n", "1.10\n"), (">\n  no\n", "no\n"), ("{}", {}), ("[]", []),
    ],
)  # fmt: skip
def test_a_value_is_read_as_it_is_written(written: str, value: Any) -> None:
    assert read(f"k: {written}" if not isinstance(value, dict) or not value else f"k:\n  {written}") == {"k": value}


@pytest.mark.parametrize(
    "written",
    "3.10 3. .5 1e3 1.5e-3 1_000 0755 0o755 0x1F 0b11 +1 12:30:45 1:30 .inf -.INF .nan 2024-01-31 2024-01-31T10:00:00Z "
    "yes Yes YES no No NO on On ON off Off OFF True TRUE False FALSE Null NULL".split(),
)
def test_a_value_that_yaml_would_change_is_refused_until_it_is_quoted(written: str) -> None:
    with pytest.raises(BakegenError) as caught:
        read(f"k: {written}")

    assert [problem.code for problem in caught.value.problems] == ["ambiguous-scalar"]
    assert read(f'k: "{written}"') == {"k": written}


@pytest.mark.parametrize("character", ["\\t", "\\n", "\\a", "\\x7f"])
def test_no_key_holds_a_control_character(character: str) -> None:
    with pytest.raises(BakegenError) as caught:
        read(f'"a{character}b": 1')

    assert [problem.code for problem in caught.value.problems] == ["control-character"]


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistakes() -> None:
    source = parse_source("\ufeffimage: app\r\ntags:\r\n  - latest\r\n".encode(), "app.yml")

    assert source.content == {"image": "app", "tags": ["latest"]}
    assert source.place(("tags", 0)).value == Position("app.yml", 3, 5)


def test_what_is_not_utf8_is_found_behind_a_mark_and_letters_of_several_bytes() -> None:
    with pytest.raises(BakegenError) as caught:
        parse_source(b"\xef\xbb\xbfa: b\n\xc3\xa4: \xe9\n", "app.yml")

    assert str(caught.value) == "app.yml:2:4: byte 0xe9 is not UTF-8 [not-utf8]"


def below(place: Place, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Place]]:
    """A place and all that are in it, each with its path."""
    yield path, place
    for name, part in place.parts.items():
        yield from below(part, (*path, name))


def test_every_key_and_value_has_a_place() -> None:
    source = parse_source(b"a:\n  - b: 1\n    c: [x, 'y']\n", "app.yml")

    places = {path: (str(place.key), str(place.value)) for path, place in below(source.places)}

    assert places == {
        (): ("app.yml:1:1", "app.yml:1:1"),
        ("a",): ("app.yml:1:1", "app.yml:2:3"),
        ("a", 0): ("app.yml:2:5", "app.yml:2:5"),
        ("a", 0, "b"): ("app.yml:2:5", "app.yml:2:8"),
        ("a", 0, "c"): ("app.yml:3:5", "app.yml:3:8"),
        ("a", 0, "c", 0): ("app.yml:3:9", "app.yml:3:9"),
        ("a", 0, "c", 1): ("app.yml:3:12", "app.yml:3:12"),
    }


def test_columns_count_characters_not_bytes() -> None:
    source = parse_source("{naïve: 1, 🚀: 2}".encode(), "app.yml")

    assert [place.key.column for _, place in below(source.places)] == [1, 2, 12]


def test_a_path_that_was_not_written_has_the_place_of_what_is_around_it() -> None:
    source = parse_source(b"a: {b: 1}\n", "app.yml")

    assert source.place(("a", "x", 3)).value == Position("app.yml", 1, 4)
    assert source.place(("nothing",)).value == Position("app.yml", 1, 1)


def test_an_alias_stands_where_its_anchor_is_written() -> None:
    source = parse_source(b"a: &x [1]\nb: *x\n", "app.yml")

    assert source.content == {"a": [1], "b": [1]}
    assert source.place(("b",)).key == Position("app.yml", 2, 1)
    assert source.place(("b", 0)).value == Position("app.yml", 1, 8)


def test_merged_keys_come_first_and_own_keys_win_wherever_they_stand() -> None:
    text = "base: &base {a: 1, b: {c: 2}}\none: {b: 3, <<: *base, d: 4}\ntwo: {<<: [{a: 5}, *base], e: 6}\n"
    source = parse_source(text.encode(), "app.yml")

    assert source.content["one"] == {"a": 1, "b": 3, "d": 4}
    assert list(source.content["one"]) == ["a", "b", "d"]
    assert source.content["two"] == {"a": 5, "b": {"c": 2}, "e": 6}
    assert source.place(("one", "b")).value == Position("app.yml", 2, 10)
    assert source.place(("one", "a")).value == Position("app.yml", 1, 17)


def test_an_include_lies_below_the_manifest_and_keeps_its_places() -> None:
    base = parse_source(b"labels: {a: 1, b: 2}\ntags: [x, y]\n", "common.yml")
    over = parse_source(b"image: app\nlabels: {b: 3}\ntags: [z]\n", "app.yml")

    merged = include(base, over)

    assert merged.content == {"labels": {"a": 1, "b": 3}, "tags": ["z"], "image": "app"}
    paths: list[KeyPath] = [("labels", "a"), ("labels", "b"), ("tags", 0), ("tags", 1)]
    places = {path: str(merged.place(path).value) for path in paths}
    assert places == {
        ("labels", "a"): "common.yml:1:13",
        ("labels", "b"): "app.yml:2:13",
        ("tags", 0): "app.yml:3:8",
        ("tags", 1): "app.yml:3:7",  # not what the replaced list held there
    }
    assert merged.line(Position("common.yml", 1)) == "labels: {a: 1, b: 2}"
