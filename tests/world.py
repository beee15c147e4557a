"""The registries of the world, which cannot be reached from here: a real registry under their names, behind a proxy.

Docker and bakegen are told of a proxy and of a certificate, as in many companies, and nothing else: so they take the
same way to Docker Hub, Quay or Google as they do elsewhere, with TLS and with a login that a registry judges. Amazon's
API, which gives a password, is a server that gives one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from registries import PASSWORD, USER, Reply, guarded, serving

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
HOSTS = ("registry-1.docker.io", "quay.io", "demo.goharbor.io", "gcr.io", "ghcr.io", ECR)
USERS = (USER, "oauth2accesstoken", "AWS")


@dataclass(frozen=True)
class World:
    """What a process must be told, in its environment, and who was asked so far."""

    environment: dict[str, str]
    asked: list[str]


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """Run the registries of `HOSTS`, with their files in `folder`; each takes `USERS` with `PASSWORD`."""
    make_certificate(folder, *HOSTS)
    token = base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()
    answer = Reply(body=json.dumps({"authorizationData": [{"authorizationToken": token}]}))
    with (
        guarded(folder, tls=True, users=USERS) as registry,
        _proxy(int(registry.host.partition(":")[2])) as (port, asked),
        serving(lambda _: answer) as amazon,
    ):
        yield World(
            {
                "HTTPS_PROXY": f"http://127.0.0.1:{port}",
                "NO_PROXY": "localhost,127.0.0.1",
                "SSL_CERT_FILE": str(folder / "cert.pem"),
                "AWS_ENDPOINT_URL_ECR": f"http://{amazon.host}",
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            },
            asked,
        )


# An engine logs in for its clients, and has its own way to the world; without one, the client itself does.
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


def make_certificate(folder: Path, *hosts: str) -> None:
    """Write cert.pem and key.pem for hosts."""
    names = ",".join(f"DNS:{host}" for host in hosts)
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=test -addext"
    subprocess.run([*command.split(), f"subjectAltName={names}"], cwd=folder, check=True, capture_output=True)


@contextlib.contextmanager
def _proxy(port: int) -> Iterator[tuple[int, list[str]]]:
    """Run a proxy that leads every host to a port of this machine; yield its own port, and the hosts as they come."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(self.path.partition(":")[0])
            with socket.create_connection(("127.0.0.1", port)) as there:
                self.send_response(200)
                self.end_headers()
                _join(self.connection, there)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library calls it
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Who has got an answer may hang up."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()
            thread.join()


def _join(here: socket.socket, there: socket.socket) -> None:
    """Pass on what either end says, until one of them says no more."""
    others = {here: there, there: here}
    while True:
        for end in select.select(list(others), [], [])[0]:
            said = end.recv(65536)
            if not said:
                return
            others[end].sendall(said)
