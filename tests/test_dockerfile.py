from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bakegen.spec.dockerfile import Reference, Use, parse_dockerfile, references
from bakegen.spec.dockerfile_words import DockerfileError

AMD64 = "linux/amd64"


def images(
    text: str, build_args: Mapping[str, str] | None = None, *, platform: str = AMD64, target: str | None = None
) -> list[str]:
    found = references(parse_dockerfile(text), build_args or {}, platform, target)
    return [reference.image for reference in found]


def from_name(expression: str, *args: str, build_args: Mapping[str, str] | None = None, platform: str = AMD64) -> str:
    """Return what FROM makes of `expression` below the lines `args`."""
    (image,) = images("\n".join([*args, f"FROM {expression}"]), build_args, platform=platform)
    return image


# ---- lines ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("FROM a", ["a"], id="one instruction without a newline"),
        pytest.param("from a\ncopy --from=b / /\nRuN --mount=from=c x", ["a", "b", "c"], id="any case"),
        pytest.param("\n\n  FROM a\n\tCOPY --from=b / /", ["a", "b"], id="indented"),
        pytest.param("FROM\ta  \nCOPY\t--from=b\t/ /", ["a", "b"], id="tabs and trailing blanks"),
        pytest.param("# FROM x\n  # FROM y\nFROM a", ["a"], id="comment lines"),
        pytest.param("FROM a\nRUN x # FROM b", ["a"], id="a # inside a line is no comment"),
        pytest.param("\ufeffFROM a", ["a"], id="byte order mark"),
        pytest.param("\ufeff# escape=`\nFROM `\na", ["a"], id="directive behind a byte order mark"),
        pytest.param("FROM a\r\nCOPY --from=b \\\r\n / /\r\n", ["a", "b"], id="CRLF"),
        pytest.param("FROM a\r\nRUN <<EOF\r\nFROM b\r\nEOF\r\nCOPY --from=c / /\r\n", ["a", "c"], id="heredoc in CRLF"),
        pytest.param("FROM \\\na", ["a"], id="continued"),
        pytest.param("FR\\\nOM a", ["a"], id="continued within a word"),
        pytest.param("FROM \\  \t\na", ["a"], id="blanks behind the continuation"),
        pytest.param("FROM \\\n# x\n  # y\na", ["a"], id="comments within a continuation"),
        pytest.param("FROM \\\n# x \\\na", ["a"], id="comments are not continued"),
        pytest.param("FROM \\\n\n \t\n\na", ["a"], id="empty lines within a continuation"),
        pytest.param("FROM a\nRUN x \\\nFROM b", ["a"], id="a continued line is no instruction"),
        pytest.param("FROM a\nRUN x \\\\\nCOPY --from=b / /", ["a", "b"], id="an escaped escape does not continue"),
        pytest.param("FROM a\nRUN x \\ y\nCOPY --from=b / /", ["a", "b"], id="nor does one before more text"),
        pytest.param("\\\nFROM a", ["a"], id="a first line of nothing but a continuation"),
        pytest.param("FROM a\nRUN x \\", ["a"], id="a continuation at the end"),
        pytest.param("# escape=`\nFROM `\na\nRUN dir c:\\\nCOPY --from=b / /", ["a", "b"], id="escape directive"),
        pytest.param("# escape=\\\nFROM \\\na", ["a"], id="escape directive of the default"),
        pytest.param("# syntax=docker/dockerfile:1\n#ESCAPE = `\nFROM `\na", ["a"], id="directive after another"),
        pytest.param("# check=skip=all\n# escape=`\nFROM `\na", ["a"], id="check is a directive"),
        pytest.param("# hello\n# escape=`\nFROM \\\na", ["a"], id="no directive after a comment"),
        pytest.param("\n# escape=`\nFROM \\\na", ["a"], id="no directive after an empty line"),
        pytest.param("# x=y\n# escape=`\nFROM \\\na", ["a"], id="no directive after an unknown one"),
        pytest.param("FROM a\n# escape=`\nCOPY --from=b \\\n / /", ["a", "b"], id="no directive after an instruction"),
    ],
)
def test_lines(text: str, expected: list[str]) -> None:
    assert images(text) == expected


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("RUN <<EOF", "EOF"),
        ("run <<EOF", "EOF"),
        ("RUN <<EOF cat", "EOF"),
        ("RUN cat <<EOF > /x && true", "EOF"),
        ("RUN 3<<EOF cat", "EOF"),
        ("RUN <<-EOF", "\t\tEOF"),
        ("RUN <<-EOF", "EOF"),
        ('RUN <<"EOF"', "EOF"),
        ("RUN <<'EOF'", "EOF"),
        ("RUN <<-'EOF'", "\tEOF"),
        ("RUN <<E'O'F", "EOF"),
        ("RUN <<E\\'F", "E'F"),
        ("RUN <<'one two'", "one two"),
        ("RUN <<$EOF", "$EOF"),
        ("RUN <<${EOF:-x}", "${EOF:-x}"),
        ("RUN cat << EOF", "EOF"),
        ("RUN << -EOF", "-EOF"),
        ("RUN --mount=type=cache,target=/x <<EOF", "EOF"),
        ("RUN cat \\\n  # comment\n  <<EOF \\\n  > /x", "EOF"),
        ("COPY <<EOF /x", "EOF"),
        ("COPY <<file.txt /x", "file.txt"),
        ("ADD <<EOF /x", "EOF"),
        ("ONBUILD RUN <<EOF", "EOF"),
        ("onbuild copy <<EOF /x", "EOF"),
        ("COPY <<A <<B /x", "A\nFROM inner\nB"),
        ("COPY <<A <<B /x", "B\nA\nA\nB"),
        ("RUN <<A cat && <<A cat", "A\nFROM inner\nA"),
    ],
)
def test_the_body_of_a_heredoc_is_no_instruction(opening: str, closing: str) -> None:
    body = "FROM inner\nCOPY --from=inner / /\n# \\\n'\" <<X\n EOF\nEOF \n"
    assert images(f"FROM a\n{opening}\n{body}{closing}\nCOPY --from=b / /") == ["a", "b"]


