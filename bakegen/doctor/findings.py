"""Judge the facts: what is right, what is wrong, and the command that mends it.

In: `Facts`. Out: a `Finding` for each check, in a fixed order. What cannot be told because of something else that is
wrong is a warning, whose fix is that of the other.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

from bakegen.bake.model import BAKE_FILE
from bakegen.console import count
from bakegen.docker.inspect import Builder, Node, node_for, way_of
from bakegen.doctor.facts import Asked, Docker, Engine, Facts, Failure, Needs, Site
from bakegen.errors import printable
from bakegen.output.compare import Changes
from bakegen.output.files import RECORDS
from bakegen.spec.bake_attributes import OLDEST_BUILDX
from bakegen.spec.platforms import Platform

State = Literal["ok", "warning", "error"]

GIGABYTE = 10**9
LITTLE, TOO_LITTLE = 10 * GIGABYTE, 1 * GIGABYTE  # bytes of free disk below which there is a warning, or an error
_SHOWN = 3  # files that are named
_DEFAULT_SOCKETS = ("", "unix:///var/run/docker.sock", "unix:///run/docker.sock")
# What https://github.com/tonistiigi/binfmt brings emulators for.
_EMULATED = ("386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x")
_WAYS = {"native": "native", "emulated": "emulated", "unknown": "offered; native or emulated is not known"}
_PLUGIN = 'plugin="${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins/docker-'
_START_OVER = 'config="${DOCKER_CONFIG:-$HOME/.docker}/config.json" && mv "$config" "$config.old"'
_INSTALL = {  # how docker and its plugins are installed, by system
    "docker": {"darwin": "brew install --cask docker", "": "curl -fsSL https://get.docker.com | sudo sh"},
    "buildx": {
        "darwin": "brew install docker-buildx",
        # https://hub.docker.com/r/docker/buildx-bin holds nothing but the program
        "": f'{_PLUGIN}buildx" && mkdir -p "${{plugin%/*}}" && box=$(docker create docker/buildx-bin /buildx)'
        ' && docker cp "$box:/buildx" "$plugin" && docker rm "$box"',
    },
    "pushrm": {
        "": f'{_PLUGIN}pushrm" && curl -fsSL --create-dirs -o "$plugin" https://github.com/christian-korneck/docker-pushrm'
        "/releases/latest/download/docker-pushrm_$(docker version -f '{{.Client.Os}}_{{.Client.Arch}}')"
        ' && chmod +x "$plugin"',
    },
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; unless all is well, `fix` is a command for a shell."""

    check: str
    state: State
    found: str
    fix: str = ""


def judge(facts: Facts) -> list[Finding]:
    """Return all findings."""
    client = _client(facts)
    engine = _engine(facts, client)
    buildx = _buildx(facts, client)
    builders = [_builder(facts, site, engine, buildx) for site in facts.sites]
    findings = (
        client,
        engine,
        _disk(facts, engine),
        buildx,
        *builders,
        _manifests(facts),
        *(one for site, builder in zip(facts.sites, builders, strict=True) for one in _platforms(facts, site, builder)),
        *_registries(facts),
        *_pushrm(facts, client, engine),
        *_outputs(facts),
    )
    return [replace(one, found=printable(one.found)) for one in findings]


# --- docker ---


def _client(facts: Facts) -> Finding:
    match facts.docker:
        case Docker(version=version):
            return Finding("docker client", "ok", version)
        case Failure(said):
            return Finding("docker client", "error", f"it does not run: {said}", _install(facts, "docker"))
        case None:
            return Finding("docker client", "error", "there is none on PATH", _install(facts, "docker"))


def _engine(facts: Facts, client: Finding) -> Finding:
    if not isinstance(facts.docker, Docker):
        return _unknown("engine", client)
    engine, where = facts.docker.engine, facts.docker.address
    if isinstance(engine, Engine):
        return Finding("engine", "ok", engine.version)
    if "permission denied" in engine.said and where.startswith("unix://"):
        return Finding(
            "engine", "error", f"you may not use {where}", 'sudo usermod -aG docker "$USER" && newgrp docker'
        )
    return Finding("engine", "error", engine.said, _start_engine(facts, where))


def _start_engine(facts: Facts, address: str) -> str:
    """Return what helps against an engine that does not answer there."""
    parts = urlsplit(address)
    if parts.scheme == "ssh":
        return f"ssh {parts.netloc} sudo systemctl start docker"
    if facts.system == "darwin" and parts.scheme == "unix":
        return "open -a Docker"
    if address in _DEFAULT_SOCKETS:
        return "sudo systemctl start docker"
    if address.startswith("unix:///run/user/"):
        return "systemctl --user start docker"
    for setting in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        if setting in facts.settings:
            return f"unset {setting}"
    return "docker context use default"


