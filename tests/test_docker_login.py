"""The logins that docker has stored, whether registries take them, and how what docker says of it is understood."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import only_root, own_engine
from registries import (
    BASIC,
    PASSWORD,
    USER,
    GuardedRegistry,
    Reply,
    Request,
    Server,
    code_of,
    encoded,
    free_port,
    guarded,
    make,
    own_address,
    serving,
)
from world import make_certificate

import bakegen
from bakegen.docker.config import StoredLogin, read_docker_config
from bakegen.docker.process import asking
from bakegen.errors import BakegenError
from bakegen.registries.authenticate import RegistryState, check_all
from bakegen.registries.destinations import find_destinations
from bakegen.registries.docker_login import NOBODY, read_refusal
from bakegen.registries.login_outcome import LoginOutcome, patiently

engine = pytest.mark.engine

# --- what docker has stored ---


AUTHS = {
    "https://index.docker.io/v1/": {"auth": encoded("ann:pass:word")},
    "https://old.acme.com/v2/": {"auth": encoded("bob:x")},
    "plain.acme.com": {"username": "carol", "password": "y"},
    "token.acme.com": {"auth": encoded("dora:"), "identitytoken": "swordfish"},
    "empty.acme.com": {},
    "odd.acme.com": {"auth": 1, "identitytoken": ["swordfish"]},
    "null.acme.com": None,
    "half.acme.com": {"auth": encoded("emil:")},
    "bytes.acme.com": {"username": "a\0\ud800", "password": "b\0\0"},
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder / "config.json"


@pytest.mark.parametrize(
    ("server", "stored"),
    [
        ("https://index.docker.io/v1/", StoredLogin("ann", "pass:word")),
        ("old.acme.com", StoredLogin("bob", "x")),
        ("plain.acme.com", StoredLogin("carol", "y")),
        ("token.acme.com", StoredLogin("dora", "", "swordfish")),
        ("empty.acme.com", None),
        ("odd.acme.com", None),
        ("null.acme.com", None),
        ("half.acme.com", None),
        ("bytes.acme.com", StoredLogin("a?", "b")),
        ("acme.com", None),
    ],
)
def test_a_stored_login_is_found(server: str, stored: StoredLogin | None, config: Path) -> None:
    config.write_text(json.dumps({"auths": AUTHS}))

    with asking(60) as ask:
        found = read_docker_config().stored(server, ask)

    assert found == stored
    assert "swordfish" not in repr(found)


HELPER = """\
#!/bin/sh
read server
echo "$1 $server" >> "$0.log"
case $server in
quay.io) echo '{"ServerURL": "quay.io", "Username": "ann", "Secret": "swordfish"}';;
token.acme.com) echo '{"Username": "<token>", "Secret": "swordfish"}';;
broken.acme.com) echo 'no JSON';;
list.acme.com) echo '[]';;
locked.acme.com) echo 'the keychain is locked'; exit 1;;
*) echo 'credentials not found in native keychain'; exit 1;;
esac
"""


def test_a_helper_is_asked_as_docker_asks_it(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("own", "store"):
        program = config.parent / f"docker-credential-{name}"
        program.write_text(HELPER)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{config.parent}:{os.environ['PATH']}")
    helpers = {"quay.io": "own", "old.acme.com": ""}
    config.write_text(json.dumps({"auths": AUTHS, "credsStore": "store", "credHelpers": helpers}))
    found = read_docker_config()

    with asking(60) as ask:
        assert found.stored("quay.io", ask) == StoredLogin("ann", "swordfish")
        assert found.stored("token.acme.com", ask) == StoredLogin("", token="swordfish")
        assert found.stored("plain.acme.com", ask) is None
        assert found.stored("old.acme.com", ask) == StoredLogin("bob", "x")
        for server in ("broken.acme.com", "list.acme.com", "locked.acme.com"):
            with pytest.raises(BakegenError) as caught:
                found.stored(server, ask)
            assert code_of(caught) == "docker-config"
            assert "swordfish" not in str(caught.value)
    assert (config.parent / "docker-credential-own.log").read_text() == "get quay.io\n"


@pytest.mark.parametrize("text", ["", "[]", '{"auths": {"quay.io": 1}}', '{"credHelpers": 1}', "\xff", "[" * 100_000])
def test_a_configuration_that_cannot_be_read_is_told(text: str, config: Path) -> None:
    config.write_bytes(text.encode("latin-1"))

    with pytest.raises(BakegenError) as caught:
        read_docker_config()

    assert code_of(caught) == "docker-config"


def test_who_has_no_home_has_no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.chdir(tmp_path)

    assert not read_docker_config().auths


def test_logins_in_the_environment_go_before_those_in_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(
        json.dumps({"auths": {"quay.io": {"auth": encoded("ann:x")}, "ghcr.io": {"auth": encoded("bob:y")}}})
    )
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {"quay.io": {"auth": encoded("carol:swordfish")}}}))

    with asking(60) as ask:
        found = read_docker_config()
        assert found.stored("quay.io", ask) == StoredLogin("carol", "swordfish")
        assert found.stored("ghcr.io", ask) == StoredLogin("bob", "y")
        assert "swordfish" not in repr(found)
        monkeypatch.setenv("DOCKER_AUTH_CONFIG", "no JSON")  # docker says so, and goes on without
        assert read_docker_config().stored("quay.io", ask) == StoredLogin("ann", "x")


# --- whether registries take them ---


def checked(folder: Path, registry: str, *auths: tuple[str, str]) -> RegistryState:
    """Check the login to a registry, with logins (`USER:PASSWORD`, or an identity token) in docker's configuration."""
    project = make(folder / "project", f"{{repository: '{registry}/app'}}" if "{" not in registry else registry)
    entries = {host: {"auth": encoded(text)} if ":" in text else {"identitytoken": text} for host, text in auths}
    (folder / "docker" / "config.json").write_text(json.dumps({"auths": entries}))
    [state] = check_all(find_destinations(bakegen.load(project), {}))
    return state


