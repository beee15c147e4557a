"""Words of a Dockerfile as BuildKit reads them: quotes, escapes, variables, and how a line is split into words and flags.

In: text of an instruction, the escape character of the file, the values of variables. Out: words, or a `DockerfileError`.

The rules are those of `shell/lex.go`, `parser/split_command.go` and `parser/line_parsers.go` below `frontend/dockerfile/` in
BuildKit's source, as of BuildKit 0.33, and of "Environment replacement" in https://docs.docker.com/reference/dockerfile/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLAIN = {stop: re.compile(rf"[^$'\"\\`{stop}]+") for stop in ("", '"', "}", "/")}
_VARIABLE = re.compile(r"\$(\{?)([0-9]+|[@*#?$!-]|\w*)")  # $1 and $@ are variables that nobody sets
_NESTING = 20  # of ${a:-${b:-…}}: bounds the recursion
_LONGEST = 65_536  # characters that a word can expand to, so that ARGs cannot double each other without end
_WORD = {
    escape: re.compile(rf"""(?:[^\s'"{e}]+|{e}.|'[^']*'?|"(?:[^"{e}]|{e}.)*"?)+""", re.DOTALL)
    for escape, e in (("\\", r"\\"), ("`", "`"))
}
_FLAG_PART = {
    escape: re.compile(rf"""{e}(.?)|'((?:[^'{e}]|{e}.?)*)'?|"((?:[^"{e}]|{e}.?)*)"?|([^\s'"{e}]+)""", re.DOTALL)
    for escape, e in (("\\", r"\\"), ("`", "`"))
}
_BLANKS = re.compile(r"\s*")


