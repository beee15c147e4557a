"""What BuildKit refuses in the `--mount` and `--device` of RUN.

In: the text of a flag. Out: nothing, or a `DockerfileError` without a line. The rules are those of BuildKit's source
(below `frontend/dockerfile/`: `instructions/commands_runmount.go`, `instructions/commands_rundevice.go`,
`dockerfile2llb/convert_runmount.go`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from posixpath import normpath

from bakegen.errors import did_you_mean
from bakegen.spec.csv_record import csv_fields
from bakegen.spec.dockerfile_words import DockerfileError
from bakegen.spec.go_values import go_bool, go_natural, is_size

_MOUNT_TYPES = ("bind", "cache", "secret", "ssh", "tmpfs")
_SWITCHES = ("readonly", "ro", "readwrite", "rw", "required")  # options that need no value
_MOUNT_OPTIONS = (
    *("type", "from", "source", "src", "target", "dst", "destination", "id", "sharing", "size", "mode", "uid", "gid"),
    *("env", *_SWITCHES),
)


def check_mount(text: str, plain: Callable[[str], str]) -> None:
    """Check one RUN --mount, in the order of its options, as BuildKit does; raises DockerfileError.

    `plain` gives a value without quotes and escapes, and "" for one that depends on variables.
    """
    try:
        fields = csv_fields(text)
    except ValueError as error:
        raise DockerfileError(0, f"{error}: --mount={text}") from None
    kind = "bind"
    found: dict[str, str] = {}
    open_kind = False  # a variable says the type, so what goes with it cannot be told
    for field in fields:
        key, given, value = field.partition("=")
        key = key.lower()
        if not given and key not in _SWITCHES:
            known = key in _MOUNT_OPTIONS
            hint = f"write {key}=…" if known else did_you_mean(key, _MOUNT_OPTIONS)
            raise DockerfileError(0, f"an option of --mount {'has no value' if known else 'is unknown'}: {field}", hint)
        if key not in _MOUNT_OPTIONS:
            raise DockerfileError(0, f"--mount has no option: {key}", did_you_mean(key, _MOUNT_OPTIONS))
        bare = plain(value)
        if "$" in value and not bare:
            open_kind = open_kind or key == "type"
        elif key == "type":
            kind = bare.lower()
            check_among("the type of --mount", [kind], _MOUNT_TYPES)
        elif not open_kind:
            _mount_option(key, bare, kind, given=bool(given))
        found[_SAME.get(key, key)] = bare or value
    if not open_kind:
        _mounted(kind, found)


_SAME = {"src": "source", "dst": "target", "destination": "target"}


def _mount_option(key: str, value: str, kind: str, *, given: bool) -> None:
    if (key == "required" and kind not in ("secret", "ssh")) or (key == "size" and kind != "tmpfs"):
        hint = "put type= first" if kind == "bind" else ""
        raise DockerfileError(0, f"a mount of type {kind} has no option: {key}", hint)
    wrong = (
        (key in _SWITCHES and given and go_bool(value) is None)
        or (key == "size" and not is_size(value))
        or (key == "mode" and go_natural(value, 32, base=8) is None)
        or (key in ("uid", "gid") and go_natural(value, 32) is None)
    )
    if key == "sharing":
        check_among("sharing", [value.lower()], ("shared", "private", "locked"))
    if wrong:
        raise DockerfileError(0, f"an option of --mount must be {_TAKEN[key]}, not: {value}")


_TAKEN = {
    **dict.fromkeys(_SWITCHES, "true or false"),
    **dict.fromkeys(("uid", "gid"), "a number"),
    "size": "a size such as 64m",
    "mode": "an octal number",
}


def _mounted(kind: str, found: Mapping[str, str]) -> None:
    """Check the options of a mount together."""
    for key in ("mode", "uid", "gid"):
        if key in found and kind in ("bind", "tmpfs"):
            raise DockerfileError(0, f"a mount of type {kind} has no option: {key}")
    if found.get("sharing") and kind != "cache":
        raise DockerfileError(0, f"a mount of type {kind} has no option: sharing", "it only applies to type=cache")
    if kind == "secret":
        if found.get("from"):
            raise DockerfileError(0, "a mount of type secret has no option: from")
        if not any(found.get(key) for key in ("source", "target", "id")):
            raise DockerfileError(0, "a secret mount needs an id", "add id=…")
        if found.get("source") and found.get("id"):
            raise DockerfileError(0, "a secret cannot have both an id and a source", "remove the source")
    if kind == "ssh" and found.get("source"):
        raise DockerfileError(0, "a mount of type ssh has no option: source")
    if kind in ("bind", "cache", "tmpfs") and normpath(found.get("target", "").replace("//", "/")) == "/":
        raise DockerfileError(0, f"nothing can be mounted at: {found['target']}")


def check_device(text: str) -> None:
    """Check one RUN --device; raises DockerfileError."""
    try:
        fields = csv_fields(text)
    except ValueError as error:
        raise DockerfileError(0, f"{error}: --device={text}") from None
    name = ""
    for field in fields:
        key, given, value = field.partition("=")
        key = key.lower()
        if key == "required":
            if given and go_bool(value) is None:
                raise DockerfileError(0, f"required must be true or false, not: {value}")
        elif name:
            raise DockerfileError(0, f"--device has no option: {field}")
        else:
            name = value if given and key == "name" else field


def check_among(what: str, values: Sequence[str], known: Collection[str]) -> None:
    """Refuse values that are not among the known ones; raises DockerfileError."""
    for value in values:
        if value not in known:
            raise DockerfileError(0, f"{what} cannot be: {value}", did_you_mean(value, known))
