"""What BuildKit refuses in the instructions of a Dockerfile: flags, numbers of arguments, their forms.

In: a parsed Dockerfile. Out: a `DockerfileError` for each instruction that no build can use, with its line.

The rules are those of BuildKit's source (below `frontend/dockerfile/`: `parser/line_parsers.go`, `instructions/`,
`dockerfile2llb/convert*.go`; from 0.25 to 0.33), which reads a Dockerfile whole before it builds a stage of it. Text
that holds variables is judged only as far as their values do not matter; flags that only some versions know are right.
What ONBUILD triggers is judged here, not only where an image is built from this one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from bakegen.errors import did_you_mean
from bakegen.spec.dockerfile import INSTRUCTIONS, Dockerfile, Instruction, instruction_of
from bakegen.spec.dockerfile_mounts import check_among, check_device, check_mount
from bakegen.spec.dockerfile_words import DockerfileError, split_flags, split_words, unquoted
from bakegen.spec.go_values import go_duration, go_integer, go_natural, is_address
from bakegen.spec.references import is_reference

_SPACE = re.compile(r"[\t\v\f\r ]+")  # what BuildKit splits at; a no-break space is part of a word
_LONGEST_LINE = 65_535  # bytes (bufio.MaxScanTokenSize)

_Flag = Literal["text", "bool", "list"]  # a list may be given several times
_FLAGS: Mapping[str, Mapping[str, _Flag]] = {
    "add": {
        **dict.fromkeys(("chown", "chmod", "checksum"), "text"),
        **dict.fromkeys(("link", "keep-git-dir", "unpack"), "bool"),
        "exclude": "list",
    },
    "copy": {
        **dict.fromkeys(("from", "chown", "chmod"), "text"),
        **dict.fromkeys(("link", "parents"), "bool"),
        "exclude": "list",
    },
    "from": {"platform": "text"},
    "healthcheck": dict.fromkeys(("interval", "timeout", "start-period", "start-interval", "retries"), "text"),
    "run": {"mount": "list", "device": "list", "network": "text", "security": "text"},
}
_NO_QUOTES = str.maketrans("'\"", "  ")
_FREE_FLAGS = ("arg", "stopsignal")  # BuildKit does not look at theirs


@dataclass(frozen=True, slots=True)
class _Call:
    """An instruction taken apart: what follows its flags, and their values."""

    name: str  # uppercase
    args: str
    flags: Mapping[str, Sequence[str]]
    escape: str

    def flag(self, name: str) -> str:
        return self.flags.get(name, ("",))[-1]

    def words(self) -> Sequence[str]:
        """Return the arguments: the strings of exec form, or what blanks divide."""
        listed = _exec_form(self)
        return (_SPACE.split(self.args) if self.args else []) if listed is None else listed

    def plain(self, text: str) -> str:
        """Return text as BuildKit takes it, "" where that depends on variables."""
        bare = unquoted(text, self.escape)
        return "" if "$" in bare else bare


def check_instructions(dockerfile: Dockerfile) -> Iterator[DockerfileError]:
    """Yield the first thing that BuildKit refuses in each instruction, whatever the build args are."""
    for instruction in dockerfile.instructions:
        found = _mistake(instruction._replace(line=0), dockerfile.escape)
        if found:
            yield DockerfileError(instruction.line + found.line, found.message, found.hint)
    known = {"scratch"}
    for stage in dockerfile.stages:
        for use in (stage.base, *stage.uses, *stage.triggers):
            name = use.name if use.kind != "FROM" else unquoted(use.name, dockerfile.escape)
            if use.stage is None and "$" not in name and name not in known and not is_reference(name):
                hint = "image names are lower-case, such as debian:12-slim"
                yield DockerfileError(
                    use.line, f"{use.kind} is neither an earlier stage nor a valid image: {name}", hint
                )
        known |= {stage.name} - {""}


def check_lines(text: str) -> Iterator[DockerfileError]:
    """Yield the lines that are too long for BuildKit."""
    if len(text) <= _LONGEST_LINE and text.isascii():
        return
    for number, line in enumerate(text.split("\n"), 1):
        if len(line.encode()) > _LONGEST_LINE:
            yield DockerfileError(number, "a line is longer than 65,535 bytes", "break it with a backslash")


@lru_cache(maxsize=4096)
def _mistake(instruction: Instruction, escape: str) -> DockerfileError | None:
    try:
        _check(instruction, escape)
    except DockerfileError as error:
        return error
    return None


def _check(instruction: Instruction, escape: str) -> None:
    keyword, rest = instruction.keyword, instruction.rest
    words, args = split_flags(rest, escape)
    none = keyword == "healthcheck" and _SPACE.split(args, maxsplit=1)[0].upper() == "NONE"
    flags = {} if none or keyword in _FREE_FLAGS else _flags(keyword, words)
    _RULES[keyword](_Call(keyword.upper(), args, flags, escape))
    for start, body in instruction.heredocs:
        _heredoc(start, body)


def _heredoc(start: int, body: str) -> None:
    """Check a body whose variables are expanded; quotes mean nothing in it."""
    text = body.translate(_NO_QUOTES)
    if not _unexpandable(text):
        return
    lines = text.split("\n")
    at = next((at for at, line in enumerate(lines) if _unexpandable(line)), 0)
    message = f"BuildKit expands variables in this heredoc: {_unexpandable(lines[at]) or _unexpandable(text)}"
    hint = "quote its name, such as <<'EOF', to turn expansion off"
    raise DockerfileError(start + at, f"{message}: {body.split(chr(10))[at].strip()}", hint)


def _unexpandable(text: str) -> str:
    """Return why variables in a text cannot be expanded, "" if they can."""
    try:
        unquoted(text, "\\")
    except DockerfileError as error:
        return error.message.removesuffix(f": {text}")
    return ""


def _flags(keyword: str, words: Sequence[str]) -> dict[str, list[str]]:
    known = _FLAGS.get(keyword, {})
    name = keyword.upper()
    found: dict[str, list[str]] = {}
    for word in words:
        flag, given, value = word.removeprefix("--").partition("=")
        kind = known.get(flag)
        if kind is None:
            hint = did_you_mean(flag, known) if known else f"{name} has no flags"
            raise DockerfileError(0, f"unknown flag of {name}: --{flag}", hint.replace('"', '"--', 1))
        if flag in found and kind != "list":
            raise DockerfileError(0, f"{name} allows this flag only once: --{flag}", "remove one of them")
        if kind != "bool" and not given:
            raise DockerfileError(0, f"a flag of {name} has no value: --{flag}", f"write --{flag}=…, without a space")
        if kind == "bool" and (value.lower() not in ("true", "false", "") or (given and not value)):
            raise DockerfileError(0, f"a flag of {name} must be true or false: {word}", f"write --{flag}, or remove it")
        found.setdefault(flag, []).append(value)
    return found


def _exec_form(call: _Call) -> list[str] | None:
    """Return the strings of exec form, None for what is none; raise DockerfileError if they are not all strings."""
    if not call.args.startswith("["):
        return None
    try:
        found: Any = json.loads(call.args, parse_constant=_no_json, parse_int=float)
    except (ValueError, RecursionError):
        return None  # BuildKit takes it as shell form
    if not all(isinstance(item, str) for item in found):
        raise DockerfileError(0, f"{call.name} needs a list of strings: {call.args}", "use double quotes for each item")
    return list(found)


def _no_json(constant: str) -> None:
    raise ValueError(constant)


def _need(call: _Call, found: object, usage: str) -> None:
    if not found:
        raise DockerfileError(0, f"{call.name} has no argument", f"write {call.name} {usage}")


# ---- one rule per instruction


def _copy(call: _Call) -> None:
    words = call.words()
    if len(words) < 2:  # noqa: PLR2004 - a source and a destination
        message = f"{call.name} needs at least one source and a destination"
        raise DockerfileError(0, message, f"write {call.name} SOURCE DESTINATION")
    *sources, destination = words
    if re.fullmatch(r"[0-9]*<<-?[^<]+", destination):
        raise DockerfileError(0, f"{call.name} cannot have a heredoc as its destination: {destination}")
    for word in (destination, call.flag("chown")):
        call.plain(word)
    plain = [call.plain(source) for source in sources]
    mode = call.plain(call.flag("chmod"))
    if mode and go_natural(mode, 12, base=8) is None and not _MODE.fullmatch(mode):
        message, hint = f"--chmod needs an octal or symbolic mode: {mode}", "for example --chmod=755 or --chmod=u+x"
        raise DockerfileError(0, message, hint)
    for source in plain if call.name == "COPY" else ():
        if source.startswith(("http://", "https://")) or _GIT.match(source):
            raise DockerfileError(0, f"COPY does not support URLs: {source}", "use ADD")
    checksum = call.plain(call.flag("checksum"))
    if checksum and (len(sources) > 1 or (plain[0] and not _REMOTE.match(plain[0]))):
        raise DockerfileError(0, f"--checksum needs exactly one URL: {' '.join(sources)}")
    if checksum and plain[0] and not _GIT.match(plain[0]) and not _DIGEST.fullmatch(checksum):
        raise DockerfileError(0, f"--checksum needs a digest: {checksum}", "sha256: and 64 hexadecimal digits")


_GIT = re.compile(r"(?:git|ssh)://|https?://[^?#]*\.git(?:[?#]|\Z)|[\w.-]+@[\w.-]+:")
_REMOTE = re.compile(rf"https?://|github\.com/|{_GIT.pattern}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}")
_MODE = re.compile(r"[augo]*(?:[+=-][rstwXxugo]*)+(?:,[augo]*(?:[+=-][rstwXxugo]*)+)*")


def _run(call: _Call) -> None:
    _exec_form(call)
    for value in call.flags.get("mount", ()):
        check_mount(value, call.plain)
    for value in call.flags.get("device", ()):
        check_device(value)
    check_among("--network", call.flags.get("network", ()), ("default", "host", "none"))
    check_among("--security", call.flags.get("security", ()), ("insecure", "sandbox"))


def _pairs(call: _Call) -> None:
    """ENV and LABEL: name=value …, or in the old form one name and its value."""
    words = split_words(call.args, call.escape)
    _need(call, words, "NAME=value")
    if "=" not in words[0]:
        name, *value = _SPACE.split(call.args, maxsplit=1)
        if not value:
            raise DockerfileError(0, f"{call.name} has a name without a value: {name}", f"write {call.name} {name}=…")
        call.plain(name)
        call.plain(value[0])
        return
    for word in words:
        name, given, value_ = word.partition("=")
        if not given:
            hint = f'quote values that contain spaces: {call.name} NAME="a b"'
            raise DockerfileError(0, f"{call.name} needs NAME=VALUE: {word}", hint)
        if not name:
            raise DockerfileError(0, f"{call.name} has a value without a name: {word}")
        call.plain(name)
        call.plain(value_)


def _arg(call: _Call) -> None:
    words = split_words(call.args, call.escape)
    _need(call, words, "NAME or ARG NAME=DEFAULT")  # flags may be all that there is
    for word in words:
        call.plain(word.partition("=")[2])


def _from(call: _Call) -> None:
    platform = call.plain(call.flag("platform"))
    if platform and not _PLATFORM.fullmatch(platform) and platform.lower() not in _ALONE:
        raise DockerfileError(0, f"--platform is not a valid platform: {platform}", "for example linux/arm64")


_PLATFORM = re.compile(r"[\w-]+(?:\([\w.+%-]*\))?(?:/[\w-]+){1,2}", re.ASCII)
_ALONE = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux macos nacl netbsd openbsd plan9 solaris windows zos"
    " 386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 mips64le mips64p32"
    " mips64p32le ppc riscv riscv64 s390 s390x sparc sparc64 wasm i386 x86_64 x86-64 aarch64 armhf armel".split()
)  # https://github.com/containerd/platforms, database.go


def _expose(call: _Call) -> None:
    words = _SPACE.split(call.args) if call.args else []
    _need(call, words, "PORT")
    for word in words:
        for port in call.plain(word).split():
            if not _is_port(port):
                raise DockerfileError(0, f"EXPOSE needs a port: {port}", "for example 8080, 53/udp or 8000-8010")


def _is_port(text: str) -> bool:
    """Return whether a text is [ip:][host port:]port[/protocol], where ports may be ranges."""
    *before, last = text.split(":")
    port, _, protocol = last.partition("/")
    host = before.pop() if before else ""
    address = ":".join(before)
    if address.startswith("["):
        address = address[1:-1] if address.endswith("]") else "-"
    inner, outer = _port_range(port), _port_range(host or port)
    return (
        protocol.lower() in ("", "tcp", "udp", "sctp")
        and inner is not None
        and outer is not None
        and inner in (1, outer)
        and (not address or is_address(address))
    )


def _port_range(text: str) -> int | None:
    """Return how many ports a port or a range is."""
    first, dash, last = text.partition("-")
    low, high = go_integer(first), go_integer(last if dash else first)
    if low is None or high is None or not 0 <= low <= high <= 65_535:  # noqa: PLR2004
        return None
    return high - low + 1


def _healthcheck(call: _Call) -> None:
    kind, *command = _SPACE.split(call.args, maxsplit=1)
    _need(call, kind, "CMD command")
    inner = _Call(call.name, command[0] if command else "", {}, call.escape)
    listed = _exec_form(inner)
    given = inner.args if listed is None else listed
    if kind.upper() == "NONE":
        if given:
            raise DockerfileError(0, f"HEALTHCHECK NONE has no arguments: {inner.args}")
        return
    if kind.upper() != "CMD":
        raise DockerfileError(0, f"HEALTHCHECK needs CMD or NONE, not: {kind}", f"write HEALTHCHECK CMD {call.args}")
    if not given:
        raise DockerfileError(0, "HEALTHCHECK CMD has no command", "write HEALTHCHECK CMD COMMAND")
    for name, values in call.flags.items():
        value = values[-1]
        if name == "retries":
            number = go_integer(value, 32)
            if value and (number is None or number < 0):
                raise DockerfileError(0, f"--retries needs a number: {value}")
        elif value:
            duration = go_duration(value)
            if duration is None or (duration and duration < 10**6):
                message = f"--{name} needs a duration of at least a millisecond: {value}"
                raise DockerfileError(0, message, "for example 30s or 1m30s")


def _onbuild(call: _Call) -> None:
    _need(call, call.args, "instruction")
    inner = instruction_of(0, call.args)
    if inner.keyword in ("onbuild", "from", "maintainer"):
        raise DockerfileError(0, f"ONBUILD cannot trigger: {inner.keyword.upper()}")
    if inner.keyword not in INSTRUCTIONS:
        hint = did_you_mean(inner.keyword.upper(), map(str.upper, INSTRUCTIONS))
        raise DockerfileError(0, f"unknown instruction: {inner.keyword.upper()}", hint)
    _check(inner, call.escape)


def _shell(call: _Call) -> None:
    if not _exec_form(call):
        raise DockerfileError(0, "SHELL needs a list of strings", 'for example SHELL ["/bin/bash", "-c"]')


_SIGNALS = (
    frozenset(
        "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP"
        " TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX".split()
    )
    | {f"RTMIN+{n}" for n in range(1, 16)}
    | {f"RTMAX-{n}" for n in range(1, 15)}
)


def _stopsignal(call: _Call) -> None:
    _need(call, call.args, "signal")
    text = call.plain(call.args)
    number = go_integer(text)
    if "$" not in call.args and (number == 0 or (number is None and text.upper().removeprefix("SIG") not in _SIGNALS)):
        raise DockerfileError(0, f"STOPSIGNAL needs a signal: {text}", "for example SIGTERM or 15")


def _volume(call: _Call) -> None:
    words = call.words()
    _need(call, words, "/path")
    for word in words:
        if not word.strip():
            raise DockerfileError(0, "VOLUME has an empty path")
        call.plain(word)


def _one(usage: str) -> Callable[[_Call], None]:
    """Return the rule of an instruction whose argument is all that follows."""

    def check(call: _Call) -> None:
        _need(call, call.args, usage)
        call.plain(call.args)

    return check


_RULES: Mapping[str, Callable[[_Call], object]] = {
    "add": _copy,
    "arg": _arg,
    "cmd": _exec_form,
    "copy": _copy,
    "entrypoint": _exec_form,
    "env": _pairs,
    "expose": _expose,
    "from": _from,
    "healthcheck": _healthcheck,
    "label": _pairs,
    "maintainer": lambda call: _need(call, call.args, "name"),
    "onbuild": _onbuild,
    "run": _run,
    "shell": _shell,
    "stopsignal": _stopsignal,
    "user": _one("user"),
    "volume": _volume,
    "workdir": _one("/path"),
}
