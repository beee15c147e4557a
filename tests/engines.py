"""Engines of the tests' own, beside the one that all tests share."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from registries import wait_for

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run an engine")


@contextmanager
def own_engine(*options: str) -> Iterator[str]:
    """Run a real engine that finds no emulators; yield its address.

    It lives in a user namespace of its own, which since Linux 6.7 can have its own list of binary formats: an empty
    one. The machine's list stays as it is.
    """
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:  # a path short enough for a socket
        address = f"unix://{folder}/docker.sock"
        script = (
            "read -r _ && exec unshare --mount sh -c '"
            "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc && exec dockerd --config-file /dev/null"
            f" --data-root {folder}/data --exec-root {folder}/run --pidfile {folder}/pid --host {address}"
            f" --bridge none --iptables=false --ip6tables=false {' '.join(options)}'"
        )
        file = Path(folder, "log")
        with (
            file.open("w") as log,
            subprocess.Popen(
                ["unshare", "--user", "sh", "-c", script], stdin=subprocess.PIPE, stdout=log, stderr=log, text=True
            ) as process,
        ):
            try:
                space = Path(f"/proc/{process.pid}/ns/user")
                wait_for(lambda: space.readlink() != Path("/proc/self/ns/user").readlink())
                for kind in ("uid", "gid"):
                    Path(f"/proc/{process.pid}/{kind}_map").write_text("0 0 4294967295\n")
                assert process.stdin
                process.stdin.write("\n")
                process.stdin.flush()
                command = ["docker", "--host", address, "version"]
                wait_for(
                    lambda: (
                        process.poll() is not None
                        or subprocess.run(command, capture_output=True, check=False).returncode == 0
                    )
                )
                said = file.read_text()
                if "binfmt_misc" in said and process.poll() is not None:
                    pytest.skip("this kernel has one list of binary formats for all")
                assert process.poll() is None, said
                yield address
            finally:
                process.terminate()
                process.wait(30)
