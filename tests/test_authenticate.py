"""Logging in, with docker, an engine and registries: what comes of it, and that no password shows anywhere."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest
from harness import Outcome, run, tree
from registries import (
    BASIC,
    PASSWORD,
    USER,
    GuardedRegistry,
    Reply,
    Request,
    encoded,
    guarded,
    in_turn,
    make,
    serving,
    wait_for,
)
from world import make_certificate

engine = pytest.mark.engine


@pytest.fixture
def project(guarded_registry: GuardedRegistry, docker_config: Path, tmp_path: Path) -> Path:
    """A project that is pushed to a registry which wants a login."""
    assert docker_config
    name = f"auth-{os.getpid()}-{tmp_path.name}".lower().replace("_", "-").rstrip("-.0123456789") + "-x"
    root = make(tmp_path / "project", f'"{guarded_registry.host}/{name}"')
    assert run(root, ["generate"]).code == 0
    return root


def say_who(root: Path, user: str = USER, password: str = PASSWORD) -> None:
    escaped = password.replace("\\", "\\\\").replace("'", "\\'")
    (root / ".env").write_text(f"export REGISTRY_USER={user}\nREGISTRY_PASSWORD='{escaped}'\n")


def rows(outcome: Outcome) -> list[tuple[str, str, str]]:
    return [tuple(re.split(r"  +", line)) for line in outcome.stdout.splitlines()[1:]]  # type: ignore[misc]


def build(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bakegen", "build", "--all", "--push", "--metadata-file", "metadata.json"]
    return subprocess.run(command, cwd=root, text=True, capture_output=True, check=False)


def stored_password(folder: Path, host: str) -> str | None:
    file = folder / "config.json"
    auths = json.loads(file.read_text())["auths"] if file.exists() else {}
    return base64.b64decode(auths[host]["auth"]).decode() if host in auths else None


@engine
def test_a_push_is_refused_before_the_login_and_accepted_after(
    project: Path, guarded_registry: GuardedRegistry, docker_config: Path
) -> None:
    host = guarded_registry.host
    say_who(project)
    assert rows(run(project, ["authenticate", "--check"])) == [(host, "-", "no login")]
    refused = build(project)
    assert refused.returncode == 1
    assert "401 Unauthorized" in refused.stderr

    outcome = run(project, ["authenticate", "app", "--registry", host])

    assert outcome.code == 0, outcome.text()
    assert rows(outcome) == [(host, USER, "logged in")]
    assert stored_password(docker_config, host) == f"{USER}:{PASSWORD}"
    checked = run(project, ["authenticate", "--check", "--format", "json"])
    assert checked.code == 0
    assert [(row["user"], row["result"]) for row in json.loads(checked.stdout)] == [(USER, "logged in")]
    accepted = build(project)
    assert accepted.returncode == 0, accepted.stderr
    assert tags(project, guarded_registry) == ["latest"]


def tags(project: Path, registry: GuardedRegistry) -> list[str]:
    repository = re.search(rf"{registry.host}/([^\"]+)", (project / "manifest" / "app.yml").read_text())
    assert repository
    request = urllib.request.Request(f"http://{registry.host}/v2/{repository[1]}/tags/list")
    request.add_header("Authorization", f"Basic {encoded(f'{registry.user}:{registry.password}')}")
    with urllib.request.urlopen(request) as response:
        found: list[str] = json.load(response)["tags"]
    return found


@engine
def test_a_wrong_password_is_refused_and_the_others_get_their_turn(
    project: Path, guarded_registry: GuardedRegistry, registry: str, docker_config: Path
) -> None:
    host = guarded_registry.host
    make(
        project,
        f'"{host}/app"',
        f'"localhost:{1}/app"',
        f'{{repository: "{registry}/app", username: A, password: B}}',
        "quay.io/a/b",
    )
    say_who(project, password="swordfish")
    with (project / ".env").open("a") as file:
        file.write("A=ann\nB=any\n")

    outcome = run(project, ["authenticate"])

    assert outcome.code == 1
    assert rows(outcome) == [
        (host, USER, "refused"),
        ("localhost:1", USER, "unreachable"),
        (registry, "ann", "logged in"),
        ("quay.io", "-", "failed"),
    ]
    assert re.findall(r"\[([a-z]+-[a-z-]+)\]$", outcome.stderr, re.MULTILINE) == [
        "login-failed",
        "unreachable-registry",
        "no-credentials",
    ]
    assert outcome.stderr.endswith("3 problems\n")
    assert "swordfish" not in outcome.text()
    assert stored_password(docker_config, host) is None
    assert stored_password(docker_config, registry) == "ann:any"


@engine
@pytest.mark.parametrize(
    ("replies", "result", "code"),
    [
        ([Reply(429), Reply(500), Reply()], "logged in", 0),
        ([Reply(503)], "failing", 1),
        ([BASIC], "refused", 1),
    ],
    ids=["soon better", "never better", "refused"],
)
def test_a_busy_registry_is_asked_again_and_a_refusal_is_not(
    replies: Sequence[Reply], result: str, code: int, docker_config: Path, tmp_path: Path
) -> None:
    assert docker_config
    with serving(in_turn(*replies)) as server:
        root = make(tmp_path / "project", f'"{server.host}/app"')
        say_who(root)
        outcome = run(root, ["authenticate"])
    assert (outcome.code, rows(outcome)) == (code, [(server.host, USER, result)]), outcome.text()
    assert PASSWORD not in outcome.text()
    # Docker itself asks twice about each login.
    assert (len(server.requests) > 2) == (result == "failing" or code == 0)


@engine
def test_registries_are_asked_at_once(tmp_path: Path, docker_config: Path) -> None:
    assert docker_config
    both = threading.Barrier(2, timeout=60)

    def answer(_: Request) -> Reply:
        both.wait()
        return Reply()

    with serving(answer) as server:
        hosts = [server.host, f"127.0.0.1:{server.port}"]
        root = make(tmp_path / "project", *(f'"{host}/app"' for host in hosts))
        outcome = run(root, ["authenticate", "--check"])

    assert rows(outcome) == [(host, "-", "no login needed") for host in hosts]


@engine
def test_no_engine_is_needed_where_there_is_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker_config: Path
) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    make_certificate(folder, "localhost")
    with guarded(folder, tls=True) as secure, forbidden_socket() as forbidden:
        root = make(tmp_path / "project", f'"{secure.host}/app"')
        say_who(root)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{forbidden}")
        untrusted = without_rights(root, "authenticate")
        assert untrusted.returncode == 1
        assert "certificate signed by unknown authority [unreachable-registry]" in untrusted.stderr
        assert f"help: to trust it, copy its CA certificate to /etc/docker/certs.d/{secure.host}" in (untrusted.stderr)

        monkeypatch.setenv("SSL_CERT_FILE", str(folder / "cert.pem"))
        assert "[no-login]" in without_rights(root, "authenticate", "--check").stderr
        done = without_rights(root, "authenticate")
        assert done.returncode == 0, done.stderr
        assert stored_password(docker_config, secure.host) == f"{USER}:{PASSWORD}"
        assert without_rights(root, "authenticate", "--check").returncode == 0


@engine
def test_without_tls_a_socket_that_may_not_be_used_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say_who(project)
    with forbidden_socket() as forbidden:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{forbidden}")
        done = without_rights(project, "authenticate")

    assert done.returncode == 1
    assert "permission denied" in done.stderr
    assert "usermod" in done.stderr
    assert PASSWORD not in done.stderr + done.stdout


@contextlib.contextmanager
def forbidden_socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        file = Path(folder, "docker.sock")
        listener.bind(str(file))
        file.chmod(0)
        yield file


def without_rights(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run bakegen as one who may use no socket: root may use each, unless it gives that up."""
    plain = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*plain, sys.executable, "-m", "bakegen", *words]
    return subprocess.run(command, cwd=root, text=True, capture_output=True, check=False)


