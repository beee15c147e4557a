"""Have buildx read a bake file.

In: a bake file, names of what is in it. Out: a `Reading`, or a `BakegenError` with what buildx says.

No daemon and no network is asked. buildx runs in an empty folder with a copy of the file: `bake --print` looks for the
files of secrets and SSH agents, and opens the files that outputs name. Its environment holds no variable of the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bakegen.bake.model import BAKE_FILE
from bakegen.bake.reading import Attributes, Reading, canonical, entry_of, unreadable
from bakegen.docker.buildx import Buildx
from bakegen.docker.process import ask
from bakegen.errors import BakegenError
from bakegen.source.paths import path_mistake

# What docker and buildx need of the environment. No variable of a manifest can be called so.
_KEPT = (
    *("PATH", "HOME", "LANG", "TMPDIR", "BUILDX_CONFIG", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST"),
    *("DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"),
)
_REESCAPED = ("annotations", "args", "extra-hosts", "labels")  # since 0.23, so that the JSON can be fed back


def read_with_buildx(
    buildx: Buildx,
    content: bytes,
    names: Iterable[str],
    *,
    targets: Iterable[Attributes] = (),
    environment: Mapping[str, str] | None = None,
) -> Reading:
    """Return what `buildx bake --print` reads in a bake file under the names of groups, targets and matrices.

    Groups are read with all groups in them, targets without those whose names begin with `_`, which are only inherited.
    `targets` tell which secrets and keys need stand-ins; values in `environment` override the defaults of variables.
    Raises `BakegenError` (`bake-unreadable`) with the message of buildx.
    """
    wanted = list(dict.fromkeys(names))
    first = ["default"] if "default" in wanted else []
    # Only what is asked for is printed, and thousands of names are too long for a command line: so one group holds
    # them all. Asked for by name, `default` would be the list of what is asked for, unless it comes first.
    everything, probe = _free("bakegen-all", wanted), _free("bakegen-probe", wanted)
    catch_all = {
        "group": {everything: {"targets": [*(name for name in wanted if name != "default"), probe]}},
        "target": {probe: {"labels": {"probe": "$${"}}},
    }
    with tempfile.TemporaryDirectory(prefix="bakegen-") as folder:
        scratch = Path(folder)
        (scratch / BAKE_FILE).write_bytes(content)
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        reply = ask(
            [*buildx.command, "bake", "-f", BAKE_FILE, "-f", "-", "--progress", "quiet", "--print", *first, everything],
            json.dumps(catch_all),
            cwd=scratch,
            environment={**_stand_ins(scratch, targets), **kept, **(environment or {})},
        )
    if reply.code != 0:
        raise BakegenError([unreadable(_complaint(reply.said), content)])
    printed = json.loads(reply.out)
    read: dict[str, Attributes] = printed["target"]
    if read.pop(probe)["labels"]["probe"] != "${":
        read = {name: _unescape(attributes) for name, attributes in read.items()}
    groups = {
        name: tuple(member for member in group["targets"] if member != everything)
        for name, group in printed["group"].items()
        if name != everything and (name != "default" or first)
    }
    return Reading({name: canonical(read[name]) for name in read if not name.startswith("_")}, groups)


def _free(name: str, taken: Iterable[str]) -> str:
    while name in taken:
        name += "_"
    return name


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
            secret = entry_of("secret", text)
            if "src" in secret:
                _put(scratch, secret["src"])
            elif "env" not in secret:
                environment[secret.get("id", "")] = "secret"
        for text in attributes.get("ssh", ()):
            for path in filter(None, entry_of("ssh", text).get("paths", "").split(",")):
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
    return (errors or lines or ["buildx printed no error"])[-1]
