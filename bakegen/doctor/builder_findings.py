"""Judge builders, and the platforms that they are to build.

In: a `BuilderUse`. Out: its `Finding`s.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from bakegen.docker.inspect import InspectedBuilder, InspectedNode, builds_how, choose_nodes, needed_nodes, offers
from bakegen.doctor.facts import BuilderUse, DockerFacts, EngineFacts, Facts, Finding, Unanswered, unknown
from bakegen.spec.platforms import Platform

# What https://github.com/tonistiigi/binfmt brings emulators for.
_EMULATED = ("386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x")
_HOW = {"native": "native", "emulated": "emulated", "unknown": "native or emulated"}


def judge_builder(facts: Facts, use: BuilderUse, engine: Finding, buildx: Finding) -> Finding:
    """Return the finding for a builder, given those for the engine and for buildx."""
    check = "builder" if len(facts.uses) == 1 else f"builder {use.name or '(current)'}"
    builder = use.builder
    if builder is None:
        return unknown(check, buildx)
    if use.mismatch:
        return Finding(check, "error", use.mismatch, f"{facts.bakegen} builder create {use.name}")
    if isinstance(builder, Unanswered):
        if "no builder" in builder.said:
            return Finding(check, "error", builder.said, _leave_builder(facts, use))
        if engine.state == "error":
            return unknown(check, engine)
        return Finding(check, "error", builder.said, f"docker buildx inspect {use.name}".strip())
    title = f"{builder.name} ({builder.driver})" if builder.driver else builder.name
    if builder.complaint and builder.driver in {"", "docker"} and engine.state == "error":
        return unknown(check, engine)
    if builder.complaint:
        return Finding(check, "error", f"{title}: {builder.complaint}", _leave_builder(facts, use))
    lost = [node for node in builder.nodes if _is_lost(builder, node)]
    said = ", ".join(f"{node.name} at {node.endpoint} does not respond" for node in lost)
    if len(lost) == len(builder.nodes):
        if engine.state == "error" and builder.driver in {"docker", "docker-container"}:
            return unknown(check, engine)
        return Finding(check, "error", f"{title}: {said or 'it has no nodes'}", _leave_builder(facts, use))
    if lost:
        fix = f"docker buildx create --name {builder.name} --leave --node {lost[0].name}"
        return Finding(check, "warning", f"{title}: {said}", _leave_builder(facts, use) if use.declared else fix)
    if _takes_one_platform(facts, use, builder):
        found = f"{title}: builds one platform at a time, because the engine does not use the containerd image store"
        return Finding(check, "error", found, "docker buildx create --use")
    asleep = [node for node in builder.nodes if not node.runs]
    return Finding(check, "ok", f"{title}, which starts with the first build" if asleep else title)


def _takes_one_platform(facts: Facts, use: BuilderUse, builder: InspectedBuilder) -> bool:
    """Whether buildx would refuse a target that is for several platforms, as the manifests have one."""
    engine = facts.docker.engine if isinstance(facts.docker, DockerFacts) else None
    return use.several and builder.driver == "docker" and isinstance(engine, EngineFacts) and not engine.several


def _leave_builder(facts: Facts, use: BuilderUse) -> str:
    """Return what lets `build` use docker's own builder."""
    if use.declared:
        return "export BUILDX_BUILDER=default"
    return "unset BUILDX_BUILDER" if "BUILDX_BUILDER" in facts.settings else "docker buildx use default"


def judge_platforms(facts: Facts, use: BuilderUse, cause: Finding) -> Iterator[Finding]:
    """Yield the finding for each platform of a builder, given the one for the builder."""
    on = "" if len(facts.uses) == 1 else f" on {use.name or '(current)'}"
    builder = use.builder
    if not isinstance(builder, InspectedBuilder) or all(_is_lost(builder, node) for node in builder.nodes):
        yield from (unknown(f"platform {name}{on}", cause) for name in use.platforms)
        return
    chosen = choose_nodes(builder.nodes, use.platforms)
    absent = [name for name, node in chosen.items() if not (node and offers(node, name))]
    for name, node in chosen.items():
        lost = [one.name for one in needed_nodes(builder.nodes, [name]) if _is_lost(builder, one)]
        if lost:
            how = (
                "builds it" if node and name in node.claimed else "is needed, because no node is assigned this platform"
            )
            found = Finding("", "error", f"cannot be built: {lost[0]} {how}, and does not respond", cause.fix)
        elif node and offers(node, name):
            where = f" on {node.name}" if len(builder.nodes) > 1 else ""
            found = Finding("", "ok", f"{_HOW[builds_how(node, name)]}{where}")
        elif not all(one.runs for one in ([node] if node else builder.nodes)):
            fix = f"docker buildx inspect --bootstrap {builder.name}"
            found = Finding("", "warning", f"unknown until {builder.name} has started", fix)
        else:
            found = _absent(builder, node or builder.nodes[0], name, absent)
        yield replace(found, check=f"platform {name}{on}")


def _is_lost(builder: InspectedBuilder, node: InspectedNode) -> bool:
    """Whether no build can start a node. Of a remote one, all that buildx says is that it is not running."""
    return bool(node.complaint) or (builder.driver == "remote" and not node.runs)


def _absent(builder: InspectedBuilder, node: InspectedNode, name: str, absent: Sequence[str]) -> Finding:
    """Return the finding for a platform that no node offers; buildx would have `node` build it all the same."""
    if not _can_be_emulated(node, name):
        create = "--use" if builder.driver == "docker" else f"--append --name {builder.name}"
        fix = f"docker buildx create {create} --platform {name} ssh://USER@HOST"
        return Finding("", "error", "cannot be built: it requires a machine of that platform", fix)
    archs = ",".join(dict.fromkeys(Platform(other).arch for other in absent if _can_be_emulated(node, other)))
    fix = _install_emulators(builder, node, archs)
    if builder.driver == "docker":
        return Finding("", "error", "cannot be built: there is no emulator for it", fix)
    # https://github.com/moby/buildkit/blob/master/docs/multi-platform.md: its image brings emulators that it does not list
    return Finding("", "warning", f"not supported by {node.name}, unless its BuildKit includes an emulator", fix)


def _can_be_emulated(node: InspectedNode, name: str) -> bool:
    platform = Platform(name)
    own = Platform(node.own).arch if node.own else ""
    return platform.os == "linux" and platform.arch in _EMULATED and platform.arch != own


def _install_emulators(builder: InspectedBuilder, node: InspectedNode, archs: str) -> str:
    """Return the command that installs emulators where a node runs."""
    command = f"run --privileged --rm tonistiigi/binfmt --install {archs}"
    endpoint = urlsplit(node.endpoint)
    if builder.driver == "kubernetes":
        return f"docker buildx create --append --name {builder.name} --node {node.name} --driver-opt qemu.install=true"
    if builder.driver == "remote":
        return f"ssh {endpoint.hostname} docker {command}" if endpoint.hostname else f"docker {command}"
    if endpoint.scheme:
        return f"docker --host {shlex.quote(node.endpoint)} {command}"
    return f"docker {command}" if node.endpoint == "default" else f"docker --context {node.endpoint} {command}"