@pytest.mark.parametrize(
    "line",
    [
        'RUN "<<EOF"',
        "RUN '<<EOF'",
        "RUN echo 'a <<EOF b'",
        "RUN cat <<<EOF",
        'RUN cat <<< "EOF"',
        "RUN cat<<EOF",
        "RUN echo $((1<<2))",
        "RUN echo 1 <<",
        "RUN cat <<''",
        "RUN cat \\<<EOF",
        "RUN echo it's <<EOF",
        "RUN echo ${x^^} <<EOF",
        "RUN <<- EOF",
        'RUN ["<<EOF"]',
        'RUN ["sh", "-c", "cat <<EOF"]',
        "ENV A=<<EOF",
        "USER <<EOF",
        "LABEL a=b c=<<EOF",
        "ONBUILD USER <<EOF",
    ],
)
def test_what_is_no_heredoc(line: str) -> None:
    assert images(f"FROM a\n{line}\nCOPY --from=b / /") == ["a", "b"]


# ---- what is taken ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("FROM a AS x\nFROM x", ["a"], id="FROM a stage"),
        pytest.param("FROM a AS x\nFROM x AS y\nFROM y", ["a"], id="FROM a stage FROM a stage"),
        pytest.param("FROM a AS Base\nFROM base", ["a"], id="stage names are stored in lowercase"),
        pytest.param("FROM a aS x\nFROM x", ["a"], id="AS in any case"),
        pytest.param("FROM x\nFROM a AS x\nFROM x AS z", ["a"], id="the earlier stage, not the image"),
        pytest.param("FROM x AS x\nCOPY --from=b / /", ["x", "b"], id="a stage is not FROM itself"),
        pytest.param("FROM a AS x\nFROM b AS x\nFROM x", ["b"], id="the last of two stages of one name"),
        pytest.param("FROM a\nFROM b", ["b"], id="only what the last stage needs"),
        pytest.param("FROM a AS x\nFROM b\nFROM c\nCOPY --from=x / /", ["a", "c"], id="COPY --from a stage"),
        pytest.param("FROM a AS x\nFROM c\nCOPY --from=X / /", ["a", "c"], id="in any case"),
        pytest.param("FROM a\nFROM b\nFROM c\nCOPY --from=0 / /", ["a", "c"], id="COPY --from a number"),
        pytest.param("FROM a\nCOPY --from=b:1@sha256:0 / /", ["a", "b:1@sha256:0"], id="COPY --from an image"),
        pytest.param("FROM a\nCOPY --chown=1:1 --from=b --link / /", ["a", "b"], id="among other flags"),
        pytest.param('FROM a\nCOPY --from=b ["/", "/"]', ["a", "b"], id="before exec form"),
        pytest.param('FROM a\nCOPY --from="b" --"from"=b / /', ["a", "b"], id="quoted flag"),
        pytest.param("FROM a\nCOPY / / --from=b", ["a"], id="flags stand first"),
        pytest.param("FROM a\nCOPY -- --from=b /", ["a"], id="-- ends the flags"),
        pytest.param("FROM a\nCOPY --from= / /", ["a"], id="COPY --from nothing"),
        pytest.param("FROM a\nRUN cp --from=b / /", ["a"], id="RUN has no --from"),
        pytest.param("FROM a\nADD --from=b / /", ["a"], id="ADD has no --from"),
        pytest.param("FROM a\nRUN --mount=type=bind,from=b,target=/x y", ["a", "b"], id="RUN --mount from an image"),
        pytest.param("FROM a\nRUN --mount=FROM=b,target=/x y", ["a", "b"], id="keys of a mount in any case"),
        pytest.param("FROM a\nRUN --mount=type=cache,from=b --mount=from=c y", ["a", "b", "c"], id="two mounts"),
        pytest.param("FROM a\nRUN --network=none --mount=from=b y", ["a", "b"], id="a mount after another flag"),
        pytest.param("FROM a\nRUN --mount='type=bind,\"from=b\"' y", ["a", "b"], id="quotes in the CSV of a mount"),
        pytest.param('FROM a\nRUN --mount="type=bind,from=b" y', ["a", "b"], id="quotes around a mount"),
        pytest.param("FROM a\nRUN --mount=type=cache,target=/from=b y", ["a"], id="from is a key, not a part of one"),
        pytest.param("FROM a\nRUN --mount=type=bind,target=/x y", ["a"], id="a mount of the context"),
        pytest.param("FROM a\nRUN y --mount=from=b", ["a"], id="a mount stands first"),
        pytest.param("FROM a AS x\nFROM b\nRUN --mount=from=X y", ["a", "b"], id="RUN --mount from a stage"),
        pytest.param("FROM a\nFROM b\nRUN --mount=from=0 y", ["b", "0"], id="RUN --mount knows no numbers"),
        pytest.param(
            "FROM a\nRUN \\\n  --mount=from=b \\\n  --mount=from=c \\\n y", ["a", "b", "c"], id="on their lines"
        ),
        pytest.param("FROM scratch", [], id="scratch is no image"),
        pytest.param("FROM scratch\nCOPY --from=scratch / /\nCOPY --from=b / /", ["b"], id="nor to COPY from"),
        pytest.param("FROM a AS scratch\nFROM scratch", ["a"], id="unless a stage is called so"),
        pytest.param("FROM a\nONBUILD COPY --from=b / /", ["a"], id="ONBUILD does nothing here"),
        pytest.param("FROM a AS x\nONBUILD COPY --from=b / /\nFROM x", ["a", "b"], id="but in a stage FROM this one"),
        pytest.param(
            "FROM a AS x\nONBUILD RUN --mount=from=b y\nFROM x AS y\nFROM y", ["a", "b"], id="and only directly"
        ),
        pytest.param("FROM a AS x\nONBUILD COPY --from=b / /\nFROM c\nCOPY --from=x / /", ["a", "c"], id="not by COPY"),
        pytest.param("FROM a\nCOPY --from=b / /\nCOPY --from=b / /", ["a", "b", "b"], id="every use"),
        pytest.param("FROM --platform=linux/arm64 a AS x\nFROM x", ["a"], id="FROM --platform"),
        pytest.param('FROM "a"', ["a"], id="quoted FROM"),
        pytest.param(
            "FROM localhost:5000/A/b:C@sha256:0", ["localhost:5000/A/b:C@sha256:0"], id="names stay as written"
        ),
    ],
)
def test_what_is_taken(text: str, expected: list[str]) -> None:
    assert images(text) == expected


