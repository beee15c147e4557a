"""Registries of the tests' own: a real one that wants a login, a server that answers what it is told to, and projects."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import bcrypt
import pytest

from bakegen.errors import BakegenError

USER = "ann"
PASSWORD = "s3cr$t 'quoted\" pass\\word #1"


@dataclass(frozen=True)
class GuardedRegistry:
    """A registry behind htpasswd."""

    host: str
    user: str = USER
    password: str = PASSWORD


@contextmanager
def guarded(
    folder: Path, *, tls: bool = False, users: Sequence[str] = (USER,), address: str = "127.0.0.1"
) -> Iterator[GuardedRegistry]:
    """Run a real registry that wants a login, on a free port, with its files in `folder`; cert.pem and key.pem for TLS.

    It is called localhost, unless it has another address.
    """
    program = shutil.which("docker-registry")
    assert program, 'no docker-registry: eval "$(.ci/engine env)"'
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text("".join(f"{user}:{hashed}\n" for user in users))
    port = free_port()
    certificate = f", tls: {{certificate: {folder / 'cert.pem'}, key: {folder / 'key.pem'}}}" if tls else ""
    (folder / "config.yml").write_text(
        "version: 0.1\nlog: {level: warn}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\n"
        f'http: {{addr: "{address}:{port}", secret: test{certificate}}}\n'
        f"auth: {{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}\n"
    )
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([program, "serve", "config.yml"], cwd=folder, stdout=log, stderr=log) as process,
    ):
        try:
            wait_for(lambda: process.poll() is not None or _listens(address, port))
            assert process.poll() is None, (folder / "log").read_text()
            yield GuardedRegistry(f"{'localhost' if address == '127.0.0.1' else address}:{port}")
        finally:
            process.terminate()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _listens(address: str, port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((address, port)) == 0


def own_address() -> str:
    """An address of this machine in its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect(("198.51.100.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine is in no network")
        address: str = sender.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine is in no network")
    return address


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@dataclass(frozen=True)
class Request:
    """What a server was asked."""

    method: str
    path: str
    authorization: str
    body: str


@dataclass(frozen=True)
class Reply:
    """What a server answers."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


BASIC = Reply(401, headers={"WWW-Authenticate": 'Basic realm="test"'})


@dataclass
class Server:
    """A server, and what it was asked so far."""

    port: int
    requests: list[Request] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"


@contextmanager
def serving(answer: Callable[[Request], Reply]) -> Iterator[Server]:
    """Run a server on a free port that answers each request as `answer` says."""
    known = Server(0)

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            request = Request(self.command, self.path, self.headers.get("Authorization", ""), body)
            known.requests.append(request)
            given = answer(request)
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            self.wfile.write(given.body.encode())

        do_GET = do_POST = reply  # noqa: N815 - as the library calls them

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library calls it
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Docker and bakegen try TLS first."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        known.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield known
        finally:
            server.shutdown()
            thread.join()


def in_turn(*replies: Reply) -> Callable[[Request], Reply]:
    """Answer each request by the next reply, and by the last one from then on."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def make(root: Path, *registries: str, image: str = "app") -> Path:
    """Write a project that is pushed to these registries."""
    for folder in ("manifest", "templates"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    listed = "".join(f"  - {registry}\n" for registry in registries)
    (root / "manifest" / f"{image}.yml").write_text(
        f'image: {image}\nplatforms: [linux/amd64]\nfrom: "tiny:1"\ntags: [latest]\nregistries:\n{listed}'
    )
    (root / "templates" / f"{image}.Dockerfile.j2").write_text("FROM {{ parent }}\n")
    return root


def code_of(caught: pytest.ExceptionInfo[BakegenError]) -> str:
    [problem] = caught.value.problems
    return problem.code


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
