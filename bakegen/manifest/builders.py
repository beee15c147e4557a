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

_AT_HAND = "the local engine"


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
            "reserved-name", '"default" is the name of the built-in builder', path, "choose another name", at_key=True
        )
    if parallelism is not None and not DRIVERS[driver].flags:
        reader.report(
            "wrong-value",
            f"max-parallelism cannot be set for a {driver} builder",
            (*path, "max-parallelism"),
            "set max-parallelism under [worker.oci] in the buildkitd.toml of its BuildKit",
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
            reader.report(
                "unknown-platform", f'"{platform}" is not a valid platform', (*path, "platforms", index), wrong
            )
    own = _options(reader, driver, content.get("options", {}), (*path, "options"))
    return Node(platforms, endpoint, {**common, **own}, path)


def _report_endpoint(reader: SectionReader, driver: str, endpoint: str, mistake: str, path: KeyPath) -> None:
    if not holds_secret(endpoint):
        reader.report("wrong-value", f'"{endpoint}" is not a valid endpoint of a {driver} node', path, mistake)
        return
    problem = reader.source.problem("wrong-value", "an endpoint must not contain a password", path, hint=mistake)
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
            message = f'"{text}" is not an absolute path'
            reader.report("wrong-value", message, (*path, name), "start it with / or ~/")
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
            message = f"another node of the builder has the same endpoint, {node.endpoint or _AT_HAND} ({where})"
            path = (*node.path, "endpoint") if node.endpoint else node.path
            reader.report("duplicate-item", message, path, "list the platforms of both under one node")
        for index, platform in enumerate(node.platforms or [""]):
            first = building.setdefault(platform, node)
            if first is node:
                continue
            where = reader.source.place(first.path).value
            if platform:
                message = f"another node of the builder already builds for {platform} ({where})"
                reader.report("duplicate-item", message, (*node.path, "platforms", index), "keep one of them")
            else:
                message = f"another node of the builder has no platforms either ({where})"
                hint = "list the platforms: only one node can take the remaining ones"
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
                f'no node of the builder "{builder.name}" ({place}) builds for {platform}',
                ("platforms", index),
                "add it to a node; a node without `platforms` takes the remaining ones",
            )