def _disk(facts: Facts, engine: Finding) -> Finding:
    if not (isinstance(facts.docker, Docker) and isinstance(facts.docker.engine, Engine)):
        return _unknown("disk", engine)
    free, folder = facts.docker.engine.free, facts.docker.engine.folder
    if free is None:
        return Finding("disk", "ok", "not known: the engine keeps its data elsewhere than on this machine")
    state: State = "error" if free < TOO_LITTLE else "warning" if free < LITTLE else "ok"
    found = f"{free / GIGABYTE:.1f} GB free in {folder}"
    return Finding("disk", state, found, "" if state == "ok" else "docker system prune")


# --- buildx ---


def _buildx(facts: Facts, client: Finding) -> Finding:
    if not facts.buildx:
        if client.state == "error":
            return _unknown("buildx", client)
        return Finding("buildx", "error", "there is none", _install(facts, "buildx"))
    least = facts.needs.buildx if isinstance(facts.needs, Needs) else OLDEST_BUILDX
    if facts.buildx.version < least:
        found = f"{facts.buildx.text}, and {'.'.join(map(str, least))} or newer is needed"
        return Finding("buildx", "error", found, _install(facts, "buildx"))
    return Finding("buildx", "ok", facts.buildx.text)


def _builder(facts: Facts, site: Site, engine: Finding, buildx: Finding) -> Finding:
    check = "builder" if len(facts.sites) == 1 else f"builder {site.name or '(current)'}"
    builder = site.told
    if builder is None:
        return _unknown(check, buildx)
    if site.mismatch:
        return Finding(check, "error", site.mismatch, f"{facts.bakegen} builder create {site.name}")
    if isinstance(builder, Failure):
        if "no builder" in builder.said:
            return Finding(check, "error", builder.said, _leave_builder(facts, site))
        if engine.state == "error":
            return _unknown(check, engine)
        return Finding(check, "error", builder.said, f"docker buildx inspect {site.name}".strip())
    title = f"{builder.name} ({builder.driver})" if builder.driver else builder.name
    if builder.complaint and builder.driver in {"", "docker"} and engine.state == "error":
        return _unknown(check, engine)
    if builder.complaint:
        return Finding(check, "error", f"{title}: {builder.complaint}", _leave_builder(facts, site))
    lost = [node for node in builder.nodes if node.complaint or _is_out_of_reach(builder, node)]
    said = ", ".join(f"{node.name} at {node.endpoint} does not answer" for node in lost)
    if len(lost) == len(builder.nodes):
        if engine.state == "error" and builder.driver in {"docker", "docker-container"}:
            return _unknown(check, engine)
        return Finding(check, "error", f"{title}: {said or 'it has no nodes'}", _leave_builder(facts, site))
    if lost:
        fix = f"docker buildx create --name {builder.name} --leave --node {lost[0].name}"
        return Finding(check, "warning", f"{title}: {said}", _leave_builder(facts, site) if site.declared else fix)
    if _takes_one_platform(facts, site, builder):
        found = f"{title}: it builds for one platform at a time, as the engine has no containerd image store"
        return Finding(check, "error", found, "docker buildx create --use")
    asleep = [node for node in builder.nodes if not node.runs]
    return Finding(check, "ok", f"{title}, which starts with the first build" if asleep else title)


def _takes_one_platform(facts: Facts, site: Site, builder: Builder) -> bool:
    """Whether buildx would refuse a target that is for several platforms, as the manifests have one."""
    engine = facts.docker.engine if isinstance(facts.docker, Docker) else None
    return site.several and builder.driver == "docker" and isinstance(engine, Engine) and not engine.several


def _is_out_of_reach(builder: Builder, node: Node) -> bool:
    """Whether a node cannot be started by a build: all that buildx says of it is that it is not running."""
    return builder.driver == "remote" and not node.runs


def _leave_builder(facts: Facts, site: Site) -> str:
    """Return what lets `build` use docker's own builder."""
    if site.declared:
        return "export BUILDX_BUILDER=default"
    return "unset BUILDX_BUILDER" if "BUILDX_BUILDER" in facts.settings else "docker buildx use default"


# --- the manifests ---


def _manifests(facts: Facts) -> Finding:
    match facts.needs:
        case Needs() as needs:
            number = count(needs.targets, "target")
            return Finding("manifests", "ok", f"{count(needs.manifests, 'manifest')}, {number}")
        case Failure(said):
            return Finding("manifests", "error", said, f"{facts.bakegen} validate")
        case None:
            return Finding(
                "manifests",
                "warning",
                "no project here: platforms, registries and generated files are not checked",
                "bakegen -C DIR doctor",
            )


def _platforms(facts: Facts, site: Site, cause: Finding) -> Iterator[Finding]:
    on = "" if len(facts.sites) == 1 else f" on {site.name or '(current)'}"
    builder = site.told
    nodes = _usable(builder) if isinstance(builder, Builder) else []
    if not isinstance(builder, Builder) or not nodes:
        yield from (_unknown(f"platform {name}{on}", cause) for name in site.platforms)
        return
    chosen = {name: node_for(nodes, name) for name in site.platforms}
    absent = [name for name, node in chosen.items() if not node]
    for name, node in chosen.items():
        if node:
            where = f" on {node.name}" if len(builder.nodes) > 1 else ""
            yield Finding(f"platform {name}{on}", "ok", f"{_WAYS[way_of(node, name)]}{where}")
        elif not all(node.runs for node in nodes):
            fix = f"docker buildx inspect --bootstrap {builder.name}"
            yield Finding(f"platform {name}{on}", "warning", f"not known until {builder.name} has started", fix)
        else:
            yield replace(_absent(builder, nodes[0], name, absent), check=f"platform {name}{on}")