TARGETS = """
FROM a AS first
COPY --from=tool-a / /
FROM b AS second
COPY --from=first / /
FROM c
"""


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, ["c"]),
        ("", ["c"]),
        ("first", ["a", "tool-a"]),
        ("FIRST", ["a", "tool-a"]),
        ("second", ["a", "tool-a", "b"]),
    ],
)
def test_target(target: str | None, expected: list[str]) -> None:
    assert images(TARGETS, target=target) == expected


def test_references_say_where_and_for_which_platform() -> None:
    text = "ARG T=1\nFROM --platform=$BUILDPLATFORM \\\n  a:$T AS x\nFROM b\nRUN true \\\n && true\nCOPY --from=x \\\n / /\nCOPY --from=c / /"
    assert references(parse_dockerfile(text), {}, "linux/arm64/v8", build_platform="linux/riscv64") == (
        Reference("a:1", 2, "FROM", "a:$T", "linux/riscv64"),
        Reference("b", 4, "FROM", "b", "linux/arm64"),
        Reference("c", 9, "COPY --from", "c", "linux/arm64"),
    )


def test_what_is_parsed() -> None:
    text = "ARG A=1 B\nFROM x AS Y\nARG C\nRUN --mount=from=z true\nONBUILD ARG D\nFROM y\nCOPY --from=0 / /"
    dockerfile = parse_dockerfile(text)
    first, second = dockerfile.stages
    assert (first.index, first.name, first.base) == (0, "y", Use("FROM", "x", 2))
    assert first.uses == (Use("RUN --mount", "z", 4),)
    assert (second.name, second.uses) == ("", (Use("COPY --from", "0", 7, stage=0),))
    assert [(arg.name, arg.default) for arg in dockerfile.args] == [("A", "1"), ("B", None)]
    assert dockerfile.declared == {"A", "B", "C", "D"}


