"""`bakegen push-readme`: what docker's plugin pushrm is given, who sees which secret, and what is told.

The plugin cannot be had here: a stand-in, which docker runs as its plugin, records what it gets. Docker itself is real.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import run, tree

engine = pytest.mark.engine

PLUGIN = """\
#!{python}
import json, os, sys, time
if sys.argv[1:] == ["docker-cli-plugin-metadata"]:
    print({metadata!r})
    sys.exit()
words = sys.argv[2:]
record = {{"words": words, "environment": dict(os.environ), "file": open(words[words.index("--file") + 1]).read()}}
with open({calls!r}, "a") as file:
    file.write(json.dumps(record) + "\\n")
answer = json.load(open({answers!r})).get(words[-1], "")
if answer == "hang":
    time.sleep(600)
sys.stderr.write(answer.format(**{{name: json.dumps(value)[1:-1] for name, value in os.environ.items()}}))
sys.exit(bool(answer))
"""
METADATA = '{"SchemaVersion": "0.1.0", "Vendor": "a stand-in", "Version": "1.9.0", "ShortDescription": "Push Readme"}'

MANIFEST = """\
image: app
description: The app.
platforms: [linux/amd64]
registries:
  - {repository: acme/app, readme: true}
  - {repository: quay.io/acme/app, readme: true}
  - {repository: registry.acme.example/team/app, kind: harbor, readme: true}
  - ghcr.io/acme/app
  - harbor.goharbor.io/acme/app
from: "debian:12-slim"
tags: ["1.0"]
"""
HUB, QUAY, HARBOR = "docker.io/acme/app", "quay.io/acme/app", "registry.acme.example/team/app"
SECRETS = {
    "DOCKER_USER": "dora",
    "DOCKER_PASSWORD": 'sword"fish',
    "HARBOR_USER": "harry",
    "HARBOR_PASSWORD": "open-sesame",
    "APIKEY__QUAY_IO": "oauth-0123456789",
}


@dataclass(frozen=True)
class Pushrm:
    """The stand-in: what it was told, and what it shall say."""

    folder: Path

    def install(self, metadata: str = METADATA) -> None:
        """Make it a plugin of docker's."""
        plugins = self.folder / "docker" / "cli-plugins"
        plugins.unlink()
        plugins.mkdir()
        self.answer()
        script = PLUGIN.format(
            python=sys.executable,
            metadata=metadata,
            calls=str(self.folder / "calls"),
            answers=str(self.folder / "answers"),
        )
        (plugins / "docker-pushrm").write_text(script)
        (plugins / "docker-pushrm").chmod(0o755)

    def answer(self, **said: str) -> None:
        """Say what it shall complain of, by repository."""
        (self.folder / "answers").write_text(json.dumps(said))

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What it was called with."""
        file = self.folder / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*SECRETS, "DOCKER_PASS", "DOCKER_APIKEY"):
        monkeypatch.delenv(name, raising=False)
    return make(tmp_path / "project", MANIFEST)


def make(root: Path, manifest: str) -> Path:
    (root / "manifest").mkdir(parents=True)
    (root / "templates").mkdir()
    (root / "manifest" / "app.yml").write_text(manifest)
    (root / "templates" / "app.Dockerfile.j2").write_text("FROM {{ parent }}\n")
    assert run(root, ["generate"]).code == 0
    return root


@pytest.fixture
def pushrm(docker_config: Path) -> Pushrm:
    found = Pushrm(docker_config.parent)
    found.install()
    return found


def set_secrets(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some in the environment, some in .env."""
    for name in list(SECRETS)[:2]:
        monkeypatch.setenv(name, SECRETS[name])
    (project / ".env").write_text("".join(f"{name}='{SECRETS[name]}'\n" for name in list(SECRETS)[2:]))


