"""BuildKits of their own for tests: a second engine, and endpoints at which a remote builder finds an engine's BuildKit."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def second_engine() -> Iterator[str]:
    """Run another engine like that of the tests, from where no container reaches the world; yield its DOCKER_HOST."""
    first = Path(os.environ["DOCKER_HOST"].removeprefix("unix://")).parent
    programs = first / "bin"
    with (
        # Beside the first, whose way to store layers suits the disk that it is on.
        tempfile.TemporaryDirectory(prefix="second-", dir=first, ignore_cleanup_errors=True) as name,
        _bridge() as bridge,
    ):
        folder = Path(name)
        host = f"unix://{folder}/docker.sock"
        settings = json.loads((first / "daemon.json").read_text()) | {
            "hosts": [host],
            "data-root": f"{folder}/data",
            "exec-root": f"{folder}/run",
            "pidfile": f"{folder}/docker.pid",
            "bridge": bridge,
            "iptables": False,
            "ip6tables": False,
        }
        (folder / "daemon.json").write_text(json.dumps(settings))
        with (folder / "log").open("wb") as log:
            engine = subprocess.Popen(
                [programs / "dockerd", "--config-file", folder / "daemon.json"],
                env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            end = time.monotonic() + 60
            while subprocess.run(["docker", "--host", host, "version"], capture_output=True, check=False).returncode:
                assert engine.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.1)
            yield host
        finally:
            engine.terminate()
            try:
                engine.wait(60)
            except subprocess.TimeoutExpired:
                engine.kill()
                engine.wait()
            for line in Path("/proc/self/mounts").read_text().splitlines():
                if line.split()[1].startswith(name):
                    subprocess.run(["umount", "-l", line.split()[1]], check=False)


@contextlib.contextmanager
def _bridge() -> Iterator[str]:
    """Make a bridge; without one of its own, an engine removes or takes docker0, which is that of the first engine."""
    name = f"bakegen{os.getpid()}"
    address = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}.1/24"
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)


@contextlib.contextmanager
def endpoint(host: str, *, tcp: bool = False) -> Iterator[str]:
    """Let the BuildKit of an engine listen on a socket of its own; yield the endpoint.

    Each connection is served by a `docker buildx dial-stdio`.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bakegen-", ignore_cleanup_errors=True)))
        listener = stack.enter_context(socket.socket(socket.AF_INET if tcp else socket.AF_UNIX))
        listener.bind(("127.0.0.1", 0) if tcp else str(folder / "buildkit.sock"))
        listener.listen(64)
        served: list[subprocess.Popen[bytes]] = []
        env = {**os.environ, "BUILDX_CONFIG": str(folder / "buildx"), "DOCKER_HOST": host}

        def serve() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection:
                    command = [os.environ["BAKEGEN_BUILDX_NEWEST"], "--builder", "default", "dial-stdio"]
                    stream = connection.fileno()
                    served.append(subprocess.Popen(command, stdin=stream, stdout=stream, env=env))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{listener.getsockname()[1]}" if tcp else f"unix://{folder}/buildkit.sock"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for process in served:  # one whose client is gone may wait for its engine, whatever it is told
                process.kill()
                process.wait()