# ---- variables ----


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$V", "1.2.3"),
        ("${V}", "1.2.3"),
        ("x:$V", "x:1.2.3"),
        ("x:${V}-y/$NAME", "x:1.2.3-y/alpine"),
        ("$V$NAME${V}", "1.2.3alpine1.2.3"),
        ("x$NONE", "x"),
        ("x${NONE}y", "xy"),
        ("x$EMPTY.", "x."),
        ("x$V}", "x1.2.3}"),
        ("x$1", "x"),
        ("x$", "x$"),
        ("x$.y", "x$.y"),
        ("${V:-d}", "1.2.3"),
        ("${EMPTY:-d}", "d"),
        ("${NONE:-d}", "d"),
        ("${NONE:-}x", "x"),
        ("${NONE-d}", "d"),
        ("x${EMPTY-d}", "x"),
        ("x${V:+a}", "xa"),
        ("x${EMPTY:+a}", "x"),
        ("x${EMPTY+a}", "xa"),
        ("x${NONE+a}", "x"),
        ("${V:?message}", "1.2.3"),
        ("${V?message}", "1.2.3"),
        ("x${EMPTY?message}", "x"),
        ("${NONE:-x${V}}", "x1.2.3"),
        ("${NONE:-${EMPTY:-${NAME}}}", "alpine"),
        ('${NONE:-"a}b"}', "a}b"),
        ("${NONE:-'$V'}", "$V"),
        ("${NONE:-a\\}b}", "a}b"),
        ("${V#*.}", "2.3"),
        ("${V##*.}", "3"),
        ("${V%.*}", "1.2"),
        ("${V%%.*}", "1"),
        ("${V#?.}", "2.3"),
        ("${V#9}", "1.2.3"),
        ("${V%9}", "1.2.3"),
        ("${V#*}", "1.2.3"),
        ("${V%$TAIL}", "1.2"),
        ("x${V%%*}", "x"),
        ("x${NONE#a}", "x"),
        ("${V/./-}", "1-2.3"),
        ("${V//./-}", "1-2-3"),
        ("${V/.*/}", "1"),
        ("${V/9/-}", "1.2.3"),
        ("${NAME//a/\\1}", "\\1lpine"),
        ("${STAR#\\*}", "b"),
        ("${STAR/\\*/x}", "xb"),
        ('"$V"', "1.2.3"),
        ("'$V'", "$V"),
        ('x"${V}"y', "x1.2.3y"),
        ('"it\'s"', "it's"),
        ("\\$V", "$V"),
        ('"\\$V"', "$V"),
        ("a\\b", "ab"),
        ('"a\\b"', "a\\b"),
        ("${NÄME:-x}", "x"),
    ],
)
def test_expansion(expression: str, expected: str) -> None:
    assert (
        from_name(expression, "ARG V=1.2.3", "ARG NAME=alpine", "ARG EMPTY=", "ARG TAIL=.3", "ARG STAR=*b") == expected
    )


def test_expansion_under_another_escape_character() -> None:
    text = "# escape=`\nARG V=1\nFROM `$V AS a\nFROM x\\$V AS b\nFROM c\nCOPY --from=a / /\nCOPY --from=b / /"
    assert images(text) == ["$V", "x\\1", "c"]


