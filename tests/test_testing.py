"""`bakegen test` on a real engine: what is planted is found, on its platform only, and nothing is left behind."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from harness import run
from test_build import wait_for
from test_engine import run as shell

from bakegen.testing import containers, images
from bakegen.testing.containers import LABEL

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parent.parent
HOST = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "ppc64le": "linux/ppc64le"}[platform.machine()]
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/ppc64le")
MACHINES = "{'amd64': 'x86_64', 'arm64': 'aarch64', 'ppc64le': 'ppc64le'}"

MANIFEST = """\
image: {image}
variables: {{VERSION: "1.0"}}
registries: ["{registry}/{image}"]
platforms: [linux/amd64, linux/arm64, linux/ppc64le]
template: Dockerfile.j2
labels: {{version: "{{{{ VERSION }}}}"}}
test:
  machine: {{run: [uname, -m], output: "{{{{ {machines}[platform.arch] }}}}"}}
  files: {{files: [/made, /bin/sh, /folder, /link]}}
  config:
    labels: {{version: "{{{{ VERSION }}}}"}}
    environment: {{GREETING: hello world}}
    user: "1000"
    size: 20 MB
  command: {{run: [], output: "hello world\\n"}}
releases:
  runtime: {{from: "tiny:1", tags: ["{{{{ VERSION }}}}", latest]}}
