"""Judge the facts: what is right, what is wrong, and the command that fixes it.

In: `Facts`. Out: a `Finding` for each check, in a fixed order. What is not known because of something else that is wrong
is a warning, whose fix is that of the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from bakegen.bake.model import BAKE_FILE
from bakegen.console import count
from bakegen.doctor.builder_findings import judge_builder, judge_platforms
from bakegen.doctor.facts import DockerFacts, EngineFacts, Facts, Finding, ProjectFacts, Severity, Unanswered, unknown
from bakegen.errors import some
from bakegen.output.compare import Changes
from bakegen.output.files import RECORDS
from bakegen.registries.authenticate import RegistryState
from bakegen.spec.bake_attributes import OLDEST_BUILDX

GIGABYTE = 10**9
LITTLE, TOO_LITTLE = 10 * GIGABYTE, 1 * GIGABYTE  # bytes of free disk below which there is a warning, or an error
_DEFAULT_SOCKETS = ("", "unix:///var/run/docker.sock", "unix:///run/docker.sock")
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


def judge_facts(facts: Facts) -> list[Finding]:
    """Return all findings."""
    client = _client(facts)
    engine = _engine(facts, client)
    buildx = _buildx(facts, client)
    builders = [judge_builder(facts, use, engine, buildx) for use in facts.uses]
    return [
        client,
        engine,
        _disk(facts, engine),
        buildx,
        *builders,
        _manifests(facts),
        *(
            one
            for use, builder in zip(facts.uses, builders, strict=True)
            for one in judge_platforms(facts, use, builder)
        ),
        *_registries(facts, client, engine),
        *_pushrm(facts, client, engine),
        *_outputs(facts),
    ]


# --- docker ---


def _client(facts: Facts) -> Finding:
    match facts.docker:
        case DockerFacts(version=version):
            return Finding("docker client", "ok", version)
        case Unanswered(said):
            return Finding("docker client", "error", f"does not run: {said}", _install(facts, "docker"))
        case None:
            return Finding("docker client", "error", "not found on PATH", _install(facts, "docker"))


def _engine(facts: Facts, client: Finding) -> Finding:
    if not isinstance(facts.docker, DockerFacts):
        return unknown("engine", client)
    engine, where = facts.docker.engine, facts.docker.address
    if isinstance(engine, EngineFacts):
        return Finding("engine", "ok", engine.version)
    if "permission denied" in engine.said and where.startswith("unix://"):
        return Finding(
            "engine", "error", f"permission denied: {where}", 'sudo usermod -aG docker "$USER" && newgrp docker'
        )
    return Finding("engine", "error", engine.said, _start_engine(facts, where))


def _start_engine(facts: Facts, address: str) -> str:
    """Return what starts the engine there, or leads to another one."""
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
    if not (isinstance(facts.docker, DockerFacts) and isinstance(facts.docker.engine, EngineFacts)):
        return unknown("disk", engine)
    free, folder = facts.docker.engine.free, facts.docker.engine.folder
    if free is None:
        return Finding("disk", "ok", "unknown: the engine is on another machine")
    state: Severity = "error" if free < TOO_LITTLE else "warning" if free < LITTLE else "ok"
    found = f"{free / GIGABYTE:.1f} GB free in {folder}"
    return Finding("disk", state, found, "" if state == "ok" else "docker system prune")


# --- buildx ---


def _buildx(facts: Facts, client: Finding) -> Finding:
    if not facts.buildx:
        if client.state == "error":
            return unknown("buildx", client)
        return Finding("buildx", "error", "not found", _install(facts, "buildx"))
    least = facts.project.buildx if isinstance(facts.project, ProjectFacts) else OLDEST_BUILDX
    if facts.buildx.version < least:
        found = f"{facts.buildx.text}; {'.'.join(map(str, least))} or newer is required"
        return Finding("buildx", "error", found, _install(facts, "buildx"))
    return Finding("buildx", "ok", facts.buildx.text)


# --- the manifests ---


def _manifests(facts: Facts) -> Finding:
    match facts.project:
        case ProjectFacts() as project:
            number = count(project.targets, "target")
            return Finding("manifests", "ok", f"{count(project.manifests, 'manifest')}, {number}")
        case Unanswered(said):
            return Finding("manifests", "error", said, f"{facts.bakegen} validate")
        case None:
            return Finding(
                "manifests",
                "warning",
                "no project found: platforms, registries and generated files are not checked",
                "bakegen -C DIR doctor",
            )


def _registries(facts: Facts, client: Finding, engine: Finding) -> Iterator[Finding]:
    if isinstance(facts.registries, Unanswered):
        yield Finding("registries", "error", facts.registries.said, f"{facts.bakegen} authenticate --check")
        return
    missing = next((one for one in (client, engine) if one.state != "ok"), None)
    for state in facts.registries:
        yield _registry(state, missing, f"{facts.bakegen} authenticate --registry {state.registry.host}")


def _registry(state: RegistryState, missing: Finding | None, log_in: str) -> Finding:
    """Return the finding for a registry, which docker asks by itself where there is TLS, and else by its engine."""
    check = f"registry {state.registry.host}"
    if not state.problems:
        return Finding(check, "ok", f"{state.result} {state.reason}".strip())
    problem = state.problems[0]
    if state.result == "no login":
        return Finding(check, "warning", problem.message, log_in)
    if state.result == "refused":
        return Finding(check, "error", problem.message, log_in)
    if problem.code in {"docker-config", "missing-helper"}:
        return Finding(check, "error", problem.message, f"{_START_OVER} && {log_in}")
    if missing:
        return unknown(check, missing)
    return Finding(check, "error", problem.message, f"docker login {state.registry.host}")


def _pushrm(facts: Facts, client: Finding, engine: Finding) -> Iterator[Finding]:
    if not (isinstance(facts.project, ProjectFacts) and facts.project.readmes):
        return
    plugins = facts.docker.plugins if isinstance(facts.docker, DockerFacts) else None
    if plugins is None and "error" in (client.state, engine.state):
        yield unknown("docker-pushrm", engine if client.state == "ok" else client)
    elif plugins is None:
        yield Finding("docker-pushrm", "warning", "docker cannot list its plugins", "docker info")
    elif "pushrm" in plugins:
        yield Finding("docker-pushrm", "ok", plugins["pushrm"])
    else:
        found = "not installed, but manifests declare READMEs"
        yield Finding("docker-pushrm", "warning", found, _install(facts, "pushrm"))


def _outputs(facts: Facts) -> Iterator[Finding]:
    generate = f"{facts.bakegen} generate"
    match facts.outputs:
        case Unanswered(said):
            yield Finding("generated files", "error", said, f"{generate} --check")
        case Changes(drifted=False) as changes:
            yield Finding("generated files", "ok", f"{count(len(changes.unchanged), 'file')} up to date")
        case Changes() as changes:
            own = (*changes.edited, *changes.foreign)
            if own:
                yield Finding(
                    "generated files", "error", f"not created by bakegen: {_some(own)}", f"{generate} --force"
                )
            else:
                differing = changes.differing or (RECORDS,)
                yield Finding("generated files", "error", f"out of date: {_some(differing)}", generate)


def _some(paths: Sequence[str]) -> str:
    """Return paths in a line, the bake file first."""
    return some(sorted(paths, key=lambda path: path != BAKE_FILE))


def _install(facts: Facts, what: str) -> str:
    ways = _INSTALL[what]
    return ways.get(facts.system, ways[""])
