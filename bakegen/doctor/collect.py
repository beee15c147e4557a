"""Find the facts out: ask docker, buildx, registries and the disk, side by side and with a limit of time.

In: the folder where the user is. Out: `Facts`. What cannot be found out is a fact, too: nothing is raised.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bakegen.build.builders import choose_builder, require_as_declared
from bakegen.docker.buildx import Buildx, find_buildx, require_docker
from bakegen.docker.config import read_docker_config
from bakegen.docker.inspect import InspectedBuilder, InspectedNode, read_builder
from bakegen.docker.instances import Instance, Record, read_instance, write_instance
from bakegen.docker.process import Asker, Reply
from bakegen.doctor.facts import BuilderUse, DockerFacts, EngineFacts, Facts, ProjectFacts, Unanswered
from bakegen.errors import BakegenError, fail
from bakegen.expressions.bake_environment import platforms_in
from bakegen.generation import Run, carry_out
from bakegen.graph.graph import Graph
from bakegen.output.compare import Changes
from bakegen.project import Project, load_project
from bakegen.registries.authenticate import RegistryState, check, environment_of_docker
from bakegen.registries.destinations import Destination, find_destinations
from bakegen.registries.docker_login import keeping_no_login
from bakegen.source.paths import find_root
from bakegen.spec.platforms import platform_of

T = TypeVar("T")

PATIENCE = 28  # seconds that a program gets; docker gives up on a registry after 25, and buildx on a node after 20
_SETTINGS = ("DOCKER_HOST", "DOCKER_CONTEXT", "BUILDX_BUILDER")
_ON_ENGINES = ("docker", "docker-container")  # the drivers whose nodes are docker engines, which can be asked
_SNAPSHOTTER = ["driver-type", "io.containerd.snapshotter.v1"]  # how an engine tells of the containerd image store
_VERSION = re.compile(r"version v?([^\s,]+)")
_PLATFORM = re.compile(r"\w+/\w+")

Progress = Callable[[int], AbstractContextManager[Callable[[str], None]]]


def collect(directory: Path, ask: Asker, progress: Progress) -> Facts:
    """Return all facts as seen from a folder."""
    root = _or_why(partial(find_root, directory))
    project = None if isinstance(root, Unanswered) else _or_why(partial(load_project, root))
    graph = project.graph if isinstance(project, Project) else None
    registries = _or_why(partial(find_destinations, graph, os.environ)) if graph else ()
    hosts = () if isinstance(registries, Unanswered) else registries
    uses = _builder_uses(graph)
    with ExitStack() as scratch, progress(len(hosts) + len(uses) + 3) as done:
        # Before anything is asked: while templates run, the memory of this process and all that it starts is limited.
        outputs = _or_why(partial(_changes, project.root)) if isinstance(project, Project) else None
        done("generated files")
        docker = ask.begin(partial(_docker, ask))
        buildx = ask.begin(partial(find_buildx, ask=ask))
        told = [ask.begin(partial(_told, ask, buildx, use)) for use in uses]
        check_registry = _registry_check(hosts, ask, scratch)
        checked = [ask.begin(partial(check_registry, registry)) for registry in hosts]
        steps: list[tuple[str, Future[Any]]] = [
            ("docker", docker),
            ("buildx", buildx),
            *((f"builder {use.name}".strip(), future) for use, future in zip(uses, told, strict=True)),
            *((f"registry {registry.host}", future) for registry, future in zip(hosts, checked, strict=True)),
        ]
        for step, future in steps:
            future.result()
            done(step)
    return Facts(
        system=sys.platform,
        settings=frozenset(name for name in _SETTINGS if os.environ.get(name)),
        bakegen="bakegen" if directory == Path() else shlex.join(["bakegen", "-C", str(directory)]),
        docker=docker.result(),
        buildx=buildx.result(),
        uses=tuple(future.result() for future in told),
        project=_project_facts(graph) if graph else project if isinstance(project, Unanswered) else None,
        registries=registries if isinstance(registries, Unanswered) else tuple(future.result() for future in checked),
        outputs=outputs,
    )


# --- docker ---


def _docker(ask: Asker) -> DockerFacts | Unanswered | None:
    if not shutil.which("docker"):
        return None
    questions = {
        "client": ["--version"],  # the one that does not wait for the engine
        "engine": ["version", "--format", "{{json .Server}}"],
        "info": ["info", "--format", "{{json .}}"],
        "address": ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"],
    }
    asked = {name: ask.begin(partial(ask, ["docker", *words])) for name, words in questions.items()}
    replies = {name: future.result() for name, future in asked.items()}
    version = _VERSION.search(replies["client"].out)
    if not version:
        return Unanswered(_said(replies["client"]))
    address, info = replies["address"].out.strip(), _data(replies["info"])
    plugins = info.get("ClientInfo", {}).get("Plugins") or ()
    return DockerFacts(
        version=version[1],
        plugins={one["Name"]: one.get("Version", "") for one in plugins if not one.get("Err")} if info else None,
        address=address,
        engine=_engine(replies["engine"], info, address),
    )


def _engine(reply: Reply, info: Mapping[str, Any], address: str) -> EngineFacts | Unanswered:
    server = _data(reply)
    if not server:
        return Unanswered(_said(reply))
    folder, store = info.get("DockerRootDir", ""), info.get("DriverStatus") or ()
    # Engines in a virtual machine have a socket here, too, and so do those that a container was given the socket of.
    here = folder and address.startswith("unix://") and info.get("Name") == socket.gethostname()
    return EngineFacts(
        version=server.get("Version", ""),
        several=not info or _SNAPSHOTTER in store,  # an engine that does not say is not blamed
        folder=folder,
        free=_free(Path(folder)) if here else None,
    )


def _free(folder: Path) -> int | None:
    for place in (folder, *folder.parents):  # the way there may be closed to us
        try:
            return shutil.disk_usage(place).free
        except PermissionError:
            continue
        except OSError:
            return None
    return None


# --- builders ---


def _builder_uses(graph: Graph | None) -> list[BuilderUse]:
    """Return the builders that images are built on, as `build` chooses them; the current one where there are none."""
    uses: dict[str, BuilderUse] = {}
    for manifest in graph.manifests if graph else ():
        choice = choose_builder([manifest])
        targets = graph.by_image[manifest.image] if graph else ()
        wanted = [platforms_in(target.platforms, os.environ) for target in targets]
        differing = _or_why(partial(require_as_declared, choice))
        use = uses.get(choice.name) or BuilderUse(
            name=choice.name,
            declared=choice.declared is not None,
            mismatch=differing.said if isinstance(differing, Unanswered) else "",
        )
        uses[choice.name] = replace(
            use,
            platforms=tuple(dict.fromkeys((*use.platforms, *(name for names in wanted for name in names)))),
            several=use.several or any(len(names) > 1 for names in wanted),
        )
    return list(uses.values()) or [BuilderUse(name=choose_builder([]).name)]


def _told(ask: Asker, buildx: Future[Buildx | None], use: BuilderUse) -> BuilderUse:
    """Return the use of a builder with what buildx tells of it."""
    found = buildx.result()
    if not found:
        return use
    inspect = [*found.command, "inspect", *([use.name] if use.name else [])]
    reply = ask(inspect)
    if reply.code != 0:
        return replace(use, builder=Unanswered(_said(reply)))
    builder = read_builder(reply.out)
    instance = _or_why(partial(read_instance, builder.name))
    if isinstance(instance, Unanswered):
        return replace(use, builder=instance)
    given = {node["Name"]: _given(node) for node in instance.nodes} if instance else {}
    honest = _without_settings(ask, found, instance) if instance and any(given.values()) else builder
    offered = {node.name: node.platforms for node in honest.nodes if node.runs}
    own = [ask.begin(partial(_own_platform, ask, builder, node)) for node in builder.nodes]
    nodes = (
        replace(node, platforms=offered.get(node.name, ()), claimed=given.get(node.name, ()), own=platform.result())
        for node, platform in zip(builder.nodes, own, strict=True)
    )
    return replace(use, builder=replace(builder, nodes=tuple(nodes)))


def _given(node: Record) -> tuple[str, ...]:
    """Return the platforms that the settings of a builder give a node."""
    platforms = node.get("Platforms") or ()
    return tuple(platform_of(one["os"], one["architecture"], one.get("variant", "")) for one in platforms)


def _without_settings(ask: Asker, buildx: Buildx, instance: Instance) -> InspectedBuilder:
    """Return what buildx tells of a builder whose settings give no platforms: it lists those as if nodes offered them."""
    with tempfile.TemporaryDirectory(prefix="bakegen-") as folder:
        nodes = tuple({**node, "Platforms": None} for node in instance.nodes)
        environment = write_instance(Path(folder), replace(instance, nodes=nodes))
        return read_builder(ask([*buildx.command, "inspect", instance.name], environment=environment).out)


def _own_platform(ask: Asker, builder: InspectedBuilder, node: InspectedNode) -> str:
    """Return the platform of the engine that a node is, or runs on; empty if it does not tell."""
    if not node.runs or builder.driver not in _ON_ENGINES:
        return ""
    option = "--host" if "://" in node.endpoint else "--context"
    reply = ask(["docker", option, node.endpoint, "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"])
    found = _PLATFORM.fullmatch(reply.out.strip())
    return found[0] if found and reply.code == 0 else ""


# --- registries ---


def _registry_check(
    registries: Sequence[Destination], ask: Asker, scratch: ExitStack
) -> Callable[[Destination], RegistryState]:
    """Return what checks a registry: docker, unless it is not there or its configuration cannot be read."""
    try:
        require_docker()
        config = read_docker_config()
    except BakegenError as error:
        problems = error.problems
        return lambda registry: RegistryState(registry, "", "failed", problems=problems)
    folder = scratch.enter_context(keeping_no_login(config))
    run = partial(ask, environment=environment_of_docker(registries))
    return lambda registry: check(registry, config, run, folder)


# --- the project ---


def _project_facts(graph: Graph) -> ProjectFacts:
    return ProjectFacts(
        manifests=len(graph.manifests),
        targets=len(graph.targets),
        buildx=max(manifest.buildx for manifest in graph.manifests),
        readmes=any(registry.readme for manifest in graph.manifests for registry in manifest.registries),
    )


def _changes(root: Path) -> Changes:
    """Return what `generate --check` would; it does not wait for another bakegen."""

    def give_up() -> None:
        raise fail("stale-output", "another bakegen process is running here")

    return carry_out(root, Run(writes=False), waiting=give_up)[0]


# --- replies ---


def _or_why(ask: Callable[[], T]) -> T | Unanswered:
    """Return what is asked for, or why it cannot be had."""
    try:
        return ask()
    except BakegenError as error:
        first, *others = error.problems
        more = f", and {len(others)} more" if others else ""
        return Unanswered(f"{f'{first.position}: ' if first.position else ''}{first.message}{more}")


def _data(reply: Reply) -> dict[str, Any]:
    """Return the JSON object that a reply begins with; an empty one if it is something else."""
    try:
        data = json.loads(reply.out)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _said(reply: Reply) -> str:
    """Return what was said of a failure, in one line."""
    lines: Sequence[str] = [line.strip() for line in (reply.said + reply.out).splitlines() if line.strip()]
    return lines[0].removeprefix("ERROR: ") if lines else "no error message"
