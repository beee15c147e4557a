"""What a Dockerfile takes from: its stages, and the outside images that a build of one of them needs.

In: the text of a Dockerfile, read once by `parse_dockerfile`; then, per build: build args, platform, target stage.
Out: `Reference`s, their image names exactly as BuildKit asks for them, or a `DockerfileError` with its line.

The rules are those of https://docs.docker.com/reference/dockerfile/ and, where that is silent, of BuildKit's source
(below `frontend/dockerfile/`: `parser/parser.go`, `instructions/`, `dockerfile2llb/convert.go`; as of
BuildKit 0.33). Nothing here runs a build, so three things stay unseen: ONBUILD triggers inside outside images, named
contexts that replace an image or a stage, and the frontend image of `# syntax=`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, takewhile
from typing import Literal, NamedTuple, TypeAlias

from bakegen.errors import Position, Problem, did_you_mean, line_at, narrowed
from bakegen.spec.csv_record import csv_fields
from bakegen.spec.dockerfile_words import DockerfileError, expand_word, split_flags, split_words
from bakegen.spec.platforms import Platform, normal_platform

UseKind: TypeAlias = Literal["FROM", "COPY --from", "RUN --mount"]  # ADD has no --from (instructions/parse.go)


def syntax_problem(error: DockerfileError, text: str, path: str) -> Problem:
    """Return the problem of a Dockerfile at `path` that BuildKit would refuse."""
    word = error.message.rpartition(": ")[2]
    line = _line_with(word, text, error.line)
    problem = Problem(
        code="dockerfile-syntax",
        message=f"invalid Dockerfile: {error.message}",
        position=Position(path, line),
        source=line_at(text, line),
        hint=error.hint,
    )
    return narrowed(problem, f"(?i){re.escape(word)}")


def _line_with(word: str, text: str, first: int) -> int:
    """Return the line of an instruction that holds a word; its first line if none does."""
    for number, line in enumerate(text.split("\n")[first - 1 :] if first else (), first):
        if word.lower() in line.lower():
            return number
        if line.lstrip()[:1] not in ("", "#") and not line.rstrip().endswith(("\\", "`")):
            break
    return first


@dataclass(frozen=True, slots=True)
class Arg:
    """One name of an ARG before the first FROM; `default` is as written, None in `ARG NAME`."""

    name: str
    default: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Use:
    """One place that names an image or a stage."""

    kind: UseKind
    name: str  # as written, unexpanded
    line: int  # of the first physical line of the instruction
    stage: int | None = None  # the stage that it names; None: an outside image (of FROM: known only with the args)


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next; `triggers` (ONBUILD) run in later stages FROM this one, never in this one."""

    index: int
    name: str  # lowercase; "" without AS
    base: Use
    platform: str  # of FROM --platform, as written
    uses: tuple[Use, ...] = ()
    triggers: tuple[Use, ...] = ()