@engine
def test_each_registry_gets_the_readme_and_its_own_secrets_only(
    project: Path, pushrm: Pushrm, docker_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_secrets(project, monkeypatch)
    monkeypatch.setenv("DOCKER_APIKEY", "another-key")
    monkeypatch.setenv("PUSHRM_SHORT", "another text")

    outcome = run(project, ["push-readme", "app"])

    assert outcome.code == 0, outcome.stderr
    file = project / "generated" / "app" / "README.md"
    common = ["--file", str(file)]
    config = ["--config", str(docker_config / "config.json")]
    assert [call["words"] for call in pushrm.calls] == [
        ["--provider", "dockerhub", *common, "--short", "The app.", *config, HUB],
        ["--provider", "quay", *common, *config, QUAY],
        ["--provider", "harbor2", *common, *config, HARBOR],
    ]
    secret = {"DOCKER_USER", "DOCKER_PASS", "DOCKER_APIKEY", "PUSHRM_SHORT", *SECRETS}
    assert [
        {name: value for name, value in call["environment"].items() if name in secret} for call in pushrm.calls
    ] == [
        {"DOCKER_USER": "dora", "DOCKER_PASS": 'sword"fish'},
        {"APIKEY__QUAY_IO": "oauth-0123456789"},
        {"DOCKER_USER": "harry", "DOCKER_PASS": "open-sesame"},
    ]
    assert {call["file"] for call in pushrm.calls} == {file.read_text()}
    assert [line.split(maxsplit=2) for line in outcome.stdout.splitlines()] == [
        ["IMAGE", "REPOSITORY", "README"],
        ["app", "acme/app", "pushed"],
        ["app", QUAY, "pushed"],
        ["app", HARBOR, "pushed"],
        ["app", "ghcr.io/acme/app", "shows no README"],
        ["app", "harbor.goharbor.io/acme/app", "not declared"],
    ]
    assert not [value for name, value in SECRETS.items() if "USER" not in name and value in outcome.text()]


@engine
def test_without_variables_the_plugin_asks_docker_who_is_logged_in(
    project: Path, pushrm: Pushrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_USER", "half a login")
    monkeypatch.setenv("DOCKER_PASS", "which would go to any registry")
    monkeypatch.setenv("DOCKER_APIKEY", "for Quay")

    assert run(project, ["push-readme", "app"]).code == 0

    for call, given in zip(pushrm.calls, [set(), {"APIKEY__QUAY_IO"}, set()], strict=True):
        own = {name for name in call["environment"] if name.startswith(("DOCKER_USER", "DOCKER_PASS", "APIKEY"))}
        assert own == given
        assert "DOCKER_APIKEY" not in call["environment"]


@engine
def test_what_fails_is_told_without_secrets_and_keeps_nothing_else_from_its_turn(
    project: Path, pushrm: Pushrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_secrets(project, monkeypatch)
    encoded = base64.b64encode(b"harry:open-sesame").decode()
    pushrm.answer(
        **{
            HUB: 'level=warning msg="a hint"\nlevel=error msg="error pushing readme. See below.\\n\\n401 for {DOCKER_PASS}"\n',
            HARBOR: f"panic: {{DOCKER_PASS}} or {encoded}\n",
        }
    )

    outcome = run(project, ["push-readme", "app", "--format", "json"])

    assert outcome.code == 1
    assert [row["readme"] for row in json.loads(outcome.stdout)][:3] == ["failed", "pushed", "failed"]
    assert (
        "manifest/app.yml:5:5: cannot push the README to acme/app: error pushing readme. See below. 401 for *** [readme-refused]"
        in outcome.stderr
    )
    assert (
        f"manifest/app.yml:7:5: cannot push the README to {HARBOR}: panic: *** or *** [readme-refused]"
        in outcome.stderr
    )
    assert (
        "set HARBOR_USER and HARBOR_PASSWORD, or log in: `bakegen authenticate --registry registry.acme.example`"
        in outcome.stderr
    )
    assert len(pushrm.calls) == 3


@engine
@pytest.mark.parametrize("helpers", [{}, {"registry.acme.example": "own", "https://index.docker.io/v1/": "own"}])
def test_what_fails_is_told_at_its_repository_with_what_helps_there(
    tmp_path: Path, pushrm: Pushrm, docker_config: Path, helpers: dict[str, str]
) -> None:
    (docker_config / "config.json").write_text(json.dumps({"credHelpers": helpers}))
    root = make(
        tmp_path / "project",
        MANIFEST.replace(
            "  - ghcr.io/acme/app\n",
            "  - {repository: registry.acme.example/team/other, kind: harbor, readme: true}\n",
        ),
    )
    other = "registry.acme.example/team/other"
    pushrm.answer(**dict.fromkeys((HUB, QUAY, other), "level=error msg=no\n"))

    outcome = run(root, ["push-readme", "app"])

    told = re.findall(r"^(\S+): cannot push .*?\n(?:.*\n)*?  = help: (.*)$", outcome.stderr, re.MULTILINE)
    by_login = "the plugin does not use docker-credential-own (`credHelpers`), which stores the login"
    assert told == [
        (
            "manifest/app.yml:5:5",
            f"set DOCKER_USER and DOCKER_PASSWORD: {by_login}"
            if helpers
            else "set DOCKER_USER and DOCKER_PASSWORD, or log in: `bakegen authenticate --registry docker.io`",
        ),
        ("manifest/app.yml:6:5", "set APIKEY__QUAY_IO to an application token of Quay; a login is not enough"),
        (
            "manifest/app.yml:8:5",
            f"set HARBOR_USER and HARBOR_PASSWORD: {by_login}"
            if helpers
            else "set HARBOR_USER and HARBOR_PASSWORD, or log in: `bakegen authenticate --registry registry.acme.example`",
        ),
    ]


@engine
@pytest.mark.parametrize(
    "repository", ["registry.acme.example:8443/team/app", "registry.acme.example/team/sub/app", "registry.acme.example/app"]
)  # fmt: skip
def test_what_the_plugin_does_not_take_is_refused_before(repository: str, tmp_path: Path, pushrm: Pushrm) -> None:
    root = make(tmp_path / "project", MANIFEST.replace("registry.acme.example/team/app", f'"{repository}"'))

    outcome = run(root, ["push-readme", "app"])
    dry = run(root, ["push-readme", "app", "--dry-run"])

    message = f"manifest/app.yml:7:5: docker-pushrm only supports HOST/NAMESPACE/NAME without a port, not {repository}"
    assert (outcome.code, dry.code) == (1, 1)
    assert message in outcome.stderr
    assert message in dry.stderr
    assert repository not in dry.stdout
    assert [call["words"][-1] for call in pushrm.calls] == [HUB, QUAY]


@engine
def test_one_registry_can_be_asked_for(project: Path, pushrm: Pushrm) -> None:
    outcome = run(project, ["push-readme", "app", "--registry", "quay.io", "--quiet"])

    assert (outcome.code, outcome.stderr) == (0, "")
    assert [call["words"][-1] for call in pushrm.calls] == [QUAY]


@engine
@pytest.mark.parametrize("metadata", [None, "no JSON"])
def test_a_plugin_that_is_missing_or_broken_is_told(project: Path, docker_config: Path, metadata: str | None) -> None:
    if metadata:
        Pushrm(docker_config.parent).install(metadata)

    outcome = run(project, ["push-readme", "app"])

    assert (outcome.code, outcome.stdout) == (1, "")
    assert "install it: https://github.com/christian-korneck/docker-pushrm#installation" in outcome.stderr


@engine
def test_the_printed_commands_do_the_same(project: Path, pushrm: Pushrm, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    before = tree(project)

    dry = run(project, ["push-readme", "app", "--dry-run"])

    assert dry.code == 0
    assert not pushrm.calls
    assert not [value for name, value in SECRETS.items() if value in dry.text() and "USER" not in name]
    assert "ghcr.io/acme/app: shows no README" in dry.stderr
    printed = dry.stdout.replace("/project", str(project))
    subprocess.run(["sh", "-ec", printed], check=True)
    assert run(project, ["push-readme", "app"]).code == 0
    words = [call["words"] for call in pushrm.calls]
    secrets = [[call["environment"].get(name) for name in ("DOCKER_PASS", "APIKEY__QUAY_IO")] for call in pushrm.calls]
    assert words[:3] == words[3:]
    assert [secrets[0][0], secrets[1][1], secrets[2][0]] == [secrets[3][0], secrets[4][1], secrets[5][0]]
    assert tree(project) == before


def test_each_repository_gets_the_page_that_is_its_own(tmp_path: Path) -> None:
    root = make(
        tmp_path / "project",
        """\
image: app
platforms: [linux/amd64]
registries:
  - {repository: "acme/{{ release }}", readme: true}
  - {repository: "quay.io/acme/{{ release }}", readme: true}
  - {repository: registry.acme.example/team/app, kind: harbor, readme: true}
from: "debian:12-slim"
template: app.Dockerfile.j2
releases: {one: {tags: ["1.0"]}, two: {tags: ["two-1.0"]}}
""",
    )

    outcome = run(root, ["push-readme", "app", "--dry-run", "--format", "json"])

    assert outcome.code == 0, outcome.stderr
    pushed = {
        row["command"][-1]: row["command"][row["command"].index("--file") + 1] for row in json.loads(outcome.stdout)
    }
    folder = Path("/project/generated/app/readme")  # as `run` writes the root
    one, two = str(folder / "docker.io" / "acme" / "one.md"), str(folder / "docker.io" / "acme" / "two.md")
    assert pushed == {
        "docker.io/acme/one": one,
        "quay.io/acme/one": one,
        HARBOR: str(folder / f"{HARBOR}.md"),
        "docker.io/acme/two": two,
        "quay.io/acme/two": two,
    }
    (root / "generated/app/readme/docker.io/acme/two.md").write_text("# Mine\n")
    for registry, code in (("registry.acme.example", 0), ("quay.io", 1)):
        outcome = run(root, ["push-readme", "app", "--dry-run", "--registry", registry])
        assert outcome.code == code
        assert ("not up to date: generated/app/readme/docker.io/acme/two.md [stale-output]" in outcome.stderr) == code


def test_what_shows_no_readme_needs_no_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    root = make(tmp_path / "project", MANIFEST.replace(", readme: true", ""))

    outcome = run(root, ["push-readme", "app", "--format", "json"])

    assert (outcome.code, outcome.stderr) == (0, "")
    assert [(row["kind"], row["readme"]) for row in json.loads(outcome.stdout)] == [
        ("dockerhub", "not declared"),
        ("quay", "not declared"),
        ("harbor", "not declared"),
        ("ghcr", "shows no README"),
        ("harbor", "not declared"),
    ]


def test_nothing_is_said_to_be_pushed_to_no_registry(tmp_path: Path) -> None:
    root = make(tmp_path / "project", "image: app\nplatforms: [linux/amd64]\nfrom: debian:12-slim\ntags: [latest]\n")

    outcome = run(root, ["push-readme", "app"])

    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "no image declares a registry\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "Missing argument 'IMAGE...'"),
        (["ap"], 1, 'did you mean "app"?'),
        (["app", "--registry", "quay.test"], 1, "[unknown-registry]"),
        (["app", "--registry", "ghcr.io"], 1, "ghcr.io does not show READMEs [no-readme]"),
        (["app", "--registry", "harbor.goharbor.io"], 1, "no repository at harbor.goharbor.io declares a README"),
    ],
)
def test_what_cannot_be_pushed_is_said_before(project: Path, words: Sequence[str], code: int, message: str) -> None:
    outcome = run(project, ["push-readme", *words])

    assert (outcome.code, outcome.stdout) == (code, "")
    assert message in outcome.stderr


@pytest.mark.parametrize("change", [lambda file: file.unlink(), lambda file: file.write_text("# Mine\n")])
def test_a_readme_that_is_not_current_is_not_pushed(project: Path, change: Callable[[Path], object]) -> None:
    change(project / "generated" / "app" / "README.md")

    for words in ([], ["--dry-run"]):
        outcome = run(project, ["push-readme", "app", *words])
        assert (outcome.code, outcome.stdout) == (1, "")
        assert "generated/app/README.md [stale-output]" in outcome.stderr


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@engine
def test_an_interrupt_ends_the_plugin(project: Path, pushrm: Pushrm) -> None:
    pushrm.answer(**{HUB: "hang"})
    command = [sys.executable, "-m", "bakegen", "push-readme", "app"]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(lambda: bool(pushrm.calls) or process.poll() is not None)

    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)

    assert process.returncode == 130, printed
    assert len(pushrm.calls) == 1
    wait_for(lambda: not running(str(pushrm.folder / "docker" / "cli-plugins" / "docker-pushrm")))


def running(program: str) -> bool:
    """Whether a process of this machine runs a script."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if program.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                    return True
            except OSError:
                continue
    return False
