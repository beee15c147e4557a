"""Builders: which one builds, how it differs from what manifests declare, and the commands that make it match.

In: manifests, and what buildx keeps of its builders. Out: a `BuilderChoice`; a `BuilderComparison` with the arguments of
`docker buildx` commands. Nothing is run here, and bakegen keeps nothing about builders itself.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

from bakegen.docker.endpoints import default_endpoint
from bakegen.docker.instances import Instance, Record, read_instance
from bakegen.errors import BakegenError, did_you_mean, fail
from bakegen.manifest.model import Builder, Manifest, Node
from bakegen.spec.builder_drivers import DRIVERS

CURRENT = "BUILDX_BUILDER"
_PARALLELISM = "--oci-max-parallelism="
_NETWORK = "--allow-insecure-entitlement=network.host"  # buildx adds it to whatever flags there are

Arguments = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BuilderChoice:
    """The builder that a build uses: its name (empty: buildx's current one), who names it, how it is declared.

    What is named on the command line or in the environment is used as it is, so `declared` is None then.
    """

    name: str
    source: str
    declared: Builder | None = None


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """A node in buildx's terms, as it has to be or as it is."""

    endpoint: str
    platforms: frozenset[str]
    options: Mapping[str, str]
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodePair:
    """A node that is declared, one that exists, or both; and how the two differ."""

    declared: Node | None
    name: str  # of the one that exists; empty without one
    differences: tuple[str, ...] = ()

    @property
    def state(self) -> Literal["as declared", "differs", "missing", "not declared"]:
        """Whether the two match."""
        if not self.declared:
            return "not declared"
        if not self.name:
            return "missing"
        return "differs" if self.differences else "as declared"


@dataclass(frozen=True, slots=True)
class BuilderComparison:
    """A declared builder and the one that exists: what differs, and the arguments of `docker buildx` that make them match."""

    builder: Builder
    exists: bool
    pairs: tuple[NodePair, ...]
    differences: tuple[str, ...]
    commands: tuple[Arguments, ...]


def pick_builders(manifests: Sequence[Manifest], names: Sequence[str]) -> list[Builder]:
    """Return the declared builders of these names, or all; raises `BakegenError` if there are none such."""
    declared = {builder.name: builder for manifest in reversed(manifests) for builder in manifest.builders}
    if not declared:
        raise fail(
            "unknown-builder",
            "no manifest declares a builder",
            hint="declare it under `builders:`, such as builders: {farm: {driver: docker-container}}",
        )
    unknown = [name for name in names if name not in declared]
    if unknown:
        raise fail(
            "unknown-builder",
            f'there is no builder "{unknown[0]}" in the manifests',
            hint=did_you_mean(unknown[0], declared),
        )
    return [builder for name, builder in sorted(declared.items()) if not names or name in names]


def choose_builder(manifests: Iterable[Manifest], asked: str = "") -> BuilderChoice:
    """Return the builder for images of these manifests: what is `asked` for, BUILDX_BUILDER, or the declared one.

    The declared one is the first of each manifest that declares any; raises `BakegenError` if that is not one.
    """
    if asked:
        return BuilderChoice(asked, "--builder")
    named = os.environ.get(CURRENT, "")
    if named:
        return BuilderChoice(named, CURRENT)
    firsts: dict[str, Manifest] = {}
    for manifest in manifests:
        for builder in manifest.builders[:1]:
            firsts.setdefault(builder.name, manifest)
    if len(firsts) > 1:
        listed = ", ".join(f'"{manifest.image}" on "{name}"' for name, manifest in firsts.items())
        raise fail(
            "several-builders",
            f"the selected images use different builders: {listed}",
            hint=f"use --builder {next(iter(firsts))} for all, or build the images one at a time",
        )
    for name, manifest in firsts.items():
        builder = manifest.builders[0]
        return BuilderChoice(name, str(manifest.source.place(builder.path).key), builder)
    return BuilderChoice("", "docker buildx use")


def require_as_declared(choice: BuilderChoice) -> None:
    """Raise `BakegenError` if the builder is not there, or is not what the manifest declares."""
    if not choice.declared:
        return
    comparison = compare_builder(choice.declared)
    if not comparison.exists:
        raise builder_mismatch(f'the builder "{choice.name}", declared at {choice.source}, does not exist')
    if comparison.differences:
        listed = "; ".join(comparison.differences)
        raise builder_mismatch(f'the builder "{choice.name}" does not match {choice.source}: {listed}')


def builder_mismatch(message: str, hint: str = "run `bakegen builder create`") -> BakegenError:
    """Return the error for a builder that is not what it should be."""
    return fail("builder-mismatch", message, hint=hint)


def compare_builder(builder: Builder) -> BuilderComparison:
    """Return how a declared builder differs from what buildx has by its name on this machine."""
    return compare_instance(builder, read_instance(builder.name), default_endpoint())


def compare_instance(builder: Builder, instance: Instance | None, default: str) -> BuilderComparison:
    """Return how a declared builder differs from an instance; `default` is the endpoint of nodes that name none."""
    wanted = [(node, _wanted(builder, node, default)) for node in builder.nodes]
    if instance is None:
        pairs = tuple(NodePair(node, "") for node in builder.nodes)
        commands = tuple(_creating(builder, wanted))
        return BuilderComparison(builder, False, pairs, ("it does not exist",), commands)
    found = {str(node["Name"]): _actual(builder.driver, node) for node in instance.nodes}
    pairs = tuple(_pairs(wanted, found))
    differences = tuple(text for pair in pairs for text in pair.differences)
    if instance.driver != builder.driver:
        differences = (f"its driver is {instance.driver}, not {builder.driver}", *differences)
    commands = tuple(_mending(builder, wanted, instance, pairs)) if differences else ()
    return BuilderComparison(builder, True, pairs, differences, commands)


def _wanted(builder: Builder, node: Node, default: str) -> NodeSettings:
    driver = DRIVERS[builder.driver]
    options = {
        name: os.path.expanduser(value) if name in driver.paths else value  # noqa: PTH111 - the rest stays as written
        for name, value in node.options.items()
    }
    flags = (f"{_PARALLELISM}{builder.max_parallelism}",) if builder.max_parallelism else ()
    endpoint = "" if builder.driver == "kubernetes" else node.endpoint or default
    return NodeSettings(endpoint, frozenset(node.platforms), options, flags)


def _actual(driver: str, node: Record) -> NodeSettings:
    platforms = (
        "/".join(filter(None, (platform["os"], platform["architecture"], platform.get("variant", ""))))
        for platform in node.get("Platforms") or ()
    )
    flags = tuple(flag for flag in node.get("Flags") or () if flag != _NETWORK)
    # The endpoint of a Kubernetes node names the kubeconfig of whoever made it.
    endpoint = "" if driver == "kubernetes" else str(node["Endpoint"])
    return NodeSettings(endpoint, frozenset(platforms), node.get("DriverOpts") or {}, flags)


_LIKENESSES: tuple[Callable[[NodeSettings], object], ...] = (
    lambda node: node,
    lambda node: node.platforms,
    lambda node: node.endpoint,
)


def _pairs(wanted: Sequence[tuple[Node, NodeSettings]], found: Mapping[str, NodeSettings]) -> Iterator[NodePair]:
    """Yield nodes side by side: those that are equal, then those for the same platforms, then those at one endpoint."""
    left = dict(found)
    partner: dict[int, str] = {}
    for alike in _LIKENESSES:
        for index, (_, want) in enumerate(wanted):
            name = next((name for name, node in left.items() if alike(want) == alike(node)), None)
            if index not in partner and name is not None:
                partner[index] = name
                del left[name]
    for index, (node, want) in enumerate(wanted):
        if index in partner:
            name = partner[index]
            yield NodePair(node, name, tuple(_differences(name, want, found[name])))
        else:
            yield NodePair(node, "", (f"it has no node {_described(want)}",))
    for name, actual in left.items():
        yield NodePair(None, name, (f"its node {name} {_described(actual)} is not declared",))


def _described(node: NodeSettings) -> str:
    platforms = f"for {', '.join(sorted(node.platforms))}" if node.platforms else "for all other platforms"
    return f"{platforms} at {node.endpoint}" if node.endpoint else platforms


def _differences(name: str, want: NodeSettings, actual: NodeSettings) -> Iterator[str]:
    facts: list[tuple[str, str | None, str | None]] = [
        ("endpoint", want.endpoint, actual.endpoint),
        ("platforms", ", ".join(sorted(want.platforms)), ", ".join(sorted(actual.platforms))),
        ("max-parallelism", _parallelism(want.flags), _parallelism(actual.flags)),
        ("other flags of BuildKit", _other_flags(want.flags), _other_flags(actual.flags)),
    ]
    for option in sorted({*want.options, *actual.options}):
        wished, is_now = want.options.get(option), actual.options.get(option)
        if option.startswith("env.") and wished != is_now:  # somebody's password, perhaps
            yield f"its node {name} has another {option} than declared"
        else:
            facts.append((option, wished, is_now))
    for what, wished, is_now in facts:
        if wished != is_now:
            yield f"its node {name} has {what} {is_now or 'none'} instead of {wished or 'none'}"


def _parallelism(flags: Iterable[str]) -> str:
    return ", ".join(flag.removeprefix(_PARALLELISM) for flag in flags if flag.startswith(_PARALLELISM))


def _other_flags(flags: Iterable[str]) -> str:
    return " ".join(flag for flag in flags if not flag.startswith(_PARALLELISM))


def _mending(
    builder: Builder, wanted: Sequence[tuple[Node, NodeSettings]], instance: Instance, pairs: Sequence[NodePair]
) -> Iterator[Arguments]:
    """Yield the commands that make an instance match.

    A node that runs in a container or cluster is never told to leave: buildx would forget it and leave it running. It
    goes with the whole builder, whose nodes keep their cache.
    """
    kept = [pair for pair in pairs if pair.name and not pair.differences]
    superfluous = [pair.name for pair in pairs if pair.name and pair.differences]
    removable = not superfluous or (builder.driver == "remote" and kept)
    if instance.driver != builder.driver or not removable or not kept:
        yield (
            "rm",
            *(["--keep-state"] if instance.driver == builder.driver == "docker-container" else []),
            builder.name,
        )
        yield from _creating(builder, wanted)
        return
    for name in superfluous:
        yield ("create", "--name", builder.name, "--leave", "--node", name)
    taken = {pair.name for pair in kept}
    for pair in pairs:
        if pair.declared and pair.differences:
            want = next(want for node, want in wanted if node is pair.declared)
            name = next(name for name in map(f"{builder.name}{{}}".format, count()) if name not in taken)
            taken.add(name)
            yield _create(builder, name, pair.declared, want, append=True)


def _creating(builder: Builder, wanted: Sequence[tuple[Node, NodeSettings]]) -> Iterator[Arguments]:
    for index, (node, want) in enumerate(wanted):
        yield _create(builder, f"{builder.name}{index}", node, want, append=index > 0)


def _create(builder: Builder, name: str, node: Node, want: NodeSettings, *, append: bool) -> Arguments:
    return (
        *("create", "--name", builder.name, *(["--append"] if append else ["--driver", builder.driver])),
        *("--node", name, *(["--platform", ",".join(node.platforms)] if node.platforms else [])),
        *(["--buildkitd-flags", " ".join(want.flags)] if want.flags else []),
        *(word for name, value in want.options.items() for word in ("--driver-opt", _csv(f"{name}={value}"))),
        *([node.endpoint] if node.endpoint else []),
    )


def _csv(text: str) -> str:
    """Return text as one field of CSV, as which buildx reads an option."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([text])
    return line.getvalue()
