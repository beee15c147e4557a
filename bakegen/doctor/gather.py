"""Find the facts out: ask docker, buildx, registries and the disk, side by side and with a limit of time.

In: the folder where the user is. Out: `Facts`. Whatever cannot be found out is a fact, too: nothing is raised.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bakegen.build.builders import BuilderChoice, choose_builder, require_as_declared
from bakegen.docker.buildx import Buildx, find_buildx
from bakegen.docker.config import read_docker_config
from bakegen.docker.inspect import Node, read_builder
from bakegen.docker.process import Asker, Reply
from bakegen.doctor.facts import Asked, Docker, Engine, Facts, Failure, Needs, Site
from bakegen.errors import BakegenError
from bakegen.generation import Run, carry_out
from bakegen.graph.graph import Graph
from bakegen.output.compare import Changes
from bakegen.project import Project, load_project
from bakegen.registries.answers import patiently
from bakegen.registries.logins import Login, logins
from bakegen.registries.probe import is_local, probe
from bakegen.source.paths import find_root

PATIENCE = 25  # seconds that a program gets; buildx itself gives up on a node after 20
_SETTINGS = ("DOCKER_HOST", "DOCKER_CONTEXT", "BUILDX_BUILDER")
_ON_ENGINES = ("docker", "docker-container")  # the drivers whose nodes are docker engines, which can be asked
_SNAPSHOTTER = ["driver-type", "io.containerd.snapshotter.v1"]  # how an engine tells of the containerd image store
_VERSION = re.compile(r"version v?([^\s,]+)")
_PLATFORM = re.compile(r"\w+/\w+")

Progress = Callable[[int], AbstractContextManager[Callable[[str], None]]]


class _BusyError(Exception):
    """Another bakegen is at work in the project."""


def gather(directory: Path, ask: Asker, progress: Progress) -> Facts:
    """Return all facts as seen from a folder."""
    project = _project(directory)
    graph = project.graph if isinstance(project, Project) else None
    registries = _logins(graph) if graph else ()
    hosts = [] if isinstance(registries, Failure) else registries
    sites = _sites(graph)
    with progress(len(hosts) + len(sites) + 3) as done:
        # Before anything is asked: while templates run, the memory of this process and all that it starts is limited.
        outputs = _outputs(project.root) if isinstance(project, Project) else None
        done("generated files")
        docker = ask.begin(partial(_docker, ask))
        buildx = ask.begin(partial(find_buildx, ask=ask))
        told = [ask.begin(partial(_told, ask, buildx, site)) for site in sites]
        asked = [ask.begin(partial(_asked, ask, login)) for login in hosts]
        steps: list[tuple[str, Future[Any]]] = [
            ("docker", docker),
            ("buildx", buildx),
            *((f"builder {site.name}".strip(), future) for site, future in zip(sites, told, strict=True)),
            *((f"registry {login.host}", future) for login, future in zip(hosts, asked, strict=True)),
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
        sites=tuple(future.result() for future in told),
        needs=_needs(graph) if graph else project if isinstance(project, Failure) else None,
        registries=registries if isinstance(registries, Failure) else tuple(future.result() for future in asked),
        outputs=outputs,
    )


# --- docker ---


def _docker(ask: Asker) -> Docker | Failure | None:
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
        return Failure(_said(replies["client"]))
    address, info = replies["address"].out.strip(), _data(replies["info"])
    plugins = info.get("ClientInfo", {}).get("Plugins") or ()
    return Docker(
        version=version[1],
        plugins={one["Name"]: one.get("Version", "") for one in plugins if not one.get("Err")} if info else None,
        address=address,
        engine=_engine(replies["engine"], info, address),
    )


def _engine(reply: Reply, info: dict[str, Any], address: str) -> Engine | Failure:
    server = _data(reply)
    if not server:
        return Failure(_said(reply))
    folder, store = info.get("DockerRootDir", ""), info.get("DriverStatus") or ()
    # Engines in a virtual machine have a socket here, too, and so do those that a container was given the socket of.
    here = folder and address.startswith("unix://") and info.get("Name") == socket.gethostname()
    return Engine(
        version=server.get("Version", ""),
        several=not info or _SNAPSHOTTER in store,  # without a word on it, nothing is held against it
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


# --- buildx ---


def _sites(graph: Graph | None) -> list[Site]:
    """Return the builders that images are built on, as `build` chooses them; the current one where there are none."""
    sites: dict[str, Site] = {}
    for manifest in graph.manifests if graph else ():
        choice = choose_builder([manifest])
        own = [target.platforms for target in graph.by_image[manifest.image]] if graph else []
        site = sites.get(choice.name) or Site(
            name=choice.name, declared=choice.declared is not None, mismatch=_mismatch(choice)
        )
        sites[choice.name] = replace(
            site,
            platforms=tuple(dict.fromkeys((*site.platforms, *(name for names in own for name in names)))),
            several=site.several or any(len(names) > 1 for names in own),
        )
    return list(sites.values()) or [Site(name=choose_builder([]).name)]


def _mismatch(choice: BuilderChoice) -> str:
    try:
        require_as_declared(choice)
    except BakegenError as error:
        return _failure(error).said
    return ""


def _told(ask: Asker, buildx: Future[Buildx | None], site: Site) -> Site:
    """Return a builder with what buildx tells of it."""
    found = buildx.result()
    if not found:
        return site
    reply = ask([*found.command, "inspect", *([site.name] if site.name else [])])
    if reply.code != 0:
        return replace(site, told=Failure(_said(reply)))
    builder = read_builder(reply.out)
    if builder.driver in _ON_ENGINES:
        own = [ask.begin(partial(_own_platform, ask, node)) for node in builder.nodes]
        nodes = zip(builder.nodes, own, strict=True)
        builder = replace(builder, nodes=tuple(replace(node, own=future.result()) for node, future in nodes))
    return replace(site, told=builder)


def _own_platform(ask: Asker, node: Node) -> str:
    """Return the platform of the engine that a node is, or runs on; empty if it does not tell."""
    if not node.runs:
        return ""
    option = "--host" if "://" in node.endpoint else "--context"
    reply = ask(["docker", option, node.endpoint, "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"])
    found = _PLATFORM.fullmatch(reply.out.strip())
    return found[0] if found and reply.code == 0 else ""


# --- registries ---


def _logins(graph: Graph) -> tuple[Login, ...] | Failure:
    try:
        return logins(graph)
    except BakegenError as error:
        return _failure(error)


def _asked(ask: Asker, login: Login) -> Asked:
    host = login.kind.api or login.host
    url = f"{'http' if is_local(host) else 'https'}://{host}/v2/"
    try:
        stored = read_docker_config().stored(login.server, ask)
        return Asked(login.host, url, patiently(lambda: probe(host, stored)))
    except BakegenError as error:
        return Asked(login.host, url, _failure(error))


# --- the project ---


def _project(directory: Path) -> Project | Failure | None:
    try:
        root = find_root(directory)
    except BakegenError:
        return None
    try:
        return load_project(root)
    except BakegenError as error:
        return _failure(error)


def _needs(graph: Graph) -> Needs:
    return Needs(
        manifests=len(graph.manifests),
        targets=len(graph.targets),
        buildx=max(manifest.buildx for manifest in graph.manifests),
        readmes=any(registry.readme for manifest in graph.manifests for registry in manifest.registries),
    )


def _outputs(root: Path) -> Changes | Failure:
    """Return what `generate --check` would; it does not wait for another bakegen."""

    def give_up() -> None:
        raise _BusyError

    try:
        return carry_out(root, Run(writes=False), waiting=give_up)[0]
    except _BusyError:
        return Failure("another bakegen is at work here")
    except BakegenError as error:
        return _failure(error)


def _failure(error: BakegenError) -> Failure:
    first = error.problems[0]
    more = f", and {len(error.problems) - 1} more" if len(error.problems) > 1 else ""
    return Failure(f"{f'{first.position}: ' if first.position else ''}{first.message}{more}")


# --- replies ---


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
    return lines[0].removeprefix("ERROR: ") if lines else "it says nothing"
