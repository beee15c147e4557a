"""Have buildx read a bake file, and put what it prints in one form.

In: a bake file, the names of its blocks. Out: a `Reading`, or a `BakegenError` with what buildx says.

No daemon and no network is asked. buildx runs in an empty folder with a copy of the file: `bake --print` looks for the
files of secrets and SSH agents, and opens the files that outputs name. Its environment holds no variable of the file.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakegen.bake.file import BAKE_FILE
from bakegen.errors import BakegenError, Position, Problem
from bakegen.paths import path_mistake

Attributes = Mapping[str, Any]

_COMMANDS = (("docker", "buildx"), ("docker-buildx",), ("buildx",))
_VERSION = re.compile(r"\bv?((\d+)\.(\d+)\.\d\S*)")
_PLACE = re.compile(rf"{re.escape(BAKE_FILE)}:(\d+),(\d+)(?:-\d+(?:,\d+)?)?: ")
# What docker and buildx need of the environment. No variable of a manifest can be called so.
_KEPT = (
    *("PATH", "HOME", "LANG", "TMPDIR", "BUILDX_CONFIG", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST"),
    *("DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"),
)
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})  # Go's strconv.ParseBool

# Attributes whose entries buildx takes as CSV (`type=registry,ref=…`) and prints as such, or since 0.20 as objects.
_CSV = frozenset({"attest", "cache-from", "cache-to", "output", "secret", "ssh"})
_REESCAPED = ("annotations", "args", "extra-hosts", "labels")  # since 0.23, so that the JSON can be fed back


@dataclass(frozen=True, slots=True)
class Reading:
    """What bake reads in a file: targets with their canonical attributes, and groups with their members as listed."""

    targets: Mapping[str, Attributes]
    groups: Mapping[str, tuple[str, ...]]

    def members(self, group: str) -> set[str]:
        """Return the targets of a group, groups inside it unfolded; a group hides the target of its name."""
        found: set[str] = set()
        seen: set[str] = set()
        left = [group]
        while left:
            name = left.pop()
            if name in self.groups and name not in seen:
                left += self.groups[name]
            elif name not in self.groups:
                found.add(name)
            seen.add(name)
        return found


@dataclass(frozen=True, slots=True)
class Buildx:
    """A buildx: the command that runs it, and its version."""

    command: tuple[str, ...]
    version: tuple[int, int]
    text: str


@dataclass(frozen=True, slots=True)
class Names:
    """The names of the groups and targets of a bake file that are to be read."""

    groups: Sequence[str]
    targets: Sequence[str]


def find_buildx(commands: Iterable[tuple[str, ...]] = _COMMANDS) -> Buildx | None:
    """Return the first buildx that answers, None if there is none."""
    for command in commands:
        try:
            done = subprocess.run(
                [*command, "version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        match = _VERSION.search(done.stdout)
        if done.returncode == 0 and match:
            return Buildx(command, (int(match[2]), int(match[3])), match[1])
    return None


def read_with_buildx(
    buildx: Buildx,
    content: bytes,
    names: Names,
    *,
    targets: Iterable[Attributes] = (),
    environment: Mapping[str, str] | None = None,
) -> Reading:
    """Return what `buildx bake --print` reads in a bake file.

    `targets` tell which secrets and keys need stand-ins; values in `environment` override the defaults of variables.
    Raises `BakegenError` (`bake-unreadable`) with the message of buildx.
    """
    first = ["default"] if "default" in names.groups else []
    wanted = [name for name in dict.fromkeys([*names.groups, *names.targets]) if name not in first]
    # Only what is asked for is printed, and thousands of names are too long for a command line: so one group holds
    # them all. Asked for by name, `default` would be the list of what is asked for, unless it comes first.
    everything, probe = _free("bakegen-all", wanted), _free("bakegen-probe", wanted)
    catch_all = {
        "group": {everything: {"targets": [*wanted, probe]}},
        "target": {probe: {"labels": {"probe": "$${"}}},
    }
    with tempfile.TemporaryDirectory(prefix="bakegen-") as folder:
        scratch = Path(folder)
        (scratch / BAKE_FILE).write_bytes(content)
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        done = subprocess.run(
            [*buildx.command, "bake", "-f", BAKE_FILE, "-f", "-", "--progress", "quiet", "--print", *first, everything],
            input=json.dumps(catch_all).encode(),
            env={**_stand_ins(scratch, targets), **kept, **(environment or {})},
            cwd=scratch,
            capture_output=True,
            check=False,
        )
    if done.returncode:
        raise BakegenError([unreadable(_complaint(done.stderr.decode(errors="replace")), content)])
    printed = json.loads(done.stdout)
    read: dict[str, Attributes] = printed["target"]
    if read.pop(probe)["labels"]["probe"] != "${":
        read = {name: _unescape(attributes) for name, attributes in read.items()}
    groups = {
        name: tuple(member for member in group["targets"] if member != everything)
        for name, group in printed["group"].items()
        if name != everything and name in names.groups
    }
    return Reading({name: canonical(attributes) for name, attributes in read.items()}, groups)


def unreadable(message: str, content: bytes, line: int = 0, column: int = 0) -> Problem:
    """Return the problem of a bake file that cannot be read; a place that buildx names in its message is used."""
    place = _PLACE.match(message)
    if place:
        line, column, message = int(place[1]), int(place[2]), message[place.end() :]
    lines = content.decode(errors="replace").split("\n")
    return Problem(
        code="bake-unreadable",
        message=message,
        position=Position(BAKE_FILE, line, column),
        source=lines[line - 1] if 0 < line <= len(lines) else "",
        hint=_hint(message),
    )


def canonical(attributes: Attributes) -> dict[str, Any]:
    """Return the attributes of a target as every buildx means them.

    Entries in CSV or as objects become CSV with sorted keys, lists become sorted tuples, what is empty is left out.
    """
    result: dict[str, Any] = {}
    for name, value in attributes.items():
        if name == "attest":
            kinds = {(entry := _entry(name, item))["type"]: _csv(entry) for item in value}  # the last of a type counts
            result[name] = tuple(sorted(kinds.values()))
        elif name in _CSV:
            result[name] = tuple(sorted({_csv(_entry(name, item)) for item in value}))
        elif isinstance(value, Mapping):
            result[name] = dict(value)
        else:
            result[name] = tuple(sorted(set(value))) if isinstance(value, list | tuple) else value
    defaults = {"context": ".", "dockerfile": "Dockerfile"}
    return {**defaults, **{name: value for name, value in result.items() if value not in ("", {}, (), None)}}


def _free(name: str, taken: Iterable[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _entry(attribute: str, value: str | Mapping[str, Any]) -> dict[str, str]:
    """Return one entry as a mapping, short forms spelt out."""
    if isinstance(value, Mapping):
        entry = {key: ",".join(item) if isinstance(item, list) else _text(item) for key, item in value.items()}
    elif attribute == "ssh":
        name, _, paths = value.partition("=")
        entry = {"id": name, **({"paths": paths} if paths else {})}
    else:
        fields = next(csv.reader([value]), [])
        pairs = [field.partition("=") for field in fields]
        entry = {key.strip().lower(): text for key, equals, text in pairs if equals}
        if len(pairs) == 1 and not entry:
            entry = _short_form(attribute, value)
    if attribute == "secret":
        entry = _secret(entry)
    if attribute == "attest":
        disabled = entry.pop("disabled", "") in _TRUE
        entry = {"type": "", **entry, **({"disabled": "true"} if disabled else {})}
    return entry


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short_form(attribute: str, value: str) -> dict[str, str]:
    if attribute == "output":
        return {"type": "tar" if value == "-" else "local", "dest": value}
    return {"type": "registry", "ref": value} if attribute.startswith("cache-") else {"type": value}


def _secret(entry: Mapping[str, str]) -> dict[str, str]:
    names = {"source": "src", "target": "id"}
    entry = {names.get(key, key): text for key, text in entry.items()}
    kind = entry.pop("type", "")
    if kind == "env" and "src" in entry:
        entry["env"] = entry.pop("src")
    return entry


def _csv(entry: Mapping[str, str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(f"{key}={entry[key]}" for key in sorted(entry))
    return text.getvalue()


def _unescape(attributes: Attributes) -> Attributes:
    def plain(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("$${", "${").replace("%%{", "%{")
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return {name: plain(value) if name in _REESCAPED else value for name, value in attributes.items()}


def _stand_ins(scratch: Path, targets: Iterable[Attributes]) -> dict[str, str]:
    """Make the files, and return the environment, that `bake --print` misses without the user's secrets and agent."""
    agent = scratch / "agent"
    environment = {"AWS_EC2_METADATA_DISABLED": "true"}  # an S3 cache would ask the network for credentials
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as listener:  # TMPDIR may be too long a path
        listener.bind(str(agent))
        environment["SSH_AUTH_SOCK"] = str(agent)
    for attributes in targets:
        for text in attributes.get("secret", ()):
            secret = _entry("secret", text)
            if "src" in secret:
                _put(scratch, secret["src"])
            elif "env" not in secret:
                environment[secret.get("id", "")] = "secret"
        for text in attributes.get("ssh", ()):
            for path in filter(None, _entry("ssh", text).get("paths", "").split(",")):
                _put(scratch, path, agent)
    environment.pop("", None)
    return environment


def _put(scratch: Path, path: str, agent: Path | None = None) -> None:
    """Put an empty file, or a link to the agent, where a relative path leads."""
    file = scratch / path
    if path_mistake(path) or file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    if agent:
        file.symlink_to(agent)
    else:
        file.touch()


def _complaint(stderr: str) -> str:
    """Return the error message in what buildx wrote."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["buildx says nothing"])[-1]


def _hint(message: str) -> str:
    if "stat " in message or "ssh" in message:
        return "buildx looks for secrets and keys even to print; `bakegen verify --with hcl2` does without them"
    return "if it was edited, undo that with `bakegen generate`"
