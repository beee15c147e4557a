"""Dockerfiles: bakegen refuses what BuildKit's own check refuses for a reason of syntax, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from drawing import drawn
from hypothesis import strategies as st

from bakegen.spec.dockerfile import parse_dockerfile, references
from bakegen.spec.dockerfile_rules import check_instructions, check_lines
from bakegen.spec.dockerfile_words import DockerfileError

# Instructions to begin with, right and wrong, and what a mutation may put in.
SEEDS = {
    "COPY": (
        [
            "COPY a /b", "COPY --chown=1:1 --chmod=u+x,go-w --link a b /c/", 'COPY ["a b", "/c"]', "COPY --from=one /a /b",
            "COPY --link=false --exclude=*.md --exclude=x a /b", "COPY --chmod=0755 <<EOF /x\n$HOME it's\nEOF",
            "COPY <<'EOF' /x\n${x^^}\nEOF", "COPY <<EOF /x\n${x^^}\nEOF", "COPY /x", "COPY", "COPY --chown=1 --chown=2 a /b",
            "COPY --link=maybe a /b", "COPY --link= a /b", "COPY --chmod=9 a /b", "COPY --chmod=10000 a /b", "COPY --from a /b", "COPY --form=one a /b",
            "COPY a <<EOF\nEOF", "COPY https://example.org/a /b", "COPY git@example.org:a/b /c", "COPY [1]", "COPY --from=One /a /b",
            "COPY --from=Two /a /b",
        ],
        ["--", "--from", "--chmod", "--link", "=", " ", "755", "true", '"', "'", "[", "]", ",", "$A", "${A", "http://a/b", "a", "9", "<<EOF"],
    ),
    "ADD": (
        [
            "ADD a /b", "ADD https://example.org/x.git#v1 /x", "ADD --keep-git-dir=true --unpack a /b",
            f"ADD --checksum=sha256:{'0' * 64} https://example.org/a /b", "ADD --checksum=sha256:0 https://example.org/a /b",
            f"ADD --checksum=sha256:{'0' * 64} a /b", "ADD --from=one a /b", "ADD a",
        ],
        ["--", "--checksum", "--from", "=", " ", "true", "git@example.org:a/b", "https://example.org/b", "sha256:", "a"],
    ),
    "RUN": (
        [
            "RUN true", 'RUN ["a", "b"]', "RUN --network=none x", "RUN --mount=type=cache,target=/x,sharing=locked y",
            "RUN --mount=type=secret,id=a,required,mode=0400,uid=1 y", "RUN --mount=type=tmpfs,target=/x,size=1g y",
            "RUN --mount=type=ssh,id=a --mount=from=one,source=/a,target=/x,ro y", "RUN --mount=type=$A,target=/x,size=1 y",
            "RUN --mount=type=secret,id=a,env=B y", "RUN <<EOF\n${x^^} it's\nEOF",
            "RUN --mount=tpye=cache,target=/x y", "RUN --mount=required,type=secret,id=a y", "RUN --mount=size=1,type=tmpfs,target=/x y",
            "RUN --mount=type=secret y", "RUN --mount=type=secret,id=a,from=one y", "RUN --mount=type=secret,id=a,source=b y",
            "RUN --mount=type=cache,target=/x,sharing=x y", "RUN --mount=type=ssh,source=/a y", "RUN --mount=type=cache,target=/ y",
            "RUN --mount=type=cache,target=/x,uid=x y", "RUN --mount=type=bind,target=/x,mode=1 y", "RUN --mount=type=cache,target y",
            "RUN --mount=type=bind,target=/x,ro=maybe y", "RUN --mount=type=tmpfs,target=/x,size=x y", 'RUN --mount="type=cache,target=a\\"b" y',
            "RUN [1]", "RUN --network=x y", "RUN --mount=type=cache,target=/x,sharing=locked,target=/y y", "RUN --net=none y",
        ],
        [
            "--mount", "type", "=", ",", "cache", "secret", "bind", "tmpfs", "from", "target", "/", "id", "ro", "rw", "required", "uid", "size",
            "sharing", "shared", "$A", "--network", "host", "[", "]", '"', " ", "tpye", "7", "source",
        ],
    ),
    "ENV": (
        ["ENV A=b", 'ENV A="b c" D=e', "ENV A b c", "LABEL a.b=c d=$X", 'LABEL "a b"=c', "ENV A=${B:-c} D='e f'", "LABEL a b", "ENV A", "ENV", "ENV A=1 B",
         "ENV =x", 'ENV A="x', "ENV A=${x^^}", "ENV A=${x", "LABEL --x a=b"],
        ["=", " ", '"', "'", "\\", "$A", "${A}", "${", "}", "--x", "a", "^^", ":", "?"],
    ),
    "ARG": (["ARG A", "ARG A=b C", 'ARG A="b c"', "ARG A=${B}", "ARG --x A", "ARG", "ARG =x", "ARG A=${x^^}"], ["=", " ", '"', "'", "--x", "${", "}", "A", "\\"]),
    "EXPOSE": (
        ["EXPOSE 80", "EXPOSE 80/tcp 53/udp", "EXPOSE 8000-8010", "EXPOSE 127.0.0.1:80:80", 'EXPOSE "80"', "EXPOSE $P 1", "EXPOSE",
            "EXPOSE 70000", "EXPOSE x", "EXPOSE 80/x", "EXPOSE 9-8", "EXPOSE 1-2:3-5", "EXPOSE 1-2:3", "EXPOSE 1.2.3:80:80", "EXPOSE 65535 0"],
        ["-", ":", "/", "tcp", "sctp", "70000", "0", " ", "x", "1", "[::1]", "$P", "+"],
    ),
    "HEALTHCHECK": (
        [
            "HEALTHCHECK NONE", "HEALTHCHECK CMD true", 'HEALTHCHECK --interval=5s --timeout=1.5m CMD ["a"]',
            "HEALTHCHECK --retries=3 --start-period=0 --start-interval=1h2m CMD x", "HEALTHCHECK", "HEALTHCHECK CMD", "HEALTHCHECK NONE x",
            "HEALTHCHECK x", "HEALTHCHECK --interval=5 CMD x", "HEALTHCHECK --interval=1us CMD x", "HEALTHCHECK --retries=-1 CMD x",
            "HEALTHCHECK --x NONE", "HEALTHCHECK CMD []", "HEALTHCHECK --interval=-5s CMD x", "HEALTHCHECK --interval=5s",
        ],
        ["--", "--retries", "=", " ", "CMD", "NONE", "5", "s", "ms", "ns", "-", "[]", "1", "x", "99999999999"],
    ),
    "other": (
        [
            "USER a", "WORKDIR /a", "VOLUME /a /b", 'VOLUME ["/a"]', 'SHELL ["a", "b"]', "STOPSIGNAL SIGTERM", "STOPSIGNAL 9", "MAINTAINER x",
            'CMD ["a"]', "CMD a b", 'ENTRYPOINT ["a", "b"]', "ENTRYPOINT a", "STOPSIGNAL RTMIN+3",
            "USER", "WORKDIR", "VOLUME", 'VOLUME [""]', "VOLUME []", "SHELL []", "SHELL a", "STOPSIGNAL 0", "STOPSIGNAL SIGX", "STOPSIGNAL --x 9",
            "STOPSIGNAL", "MAINTAINER", "CMD --x a", "CMD [1]", 'CMD ["a", 1]', 'CMD ["a"', "ENTRYPOINT [null]", "USER --x a", "RNU x", "USER ${",
        ],
        ["[", "]", '"', ",", " ", "1", "--x", "$A", "${", "'", "SIG", "KILL", "x", "0", "-", "null", "/"],
    ),
    "ONBUILD": (
        ["ONBUILD RUN x", "ONBUILD COPY a /b", "ONBUILD ENV A=b", "onbuild user a", "ONBUILD COPY <<EOF /x\na\nEOF", "ONBUILD",
            "ONBUILD ONBUILD RUN x", "ONBUILD FROM one", "ONBUILD MAINTAINER x", "ONBUILD FOO x", "ONBUILD COPY a", "ONBUILD ENV A",
            "ONBUILD COPY --x=y a /b"],
        ["ONBUILD ", "FROM ", "MAINTAINER ", "--link ", "--x ", " ", "=", "RUN ", "COPY ", "x"],
    ),
    "FROM": (
        ["FROM scratch", "FROM one AS two", "FROM --platform=linux/arm64 scratch", "from scratch as a.b-c_d", "FROM", "FROM one AS",
            "FROM one AS 1a", "FROM --platfrom=linux/arm64 one", "FROM --platform=a/b/c/d one", "FROM --platform=x one", "FROM One", "FROM one two",
            "FROM one AS a b", "FROM ${"],
        ["--platform", "=", " ", "AS ", "linux", "/", "1", "A", "scratch", "one", "x", '"', "$A", "amd64"],
    ),
    "directive": (
        ["# escape=`", "# check=skip=all;error=true", "#escape=\\", "# check=experimental=all", "# check=x=y",
            "# escape=x", "# check=error=maybe", "# escape=`\n# escape=`", "# check=skip"],
        ["escape", "check", "=", "`", "\\", ";", "skip", "error", "true", "x", "#", "\n# escape=`"],
    ),
}  # fmt: skip


def dockerfile(group: str, line: str) -> str:
    """Return a Dockerfile with an instruction in it, which needs nothing from outside."""
    if group == "directive":
        return f"{line}\nFROM scratch\nCOPY a /b\n"
    triggered = "\nFROM two\n" if group == "ONBUILD" else "\n"
    first = "FROM scratch AS one\nWORKDIR /w\n"
    return f"{first}{line}\nCOPY a /b\n" if group == "FROM" else f"{first}FROM one AS two\n{line}{triggered}COPY a /b\n"


@st.composite
def dockerfiles(draw: st.DrawFn) -> str:
    """A Dockerfile with an instruction near one of these: pieces taken out, put in or exchanged."""
    group = draw(st.sampled_from(sorted(SEEDS)))
    seeds, pieces = SEEDS[group]
    text = draw(st.sampled_from(seeds))
    for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 6)))
        text = text[:start] + draw(st.sampled_from(["", *pieces])) + text[end:]
    return dockerfile(group, text)


def checked(folder: Path, texts: Sequence[str]) -> dict[str, str]:
    """Return what BuildKit's check says against each Dockerfile.

    One that takes from an image that does not exist is left out: BuildKit reads it only in part.
    """
    targets: dict[str, Any] = {}
    for number, text in enumerate(texts):
        (folder / f"{number}.Dockerfile").write_text(text)
        targets[f"t{number}"] = {"dockerfile": f"{number}.Dockerfile"}
    (folder / "a").touch()
    (folder / "bake.json").write_text(json.dumps({"group": {"default": {"targets": list(targets)}}, "target": targets}))
    command = ["docker", "buildx", "bake", "-f", "bake.json", "--call=check,format=json", "--progress=quiet"]
    for _ in range(3):
        done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
        if done.stdout:
            break
    else:  # a busy engine loses one request of many, and the client then says nothing of the others
        assert len(texts) > 1, done.stderr
        middle = len(texts) // 2
        return checked(folder, texts[:middle]) | checked(folder, texts[middle:])
    said = json.loads(done.stdout)["target"]
    words = (said[name]["check"].get("buildError", {}).get("message", "") for name in targets)
    verdicts = zip(texts, words, strict=True)
    return {text: word for text, word in verdicts if "failed to resolve source metadata" not in word}


AT_ONCE = 40


def mistakes(text: str) -> list[str]:
    """Return what we say against a Dockerfile."""
    try:
        parsed = parse_dockerfile(text)
        references(parsed, {}, "linux/amd64")
    except DockerfileError as error:
        return [str(error)]
    return [str(error) for error in (*check_lines(text), *check_instructions(parsed))]


@pytest.mark.engine
@pytest.mark.usefixtures("registry")
def test_buildkit_refuses_the_dockerfiles_that_we_refuse_and_no_others(tmp_path: Path) -> None:
    seeds = [dockerfile(group, line) for group, (lines, _) in SEEDS.items() for line in lines]
    texts = [*dict.fromkeys([*seeds, *drawn(dockerfiles(), 40)])]
    said: dict[str, str] = {}
    for start in range(0, len(texts), AT_ONCE):
        said |= checked(tmp_path, texts[start : start + AT_ONCE])
    ours = {text: mistakes(text) for text in said}

    # What variables stand for is not ours to judge: BuildKit may refuse it.
    assert {text: word for text, word in said.items() if word and not ours[text] and "$" not in text} == {}
    assert {text: found for text, found in ours.items() if found and not said[text]} == {}
