"""Who logs in to a registry, and by which password: the environment, .env, Google, Amazon."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from harness import run
from registries import (
    Reply,
    Server,
    code_of,
    encoded,
    free_port,
    in_turn,
    make,
    serving,
)

import bakegen
from bakegen.errors import BakegenError
from bakegen.registries.credentials import Credentials, find_credentials
from bakegen.registries.destinations import Destination, find_destinations
from bakegen.registries.env_file import Environment, read_environment

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def destination(root: Path, registry: str) -> Destination:
    [found] = find_destinations(bakegen.load(make(root, registry)), {})
    return found


# --- .env ---


def test_env_is_read_as_shells_and_docker_write_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# who pushes\n"
        "PLAIN=robot$ci # the build\n"
        'export QUAY_USER="acme+robot"\n'
        "export   SINGLE = 'a $HOME \\n \"b\" #c'\n"
        'DOUBLE="two\\nlines \\"${HOME}\\""\n'
        "HASH=a#b\n"
        "EMPTY=\n"
    )  # fmt: skip

    assert dict(read_environment(tmp_path).file) == {
        "PLAIN": "robot$ci",
        "QUAY_USER": "acme+robot",
        "SINGLE": 'a $HOME \\n "b" #c',
        "DOUBLE": 'two\nlines "${HOME}"',
        "HASH": "a#b",
        "EMPTY": "",
    }


def test_env_neither_overrides_the_environment_nor_becomes_a_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUAY_USER", "ann")
    monkeypatch.setenv("QUAY_PASSWORD", "")
    monkeypatch.delenv("GHCR_USER", raising=False)
    (tmp_path / ".env").write_text("QUAY_USER=bob\nQUAY_PASSWORD=swordfish\nGHCR_USER=carol\n")
    before = dict(os.environ)

    environment = read_environment(tmp_path)

    found = [environment.get(name) for name in ("QUAY_USER", "QUAY_PASSWORD", "GHCR_USER", "GHCR_PASSWORD")]
    assert found == ["ann", "", "carol", None]
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("A=1\nB='open\nC=3\n", [2]),
        ('\n\n  \nswordfish\nA=1\nB="x" y\n', [4, 6]),
        ("= swordfish\n", [1]),
        ("A=x\0swordfish\n", [1]),
    ],
)  # fmt: skip
def test_a_broken_line_is_named_and_not_shown(
    text: str, lines: Sequence[int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (make(tmp_path, "quay.io/acme/app") / ".env").write_text(text)

    outcome = run(tmp_path, ["authenticate"])

    assert outcome.code == 1
    assert re.findall(r"^\.env:(\d+): .* \[env-syntax\]$", outcome.stderr, re.MULTILINE) == [
        str(line) for line in lines
    ]
    assert "swordfish" not in outcome.text() + "".join(capfd.readouterr())


# --- who logs in ---


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_password_of_which_docker_would_leave_nothing_is_none(blank: str, tmp_path: Path) -> None:
    environment = Environment({"REGISTRY_USER": "ann", "REGISTRY_PASSWORD": blank}, {})

    with pytest.raises(BakegenError, match="REGISTRY_PASSWORD is empty") as caught:
        find_credentials(destination(tmp_path, "localhost:1/app"), environment, tmp_path)

    assert code_of(caught) == "no-credentials"


@pytest.mark.parametrize(
    "spelt",
    [
        'pä"ss<\\>&',
        json.dumps({"Secret": 'pä"ss<\\>&'}),
        # What Go makes of it, in which docker and its helpers are written.
        r'{"ServerURL":"h","Username":"ann","Secret":"pä\"ss\u003c\\\u003e\u0026"}',
        encoded('ann:pä"ss<\\>&'),
    ],
)
def test_a_password_is_hidden_however_it_is_spelt(spelt: str) -> None:
    hidden = Credentials("ann", 'pä"ss<\\>&').hidden_in(f"out: `{spelt}`, exit 1")

    assert "***" in hidden
    assert "ss" not in hidden


KEY = json.dumps({"type": "service_account", "private_key": "-----BEGIN\nswordfish"}, indent=2)
USER_KEY = json.dumps({"type": "authorized_user", "refresh_token": "swordfish"})
BASE64_KEY = base64.encodebytes(KEY.encode()).decode()


@pytest.mark.parametrize(
    ("values", "user", "password"),
    [
        ({"GCR_PASSWORD": "ya29.token"}, "oauth2accesstoken", "ya29.token"),
        ({"GCR_PASSWORD": "[" * 100_000}, "oauth2accesstoken", "[" * 100_000),
        ({"GCR_PASSWORD": "pässwörd"}, "oauth2accesstoken", "pässwörd"),
        ({"GCR_PASSWORD": KEY}, "_json_key", KEY),
        ({"GCR_PASSWORD": BASE64_KEY}, "_json_key_base64", BASE64_KEY.strip()),
        ({"GCR_PASSWORD": "abcd", "GCR_USER": "robot"}, "robot", "abcd"),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "key.json"}, "_json_key", KEY),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "gone.json", "GCR_PASSWORD": "ya29"}, "oauth2accesstoken", "ya29"),
    ],
)
def test_google_tells_the_user_from_the_password(
    values: Mapping[str, str], user: str, password: str, tmp_path: Path
) -> None:
    (tmp_path / "key.json").write_text(KEY)

    found = find_credentials(destination(tmp_path, "eu.gcr.io/acme/app"), Environment(values, {}), tmp_path)

    assert found == Credentials(user, password)
    assert password not in repr(found)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "GCR_PASSWORD is not set"),
        ({"GCR_PASSWORD": "", "GOOGLE_APPLICATION_CREDENTIALS": "key.json"}, "GCR_PASSWORD is empty"),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "gone.json"}, "cannot be read: No such file"),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "user.json"}, "is not a service account key"),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "~nobody-here/key.json"}, "Could not determine home directory"),
        ({"GOOGLE_APPLICATION_CREDENTIALS": KEY}, "cannot be read"),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "."}, "cannot be read: Is a directory"),
    ],
)
def test_google_says_what_is_missing(values: Mapping[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "user.json").write_text(USER_KEY)

    with pytest.raises(BakegenError, match=re.escape(message)) as caught:
        find_credentials(destination(tmp_path, "eu.gcr.io/acme/app"), Environment(values, {}), tmp_path)

    assert code_of(caught) == "no-credentials"
    assert "swordfish" not in str(caught.value)


# --- Amazon ---


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server in the place of AWS, and keep what this machine knows of AWS away."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    with contextlib.ExitStack() as stack:

        def start(*replies: Reply) -> Server:
            server = stack.enter_context(serving(in_turn(*replies)))
            for service in ("ECR", "ECR_PUBLIC"):
                monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", f"http://{server.host}")
            return server

        yield start


def token(*, public: bool = False) -> Reply:
    data = {"authorizationToken": base64.b64encode(b"AWS:pass:word").decode()}
    return Reply(body=json.dumps({"authorizationData": data if public else [data]}))


FAILED = Reply(500, body='{"__type": "ServerException"}')
DENIED = Reply(400, body='{"__type": "AccessDeniedException", "message": "not you"}')
BUSY = Reply(400, body='{"__type": "ThrottlingException"}')


@pytest.mark.parametrize("where", ["environment", "file"])
@pytest.mark.parametrize(("host", "region"), [(ECR, "eu-west-1"), ("public.ecr.aws", "us-east-1")])
def test_aws_gives_the_password(
    aws: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, region: str, where: str
) -> None:
    server = aws(FAILED, BUSY, token(public=host == "public.ecr.aws"))
    keys = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "swordfish"}
    for name, value in keys.items() if where == "environment" else ():
        monkeypatch.setenv(name, value)
    environment = Environment(os.environ, keys if where == "file" else {"AWS_ACCESS_KEY_ID": "AKIAOTHER"})

    found = find_credentials(destination(tmp_path, f"{host}/app"), environment, tmp_path)

    assert found == Credentials("AWS", "pass:word")
    assert len(server.requests) == 3
    assert all(
        f"AKIATEST/{request.authorization.split('/')[1]}/{region}/ecr" in request.authorization
        for request in server.requests
    )
    assert "AKIATEST" not in "".join(value for name, value in os.environ.items() if where == "file")


def test_a_manifest_may_name_a_variable_for_aws_too(tmp_path: Path) -> None:
    registry = destination(tmp_path, f"{{repository: {ECR}/app, password: ECR_PASSWORD}}")

    assert find_credentials(registry, Environment({"ECR_PASSWORD": "x"}, {}), tmp_path) == Credentials("AWS", "x")


@pytest.mark.parametrize(
    ("reply", "asked", "code", "message"),
    [
        (DENIED, 1, "login-failed", "AccessDeniedException"),
        (FAILED, 4, "failing-registry", "ServerException"),
        (None, 0, "unreachable-registry", "Could not connect"),
    ],
)
def test_what_aws_refuses_is_told(
    aws: Callable[..., Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reply: Reply | None,
    asked: int,
    code: str,
    message: str,
) -> None:
    server = aws(reply or FAILED)
    if reply is None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"http://localhost:{free_port()}")
    keys = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "swordfish"}

    with pytest.raises(BakegenError, match=message) as caught:
        find_credentials(destination(tmp_path, f"{ECR}/app"), Environment(os.environ, keys), tmp_path)

    assert code_of(caught) == code
    assert len(server.requests) == asked
    assert "swordfish" not in str(caught.value)


def test_what_aws_needs_is_told(aws: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aws(FAILED)
    registry = destination(tmp_path, f"{ECR}/app")
    with pytest.raises(BakegenError, match="Unable to locate credentials") as caught:
        find_credentials(registry, Environment(os.environ, {}), tmp_path)
    assert code_of(caught) == "no-credentials"

    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(BakegenError, match="nobody") as caught:
        find_credentials(registry, Environment(os.environ, {}), tmp_path)
    assert code_of(caught) == "no-credentials"

    monkeypatch.setitem(sys.modules, "boto3", None)
    outcome = run(tmp_path, ["authenticate"])
    assert outcome.code == 1
    assert "[missing-helper]" in outcome.stderr
    assert "pip install 'bakegen[aws]'" in outcome.stderr


def test_without_docker_all_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(
        tmp_path,
        "{repository: quay.io/acme/app, username: A, password: B}",
        "{repository: ghcr.io/a/b, password: NOPE}",
    )
    (tmp_path / ".env").write_text("A=ann\nB=any\n")
    monkeypatch.setenv("PATH", "/nowhere")

    outcome = run(tmp_path, ["authenticate"])

    assert (outcome.code, outcome.stdout) == (1, "")
    assert "[no-docker]" in outcome.stderr
    assert "[no-credentials]" in outcome.stderr