@engine
def test_a_login_that_cannot_be_kept_is_told(project: Path, docker_config: Path) -> None:
    say_who(project)
    (docker_config / "config.json").write_text('{"credsStore": "lost"}')
    outcome = run(project, ["authenticate"])
    assert "credential helper docker-credential-lost not found on PATH" in outcome.stderr
    assert "[missing-helper]" in outcome.stderr

    (docker_config / "config.json").unlink()
    docker_config.chmod(0o500)
    done = without_rights(project, "authenticate")
    docker_config.chmod(0o700)
    assert "docker cannot store the login" in done.stderr
    assert "[docker-config]" in done.stderr
    assert PASSWORD not in outcome.text() + done.stderr


@engine
def test_a_configuration_that_is_broken_is_not_overwritten(project: Path, docker_config: Path) -> None:
    say_who(project)
    broken = '{"auths": {"quay.io": {"auth": "YTpi"}},'
    (docker_config / "config.json").write_text(broken)

    outcome = run(project, ["authenticate"])

    assert outcome.code == 1
    assert "not valid JSON [docker-config]" in outcome.stderr
    assert (docker_config / "config.json").read_text() == broken


@engine
def test_a_helper_that_prints_what_it_is_given_gives_nothing_away(
    project: Path, docker_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_who(project)
    install_helper(docker_config, "cat; exit 1", monkeypatch)

    outcome = run(project, ["authenticate"])

    assert 'out: `{"ServerURL":' in outcome.stderr
    assert '"Secret":"***"' in outcome.stderr
    assert "[docker-config]" in outcome.stderr


@engine
def test_a_password_of_a_word_that_docker_says_changes_nothing(project: Path, docker_config: Path) -> None:
    assert docker_config
    say_who(project, password="status: 401")

    assert "rejected the login of ann: 401 Unauthorized [login-failed]" in run(project, ["authenticate"]).stderr


def install_helper(docker_config: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let docker keep its logins by a program of the test's."""
    program = docker_config.parent / "docker-credential-own"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    (docker_config / "config.json").write_text('{"credsStore": "own"}')


@engine
def test_a_password_is_text_in_any_locale(
    project: Path, guarded_registry: GuardedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    say_who(project, password="pässwörd")
    command = [sys.executable, "-m", "bakegen", "authenticate"]
    done = subprocess.run(command, cwd=project, text=True, capture_output=True, check=False)

    assert f"{guarded_registry.host} rejected the login of ann: 401 Unauthorized [login-failed]" in done.stderr


@engine
def test_a_docker_that_is_no_program_is_told(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say_who(project)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    outcome = run(project, ["authenticate"])

    assert "docker: Exec format error [login-failed]" in outcome.stderr


@engine
def test_generate_logs_in_after_it_has_written(
    project: Path, guarded_registry: GuardedRegistry, docker_config: Path
) -> None:
    say_who(project)
    shutil.rmtree(project / "generated")

    outcome = run(project, ["generate", "--authenticate", "--format", "json"])

    assert outcome.code == 0, outcome.text()
    assert f"{guarded_registry.host}: logged in" in outcome.stderr
    assert json.loads(outcome.stdout)
    assert (project / "generated" / "app" / "Dockerfile").exists()
    assert stored_password(docker_config, guarded_registry.host) == f"{USER}:{PASSWORD}"

    (project / ".env").unlink()
    assert run(project, ["generate", "--authenticate"]).code == 1
    for option in ("--check", "--diff"):
        assert run(project, ["generate", "--authenticate", option]).code == 2


class Watch:
    """Reads the command lines and environments of all processes with a mark in their environment, again and again."""

    def __init__(self, mark: str) -> None:
        self.mark = mark.encode()  # other tests run beside this one, and may show what they know
        self.seen: dict[str, set[bytes]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit() and int(folder.name) != os.getpid():
                    with contextlib.suppress(OSError):
                        words, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
                        if self.mark in environment:
                            self.seen.setdefault(folder.name, set()).update((words, environment))

    def of(self, word: bytes) -> list[set[bytes]]:
        return [texts for texts in self.seen.values() if any(word in text for text in texts)]


@engine
@pytest.mark.parametrize("where", ["environment", "file"])
def test_the_password_shows_nowhere(
    project: Path, guarded_registry: GuardedRegistry, docker_config: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    host = guarded_registry.host
    if where == "file":
        say_who(project)
    else:
        monkeypatch.setenv("REGISTRY_USER", USER)
        monkeypatch.setenv("REGISTRY_PASSWORD", PASSWORD)
    mark = uuid.uuid4().hex
    monkeypatch.setenv("BAKEGEN_TEST_MARK", mark)
    printed = []
    with Watch(mark) as watch:
        for words in (["authenticate"], ["authenticate", "--check"], ["generate", "--authenticate"]):
            outcome = run(project, words)
            assert outcome.code == 0, outcome.text()
            printed.append(outcome.text())
    monkeypatch.delenv("REGISTRY_PASSWORD", raising=False)
    with Watch(mark) as building:
        done = build(project)
    assert done.returncode == 0, done.stderr
    printed += [done.stdout, done.stderr]

    assert watch.of(b"--password-stdin")  # docker was seen at work
    assert building.of(b"buildx")
    for spelt in (PASSWORD, encoded(PASSWORD), encoded(f"{USER}:{PASSWORD}")):
        assert watch.of(spelt.encode()) == building.of(spelt.encode()) == []
        assert spelt not in "".join(printed)
        written = {name: content for name, (_, content) in tree(project).items() if name != ".env"}
        assert {name for name, content in written.items() if spelt.encode() in content} == set()
        assert "metadata.json" in written
    assert stored_password(docker_config, host) == f"{USER}:{PASSWORD}"


@engine
@pytest.mark.parametrize(
    "words", [["authenticate"], ["authenticate", "--check"], ["generate", "--authenticate"]], ids=" ".join
)
@pytest.mark.parametrize("to_group", [False, True])
def test_an_interrupt_leaves_nothing(docker_config: Path, tmp_path: Path, words: Sequence[str], to_group: bool) -> None:
    asked, release = threading.Event(), threading.Event()

    def hang(_: Request) -> Reply:
        asked.set()
        release.wait(60)
        return Reply()

    with serving(hang) as server:
        root = make(tmp_path / "project", f'"{server.host}/app"')
        say_who(root)
        process = subprocess.Popen(
            [sys.executable, "-m", "bakegen", *words], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        assert asked.wait(60)
        (os.killpg if to_group else os.kill)(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
        release.set()

    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    wait_for(lambda: not any(server.host.encode() in words for words in command_lines()))
    assert [file.name for file in docker_config.iterdir()] == ["cli-plugins"]


@engine
@pytest.mark.parametrize("words", [["authenticate"], ["authenticate", "--check"], ["doctor"]], ids=" ".join)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_a_credential_helper(
    project: Path, docker_config: Path, monkeypatch: pytest.MonkeyPatch, words: Sequence[str], number: signal.Signals
) -> None:
    say_who(project)
    seconds = str(3600 + os.getpid() / 1e6)
    install_helper(docker_config, f"sleep {seconds}", monkeypatch)
    with subprocess.Popen(
        [sys.executable, "-m", "bakegen", *words], cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:  # fmt: skip
        wait_for(lambda: any(seconds.encode() in words for words in command_lines()))
        process.send_signal(number)

    assert process.returncode == 128 + number
    wait_for(lambda: not any(seconds.encode() in words for words in command_lines()), 5)


def command_lines() -> Iterator[bytes]:
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit():
                yield (folder / "cmdline").read_bytes()