@pytest.mark.parametrize(
    ("text", "build_args", "expected"),
    [
        pytest.param("ARG A=1\nFROM x:$A", {}, ["x:1"], id="default"),
        pytest.param("ARG A=1\nFROM x:$A", {"A": "2"}, ["x:2"], id="a build arg overrides it"),
        pytest.param("ARG A=1\nFROM x$A", {"A": ""}, ["x"], id="even with nothing"),
        pytest.param("ARG A\nFROM x:$A", {"A": "2"}, ["x:2"], id="declared without a default"),
        pytest.param("ARG A\nFROM x$A", {}, ["x"], id="without any value"),
        pytest.param("FROM x$A", {"A": "2"}, ["x"], id="an undeclared build arg is not seen"),
        pytest.param("FROM x AS y\nARG A=1\nFROM z$A", {"A": "2"}, ["z"], id="nor an ARG of a stage"),
        pytest.param("ARG A=1\nARG B=$A.2\nFROM x:$B", {}, ["x:1.2"], id="defaults see earlier ARGs"),
        pytest.param("ARG A=1\nARG B=$A.2\nFROM x:$B", {"A": "3"}, ["x:3.2"], id="and their build args"),
        pytest.param("ARG B=$A.2\nARG A=1\nFROM x:$B", {}, ["x:.2"], id="but not later ones"),
        pytest.param("ARG A=1 B=$A C\nFROM x:$B", {}, ["x:1"], id="several in one line"),
        pytest.param("ARG A=1\nARG A=${A}2\nFROM x:$A", {}, ["x:12"], id="redeclared"),
        pytest.param("ARG A=1\nARG A\nFROM x:$A", {}, ["x:1"], id="redeclared without a default"),
        pytest.param("ARG A=\"1 2\" B='$A'\nFROM x${B}", {}, ["x$A"], id="quoted defaults"),
        pytest.param("ARG A=a\\ b=c\nFROM x${A#a?b=}", {}, ["xc"], id="escaped blank in a default"),
        pytest.param("ARG A=${B:?x}\nFROM y$A", {"A": "1"}, ["y1"], id="an overridden default is not evaluated"),
        pytest.param("ARG P=linux/arm64\nFROM --platform=$P x", {}, ["x"], id="in --platform"),
        pytest.param("FROM x-$TARGETARCH", {"TARGETARCH": "z"}, ["x-z"], id="platform args are overridden undeclared"),
    ],
)
def test_args(text: str, build_args: Mapping[str, str], expected: list[str]) -> None:
    assert images(text, build_args) == expected


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux/amd64", "linux/amd64|linux|amd64|"),
        ("linux/arm/v7", "linux/arm/v7|linux|arm|v7"),
        ("linux/arm/v6", "linux/arm/v6|linux|arm|v6"),
        ("linux/arm", "linux/arm/v7|linux|arm|v7"),
        ("linux/arm64", "linux/arm64|linux|arm64|"),
        ("linux/arm64/v8", "linux/arm64|linux|arm64|"),
        ("linux/aarch64", "linux/arm64|linux|arm64|"),
        ("linux/amd64/v3", "linux/amd64/v3|linux|amd64|v3"),
        ("windows/amd64", "windows/amd64|windows|amd64|"),
    ],
)
def test_target_platform(platform: str, expected: str) -> None:
    expression = "$TARGETPLATFORM|$TARGETOS|$TARGETARCH|$TARGETVARIANT"
    assert from_name(expression, platform=platform) == expected


def test_build_platform_and_stage() -> None:
    expression = "$BUILDPLATFORM|$BUILDOS|$BUILDARCH|$BUILDVARIANT|$TARGETSTAGE"
    assert from_name(expression, platform="linux/arm64") == "linux/amd64|linux|amd64||default"
    assert from_name("x-$A", "ARG A=$TARGETARCH", platform="linux/s390x") == "x-s390x"


def test_a_stage_chosen_by_an_arg() -> None:
    text = "ARG KIND=slim\nFROM a AS slim\nFROM b AS full\nFROM $KIND"
    assert images(text) == ["a"]
    assert images(text, {"KIND": "full"}) == ["b"]
    assert images(text, {"KIND": "other"}) == ["other"]