@engine
@pytest.mark.parametrize(
    ("stored", "user", "result"),
    [
        (None, "", "no login"),
        (f"{USER}:{PASSWORD}", USER, "logged in"),
        (f"{USER}:wrong", USER, "refused"),
    ],
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_registry_takes_a_login_or_does_not(
    stored: str | None, user: str, result: str, tls: bool, docker_config: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    if tls:
        make_certificate(folder, "localhost")
    with guarded(folder, tls=tls) as registry:
        state = checked(tmp_path, registry.host, *([(registry.host, stored)] if stored else []))

    assert (state.user, state.result) == (user, result)
    assert [problem.code for problem in state.problems] == {
        "no login": ["no-login"],
        "logged in": [],
        "refused": ["login-failed"],
    }[result]
    assert docker_config


@engine
def test_a_registry_that_lets_everybody_in_needs_no_login(registry: str, docker_config: Path, tmp_path: Path) -> None:
    assert docker_config
    assert (checked(tmp_path, registry).result, checked(tmp_path, registry, (registry, "ann:any")).result) == (
        "no login needed",
        "logged in",
    )


@engine
def test_a_check_keeps_nothing_and_changes_nothing(
    guarded_registry: GuardedRegistry, docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker would write its configuration anew, or have its credential helper store the login again."""
    host = guarded_registry.host
    program = tmp_path / "docker-credential-own"
    reply = json.dumps({"ServerURL": host, "Username": USER, "Secret": PASSWORD})
    program.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/calls\ncat > /dev/null\ncat {tmp_path}/reply\n")
    program.chmod(0o755)
    (tmp_path / "reply").write_text(reply)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    file = docker_config / "config.json"
    file.write_text(json.dumps({"credsStore": "own", "currentContext": "default"}))
    project = make(tmp_path / "project", f'"{host}/app"')
    before = file.stat().st_mtime_ns, file.read_bytes()

    [state] = check_all(find_destinations(bakegen.load(project), {}))

    assert (state.user, state.result) == (USER, "logged in")
    assert (file.stat().st_mtime_ns, file.read_bytes()) == before
    assert (tmp_path / "calls").read_text() == "get\n"
    assert list(scratch.iterdir()) == []


@engine
@pytest.mark.parametrize(
    ("registry", "result"),
    [
        ("quay.io/acme", "no login"),
        ("{repository: 'registry.acme.invalid/a/app', kind: harbor}", "no login"),
        ("registry.acme.invalid/acme", "unreachable"),
    ],
)
def test_nobody_is_sent_only_where_a_registry_may_be_open(
    registry: str, result: str, docker_config: Path, tmp_path: Path
) -> None:
    assert docker_config
    assert checked(tmp_path, registry).result == result


@engine
def test_an_identity_token_is_taken_at_its_word(docker_config: Path, tmp_path: Path) -> None:
    assert docker_config
    state = checked(tmp_path, "registry.acme.invalid", ("registry.acme.invalid", "identity"))

    assert (state.result, state.reason) == ("logged in", "with an identity token, which docker does not check")


def tokens(request: Request) -> Reply:
    """Answer as a registry whose tokens another address gives."""
    if request.path.startswith("/v2/"):
        if request.authorization == "Bearer good":
            return Reply()
        host = "localhost:{port}"
        return Reply(401, headers={"WWW-Authenticate": f'Bearer realm="http://{host}/token",service="reg"'})
    good = request.authorization == f"Basic {encoded('ann:right')}" and "service=reg" in request.path
    return Reply(body='{"token": "good"}') if good else Reply(401)


@contextlib.contextmanager
def token_server() -> Iterator[Server]:
    known: list[Server] = []

    def answer(request: Request) -> Reply:
        reply = tokens(request)
        port = str(known[0].port)
        return Reply(
            reply.status, reply.body, {name: text.replace("{port}", port) for name, text in reply.headers.items()}
        )

    with serving(answer) as server:
        known.append(server)
        yield server


@engine
@pytest.mark.parametrize(
    ("stored", "result"), [(None, "no login"), ("ann:right", "logged in"), ("ann:wrong", "refused")]
)
def test_a_registry_that_gives_tokens_is_asked_for_one(
    stored: str | None, result: str, docker_config: Path, tmp_path: Path
) -> None:
    assert docker_config
    with token_server() as server:
        state = checked(tmp_path, server.host, *([(server.host, stored)] if stored else []))

        assert state.result == result
        users = [request.authorization for request in server.requests if request.path.startswith("/token")]
        assert set(users) == {f"Basic {encoded(stored or f'{NOBODY}:{NOBODY}')}"}


@engine
@pytest.mark.parametrize("stored", [None, "ann:right"])
@pytest.mark.parametrize(
    ("reply", "result", "reason"),
    [
        (Reply(404), "failing", "404 Not Found"),
        (Reply(429), "failing", "429 Too Many Requests"),
        (Reply(503), "failing", "503 Service Unavailable"),
        (Reply(403), None, "403 Forbidden"),
        (BASIC, None, "401 Unauthorized"),
    ],
    ids=lambda value: str(getattr(value, "status", "")) if isinstance(value, Reply) else "",
)
def test_what_a_registry_answers_is_told(
    reply: Reply, result: str | None, reason: str, stored: str | None, docker_config: Path, tmp_path: Path
) -> None:
    assert docker_config
    with serving(lambda _: reply) as server:
        state = checked(tmp_path, server.host, *([(server.host, stored)] if stored else []))

    assert state.result == (result or ("refused" if stored else "no login"))
    assert state.reason == (reason if result or stored else "")


@engine
def test_a_registry_that_is_down_is_unreachable(docker_config: Path, tmp_path: Path) -> None:
    assert docker_config
    state = checked(tmp_path, f"localhost:{free_port()}")

    assert (state.result, [problem.code for problem in state.problems]) == ("unreachable", ["unreachable-registry"])
    assert state.reason.endswith("connect: connection refused")


@engine
@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_registry_that_never_comes_to_an_end_is_given_up(
    start: bytes, docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert docker_config
    monkeypatch.setattr("bakegen.registries.authenticate._PATIENCE", 1)
    over = threading.Event()

    def drip() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                with client:
                    if client.recv(3) == b"GET" and start:
                        client.sendall(start)
                        while not over.wait(0.05):
                            client.sendall(b"x")
                    else:
                        over.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, daemon=True).start()
        state = checked(tmp_path, f"localhost:{listener.getsockname()[1]}")
        over.set()
    assert (state.result, state.reason) in {("unreachable", "no response within 1 seconds"), ("no login needed", "")}
    if not start.endswith(b"\r\n\r\n"):  # else docker has read all that it wants to know
        assert state.result == "unreachable"


@engine
@pytest.mark.parametrize("host", ["[abc]:5000", "localhost:99999"])
def test_what_no_machine_is_called_is_unreachable(host: str, docker_config: Path, tmp_path: Path) -> None:
    assert docker_config
    assert checked(tmp_path, host).result == "unreachable"


@engine
@only_root
def test_a_registry_without_tls_is_for_an_engine_that_is_told_of_it(
    docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert docker_config
    folder = tmp_path / "registry"
    folder.mkdir()
    with guarded(folder, address=own_address()) as registry:
        login = (registry.host, f"{USER}:{PASSWORD}")
        state = checked(tmp_path, registry.host, login)
        assert state.result == "unreachable"
        assert "insecure-registries" in state.problems[0].hint

        with own_engine(f"--insecure-registry {registry.host}") as address:
            monkeypatch.setenv("DOCKER_HOST", address)
            assert checked(tmp_path, registry.host, login).result == "logged in"
            assert checked(tmp_path, registry.host).result == "no login"


@engine
def test_without_an_engine_a_registry_without_tls_cannot_be_told(
    guarded_registry: GuardedRegistry, docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert docker_config
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")

    state = checked(tmp_path, guarded_registry.host, (guarded_registry.host, f"{USER}:{PASSWORD}"))

    assert (state.user, state.result, [problem.code for problem in state.problems]) == (USER, "failed", ["no-docker"])


@engine
def test_the_engine_is_that_of_the_context_in_use(
    guarded_registry: GuardedRegistry, docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login is tried in a folder of its own, which must know the contexts of docker's."""
    assert docker_config
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_CONFIG", "docker")  # a relative path, too
    engine_address = os.environ["DOCKER_HOST"]
    monkeypatch.delenv("DOCKER_HOST")
    subprocess.run(["docker", "context", "create", "own", "--docker", f"host={engine_address}"], check=True)
    project = make(tmp_path / "project", f'"{guarded_registry.host}/app"')
    entry = {guarded_registry.host: {"auth": encoded(f"{USER}:{PASSWORD}")}}
    results = []
    for context in ("own", "nothing"):
        (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": entry, "currentContext": context}))
        results += [state.result for state in check_all(find_destinations(bakegen.load(project), {}))]

    assert results == ["logged in", "failed"]


# --- what docker says ---


@pytest.mark.parametrize(("failures", "asked"), [(0, 1), (2, 3), (4, 4), (9, 4)])
def test_what_passes_is_asked_again_with_growing_pauses(
    failures: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("bakegen.registries.login_outcome.time.sleep", slept.append)
    replies = [LoginOutcome("failing", passing=True)] * failures + [LoginOutcome("logged in")] * 4
    questions = iter(replies)

    monkeypatch.setattr("bakegen.registries.login_outcome.PAUSES", (0.5, 1, 2))
    last = patiently(lambda: next(questions))

    assert last == replies[asked - 1]
    assert slept == [0.5, 1, 2][: asked - 1]


# What docker 26 and 28 say, with an engine and without.
@pytest.mark.parametrize(
    ("said", "result", "passing"),
    [
        ("login attempt to http://h/v2/ failed with status: 401 Unauthorized", "refused", False),
        ('Get "https://registry-1.docker.io/v2/": unauthorized: incorrect username or password', "refused", False),
        ('Get "https://ghcr.io/v2/": denied: denied', "refused", False),
        ("login attempt to http://h/v2/ failed with status: 404 Not Found", "failing", False),
        ("login attempt to http://h/v2/ failed with status: 429 Too Many Requests", "failing", True),
        ("login attempt to http://h/v2/ failed with status: 500 Internal Server Error", "failing", True),
        ('Get "https://h/v2/": received unexpected HTTP status: 502 Bad Gateway', "failing", True),
        ('Get "https://h/v2/": toomanyrequests: too many failed login attempts', "failing", True),
        ('Get "http://localhost:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused', "unreachable", True),
        ('Get "https://h/v2/": dial tcp: lookup h on 10.0.0.1:53: no such host', "unreachable", False),
        ('Get "https://h/v2/": net/http: TLS handshake timeout', "unreachable", False),
        ('Get "https://h/v2/": context deadline exceeded (Client.Timeout exceeded)', "unreachable", False),
        ('Get "https://h/v2/": EOF', "unreachable", True),
        ("login attempt to https://h/v2/ failed with status: 400 Bad Request", "refused", False),
        ("no response within 30 seconds", "unreachable", False),
        ('Get "https://h/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority', "unreachable", False),
    ],
)  # fmt: skip
def test_what_docker_says_is_understood(said: str, result: str, passing: bool) -> None:
    for start in ("Error response from daemon: ", "", 'time="x" level=info msg="trying next endpoint"\n'):
        answer = read_refusal("h", f"\nWARNING! something\n{start}{said}\n")
        assert (answer.result, answer.passing) == (result, passing)
        assert "daemon" not in answer.reason


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ('Error saving credentials: error storing credentials - err: exec: "docker-credential-x": executable file not found in $PATH, out: ``', "missing-helper"),
        ("Error saving credentials: open /home/ann/.docker/config.json123: permission denied", "docker-config"),
        ("Error: something new", "login-failed"),
        ("", "login-failed"),
    ],
)  # fmt: skip
def test_what_is_not_the_registrys_fault_is_told(said: str, code: str) -> None:
    with pytest.raises(BakegenError) as caught:
        read_refusal("quay.io", said)

    assert code_of(caught) == code