def _usable(builder: Builder) -> list[Node]:
    return [node for node in builder.nodes if not (node.complaint or _is_out_of_reach(builder, node))]


def _absent(builder: Builder, node: Node, name: str, absent: Sequence[str]) -> Finding:
    """Return the finding for a platform that no node offers; `node` is the one that buildx would take all the same."""
    if not _can_be_emulated(node, name):
        create = "--use" if builder.driver == "docker" else f"--append --name {builder.name}"
        fix = f"docker buildx create {create} --platform {name} ssh://USER@HOST"
        return Finding(f"platform {name}", "error", "not at all: it takes a machine of that kind", fix)
    archs = ",".join(dict.fromkeys(Platform(other).arch for other in absent if _can_be_emulated(node, other)))
    fix = _install_emulators(builder, node, archs)
    if builder.driver == "docker":
        return Finding(f"platform {name}", "error", "not at all: there is no emulator for it", fix)
    # https://github.com/moby/buildkit/blob/master/docs/multi-platform.md: its image brings emulators that it does not list
    return Finding(f"platform {name}", "warning", "emulated only if the BuildKit there brings an emulator", fix)


def _can_be_emulated(node: Node, name: str) -> bool:
    platform = Platform(name)
    own = Platform(node.own).arch if node.own else ""
    return platform.os == "linux" and platform.arch in _EMULATED and platform.arch != own


def _install_emulators(builder: Builder, node: Node, archs: str) -> str:
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


def _registries(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.registries, Failure):
        yield Finding("registries", "error", facts.registries.said, f"{facts.bakegen} authenticate --check")
        return
    for asked in facts.registries:
        yield _registry(asked, f"{facts.bakegen} authenticate --registry {asked.host}")


def _registry(asked: Asked, log_in: str) -> Finding:
    check = f"registry {asked.host}"
    if isinstance(asked.answer, Failure):
        return Finding(check, "error", asked.answer.said, f"{_START_OVER} && {log_in}")
    reason = f": {asked.answer.reason}" if asked.answer.reason else ""
    look = f"curl --verbose {asked.url}"
    match asked.answer.result:
        case "logged in":
            return Finding(check, "ok", "logged in")
        case "no login needed":
            return Finding(check, "ok", "answers, and wants no login")
        case "no login":
            return Finding(check, "warning", "wants a login to push, and nobody is logged in", log_in)
        case "refused":
            return Finding(check, "error", f"refuses the login that docker has stored{reason}", log_in)
        case "failing":
            return Finding(check, "error", f"does not answer as a registry{reason}", look)
        case "unreachable":
            return Finding(check, "error", f"does not answer{reason}", look)


def _pushrm(facts: Facts, client: Finding, engine: Finding) -> Iterator[Finding]:
    if not (isinstance(facts.needs, Needs) and facts.needs.readmes):
        return
    plugins = facts.docker.plugins if isinstance(facts.docker, Docker) else None
    if plugins is None and "error" in (client.state, engine.state):
        yield _unknown("docker-pushrm", engine if client.state == "ok" else client)
    elif plugins is None:
        yield Finding("docker-pushrm", "warning", "docker does not tell its plugins", "docker info")
    elif "pushrm" in plugins:
        yield Finding("docker-pushrm", "ok", plugins["pushrm"])
    else:
        found = "there is none, and READMEs are to be pushed"
        yield Finding("docker-pushrm", "warning", found, _install(facts, "pushrm"))


def _outputs(facts: Facts) -> Iterator[Finding]:
    generate = f"{facts.bakegen} generate"
    match facts.outputs:
        case Failure(said):
            yield Finding("generated files", "error", said, f"{generate} --check")
        case Changes(drifted=False) as changes:
            yield Finding("generated files", "ok", f"{count(len(changes.unchanged), 'file')} up to date")
        case Changes() as changes:
            own = (*changes.edited, *changes.foreign)
            if own:
                yield Finding(
                    "generated files", "error", f"not of bakegen's making: {_some(own)}", f"{generate} --force"
                )
            else:
                differing = changes.differing or (RECORDS,)
                yield Finding("generated files", "error", f"not what the manifests say: {_some(differing)}", generate)


def _some(paths: Sequence[str]) -> str:
    """Return paths in a line, the bake file first."""
    ordered = sorted(paths, key=lambda path: path != BAKE_FILE)
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more


def _unknown(check: str, cause: Finding) -> Finding:
    return Finding(check, "warning", f"not known, because of the {cause.check}", cause.fix)


def _install(facts: Facts, what: str) -> str:
    ways = _INSTALL[what]
    return ways.get(facts.system, ways[""])
