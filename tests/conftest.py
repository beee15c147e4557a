from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from registries import GuardedRegistry, guarded
from world import World, world

from bakegen.docker.buildx import Buildx, find_buildx


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what the tests expect, instead of comparing")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what commands remember, and the builders of buildx, away from those of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("BUILDX_CONFIG", str(tmp_path_factory.mktemp("buildx")))
        yield


@pytest.fixture(autouse=True, scope="session")
def commands_made_once() -> Iterator[None]:
    """Let typer make the commands from their signatures once, not again in each of thousands of calls of `main`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.main.get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(autouse=True, scope="session")
def no_pauses() -> Iterator[None]:
    """Ask registries again at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bakegen.registries.login_outcome.PAUSES", (0.0, 0.0, 0.0))
        yield


@pytest.fixture(scope="session")
def registry() -> str:
    """The registry of the test engine; no engine is a failure in CI, and skips elsewhere."""
    return from_engine("BAKEGEN_TEST_REGISTRY")


@pytest.fixture(scope="session")
def guarded_registry(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRegistry]:
    """A real registry that wants a login."""
    assert registry
    with guarded(tmp_path_factory.mktemp("guarded")) as found:
        yield found


@pytest.fixture(scope="session")
def everywhere(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The registries of the world."""
    assert registry
    with world(tmp_path_factory.mktemp("world")) as found:
        yield found


@pytest.fixture
def docker_config(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker configuration of the test's own, in which nobody is logged in; docker and its plugins know it."""
    assert registry
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "cli-plugins").symlink_to(Path(os.environ["DOCKER_CONFIG"], "cli-plugins"))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder


def from_engine(variable: str) -> str:
    """Return what `.ci/engine env` says."""
    value = os.environ.get(variable, "")
    if not value:
        message = 'no Docker engine: run `.ci/engine up` and `eval "$(.ci/engine env)"`'
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return value


@pytest.fixture(scope="session")
def oldest_buildx(newest_buildx: Path) -> Path:
    """The oldest buildx that must read a bake file as we mean it; one suite of Debian has it, or nobody."""
    assert newest_buildx
    if "BAKEGEN_BUILDX_OLDEST" not in os.environ:
        pytest.skip("the mirror could not give the oldest buildx: see what `.ci/engine up` said")
    return Path(os.environ["BAKEGEN_BUILDX_OLDEST"])


@pytest.fixture(scope="session")
def newest_buildx() -> Path:
    """The newest buildx there is."""
    return Path(from_engine("BAKEGEN_BUILDX_NEWEST"))


@pytest.fixture(scope="session", params=["oldest", "newest"])
def buildx(request: pytest.FixtureRequest) -> Buildx:
    """Each buildx in turn."""
    found = find_buildx([(str(request.getfixturevalue(f"{request.param}_buildx")),)])
    assert found
    return found