# ---- errors ----


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "no FROM"),
        ("# FROM a", 0, "no FROM"),
        ("ARG A=1", 0, "no FROM"),
        ("RUN x\nFROM a", 1, "RUN before the first FROM"),
        ("ARG A\n\nRUN x", 3, "RUN before the first FROM"),
        ("FROM", 1, "FROM needs an image"),
        ("FROM --platform=x", 1, "FROM needs an image"),
        ("FROM a b", 1, "FROM needs an image"),
        ("FROM a AS", 1, "FROM needs an image"),
        ("FROM a IS b", 1, "FROM needs an image"),
        ("FROM a # x", 1, "FROM needs an image"),
        ("FROM a AS 1", 1, "invalid stage name '1'"),
        ("FROM a AS b/c", 1, "invalid stage name 'b/c'"),
        ("FROM a\nFORM b", 2, "unknown instruction: FORM"),
        ("FROM a\nRUN x\ny", 3, "unknown instruction: Y"),
        ("FROM\u00a0a", 1, "unknown instruction"),
        ("FROM a\nRUN <<EOF\nx", 2, "unterminated heredoc: no line 'EOF'"),
        ("FROM a\nRUN <<EOF\n\tEOF\nEOF ", 2, "unterminated heredoc"),
        ("FROM a\nRUN <<'EOF'\n'EOF'", 2, "unterminated heredoc"),
        ("FROM a\nRUN <<A <<B\nB\nA\n", 2, "unterminated heredoc: no line 'B'"),
        ("FROM a\nRUN echo $((1 << 2))", 2, "unterminated heredoc"),  # indeed: BuildKit 0.22 and later
        ("# escape=x\nFROM a", 1, "invalid escape character 'x'"),
        ("# escape=`\n# escape=`\nFROM a", 2, "only one escape parser directive"),
        ("FROM ${", 1, "bad substitution"),
        ("FROM ${}", 1, "bad substitution"),
        ("FROM ${A", 1, "unsupported modifier"),
        ("FROM ${A:-", 1, "a } is missing"),
        ("FROM ${A^}", 1, "unsupported modifier"),
        ("FROM ${A//b}", 1, "a / is missing"),
        ('FROM "a', 1, 'a " is missing'),
        ("FROM 'a", 1, "an unclosed '"),
        ("FROM --platform=${ a", 1, "bad substitution"),
        ("FROM " + "${a:-" * 100 + "}" * 100, 1, "bad substitution"),
        ("ARG\nFROM a", 1, "ARG needs NAME"),
        ("ARG =1\nFROM a", 1, "ARG needs NAME"),
        ("FROM a\nCOPY --from=$X / /", 2, "COPY --from does not expand variables"),
        ("ARG X=b\nFROM a\nCOPY --from=b:${X} / /", 3, "COPY --from does not expand variables"),
        ("FROM a\n\nRUN --mount=from=$X y", 3, "RUN --mount does not expand variables"),
        ("FROM a\nCOPY --from b / /", 2, "COPY --from has no value"),
        ("FROM a\nCOPY --from=1 / /", 2, "no such stage"),
        ("FROM a\nCOPY --from=-1 / /", 2, "no such stage"),
        ("FROM a\nRUN --mount='from=b,\"x' y", 2, "RUN --mount"),
    ],
)
def test_what_cannot_be_parsed(text: str, line: int, message: str) -> None:
    with pytest.raises(DockerfileError, match=re.escape(message)) as caught:
        parse_dockerfile(text)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("ARG A\nFROM $A", 2, "$A expands to an empty string"),
        ("FROM $A AS x\nFROM b", 1, "$A expands to an empty string"),
        ("FROM a AS x\nARG A=b\nFROM $A", 3, "$A expands to an empty string"),
        ('FROM ""', 1, '"" expands to an empty string'),
        ("FROM --platform=$A b", 1, "$A expands to an empty string"),
        ("FROM ${A:?set-it}", 1, "A: set-it"),
        ("FROM ${A?}", 1, "A: is not set"),
        ("ARG A=${B:?x}\nFROM y", 1, "B: x"),
        ("ARG A='\nFROM y", 1, "an unclosed '"),
        ('ARG "A=1"\nFROM y', 1, 'a " is missing'),
        ("ARG A=b\nFROM ${A#\\b}", 2, "invalid escape in the pattern"),
        ("FROM a AS x\nCOPY --from=x / /", 2, "not an earlier stage"),
        ("FROM a\nCOPY --from=0 / /", 2, "not an earlier stage"),
        ("FROM a AS b\nRUN --mount=from=c x\nFROM b AS c\nFROM b", 2, "not an earlier stage"),
    ],
)
def test_what_cannot_be_built(text: str, line: int, message: str) -> None:
    with pytest.raises(DockerfileError, match=re.escape(message)) as caught:
        images(text)
    assert caught.value.line == line


def test_a_later_stage_is_an_error_only_where_it_is_needed() -> None:
    assert images("FROM a\nCOPY --from=later / /\nFROM b AS later") == ["b"]


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(DockerfileError, match="no stage 'bild'") as caught:
        images("FROM a AS build", target="bild")
    assert (caught.value.line, caught.value.hint) == (0, 'did you mean "build"?')


# ---- properties ----