class Instruction(NamedTuple):
    """One instruction with its continued lines joined.

    `heredocs` are the bodies whose variables BuildKit expands, each with the number of lines from the first to it.
    """

    line: int  # the first physical one
    keyword: str  # lowercase
    rest: str
    heredocs: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A parsed Dockerfile: `args` are those that FROM can see, in order; `declared` the names of all its ARGs."""

    instructions: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    args: tuple[Arg, ...]
    declared: frozenset[str]
    escape: str


@dataclass(frozen=True, slots=True)
class Reference:
    """An outside image that a build needs; `written` is its name before expansion, `platform` the one pulled."""

    image: str
    line: int
    kind: UseKind
    written: str
    platform: str


# ---- lines: directives, comments, continuations, heredocs (parser/parser.go) ----

_DIRECTIVE = re.compile(r"\s*#\s*(syntax|escape|check)\s*=\s*(.+?)\s*$", re.IGNORECASE)
_CHECK = re.compile(
    r"\s*(?:(?:skip|experimental)\s*=.*|error\s*=\s*(?:1|t|T|TRUE|true|True|0|f|F|FALSE|false|False))\s*"
)
_SPACE = re.compile(r"[\t\v\f\r ]+")  # not \s: a no-break space is part of a word
# A word begins a heredoc only at its start; `<<` takes the blanks behind it along since BuildKit 0.22 (#5817).
_SHELL_WORD = re.compile(r"""(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|<<[ \t]*|\S)+""", re.DOTALL)
_HEREDOC = re.compile(r"[0-9]*<<(-?)\s*([^<]*)")
INSTRUCTIONS = frozenset(
    "add arg cmd copy entrypoint env expose from healthcheck label maintainer onbuild run shell stopsignal user"
    " volume workdir".split()
)


def instruction_of(line: int, text: str) -> Instruction:
    """Return an instruction from its joined lines."""
    keyword, *rest = _SPACE.split(text, maxsplit=1)
    return Instruction(line, keyword.lower(), rest[0] if rest else "")


def _inner(instruction: Instruction) -> Instruction:
    """Return the instruction that an ONBUILD triggers; any other is its own."""
    return instruction_of(instruction.line, instruction.rest) if instruction.keyword == "onbuild" else instruction


def _escape_character(lines: list[str]) -> str:
    """Return the escape character; parser directives end at the first line that is none."""
    found: dict[str, str] = {}
    for number, match in enumerate(takewhile(bool, map(_DIRECTIVE.match, lines)), 1):
        key, value = (match[1].lower(), match[2]) if match else ("", "")
        if key in found:
            raise DockerfileError(number, f"only one {key} parser directive can be used")
        if key == "escape" and value not in ("\\", "`"):
            raise DockerfileError(number, f"invalid escape character {value!r}: only \\ and ` are allowed")
        wrong = [option for option in value.split(";", 2) if not _CHECK.fullmatch(option)] if key == "check" else []
        if wrong:
            raise DockerfileError(
                number, f"unknown option of the check directive: {wrong[0].strip()}", "use skip=RULE,… or error=true"
            )
        found[key] = value
    return found.get("escape", "\\")


def _instructions(lines: list[str], escape: str) -> Iterator[Instruction]:
    """Yield every instruction with its lines joined, heredoc bodies left out."""
    at = 0
    while at < len(lines):
        text = lines[at].lstrip()
        at += 1
        if not text or text[0] == "#":
            continue
        line = at
        if escape in text:
            text, at = _continued(text, lines, at, escape)
        instruction = instruction_of(line, text.strip())
        if instruction.keyword not in INSTRUCTIONS:
            hint = did_you_mean(instruction.keyword.upper(), map(str.upper, INSTRUCTIONS))
            raise DockerfileError(line, f"unknown instruction: {instruction.keyword.upper()}", hint)
        bodies = []
        if "<<" in text:
            for terminator, strip, expands in _heredocs(instruction):
                end = next((i for i in range(at, len(lines)) if lines[i].lstrip(strip) == terminator), None)
                if end is None:
                    raise DockerfileError(line, f"unterminated heredoc: no line {terminator!r} follows")
                bodies += [(at + 1 - line, "\n".join(lines[at:end]))] if expands else []
                at = end + 1
        yield instruction._replace(heredocs=tuple(bodies))


def _continued(text: str, lines: list[str], at: int, escape: str) -> tuple[str, int]:
    """Join the lines that continue `text`; comments and empty lines among them do not end it."""
    parts = []
    while (bare := text.rstrip(" \t")).endswith(escape) and not bare.endswith(escape * 2):
        parts.append(bare[:-1])
        while at < len(lines) and lines[at].lstrip()[:1] in ("", "#"):
            at += 1
        text = lines[at] if at < len(lines) else ""
        at += 1
    return "".join((*parts, text)), at


def _heredocs(instruction: Instruction) -> Iterator[tuple[str, str, bool]]:
    """Yield, for every heredoc, its last line, what to strip before comparing, and whether its variables are expanded.

    Exec form needs no test: its strings are quoted, so that no word of it begins with `<<`.
    """
    line, keyword, rest, _ = _inner(instruction)
    if keyword not in ("run", "copy", "add"):
        return
    try:
        expand_word(rest, "\\", None, line)  # BuildKit splits with \ whatever the escape directive says …
    except DockerfileError:
        return  # … and finds no heredoc at all in a line that is no shell
    for match in filter(None, map(_HEREDOC.fullmatch, _SHELL_WORD.findall(rest))):
        if terminator := expand_word(match[2], "\\", None, line):
            quoted = sum(map(match[2].count, "'\"")) != sum(map(terminator.count, "'\""))
            yield terminator, "\t" if match[1] else "", keyword != "run" and not quoted


# ---- instructions (parser/split_command.go, parser/line_parsers.go, instructions/) ----

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_STAGE_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


def parse_dockerfile(text: str) -> Dockerfile:
    """Parse a Dockerfile; raise DockerfileError where BuildKit would refuse it whatever the build args are."""
    lines = [line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")]
    escape = _escape_character(lines)
    instructions = list(_instructions(lines, escape))
    starts = [at for at, instruction in enumerate(instructions) if instruction.keyword == "from"]
    head = instructions[: starts[0]] if starts else instructions
    for line, keyword, *_ in head:
        if keyword != "arg":
            raise DockerfileError(
                line, f"{keyword.upper()} before the first FROM; only ARG is allowed there", "move it below FROM"
            )
    if not starts:
        raise DockerfileError(0, "there is no FROM", "begin with FROM, in a template with FROM {{ parent }}")
    stages = [_stage(index, instructions[at], escape) for index, at in enumerate(starts)]
    names = {stage.name: stage.index for stage in stages if stage.name}  # a repeated name means its last stage
    for stage, (start, end) in zip(stages, pairwise([*starts, len(instructions)]), strict=True):
        body = instructions[start + 1 : end]
        inner = [_inner(instruction) for instruction in body if instruction.keyword == "onbuild"]
        uses, triggers = (
            tuple(use for item in group if "--" in item.rest for use in _uses(item, names, len(stages), escape))
            for group in (body, inner)
        )
        if uses or triggers:
            stages[stage.index] = replace(stage, uses=uses, triggers=triggers)
    args = [arg for item in instructions if item.keyword in ("arg", "onbuild") for arg in _args(item, escape)]
    visible = tuple(arg for arg in args if arg.line < stages[0].base.line)
    return Dockerfile(tuple(instructions), tuple(stages), visible, frozenset(arg.name for arg in args), escape)


def _stage(index: int, instruction: Instruction, escape: str) -> Stage:
    """Return the stage that a FROM opens, still without what its other instructions use."""
    line, _, rest, _ = instruction
    flags, args = split_flags(rest, escape)
    words = _SPACE.split(args) if args else []
    if len(words) not in (1, 3) or (words[1:] and words[1].lower() != "as"):
        raise DockerfileError(line, "FROM needs an image, or IMAGE AS NAME")
    name = words[-1].lower() if words[1:] else ""
    if name and not _STAGE_NAME.fullmatch(name):
        raise DockerfileError(line, f"invalid stage name {name!r}: a letter first, then letters, digits, _ . -")
    platform = next((flag.removeprefix("--platform=") for flag in flags if flag.startswith("--platform=")), "")
    for word in (words[0], platform):
        expand_word(word, escape, None, line)  # so that open quotes and the like are found now
    return Stage(index, name, Use("FROM", words[0], line), platform)


def _args(instruction: Instruction, escape: str) -> Iterator[Arg]:
    """Yield what an ARG declares."""
    line, keyword, rest, _ = _inner(instruction)
    if keyword == "arg":
        words = split_words(rest, escape)
        for name, given, default in [word.partition("=") for word in words or ["="]]:
            if not name:
                raise DockerfileError(line, "ARG needs NAME or NAME=DEFAULT")
            yield Arg(name, default if given else None, line)


def _uses(instruction: Instruction, names: Mapping[str, int], stages: int, escape: str) -> Iterator[Use]:
    """Yield the images and stages that the flags of a COPY or RUN name."""
    line, keyword, rest, _ = instruction
    if keyword not in ("copy", "run"):
        return
    kind: UseKind = "COPY --from" if keyword == "copy" else "RUN --mount"
    for flag in split_flags(rest, escape)[0]:
        option, given, value = flag.partition("=")
        if f"{keyword} {option}" != kind.lower():
            continue
        if not given:
            raise DockerfileError(line, f"{kind} has no value", f"write {option}=…, without a space")
        name = value if keyword == "copy" else _mounted(value, line)
        stage = names.get(name.lower())
        if "$" in name:  # moby/buildkit#6153: not even the args before the first FROM
            hint = f"add a stage above, FROM {name} AS x, and use x"
            raise DockerfileError(line, f"{kind} does not expand variables: {name}", hint)
        if keyword == "copy" and _STAGE_NUMBER.fullmatch(name):
            stage = int(name)
            if not 0 <= stage < stages:
                raise DockerfileError(line, f"{kind}={name}: no such stage; stages are numbered from 0")
        if name:
            yield Use(kind, name, line, stage)


def _mounted(options: str, line: int) -> str:
    """Return the `from` among the options of RUN --mount (one record of CSV), or ""."""
    try:
        pairs = [text.partition("=") for text in csv_fields(options)]
    except ValueError as error:
        raise DockerfileError(line, f"RUN --mount={options}: {error}") from None
    return next((value for key, _, value in reversed(pairs) if key.lower() == "from"), "")


# ---- builds (dockerfile2llb/convert.go, dockerfile2llb/platform.go) ----


def references(
    dockerfile: Dockerfile,
    build_args: Mapping[str, str],
    platform: str,
    target: str | None = None,
    *,
    build_platform: str = "linux/amd64",
) -> tuple[Reference, ...]:
    """Return the outside images that a build of the stage `target` (default: the last one) needs, each use once.

    Raise DockerfileError where BuildKit would refuse this build. Its FROMs are all expanded, needed or not.
    """
    stages = dockerfile.stages
    names = {stage.name: stage.index for stage in stages if stage.name}
    last = names.get(target.lower(), -1) if target else len(stages) - 1
    if target and last < 0:
        raise DockerfileError(0, f"there is no stage {target!r}", did_you_mean(target, names))
    env = _environment(dockerfile, build_args, platform, build_platform, target or stages[-1].name or "default")
    pulled = _platform_args("TARGET", platform)["TARGETPLATFORM"]
    bases = list(_bases(dockerfile, env, pulled))
    reached = {last}
    found: list[Reference] = []
    for index in range(last, -1, -1):  # a stage needs earlier ones only
        if index in reached:
            base = bases[index]
            triggers = stages[base].triggers if isinstance(base, int) else ()
            uses = triggers + stages[index].uses
            reached.update(_earlier(use, index) for use in uses if use.stage is not None)
            images = [Reference(use.name, use.line, use.kind, use.name, pulled) for use in uses if use.stage is None]
            if isinstance(base, int):
                reached.add(base)
            else:
                images.insert(0, base)
            found = images + found
    return tuple(dict.fromkeys(image for image in found if image.image != "scratch"))


def _environment(
    dockerfile: Dockerfile, build_args: Mapping[str, str], platform: str, build_platform: str, target: str
) -> dict[str, str]:
    """Return what FROM can see: the platform args, which build args override undeclared, and the ARGs above it."""
    env = {**_platform_args("TARGET", platform), **_platform_args("BUILD", build_platform), "TARGETSTAGE": target}
    env |= {name: build_args[name] for name in env.keys() & build_args.keys()}
    for arg in dockerfile.args:
        if arg.name in build_args:
            env[arg.name] = build_args[arg.name]
        elif arg.default is not None:
            env[arg.name] = expand_word(arg.default, dockerfile.escape, env, arg.line)
    return env


@lru_cache(maxsize=256)
def _platform_args(prefix: str, platform: str) -> Mapping[str, str]:
    """Return the "automatic platform ARGs" of one platform, os/architecture or os/architecture/variant."""
    name = Platform(normal_platform(platform))
    values = {"PLATFORM": str(name), "OS": name.os, "OSVERSION": "", "ARCH": name.arch, "VARIANT": name.variant}
    return {prefix + key: value for key, value in values.items()}


def _bases(dockerfile: Dockerfile, env: Mapping[str, str], pulled: str) -> Iterator[int | Reference]:
    """Yield what each FROM stands for: an earlier stage, spelt in lowercase as its name is stored, or an image."""
    names: dict[str, int] = {}
    for stage in dockerfile.stages:
        written, line = stage.base.name, stage.base.line
        image = expand_word(written, dockerfile.escape, env, line)
        platform = expand_word(stage.platform, dockerfile.escape, env, line)
        if not image or (stage.platform and not platform):
            hint = "FROM only sees platform args, and ARGs above the first FROM that have a value"
            raise DockerfileError(line, f"{stage.platform if image else written} expands to an empty string", hint)
        base = names.get(image)
        yield Reference(image, line, "FROM", written, platform or pulled) if base is None else base
        if stage.name:
            names[stage.name] = stage.index


def _earlier(use: Use, index: int) -> int:
    """Return the stage that `use` in stage `index` names."""
    if use.stage is None or use.stage >= index:
        raise DockerfileError(use.line, f"{use.kind} names {use.name}, which is not an earlier stage")
    return use.stage
