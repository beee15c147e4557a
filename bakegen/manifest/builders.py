"""The builders that a manifest declares.

In: the `builders` of a manifest that fits the schema. Out: `Builder`s, and problems where buildx would refuse a builder,
or would silently make another one of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bakegen.manifest.model import Builder, Node
from bakegen.manifest.section import Reading
from bakegen.source.yaml import KeyPath
from bakegen.spec.builder_drivers import DRIVERS, endpoint_mistake, holds_secret, option_mistake
from bakegen.spec.platforms import platform_mistake

_AT_HAND = "the engine at hand"


def read_builders(reading: Reading, platforms: tuple[str, ...]) -> tuple[Builder, ...]:
    """Return the builders; the first, which builds, must have nodes for all `platforms` of the image."""
    builders = tuple(_builder(reading, name, content) for name, content in reading.content.get("builders", {}).items())
    for builder in builders[:1]:
        _check_coverage(reading, builder, platforms)
    return builders


def _builder(reading: Reading, name: str, content: Mapping[str, Any]) -> Builder:
    path: KeyPath = ("builders", name)
    driver = content["driver"]
    parallelism = content.get("max-parallelism")
    if name == "default":
        reading.report(
            "reserved-name", '"default" is the builder of docker itself', path, "choose another name", at_key=True
        )
    if parallelism is not None and not DRIVERS[driver].flags:
        reading.report(
            "wrong-value",
            f"how much runs at once on a node of a {driver} builder is said where its BuildKit is started",
            (*path, "max-parallelism"),
            "say it in the buildkitd.toml over there: max-parallelism under [worker.oci]",
            at_key=True,
        )
    common = _options(reading, driver, content.get("options", {}), (*path, "options"))
    if "nodes" in content:
        nodes = tuple(
            _node(reading, driver, common, node, (*path, "nodes", index)) for index, node in enumerate(content["nodes"])
        )
        _check_apart(reading, driver, nodes)
    else:
        nodes = (Node((), "", common, path),)
        mistake = endpoint_mistake(driver, "")
        if mistake:
            reading.report("missing-key", f'"builders.{name}" has no "nodes"', path, mistake, at_key=True)
    return Builder(name, driver, nodes, parallelism, path)


def _node(reading: Reading, driver: str, common: Mapping[str, str], content: Mapping[str, Any], path: KeyPath) -> Node:
    endpoint = content.get("endpoint", "")
    mistake = endpoint_mistake(driver, endpoint)
    if mistake and endpoint:
        _report_endpoint(reading, driver, endpoint, mistake, (*path, "endpoint"))
    elif mistake:
        reading.report("missing-key", 'the node has no "endpoint"', path, mistake)
    platforms = tuple(content.get("platforms", ()))
    for index, platform in enumerate(platforms):
        wrong = platform_mistake(platform)
        if wrong:
            reading.report("unknown-platform", f'"{platform}" is no platform', (*path, "platforms", index), wrong)
    own = _options(reading, driver, content.get("options", {}), (*path, "options"))
    return Node(platforms, endpoint, {**common, **own}, path)


def _report_endpoint(reading: Reading, driver: str, endpoint: str, mistake: str, path: KeyPath) -> None:
    if not holds_secret(endpoint):
        reading.report("wrong-value", f'a {driver} node cannot be at "{endpoint}"', path, mistake)
        return
    problem = reading.source.problem("wrong-value", "an endpoint cannot hold a password", path, hint=mistake)
    reading.problems.append(replace(problem, source=""))


def _options(reading: Reading, driver: str, content: Mapping[str, Any], path: KeyPath) -> dict[str, str]:
    options = {}
    for name, value in content.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        hint = option_mistake(driver, name)
        if hint:
            message = f'the driver {driver} has no option "{name}"'
            reading.report("unknown-key", message, (*path, name), hint, at_key=True)
        elif name in DRIVERS[driver].paths and not text.startswith(("/", "~/")):
            message = f'"{text}" is not the full path that buildx needs'
            reading.report("wrong-value", message, (*path, name), "begin it with / or ~/")
        options[name] = text
    return options


def _check_apart(reading: Reading, driver: str, nodes: tuple[Node, ...]) -> None:
    """Report two nodes for one platform, of which one would idle, and two at one endpoint, which buildx refuses."""
    at: dict[str, Node] = {}
    building: dict[str, Node] = {}
    for node in nodes:
        first = at.setdefault(node.endpoint, node)
        if first is not node and driver != "kubernetes":
            where = reading.source.place(first.path).value
            message = f"another node of the builder is at {node.endpoint or _AT_HAND} already ({where})"
            path = (*node.path, "endpoint") if node.endpoint else node.path
            reading.report("duplicate-item", message, path, "let one node build for the platforms of both")
        for index, platform in enumerate(node.platforms or [""]):
            first = building.setdefault(platform, node)
            if first is node:
                continue
            where = reading.source.place(first.path).value
            if platform:
                message = f"another node of the builder is for {platform} already ({where})"
                reading.report("duplicate-item", message, (*node.path, "platforms", index), "keep one of them")
            else:
                message = f"another node of the builder has no platforms already ({where})"
                hint = "say which platforms go where: only one node can be for all that is left"
                reading.report("missing-key", message, node.path, hint)


def _check_coverage(reading: Reading, builder: Builder, platforms: tuple[str, ...]) -> None:
    if not all(node.platforms for node in builder.nodes):
        return
    known = {platform for node in builder.nodes for platform in node.platforms}
    for index, platform in enumerate(platforms):
        if platform not in known and "/".join(platform.split("/")[:2]) not in known:
            place = reading.source.place(builder.path).key
            reading.report(
                "uncovered-platform",
                f'no node of the builder "{builder.name}" ({place}) is for {platform}',
                ("platforms", index),
                "add it to a node; a node without `platforms` is for all that is left",
            )