# In a fresh checkout the first text that Hypothesis draws builds its Unicode tables, which takes a second.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class ModelStage:
    """A stage of a Dockerfile whose references are known: text is an image, a number is an earlier stage."""

    base: str | int
    uses: tuple[str | int, ...]


image_names = st.sampled_from(["alpine", "debian:12", "ghcr.io/acme/tool:1.2", "localhost:5000/a/b@sha256:00"])


@st.composite
def models(draw: st.DrawFn) -> list[ModelStage]:
    stages: list[ModelStage] = []
    for index in range(draw(st.integers(1, 5))):
        sources = image_names | st.integers(0, index - 1) if index else image_names
        stages.append(ModelStage(draw(sources), tuple(draw(st.lists(sources, max_size=3)))))
    return stages


def expected_images(stages: list[ModelStage], index: int) -> set[str]:
    taken: set[str] = set()
    for source in (stages[index].base, *stages[index].uses):
        taken |= {source} if isinstance(source, str) else expected_images(stages, source)
    return taken


def keyword(draw: st.DrawFn, word: str) -> str:
    return "".join(draw(st.sampled_from([letter.upper(), letter.lower()])) for letter in word)


bodies = st.lists(
    st.sampled_from(["FROM x", "COPY --from=x / /", "# escape=`", "", "\\", "RUN <<EOF", " EOF", "'", '"', "ARG"])
    | st.text().map(lambda text: re.sub(r"[\r\n]", "", text)),
    max_size=5,
).map(lambda lines: "".join(line + "\n" for line in lines if line != "EOF"))
noise = st.sampled_from(
    ["", "\n", "# FROM x\n", "  # COPY --from=x \\\n", "ARG A=1 \\\n  B=FROM\n", "arg C='FROM x'\n"]
)


@st.composite
def rendered(draw: st.DrawFn, stages: list[ModelStage]) -> str:
    """Write the model in any of the ways that mean the same."""

    def blank() -> str:
        return draw(st.sampled_from([" ", "  ", "\t", " \\\n", "\\\n  ", " \\ \n# comment \\\n\n  # FROM x\n\t"]))

    def source(value: str | int, *, number: bool) -> str:
        if isinstance(value, str):
            return value
        return str(value) if number and draw(st.booleans()) else keyword(draw, f"stage-{value}")

    lines: list[str] = []
    for index, stage in enumerate(stages):
        lines.append(draw(noise))
        base = stage.base if isinstance(stage.base, str) else f"stage-{stage.base}"
        name = keyword(draw, f"stage-{index}")
        lines.append(f"{keyword(draw, 'from')}{blank()}{base}{blank()}{keyword(draw, 'as')}{blank()}{name}\n")
        for use in stage.uses:
            lines.append(draw(noise))
            if draw(st.booleans()):
                flag = f"--mount=type=bind,from={source(use, number=False)},target=/x"
                here = f"{keyword(draw, 'run')}{blank()}{flag}{blank()}<<EOF\n{draw(bodies)}EOF\n"
            else:
                flag = f"--from={source(use, number=True)}"
                here = f"{keyword(draw, 'copy')}{blank()}{flag}{blank()}/a{blank()}/b\n"
            lines.append(here)
    text = "".join(lines)
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


@patient
@given(st.data())
def test_spelling_never_changes_the_references(data: st.DataObject) -> None:
    stages = data.draw(models())
    text = data.draw(rendered(stages))
    for index in range(len(stages)):
        assert set(images(text, target=f"stage-{index}")) == expected_images(stages, index), text
    assert set(images(text)) == expected_images(stages, len(stages) - 1)


@patient
@given(st.text().map(lambda text: "".join(line + "\n" for line in text.split("\n") if line.strip("\r\t") != "EOF")))
@example("FROM b\nEOF \n")
@example("\\\n")
def test_the_body_of_a_heredoc_never_changes_the_references(body: str) -> None:
    for opening in ("RUN <<EOF", "COPY <<-'EOF' /x", "ONBUILD ADD <<EOF /x"):
        assert images(f"FROM a\n{opening}\n{body}EOF\nCOPY --from=b / /") == ["a", "b"]


@patient
@given(st.lists(st.text(), max_size=4))
def test_exec_form_never_opens_a_heredoc(words: list[str]) -> None:
    form = json.dumps([*words, "cat <<EOF", "<<EOF"])
    assert images(f"FROM a\nRUN {form}\nCOPY --from=b / /") == ["a", "b"]