"""
TEMPLATE = """\
FROM {{ parent }}
ARG TARGETARCH
COPY files/$TARGETARCH/ /
ENV GREETING="hello world"
USER 1000
CMD ["sh", "-c", "echo $GREETING"]
"""


class Family:
    """A small family under a name of its own, in a project that can be built and tested."""

    def __init__(self, root: Path, registry: str) -> None:
        self.root = root
        self.registry = registry
        self.image = f"tested-{uuid.uuid4().hex[:8]}"
        (root / "manifest").mkdir(parents=True)
        (root / "templates").mkdir()
        self.manifest = MANIFEST.format(image=self.image, registry=registry, machines=MACHINES)
        self.env: dict[str, str] = {}

    def build(self, *words: str, of: str = "runtime", template: str = TEMPLATE, lacking: str = "") -> None:
        """Generate and build; on the platform `lacking`, a file is forgotten. Nothing has to be emulated for this."""
        (self.root / "manifest" / "app.yml").write_text(self.manifest)
        (self.root / "templates" / "Dockerfile.j2").write_text(template)
        for name in PLATFORMS:
            folder = self.root / "files" / name.removeprefix("linux/")
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "folder").mkdir(parents=True)
            (folder / "link").symlink_to("/made")
            if name != lacking:
                (folder / "made").write_text(f"hello from {self.image}\n")
        for command in (["generate"], ["build", of, *words]):
            done = self.bakegen(*command)
            assert done.returncode == 0, done.stderr

    def bakegen(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run bakegen in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "bakegen", *words],
            cwd=self.root,
            env={**os.environ, **self.env},
            text=True,
            capture_output=True,
            check=False,
        )

    def test(self, *words: str) -> tuple[int, list[tuple[str | None, str, str]], str]:
        """Test the runtime; return the exit code, platform, check and result of each row, and what was told."""
        done = self.bakegen("test", "runtime", "--format", "json", *words)
        rows = json.loads(done.stdout) if done.stdout else []
        assert {row["target"] for row in rows} <= {f"{self.image}_runtime"}
        return done.returncode, [(row["platform"], row["check"], row["result"]) for row in rows], done.stderr

    def images(self) -> list[str]:
        """What the engine has of this family."""
        shown = shell(
            "docker", "images", "--digests", "--format", "{{.Repository}}:{{.Tag}}@{{.Digest}}", cwd=self.root
        )
        return [line for line in shown.splitlines() if self.image in line]

    def containers(self, *words: str) -> list[str]:
        """The images of the containers that test this family, or are found by `words`, running or not."""
        words = words or ("--format", "{{.Image}}")
        shown = shell("docker", "ps", "--all", "--filter", f"label={LABEL}", *words, cwd=self.root)
        return [line for line in shown.splitlines() if self.image in line or "--quiet" in words]

    def forget(self) -> None:
        """Take the family out of the engine; the registry keeps it."""
        for tag in ("1.0", "latest"):
            shell("docker", "image", "rm", f"{self.registry}/{self.image}:{tag}", cwd=self.root)
        assert self.images() == []


@pytest.fixture
def family(tmp_path: Path, registry: str) -> Family:
    return Family(tmp_path / "family", registry)


CHECKS = ("machine", "files", "config", "command")
ALL_PASSED = [(name, check, "passed") for name in PLATFORMS for check in CHECKS]


def test_the_document_shows_what_is_printed(family: Family, update_golden: bool) -> None:
    document = ROOT / "docs" / "cli.md"
    text = document.read_text()
    manifest = re.search(r"<!-- tested: manifest -->\n```yaml\n(.*?)```", text, re.DOTALL)
    shown = re.search(r"<!-- tested: output -->\n```text\n(.*?)```", text, re.DOTALL)
    assert manifest
    assert shown
    registry = f"{family.registry}/{family.image}"
    family.manifest = manifest[1].replace("alpine:3.22", "tiny:1").replace("ghcr.io/acme", registry)
    template = "FROM {{ parent }}\nARG TARGETARCH\nCOPY files/$TARGETARCH/ /etc/\nUSER 65534\n"
    family.build("--push", of="greeter", template=template, lacking="linux/ppc64le")

    done = family.bakegen("test", "greeter")

    told = "".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith("["))
    real = f"$ bakegen test greeter\n{done.stdout}{told}".replace(registry, "ghcr.io/acme")
    real = re.sub(r"(passed|failed)  \d+(\.\d)?$", r"\1  0.5", real, flags=re.MULTILINE)
    if update_golden:
        document.write_text(text.replace(shown[1], real))
        return
    assert shown[1] == real


def test_a_file_that_one_platform_lacks_is_found_and_its_repair_passes_everywhere(family: Family) -> None:
    family.build("--push", lacking="linux/ppc64le")

    done = family.bakegen("test", "runtime", "--junit", "results.xml")

    assert done.returncode == 1
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert head == ["TARGET", "PLATFORM", "CHECK", "RESULT", "SECONDS"]
    assert [row[:4] for row in rows if row[3] != "passed"] == [
        [f"{family.image}_runtime", "linux/ppc64le", "files", "failed"]
    ]
    assert [(row[1], row[2]) for row in rows] == [(name, check) for name, check, _ in ALL_PASSED]
    told = done.stderr.split("\n\n")
    assert [line[:6] for line in told[0].splitlines()] == ["[1/3] ", "[2/3] ", "[3/3] "]
    assert {line[6:] for line in told[0].splitlines()} == {f"{family.image}_runtime {name}" for name in PLATFORMS}
    assert told[1].splitlines()[:3] == [
        f"FAILED {family.image}_runtime linux/ppc64le files",
        "  /made is missing",
        "  /link is missing",
    ]
    assert told[1].splitlines()[-1] == "12 checks of 1 target on 3 platforms: 1 failed"
    [suite] = ET.parse(family.root / "results.xml").getroot()
    assert suite.attrib == suite.attrib | {"name": f"{family.image}_runtime", "tests": "12", "failures": "1"}
    [failing] = [case for case in suite if len(case)]
    assert failing.get("name") == "linux/ppc64le files"
    assert (failing[0].text or "").startswith("/made is missing\n")

    # What was told to see it again shows it.
    command = told[1].splitlines()[3].removeprefix("  $ ")
    assert "Could not find the file /made" in subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False
    ).stderr  # fmt: skip

    family.build("--push")
    assert family.test()[:2] == (0, ALL_PASSED)


def test_results_are_shown_even_if_the_disk_refuses_them(family: Family) -> None:
    family.build("--load", "--platform", HOST)

    code, found, told = family.test("--platform", HOST, "--junit", "/proc/results.xml")

    assert code == 1
    assert found == [(HOST, check, "passed") for check in CHECKS]
    assert "cannot write /proc/results.xml: No such file or directory [cannot-write]\n" in told


def test_what_the_engine_does_not_have_is_pulled_and_goes_again(family: Family) -> None:
    family.env = {
        f"{family.image.replace('-', '_').upper()}_VERSION": "9.9",
        "BAKEGEN_REGISTRY": f"{family.registry}/elsewhere",
    }
    family.build("--push")
    for tag in ("9.9", "latest"):
        shell("docker", "image", "rm", f"{family.registry}/elsewhere/{family.image}:{tag}", cwd=family.root)

    done = family.bakegen("test", "runtime", "--format", "json", "--jobs", "3")

    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["platform"], row["check"]) for row in rows] == [(name, check) for name, check, _ in ALL_PASSED]
    tags = [f"{family.registry}/elsewhere/{family.image}:{tag}" for tag in ("9.9", "latest")]
    assert {tuple(row["references"]) for row in rows} == {tuple(tags)}  # one image, whatever it is called
    assert family.images() == []

    family.env = {}
    code, found, told = family.test()
    assert (code, found) == (1, [(None, "image", "failed")])
    assert f"{family.registry}/{family.image}:1.0 was not found in the engine or in its registry" in told
    assert f"{family.registry}/{family.image}:latest was not found" in told


def test_what_is_loaded_goes_before_the_registry_unless_it_is_pulled(family: Family) -> None:
    family.build("--push")
    family.forget()
    family.build("--load", "--platform", HOST, template=TEMPLATE.replace('GREETING="hello world"', "GREETING=hello"))

    code, found, told = family.test()

    others = [name for name in PLATFORMS if name != HOST]
    assert code == 1
    assert [row for row in found if row[0] != HOST] == [(name, "image", "failed") for name in others]
    assert [row for row in found if row[0] == HOST] == [
        (HOST, check, "failed" if check in {"config", "command"} else "passed") for check in CHECKS
    ]
    for name in others:
        assert f"no {name}: {family.registry}/{family.image}:1.0 cannot be tested as it is in the engine" in told
    assert "--pull to test the images in the registry" in told
    assert 'expected GREETING="hello world", got "hello"' in told

    before = family.images()
    assert family.test("--pull")[:2] == (0, ALL_PASSED)
    assert family.images() == before
    assert family.test("--platform", HOST)[1] == [row for row in found if row[0] == HOST]


def test_a_platform_that_the_registry_lacks_is_named(family: Family) -> None:
    family.build("--push", "--platform", "linux/amd64,linux/arm64", "--", "--provenance=true")

    code, found, told = family.test("--pull")

    assert code == 1
    assert found == [*[row for row in ALL_PASSED if row[0] != "linux/ppc64le"], ("linux/ppc64le", "image", "failed")]
    assert f"no linux/ppc64le: {family.registry}/{family.image}:1.0 is only built for linux/amd64, linux/arm64" in told

    family.build("--push", "--platform", HOST, "--", "--provenance=false")  # then there is no index
    assert (
        f"no linux/ppc64le: {family.registry}/{family.image}:1.0 is only built for {HOST}" in family.test("--pull")[2]
    )


def test_tags_that_differ_are_all_tested(family: Family) -> None:
    family.build("--push", "--platform", "linux/ppc64le", lacking="linux/ppc64le")
    family.manifest = family.manifest.replace(", latest]", "]")
    family.build("--push", "--platform", "linux/ppc64le")
    family.manifest = family.manifest.replace('"{{ VERSION }}"]', '"{{ VERSION }}", latest, gone]')
    (family.root / "manifest" / "app.yml").write_text(family.manifest)

    done = family.bakegen("test", "runtime", "--platform", "linux/ppc64le", "--format", "json")

    assert done.returncode == 1
    failed = [row for row in json.loads(done.stdout) if row["result"] == "failed"]
    name = f"{family.registry}/{family.image}"
    assert [(row["references"], row["check"]) for row in failed] == [
        ([f"{name}:gone"], "image"),
        ([f"{name}:latest"], "files"),
    ]


def test_commands_that_hang_or_shout_are_stopped_and_named(family: Family) -> None:
    start = family.manifest.index("  machine:")
    end = family.manifest.index("releases:")
    family.manifest = (
        family.manifest[:start]
        + (
            "  hangs: {run: [sh, -c, 'trap \"\" TERM; echo start; exec sleep 500'], timeout: 2}\n"
            "  closes: {run: [sh, -c, 'exec >&- 2>&-; exec sleep 500'], timeout: 2}\n"
            "  shouts: {run: 'yes shout', timeout: 2}\n"
            "  paints: {run: [printf, '\\033]0;title\\007\\033[2J'], output: nothing}\n"
            "  network: {run: [ls, /sys/class/net], matches: '\\Alo\\n\\Z'}\n"
            "  unknown: {run: nothing-there}\n"
            "  exits: {run: 'sh -c \"echo out; echo err >&2; exit 7\"', exit: 7, matches: '(?s)(?=.*out)(?=.*err)'}\n"
            "  resets: {run: [], entrypoint: 'true'}\n"
        )
        + family.manifest[end:]
    )
    family.build("--load", "--platform", HOST, template=TEMPLATE.replace("CMD", 'ENTRYPOINT ["env"]\nCMD'))
    image = shell(
        "docker", "image", "inspect", f"{family.registry}/{family.image}:1.0", "--format", "{{.Id}}", cwd=family.root
    )

    code, found, told = family.test("--platform", HOST)

    assert code == 1
    assert [check for _, check, result in found if result == "passed"] == ["network", "exits", "resets"]
    blocks = {part.split()[3]: part for part in told.split("\n\n") if part.startswith("FAILED")}
    assert list(blocks) == ["hangs", "closes", "shouts", "paints", "unknown"]
    for name in ("hangs", "closes", "shouts"):
        assert "timed out after 2 seconds" in blocks[name]
    assert "    start\n" in blocks["hangs"]
    assert "it printed nothing" in blocks["closes"]
    assert blocks["shouts"].count("    shout\n") >= 19
    assert "    \\x1b]0;title\\x07\\x1b[2J\n" in blocks["paints"]
    assert "\x1b" not in told
    assert "expected exit code 0, got 127" in blocks["unknown"]
    assert family.containers("--quiet", "--filter", f"ancestor={image.strip()}") == []


def test_a_platform_without_an_emulator_is_told(family: Family) -> None:
    family.manifest = family.manifest.replace("linux/ppc64le]", "linux/s390x]").replace("'ppc64le'", "'s390x'")
    family.manifest = family.manifest.replace("tiny:1", "scratch")
    (family.root / "program").write_bytes(b"\x7fELF\2\2\1" + bytes(10) + b"\2\0\x16" + bytes(2000))
    (family.root / "program").chmod(0o755)
    family.build("--load", "--platform", "linux/s390x", template="FROM {{ parent }}\nCOPY program /bin/uname\n")

    told = family.test("--platform", "linux/s390x")[2]

    assert "exec format error" in told
    assert "this engine cannot run programs for linux/s390x" in told


@pytest.mark.parametrize(
    ("number", "to_group"), [(signal.SIGINT, True), (signal.SIGTERM, False)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interrupt_stops_and_removes_all_containers(family: Family, number: signal.Signals, to_group: bool) -> None:
    family.manifest = family.manifest.replace("run: [uname, -m]", "run: [sleep, 500]")
    family.build("--push")
    family.forget()  # so that images are pulled, and have to go again
    process = subprocess.Popen(
        [sys.executable, "-m", "bakegen", "test", "runtime", "--jobs", "3"],
        cwd=family.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )

    wait_for(lambda: len(family.containers()) >= 4 or process.poll() is not None)
    assert process.poll() is None
    (os.killpg if to_group else os.kill)(process.pid, number)
    printed, _ = process.communicate(timeout=60)

    assert process.returncode == 128 + number, printed
    assert "Traceback" not in printed
    assert family.containers() == []
    assert family.images() == []


@pytest.mark.parametrize("code", [429, 503])
def test_a_busy_registry_is_asked_again(family: Family, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(images, "_WAITS", (0, 0, 0))
    asked: list[str] = []

    class Busy(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(code)
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815 - as http.server calls it

        def log_message(self, *_: object) -> None:
            pass

    (family.root / "manifest" / "app.yml").write_text(family.manifest.replace(", latest]", "]"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("BAKEGEN_REGISTRY", f"localhost:{server.server_port}")
        outcome = run(family.root, ["test", "runtime"])
        server.shutdown()
        thread.join()

    assert outcome.code == 1
    assert f"{family.image}:1.0 cannot be looked up in its registry: " in outcome.stderr
    assert f": {code} " in outcome.stderr
    assert len(asked) >= 4


def test_registries_that_cannot_be_asked_are_named(family: Family) -> None:
    (family.root / "manifest" / "app.yml").write_text(family.manifest)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        family.env = {"BAKEGEN_REGISTRY": f"localhost:{free.getsockname()[1]}"}
        code, found, told = family.test()
    assert (code, found) == (1, [(None, "image", "failed")])
    assert "cannot be looked up in its registry: " in told
    assert "connection refused" in told

    family.env = {"BAKEGEN_REGISTRY": "--privileged"}
    assert f"--privileged/{family.image}:1.0 is not a valid image reference" in family.test()[2]


def test_an_engine_that_is_not_there_is_told(family: Family) -> None:
    (family.root / "manifest" / "app.yml").write_text(family.manifest)
    family.env = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}

    code, found, told = family.test()

    assert (code, found) == (1, [])
    assert "docker cannot run anything here: Cannot connect to the Docker daemon at unix:///nowhere" in told
    assert "[no-docker]" in told


def test_an_engine_that_hangs_does_not_keep_us(tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry
    monkeypatch.setattr(containers, "_LAST", 1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/silent.sock")
        with containers.DockerSession() as docker:
            assert docker.run


def test_a_socket_that_may_not_be_used_is_told(family: Family) -> None:
    (family.root / "manifest" / "app.yml").write_text(family.manifest)
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        file = Path(folder, "docker.sock")
        listener.bind(str(file))
        file.chmod(0)
        # Root may use every socket, unless it gives that up.
        plain = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        done = subprocess.run(
            [*plain, sys.executable, "-m", "bakegen", "test", "runtime"],
            cwd=family.root,
            env={**os.environ, "DOCKER_HOST": f"unix://{file}"},
            text=True,
            capture_output=True,
            check=False,
        )

    assert done.returncode == 1, done.stderr
    assert "permission denied" in done.stderr
    assert "usermod" in done.stderr
