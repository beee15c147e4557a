"""What the values of a bake target must look like: secrets, caches, attestations, outputs, annotations and the like.

In: the name of an attribute, and the text of one of its values. Out: why bake or BuildKit refuses it, or None.

Two things are judged, one after the other. The *form* is what buildx refuses when it reads a bake file: `bake --print`
says so. The *meaning* is what buildx or BuildKit refuses when a build begins. The
rules are those of https://github.com/docker/buildx (`util/buildflags/`, `bake/bake.go`, `build/opt.go`, from 0.13 to
0.36) and https://github.com/moby/buildkit (`client/solve.go`, `control/control.go`, `cache/remotecache/`, `exporter/`).
What depends on the machine is not judged: whether files, agents and builders exist, and what they support.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeAlias

from bakegen.errors import did_you_mean
from bakegen.spec.csv_record import csv_fields, csv_options
from bakegen.spec.go_values import go_bool, go_integer, is_address, is_size
from bakegen.spec.platforms import platform_mistake
from bakegen.spec.references import is_reference

Version = tuple[int, int]

SEVERAL_ANNOTATION_TYPES = (0, 16)  # in one key; older clients take all of it as the key (docker/buildx#2485)
_EMPTY_ATTESTATION = (0, 20)  # older clients crash on an attestation without any text
_LAST_AGENT_WINS = (0, 20)  # older clients refuse a second SSH agent of the same name


class ValueMistake(ValueError):  # noqa: N818 - it is a result, too
    """Why a value is refused, as the end of a sentence (empty if it is just not known), and what to write instead.

    `word` is the part of the value that is wrong, if it is not all of it.
    """

    def __init__(self, reason: str, hint: str = "", word: str = "") -> None:
        super().__init__(reason)
        self.reason, self.hint, self.word = reason, hint, word


# What messages call a value, and how a right one looks.
EXAMPLES = {
    "annotations": (
        "annotation",
        "for example org.opencontainers.image.title, or index:org.opencontainers.image.title",
    ),
    "attest": ("attestation", "for example type=provenance,mode=max or type=sbom"),
    "cache-from": ("cache", "for example type=registry,ref=ghcr.io/acme/cache"),
    "cache-to": ("cache", "for example type=registry,ref=ghcr.io/acme/cache,mode=max"),
    "call": ("call", "use build, check, outline or targets"),
    "context": ("context", "use a folder of the project, or a URL: https://…, git://…, ssh://…"),
    "contexts": ("context", "use a folder of the project, docker-image://…, oci-layout://…, target:… or a URL"),
    "entitlements": ("entitlement", "use network.host or security.insecure"),
    "extra-hosts": ("host", "for example db.example: 10.0.0.1"),
    "network": ("network mode", "use default, host or none"),
    "output": ("output", "for example type=local,dest=out or type=image"),
    "policy": ("policy", "for example filename=policy.rego,strict=true"),
    "resources": ("resource", "for example memory: 2g"),
    "secret": ("secret", "for example id=token,env=TOKEN or id=npm,src=.npmrc"),
    "shm-size": ("size", "for example 128m or 1g"),
    "ssh": ("SSH agent", "for example default"),
    "ulimits": ("ulimit", "for example nofile=1024:2048"),
}


@lru_cache(maxsize=4096)
def form_mistake(attribute: str, text: str, buildx: Version) -> ValueMistake | None:
    """Return why a buildx from version `buildx` on refuses the text of an attribute, whatever it is built with."""
    if not text and attribute in _LISTS:
        if attribute == "attest" and buildx < _EMPTY_ATTESTATION:
            return ValueMistake("it is empty, and buildx before 0.20 crashes on that", EXAMPLES["attest"][1])
        return None  # bake leaves out what is empty
    return _mistake(attribute, _FORMS.get(attribute), text)


@lru_cache(maxsize=4096)
def meaning_mistake(attribute: str, text: str) -> ValueMistake | None:
    """Return why no build can use the text of an attribute, whose form is right."""
    return _mistake(attribute, _MEANINGS.get(attribute), text) if text or attribute not in _LISTS else None


def agents_mistake(entries: Iterable[str], buildx: Version) -> ValueMistake | None:
    """Return why the SSH agents of a target cannot stand together."""
    named: dict[str, str] = {}
    for entry in filter(None, entries):
        name = entry.partition("=")[0]
        other = named.setdefault(name or "default", entry)
        if other != entry and (buildx < _LAST_AGENT_WINS or other.partition("=")[0] != name):
            return ValueMistake(
                f'"{other}" and "{entry}" are the same agent: "{name or "default"}"', "give one of them another name"
            )
    return None


def _mistake(attribute: str, judge: Callable[[str], None] | None, text: str) -> ValueMistake | None:
    try:
        if judge:
            judge(text)
    except ValueMistake as error:
        return ValueMistake(error.reason, error.hint or EXAMPLES[attribute][1], error.word)
    except ValueError as error:
        return ValueMistake(str(error), EXAMPLES[attribute][1])
    return None


@dataclass(frozen=True, slots=True)
class _Kind:
    """What an option takes, as messages say it, and whether a text is that."""

    words: str
    fits: Callable[[str], bool]


_Rule: TypeAlias = _Kind | Collection[str]  # or the values that are known

_BOOL = _Kind("true or false", lambda text: go_bool(text) is not None)
_INTEGER = _Kind("a whole number", lambda text: go_integer(text) is not None)

# ---- forms


def _secret(text: str) -> None:
    options = csv_options(text)
    _check_keys(options, ("id", "src", "source", "env", "type"))
    kind = [value for key, value in options if key == "type"]
    _check_among(kind, ("file", "env"), "the type")
    if not dict(options).get("id"):
        raise ValueMistake("it has no id")


def _cache(text: str) -> None:
    if "=" in text:
        _type_of(csv_options(text))
        return
    for reference in csv_fields(text):  # each field is one cache in a registry
        if not reference or csv_fields(reference) != [reference]:
            raise ValueMistake(f'"{reference}" is not a valid image reference')


def _attestation(text: str) -> None:
    options = _trimmed(text)
    _type_of(options)
    _check_options(options, {"disabled": _BOOL})


def _output(text: str) -> None:
    options = _output_options(text)
    kind = _type_of(options)
    given = dict(options)
    folder = kind == "local" or (kind in ("oci", "docker") and go_bool(given.get("tar", "")) is False)
    if folder and given.get("dest", "") in ("", "-"):
        raise ValueMistake(f"an output of type {kind} needs a destination folder", "add dest=FOLDER")


def _output_options(text: str) -> list[tuple[str, str]]:
    fields = csv_fields(text)
    if fields == [text] and not text.startswith("type="):
        return [("type", "tar" if text == "-" else "local"), ("dest", "out" if text == "-" else text)]
    return _trimmed(text)


_ANNOTATION_TYPE = re.compile(r"([a-z-]+)(?:\[([A-Za-z0-9_/-]+)\])?")
_ANNOTATION_TYPES = ("index", "index-descriptor", "manifest", "manifest-descriptor")


def _annotation(text: str) -> None:
    name, given, _ = text.partition("=")
    if not given:
        raise ValueMistake("it is not KEY=VALUE")
    types, colon, key = name.partition(":")
    if not colon:
        types, key = "", types
    for word in types.split(",") if colon else ():
        found = _ANNOTATION_TYPE.fullmatch(word)
        if not found:
            raise ValueMistake(f'"{word}" before the colon is not an annotation type')
        _check_among([found[1]], _ANNOTATION_TYPES, "the type")
        if found[2] and (mistake := platform_mistake(found[2])):
            raise ValueMistake(f'"{found[2]}" is not a platform', mistake)
    if not key or re.search(r"[\t\n\f\r ]", key):  # newer clients take it, and BuildKit leaves it out
        raise ValueMistake("its key contains a space" if key else "it has no key")


_ULIMITS = (
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)  # https://github.com/docker/go-units, ulimit.go


def _ulimit(text: str) -> None:
    name, given, limits = text.partition("=")
    if not given:
        raise ValueMistake("it is not NAME=SOFT or NAME=SOFT:HARD")
    _check_among([name], _ULIMITS, "the name")
    first, colon, second = limits.partition(":")
    soft, hard = go_integer(first), go_integer(second if colon else first)
    if soft is None or hard is None:
        raise ValueMistake(f'"{limits}" is not a number, or two separated by a colon')
    if hard != -1 and (soft == -1 or soft > hard):
        raise ValueMistake(f"the soft limit {soft} is above the hard limit {hard}")


def _shm_size(text: str) -> None:
    if not is_size(text):
        raise ValueMistake("it is not a number of bytes, with or without a unit")


def _policy(text: str) -> None:
    options = _trimmed(text)
    _check_keys(options, ("filename", "reset", "disabled", "strict", "log-level"))
    _check_options(options, {"reset": _BOOL, "disabled": _BOOL, "strict": _BOOL})
    if ("filename", "") in options:
        raise ValueMistake("its filename is empty")


def _resource(text: str) -> None:
    name, _, value = text.partition("=")
    sizes, numbers = ("memory", "memory-swap"), ("cpu-shares", "cpu-period", "cpu-quota")
    _check_among([name], (*sizes, *numbers, "cpuset-cpus", "cpuset-mems"), "the name")
    if name in numbers and go_integer(value) is None:
        raise ValueMistake(f'"{value}" is not a whole number')
    if name in sizes and not is_size(value) and (name, value) != ("memory-swap", "-1"):
        raise ValueMistake(f'"{value}" is not a size')


# ---- meanings

# Cache backends, and what each cannot do without (https://docs.docker.com/build/cache/backends/). The others may find
# what they need in the environment.
_IMPORTED = {"registry": "ref", "local": "src", "gha": "", "s3": "", "azblob": ""}
_EXPORTED = {**_IMPORTED, "local": "dest", "inline": ""}
_COMPRESSION: Mapping[str, _Rule] = {
    "compression": ("uncompressed", "gzip", "estargz", "zstd"),
    "compression-level": _INTEGER,
    "force-compression": _Kind("true or false", lambda text: not text or go_bool(text) is not None),
    "oci-mediatypes": _BOOL,
}
_EXPORTERS = ("cacheonly", "docker", "image", "local", "oci", "registry", "tar")


def _cache_meaning(backends: Mapping[str, str], text: str) -> None:
    options = csv_options(text) if "=" in text else []
    kind = dict(options).get("type", "registry")
    if kind == "inline" and kind not in backends:
        raise ValueMistake("an inline cache is imported from the image that contains it", "use type=registry,ref=IMAGE")
    _check_among([kind], backends, "the type")
    needed = backends[kind]
    if options and needed and not dict(options).get(needed):
        raise ValueMistake(f"a cache of type {kind} has no {needed}", f"add {needed}=…")
    names = [value for key, value in options if key == "ref"] if options else csv_fields(text)
    for name in names if kind == "registry" else ():
        if not is_reference(name):
            raise ValueMistake(f'"{name}" is not a valid image reference')
    if backends is _EXPORTED:
        _check_options(
            options, {"mode": ("min", "max"), "image-manifest": _BOOL, "ignore-error": _BOOL, **_COMPRESSION}
        )


def _attestation_meaning(text: str) -> None:
    options = _trimmed(text)
    kind = _type_of(options).lower()
    _check_among([kind], ("provenance", "sbom"), "the type")
    if kind == "provenance":
        _check_options(options, {"mode": ("min", "max", "full"), "version": ("v0.2", "v1"), "reproducible": _BOOL})


def _output_meaning(text: str) -> None:
    options = _output_options(text)
    kind = _type_of(options)
    _check_among([kind], _EXPORTERS, "the type")
    if kind in ("image", "registry"):
        names = ("push", "push-by-digest", "registry.insecure", "unpack", "store", "name-canonical")
        _check_options(options, dict.fromkeys(names, _BOOL))
    if kind in ("image", "registry", "oci", "docker"):
        _check_options(options, {"rewrite-timestamp": _BOOL, **_COMPRESSION})


def _call(text: str) -> None:
    names = []
    for field in csv_fields(text) if text else ():
        key, given, value = field.partition("=")
        if given:
            _check_keys([(key, value)], ("format", "ignorestatus"))
            _check_options([(key, value)], {"ignorestatus": _BOOL})
        else:
            names.append(field)
    _check_among(names, ("build", "check", "lint", "outline", "targets"), "")
    if len(names) > 1:
        raise ValueMistake(f"it sets {' and '.join(names)}")


def _entitlement(text: str) -> None:
    name, given, _ = text.partition("=")
    _check_among([name], ("buildx.local.delete", "device", "network.host", "security.insecure"), "")
    if given and name != "device":
        raise ValueMistake(f"{name} takes no value", f"write {name}")


def _extra_host(text: str) -> None:
    host, _, addresses = text.partition("=")
    if not host:
        raise ValueMistake("it has no name")
    for address in addresses.split(",") if addresses != "host-gateway" else ():
        bare = address[1:-1] if re.fullmatch(r"\[.+\]", address) else address
        if not is_address(bare):
            raise ValueMistake(f'"{address}" is not an IP address')


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_REMOTE = ("http://", "https://", "git://", "ssh://")


def _context(text: str) -> None:
    if _SCHEME.match(text) and not text.startswith((*_REMOTE, "cwd://")):
        raise ValueMistake(f'unknown scheme "{text.partition(":")[0]}:"')


def _named_context(text: str) -> None:
    if text.startswith("docker-image://"):
        name = text.removeprefix("docker-image://")
        if not is_reference(name):
            raise ValueMistake(f'"{name}" is not a valid image reference')
    elif not text.startswith(("oci-layout://", "target:")):
        _context(text)


# ---- what they have in common


def _type_of(options: Iterable[tuple[str, str]]) -> str:
    given = dict(options)
    if not given.get("type"):
        near = did_you_mean("type", given) if "type" not in given else ""
        wrong = near.removeprefix('did you mean "').removesuffix('"?') if near.endswith("?") else ""
        raise ValueMistake("it has no type", f"write type= instead of {wrong}=" if wrong else "", wrong)
    return given["type"]


def _trimmed(text: str) -> list[tuple[str, str]]:
    return [(key.strip(), value) for key, value in csv_options(text)]


def _check_keys(options: Iterable[tuple[str, str]], known: Collection[str]) -> None:
    for key, _ in options:
        if key not in known:
            raise ValueMistake(f'unknown key "{key}"', did_you_mean(key, known), key)


def _check_among(values: Iterable[str], known: Collection[str], what: str) -> None:
    for value in values:
        if value not in known:
            reason = f'{what} cannot be "{value}"' if what else ""
            raise ValueMistake(reason, did_you_mean(value, filter(None, known)), value)


def _check_one(known: Collection[str], value: str) -> None:
    _check_among([value], known, "")


def _check_options(options: Iterable[tuple[str, str]], rules: Mapping[str, _Rule]) -> None:
    """Check the values of those options that have a rule."""
    for key, value in options:
        rule = rules.get(key)
        if isinstance(rule, _Kind):
            if not rule.fits(value):
                raise ValueMistake(f'{key} must be {rule.words}, not "{value}"', word=value)
        elif rule:
            _check_among([value], rule, key)


_LISTS = frozenset(
    "annotations attest cache-from cache-to contexts entitlements output policy secret ssh ulimits".split()
)
_FORMS: Mapping[str, Callable[[str], None]] = {
    "annotations": _annotation,
    "attest": _attestation,
    "cache-from": _cache,
    "cache-to": _cache,
    "output": _output,
    "policy": _policy,
    "resources": _resource,
    "secret": _secret,
    "shm-size": _shm_size,
    "ulimits": _ulimit,
}
_MEANINGS: Mapping[str, Callable[[str], None]] = {
    "attest": _attestation_meaning,
    "cache-from": partial(_cache_meaning, _IMPORTED),
    "cache-to": partial(_cache_meaning, _EXPORTED),
    "call": _call,
    "context": _context,
    "contexts": _named_context,
    "entitlements": _entitlement,
    "extra-hosts": _extra_host,
    "network": partial(_check_one, ("default", "host", "none", "")),
    "output": _output_meaning,
}
