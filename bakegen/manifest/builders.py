"""The builders that a manifest declares.

In: the `builders` of a manifest that fits the schema. Out: `Builder`s, and problems where buildx would refuse a builder,
or would silently make another one of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bakegen.manifest.model import Builder, Node
from bakegen.manifest.section import SectionReader
from bakegen.source.yaml import KeyPath
from bakegen.spec.builder_drivers import DRIVERS, endpoint_mistake, holds_secret, option_mistake
from bakegen.spec.platforms import platform_mistake

_AT_HAND = "the engine at hand"


def read_builders(reader: SectionReader, platforms: tuple[str, ...]) -> tuple[Builder, ...]:
    """Return the builders; the first, which builds, must have nodes for all `platforms` of the image."""
    builders = tuple(_builder(reader, name, content) for name, content in reader.content.get("builders", {}).items())
    for builder in builders[:1]:
        _check_coverage(reader, builder, platforms)
    return builders


def _builder(reader: SectionReader, name: str, content: Mapping[str, Any]) -> Builder:
    path: KeyPath = ("builders", name)
    driver = content["driver"]
    parallelism = content.get("max-parallelism")
    if name == "default":
        reader.report(
            "reserved-name", '"default" is the builder of docker itself', path, "choose another name", at_key=True
        )
    if parallelism is not None and not DRIVERS[driver].flags:
        reader.report(
            "wrong-value",
            f"how much runs at once on a node of a {driver} builder is said where its BuildKit is started",
            (*path, "max-parallelism"),
            "say it in the buildkitd.toml over there: max-parallelism under [worker.oci]",
            at_key=True,
        )
    common = _options(reader, driver, content.get("options", {}), (*path, "options"))
    if "nodes" in content:
        nodes = tuple(
            _node(reader, driver, common, node, (*path, "nodes", index)) for index, node in enumerate(content["nodes"])
        )
        _check_apart(reader, driver, nodes)
    else:
        nodes = (Node((), "", common, path),)
        mistake = endpoint_mistake(driver, "")
        if mistake:
            reader.report("missing-key", f'"builders.{name}" has no "nodes"', path, mistake, at_key=True)
    return Builder(name, driver, nodes, parallelism, path)


def _node(
    reader: SectionReader, driver: str, common: Mapping[str, str], content: Mapping[str, Any], path: KeyPath
) -> Node:
    endpoint = content.get("endpoint", "")
    mistake = endpoint_mistake(driver, endpoint)
    if mistake and endpoint:
        _report_endpoint(reader, driver, endpoint, mistake, (*path, "endpoint"))
    elif mistake:
        reader.report("missing-key", 'the node has no "endpoint"', path, mistake)
    platforms = tuple(content.get("platforms", ()))
    for index, platform in enumerate(platforms):
        wrong = platform_mistake(platform)
        if wrong:
            reader.report("unknown-platform", f'"{platform}" is no platform', (*path, "platforms", index), wrong)
    own = _options(reader, driver, content.get("options", {}), (*path, "options"))
    return Node(platforms, endpoint, {**common, **own}, path)


def _report_endpoint(reader: SectionReader, driver: str, endpoint: str, mistake: str, path: KeyPath) -> None:
    if not holds_secret(endpoint):
        reader.report("wrong-value", f'a {driver} node cannot be at "{endpoint}"', path, mistake)
        return
    problem = reader.source.problem("wrong-value", "an endpoint cannot hold a password", path, hint=mistake)
    reader.problems.append(replace(problem, source=""))


def _options(reader: SectionReader, driver: str, content: Mapping[str, Any], path: KeyPath) -> dict[str, str]:
    options = {}
    for name, value in content.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        hint = option_mistake(driver, name)
        if hint:
            message = f'the driver {driver} has no option "{name}"'
            reader.report("unknown-key", message, (*path, name), hint, at_key=True)
        elif name in DRIVERS[driver].paths and not text.startswith(("/", "~/")):
            message = f'"{text}" is not the full path that buildx needs'
            reader.report("wrong-value", message, (*path, name), "begin it with / or ~/")
        options[name] = text
    return options


def _check_apart(reader: SectionReader, driver: str, nodes: tuple[Node, ...]) -> None:
    """Report two nodes for one platform, of which one would idle, and two at one endpoint, which buildx refuses."""
    at: dict[str, Node] = {}
    building: dict[str, Node] = {}
    for node in nodes:
        first = at.setdefault(node.endpoint, node)
        if first is not node and driver != "kubernetes":
            where = reader.source.place(first.path).value
            message = f"another node of the builder is at {node.endpoint or _AT_HAND} already ({where})"
            path = (*node.path, "endpoint") if node.endpoint else node.path
            reader.report("duplicate-item", message, path, "let one node build for the platforms of both")
        for index, platform in enumerate(node.platforms or [""]):
            first = building.setdefault(platform, node)
            if first is node:
                continue
            where = reader.source.place(first.path).value
            if platform:
                message = f"another node of the builder is for {platform} already ({where})"
                reader.report("duplicate-item", message, (*node.path, "platforms", index), "keep one of them")
            else:
                message = f"another node of the builder has no platforms already ({where})"
                hint = "say which platforms go where: only one node can be for all that is left"
                reader.report("missing-key", message, node.path, hint)


def _check_coverage(reader: SectionReader, builder: Builder, platforms: tuple[str, ...]) -> None:
    if not all(node.platforms for node in builder.nodes):
        return
    known = {platform for node in builder.nodes for platform in node.platforms}
    for index, platform in enumerate(platforms):
        if platform not in known and "/".join(platform.split("/")[:2]) not in known:
            place = reader.source.place(builder.path).key
            reader.report(
                "uncovered-platform",
                f'no node of the builder "{builder.name}" ({place}) is for {platform}',
                ("platforms", index),
                "add it to a node; a node without `platforms` is for all that is left",
            )
