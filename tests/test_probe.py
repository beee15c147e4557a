"""What docker has stored about logins, what registries answer to it, and what docker says of them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from registries import (
    BASIC,
    Reply,
    Request,
    Server,
    code_of,
    encoded,
    serving,
)

from bakegen.docker.config import Stored, read_docker_config
from bakegen.docker.process import asking
from bakegen.errors import BakegenError
from bakegen.registries.answers import Answer, patiently
from bakegen.registries.login import read_refusal
from bakegen.registries.probe import is_local, probe

# --- what docker has stored ---


AUTHS = {
    "https://index.docker.io/v1/": {"auth": encoded("ann:pass:word")},
    "https://old.acme.com/v2/": {"auth": encoded("bob:x")},
    "plain.acme.com": {"username": "carol", "password": "y"},
    "token.acme.com": {"auth": encoded("dora:"), "identitytoken": "swordfish"},
    "empty.acme.com": {},
    "odd.acme.com": {"auth": 1, "identitytoken": ["swordfish"]},
    "null.acme.com": None,
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
        ("https://index.docker.io/v1/", Stored("ann", "pass:word")),
        ("old.acme.com", Stored("bob", "x")),
        ("plain.acme.com", Stored("carol", "y")),
        ("token.acme.com", Stored("dora", "", "swordfish")),
        ("empty.acme.com", None),
        ("odd.acme.com", None),
        ("null.acme.com", None),
        ("acme.com", None),
    ],
)
def test_a_stored_login_is_found(server: str, stored: Stored | None, config: Path) -> None:
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
        assert found.stored("quay.io", ask) == Stored("ann", "swordfish")
        assert found.stored("token.acme.com", ask) == Stored("", token="swordfish")
        assert found.stored("plain.acme.com", ask) is None
        assert found.stored("old.acme.com", ask) == Stored("bob", "x")
        for server in ("broken.acme.com", "list.acme.com", "locked.acme.com"):
            with pytest.raises(BakegenError) as caught:
                found.stored(server, ask)
            assert code_of(caught) == "docker-config"
            assert "swordfish" not in str(caught.value)
    assert (config.parent / "docker-credential-own.log").read_text() == "get quay.io\n"


@pytest.mark.parametrize("text", ["", "[]", '{"auths": {"quay.io": 1}}', '{"credHelpers": 1}', "\xff"])
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


# --- what registries answer ---


def tokens(request: Request) -> Reply:
    """Answer as a registry whose tokens another address gives."""
    if request.path.startswith("/v2/"):
        if request.authorization == "Bearer good":
            return Reply()
        host = "localhost:{port}"
        return Reply(401, headers={"WWW-Authenticate": f'Bearer realm="http://{host}/token?x=1",service="reg"'})
    if request.method == "POST":
        good = "refresh_token=identity" in request.body and "service=reg" in request.body
        return Reply(body='{"access_token": "good"}') if good else Reply(400)
    good = request.authorization == f"Basic {encoded('ann:right')}" and "x=1&service=reg&account=ann" in request.path
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


@pytest.mark.parametrize(
    ("stored", "result"),
    [
        (None, "no login"),
        (Stored("ann", "right"), "logged in"),
        (Stored("ann", "wrong"), "refused"),
        (Stored("", token="identity"), "logged in"),
        (Stored("", token="other"), "refused"),
    ],
)
def test_a_registry_that_gives_tokens_is_asked_for_one(stored: Stored | None, result: str) -> None:
    with token_server() as server:
        assert probe(server.host, stored) == Answer(result)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (Reply(), Answer("no login needed")),
        (Reply(404), Answer("failing", "404 Not Found")),
        (Reply(503), Answer("failing", "503 Service Unavailable", passing=True)),
        (Reply(401), Answer("failing", "it asks for a login by nothing")),
        (Reply(302, headers={"Location": "http://127.0.0.1:1/v2/"}), Answer("failing", "302 Found")),
        *(
            (
                Reply(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'}),
                Answer("failing", "what it answers makes no sense"),
            )
            for realm in ("https://[x/", "https://localhost:99999999999999999999/")
        ),
        (
            Reply(401, headers={"WWW-Authenticate": 'Bearer realm="http://tokens.acme.com/"'}),
            Answer("failing", "it sends logins to where they would be read by others"),
        ),
    ],
)
def test_other_answers_are_no_login(reply: Reply, answer: Answer) -> None:
    with serving(lambda _: reply) as server:
        assert probe(server.host, Stored("ann", "swordfish")) == answer
        assert not any(request.authorization for request in server.requests)


def test_a_token_may_be_any_nonsense() -> None:
    for body in ("[" * 200_000, "[]", "{}", '{"token": "\\n"}'):
        answers = {"/v2/": Reply(401), "/token": Reply(body=body)}
        with serving(lambda request, known=answers: known[request.path.partition("?")[0]]) as server:  # type: ignore[misc]
            answers["/v2/"] = Reply(401, headers={"WWW-Authenticate": f'Bearer realm="http://{server.host}/token"'})
            assert probe(server.host, Stored("ann", "swordfish")).result == "failing"


def test_a_login_follows_no_redirect() -> None:
    with serving(lambda _: Reply()) as other:
        moved = Reply(302, headers={"Location": f"http://{other.host}/v2/"})
        with serving(lambda request: moved if request.authorization else BASIC) as server:
            assert probe(server.host, Stored("ann", "swordfish")) == Answer("failing", "302 Found")
        assert other.requests == []


def test_silence_is_no_answer() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        assert probe(host, None, timeout=0.2) == Answer("unreachable", "it says nothing for 0.2 seconds")
    assert probe(host, None) == Answer("unreachable", "Connection refused", passing=True)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_registry_that_never_comes_to_an_end_is_given_up(start: bytes) -> None:
    over = threading.Event()

    def drip() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                with client:
                    if client.recv(3) == b"GET":
                        client.sendall(start)
                        while not over.wait(0.05):
                            client.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, daemon=True).start()
        answer = probe(f"127.0.0.1:{listener.getsockname()[1]}", None, timeout=0.2)
        over.set()
    assert answer == Answer("unreachable", "it has not answered within 0.8 seconds")


@pytest.mark.parametrize("host", ["[abc]:5000", "localhost:99999", "localhost:99999999999999999999"])
def test_what_no_machine_is_called_is_not_asked(host: str) -> None:
    assert not is_local(host)
    assert probe(host, None) == Answer("unreachable", "no machine can be called so")


def test_plain_http_is_for_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda _: Reply()) as server:
        monkeypatch.setattr("bakegen.registries.probe.is_local", lambda _: False)
        answer = probe(server.host, None)
        assert (answer.result, answer.passing) == ("unreachable", False)
        assert answer.reason.startswith("TLS: ")
        assert server.requests == []


@pytest.mark.parametrize(("failures", "asked"), [(0, 1), (2, 3), (4, 4), (9, 4)])
def test_what_passes_is_asked_again_with_growing_pauses(
    failures: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("bakegen.registries.answers.time.sleep", slept.append)
    replies = [Answer("failing", passing=True)] * failures + [Answer("logged in")] * 4
    questions = iter(replies)

    last = patiently(lambda: next(questions), (0.5, 1, 2))

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