pieces = st.sampled_from(
    "FROM |from a|ARG |COPY |RUN |ONBUILD |--from=|--mount=|from=|--platform=| AS |a|0|X=|$X|${X|:-|#|%|/|*|}|\"|'|\\|`|"
    "<<|<<-|EOF|\n|\n|\n|\nFROM a\n|\r\n|\t| |,|[|# escape=`\n|# syntax=x\n|\u00a0|\ufeff|é|\x00|\x85".split("|")
)


@patient
@given(st.text() | st.lists(pieces, max_size=40).map("".join), st.dictionaries(st.sampled_from("XA"), st.text()))
def test_any_text_gives_references_or_a_dockerfile_error(text: str, build_args: dict[str, str]) -> None:
    try:
        dockerfile = parse_dockerfile(text)
        found = references(dockerfile, build_args, AMD64)
    except DockerfileError as error:
        lines, taken = [error.line], []
    else:
        lines, taken = [reference.line for reference in found], [reference.image for reference in found]
    assert all(0 <= line <= text.count("\n") + 1 for line in lines)
    assert "" not in taken
    assert "scratch" not in taken


names = st.text("abc$_-.*?{}'\"\\ ", max_size=8)


@patient
@given(names, names)
def test_values_are_not_expanded_again(value: str, other: str) -> None:
    assert images("ARG A B\nFROM x${A}y$B", {"A": value, "B": other}) == [f"x{value}y{other}"]


@patient
@given(st.text("ab./*?", max_size=8), st.text("ab./", max_size=4))
def test_removing_a_literal_prefix_or_suffix(value: str, pattern: str) -> None:
    assert images("ARG A P\nFROM x${A#$P}", {"A": value, "P": pattern}) == ["x" + value.removeprefix(pattern)]
    assert images("ARG A P\nFROM x${A%$P}", {"A": value, "P": pattern}) == ["x" + value.removesuffix(pattern)]
    if pattern:
        assert images("ARG A P\nFROM x${A//$P/-}", {"A": value, "P": pattern}) == ["x" + value.replace(pattern, "-")]


# ---- time ----

LONG = 1_000_000  # characters


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("FROM a\nRUN --mount=" + "''" * (LONG // 2), id="quotes"),
        pytest.param("FROM a\nRUN <<E " + '"\'" ' * (LONG // 4) + "\nE", id="quotes in quotes"),
        pytest.param("FROM a\nRUN a" + " \\\n b" * (LONG // 5), id="continued lines"),
        pytest.param("FROM a\n" + "\r" * LONG + "x", id="carriage returns"),
        pytest.param("FROM a\nRUN " + "<<E " * (LONG // 8) + "\nE" * (LONG // 8), id="heredocs"),
        pytest.param("FROM a\n" + "RUN <<E cat\n" * (LONG // 12) + "E", id="heredocs within one"),
        pytest.param(
            "ARG A=" + ("${a:-" * 19 + "b" + "}" * 19) * (LONG // 115) + "\nFROM a", id="nested substitutions"
        ),
        pytest.param("ARG A=" + "${a:-" * (LONG // 5) + "\nFROM a", id="substitutions that are too deep"),
        pytest.param("FROM a\nCOPY " + "--x\\ " * (LONG // 5), id="flags"),
        pytest.param("".join(f"FROM a AS s{at}\nCOPY --from=s{at} / /\n" for at in range(LONG // 40)), id="stages"),
    ],
)
def test_the_time_is_that_of_the_length(text: str) -> None:
    start = time.process_time()
    with contextlib.suppress(DockerfileError):
        references(parse_dockerfile(text), {}, AMD64)
    assert time.process_time() - start < 10  # in the square of the length, it would be minutes


@pytest.mark.parametrize("removal", ["#*{}b", "##*{}b", "%b{}*", "%%b{}*", "/*{}b/x", "//{}b/x"])
def test_patterns_are_matched_without_going_back(removal: str) -> None:
    start = time.process_time()
    value = "a" * 60_000
    assert images(f"ARG A\nFROM x${{A{removal.format('a*' * 30)}}}", {"A": value}) == ["x" + value]
    assert time.process_time() - start < 10


@pytest.mark.parametrize("value", ["$A{}$A{}", "${{A{}//a/aa}}", "${{A{}:-x}}${{A{}}}"])
def test_args_that_double_each_other_are_refused(value: str) -> None:
    lines = [f"ARG A{at + 1}={value.format(at, at)}" for at in range(60)]
    with pytest.raises(DockerfileError, match="expands to more than 65,536 characters"):
        images("\n".join(["ARG A0=a", *lines, "FROM x"]))
