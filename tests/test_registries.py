"""Which registries there are to log in to, and by which variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bakegen
from bakegen.errors import BakegenError
from bakegen.graph.graph import Graph
from bakegen.registries.logins import logins
from bakegen.source.resources import schema_of
from bakegen.spec.registry_kinds import KINDS, kind_called, kind_of

APP = """\
image: app
platforms: [linux/amd64]
axes: {flavour: [plain, sweet]}
from: scratch
template: app.Dockerfile.j2
"""


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("docker.io", "dockerhub"),
        ("quay.io", "quay"),
        ("ghcr.io", "ghcr"),
        ("demo.goharbor.io", "harbor"),
        ("harbor.acme.com", "other"),
        ("gcr.io", "google"),
        ("eu.gcr.io", "google"),
        ("europe-west1-docker.pkg.dev", "google"),
        ("pkg.dev", "other"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "ecr"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "ecr"),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "ecr"),
        ("public.ecr.aws", "ecr"),
        ("localhost:5000", "other"),
        ("quay.io.acme.com", "other"),
        ("quayxio", "other"),
    ],
)
def test_a_host_tells_the_kind(host: str, kind: str) -> None:
    assert kind_of(host).name == kind


def test_manifests_may_name_every_kind() -> None:
    names = [kind.name for kind in KINDS]

    assert schema_of("manifest")["$defs"]["registry"]["properties"]["kind"]["enum"] == names
    assert [kind_called(name) for name in names] == list(KINDS)


def load(root: Path, **manifests: str) -> Graph:
    (root / "manifest").mkdir()
    for image, text in manifests.items():
        (root / "manifest" / f"{image}.yml").write_text(text.replace("image: app", f"image: {image}"))
    return bakegen.load(root)


def test_repositories_of_published_targets_are_put_together_by_host(tmp_path: Path) -> None:
    registries = """\
registries:
  - "localhost:5000/acme/{{ flavour }}"
  - {repository: docker.io/acme/app, readme: true}
  - acme/more
  - {repository: "registry.acme.com/{{ release }}", kind: harbor}
  - {repository: quay.io/acme/app, username: ME}
"""
    releases = "releases: {base: {tags: ['base-{{ flavour }}'], publish: false}, one: {tags: ['{{ flavour }}']}}\n"
    found = logins(load(tmp_path, app=APP + registries + releases))

    shown = [(login.host, login.kind.name, login.username, login.password, login.repositories) for login in found]
    assert shown == [
        (
            "localhost:5000",
            "other",
            "REGISTRY_USER",
            "REGISTRY_PASSWORD",
            ("localhost:5000/acme/plain", "localhost:5000/acme/sweet"),
        ),
        ("docker.io", "dockerhub", "DOCKER_USER", "DOCKER_PASSWORD", ("docker.io/acme/app", "acme/more")),
        ("registry.acme.com", "harbor", "HARBOR_USER", "HARBOR_PASSWORD", ("registry.acme.com/one",)),
        ("quay.io", "quay", "ME", "QUAY_PASSWORD", ("quay.io/acme/app",)),
    ]
    assert [login.readmes for login in found] == [(), ("docker.io/acme/app",), (), ()]
    assert [login.server for login in found] == [
        "localhost:5000",
        "https://index.docker.io/v1/",
        "registry.acme.com",
        "quay.io",
    ]


def test_one_host_has_one_login_until_it_is_narrowed_down(tmp_path: Path) -> None:
    tags = "tags: ['{{ image }}-{{ flavour }}']\n"
    graph = load(
        tmp_path,
        app=f"{APP}{tags}registries: [ghcr.io/acme/app, {{repository: quay.io/acme/app, username: ME}}]\n",
        web=f"{APP}{tags}registries: [{{repository: ghcr.io/acme/web, password: GHCR_PASSWORD}}, quay.io/acme/web]\n",
    )

    with pytest.raises(BakegenError) as caught:
        logins(graph)
    [problem] = caught.value.problems
    assert (problem.code, str(problem.position)) == ("login-clash", "manifest/web.yml:7:71")

    assert [login.username for login in logins(graph, ["app"])] == ["GHCR_USER", "ME"]
    assert [login.username for login in logins(graph, ["web"])] == ["GHCR_USER", "QUAY_USER"]
    assert [login.repositories for login in logins(graph, [], "ghcr.io")] == [("ghcr.io/acme/app", "ghcr.io/acme/web")]


@pytest.mark.parametrize("registry", ["index.docker.io", "docker.io"])
def test_a_registry_is_known_by_its_other_name(registry: str, tmp_path: Path) -> None:
    graph = load(tmp_path, app=f"{APP}tags: ['{{{{ flavour }}}}']\nregistries: [acme/app]\n")

    assert [login.host for login in logins(graph, [], registry)] == ["docker.io"]


def test_what_is_declared_nowhere_needs_no_login(tmp_path: Path) -> None:
    assert logins(load(tmp_path, app=f"{APP}tags: ['{{{{ flavour }}}}']\n")) == ()


def test_the_document_lists_every_kind_with_its_variables() -> None:
    text = (Path(__file__).parent.parent / "docs" / "cli.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert [(name, title, user, password) for name, title, _, user, password in listed] == [
        (
            kind.name,
            kind.title,
            f"`{kind.variables[0]}`" if kind.variables[0] else "always `AWS`",
            f"`{kind.variables[1]}`" if kind.variables[1] else "given by AWS",
        )
        for kind in KINDS
    ]