class DockerfileError(Exception):
    """BuildKit would refuse this; `line` counts from 1, 0 means the file as a whole."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        self.line, self.message, self.hint = line, message, hint
        super().__init__(f"line {line}: {message}" if line else message)


def expand_word(text: str, escape: str, env: Mapping[str, str] | None, line: int) -> str:
    """Return `text` with quotes and escapes undone and variables replaced; without `env` those stay as written."""
    if not text or _PLAIN[""].fullmatch(text):
        return text
    try:
        return _scan(text, 0, "", escape, env)[0]
    except ValueError as error:
        raise DockerfileError(line, f"{text}: {error}") from None


def _scan(
    text: str, at: int, stop: str, escape: str, env: Mapping[str, str] | None, *, raw: bool = False, depth: int = 0
) -> tuple[str, int]:
    """Expand from `at` past `stop`: a closing quote, brace or slash, or "" for all the text; `raw` keeps escapes."""
    parts: list[str] = []
    size = 0
    while at < len(text) and (char := text[at]) != stop:
        if plain := _PLAIN[stop].match(text, at):
            part, at = plain[0], plain.end()
        elif char == "$":
            part, at = _variable(text, at, escape, env, depth)
        elif char == '"':
            part, at = _scan(text, at + 1, '"', escape, env, raw=raw, depth=depth)
        elif char == "'" and stop != '"':
            end = text.find("'", at + 1)
            if end < 0:
                raise ValueError("an unclosed '")
            part, at = text[at + 1 : end], end + 1
        elif char == escape and (stop != '"' or text[at + 1 : at + 2] in ('"', "$", escape)):
            part, at = text[at if raw else at + 1 : at + 2], at + 2
        else:
            part, at = char, at + 1
        parts.append(part)
        size += len(part)
        if env is not None and size > _LONGEST:
            raise ValueError(f"expands to more than {_LONGEST:,} characters")
    if stop and at >= len(text):
        raise ValueError(f"a {stop} is missing")
    return "".join(parts), at + 1


def _variable(text: str, start: int, escape: str, env: Mapping[str, str] | None, depth: int) -> tuple[str, int]:
    """Expand the `$name` or `${…}` at `start`; a `$` before anything else is just that."""
    match = _VARIABLE.match(text, start)
    brace, name, at = (match[1], match[2], match.end()) if match else ("", "", start + 1)
    if not brace:
        return (text[start:at] if env is None or not name else env.get(name, "")), at
    op = text[at : at + 2] if text.startswith((":", "//"), at) else text[at : at + 1]
    if depth == _NESTING or (not name and op[:1] in ("", "{", "}", ":")):
        raise ValueError("bad substitution")
    at += len(op)
    word = replacement = ""
    if op in ("/", "//"):
        word, at = _scan(text, at, "/", escape, env, raw=True, depth=depth + 1)
        replacement, at = _scan(text, at, "}", escape, env, raw=True, depth=depth + 1)
    elif op.removeprefix(":") in ("-", "+", "?", "#", "%"):
        word, at = _scan(text, at, "}", escape, env, raw=op[-1] in "#%", depth=depth + 1)
    elif op != "}":
        raise ValueError(f"unsupported modifier ({op}) in substitution")
    if env is None:
        return text[start:at], at
    return (env.get(name, "") if op == "}" else _modified(name, env.get(name), op, word, replacement)), at


def _modified(name: str, found: str | None, op: str, word: str, replacement: str) -> str:
    """Return what `${name<op>word}` stands for when the variable is `found`, None if it is unset."""
    value = found or ""
    missing = found is None or (op[0] == ":" and not value)
    longest = word.startswith(op[-1])  # ## and %%
    match op[-1]:
        case "-":
            return word if missing else value
        case "+":
            return "" if missing else word
        case "?" if missing:
            raise ValueError(f"{name}: {word or 'is not set'}")
        case "#":
            prefix = _glob(word.removeprefix("#"), longest=longest).match(value)
            return value[prefix.end() :] if prefix else value
        case "%":  # is "#" from the other end
            suffix = _glob(word.removeprefix("%"), longest=longest, reverse=True).match(value[::-1])
            return value[: len(value) - suffix.end()] if suffix else value
        case "/":
            return _replaced(value, word, replacement, every=op == "//")
    return value


def _replaced(value: str, word: str, replacement: str, *, every: bool) -> str:
    """Return a value with the first or every match of a pattern replaced; as long as possible, from left to right."""
    pattern = _glob(word, longest=True, anywhere=True)
    parts: list[str] = []
    at = 0
    while at <= len(value) and (match := pattern.match(value, at)):
        parts += [match["before"], replacement]
        at = match.end()
        is_empty = at == match.end("before")
        if is_empty:  # as before each character and at the end
            parts.append(value[at : at + 1])
            at += 1
        if not every or (at == len(value) and not is_empty):
            break
        if len(parts) * len(replacement) > 3 * _LONGEST:
            raise ValueError(f"expands to more than {_LONGEST:,} characters")
    return "".join(parts) + value[at:]


def _glob(pattern: str, *, longest: bool, reverse: bool = False, anywhere: bool = False) -> re.Pattern[str]:
    """Return a pattern of `*`, `?` and their escapes as a regular expression; there are no bracket expressions.

    What stands between two stars is taken where it is found first, or last if nothing follows and the longest match is
    wanted, and never looked for again: so the time is linear.
    """
    parts: list[str] = re.findall(r"\\.|.", pattern, re.DOTALL)
    if any(part[0] == "\\" and part[1:] not in ("*", "?", "\\", "}", "/") for part in parts):
        raise ValueError("invalid escape in the pattern")
    between = [""]
    for part in reversed(parts) if reverse else parts:
        if part == "*":
            between.append("")
        else:
            between[-1] += "." if part == "?" else re.escape(part[-1])
    first, *others = between
    start = f"(?>(?P<before>.*?){first})" if anywhere else first
    ends = [f"(?>.*?{other})" for other in others]
    if longest and others:
        ends[-1] = f"(?>.*{others[-1]})"
    return re.compile(start + "".join(ends), re.DOTALL)


def unquoted(text: str, escape: str) -> str:
    """Return a word with quotes and escapes undone, its variables as written.

    Raise DockerfileError where BuildKit could not expand it, whatever the variables are.
    """
    if not text or _PLAIN[""].fullmatch(text):
        return text
    try:
        return _scan(text, 0, "", escape, None)[0]
    except ValueError as error:
        raise DockerfileError(0, f"{error}: {text}") from None


def split_words(text: str, escape: str) -> list[str]:
    """Return the words of a text as ENV, LABEL and ARG have them, their quotes and escapes as written."""
    return _WORD[escape].findall(text)


def split_flags(text: str, escape: str) -> tuple[list[str], str]:
    """Return the leading `--flags`, their quotes and escapes undone, and what follows them."""
    flags: list[str] = []
    start = _BLANKS.match(text).end()  # type: ignore[union-attr]
    while text.startswith("--", start):
        word, at = "", start
        while at < len(text) and (part := _FLAG_PART[escape].match(text, at)):
            quoted = part[2] or part[3] or ""
            word += (
                (part[1] or "") + re.sub(rf"{re.escape(escape)}(.?)", r"\1", quoted, flags=re.DOTALL) + (part[4] or "")
            )
            at = part.end()
        start = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
        if word == "--":
            break
        flags.append(word)
    return flags, text[start:].rstrip()
