"""Which registries there are to log in to, and by which variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bakegen
from bakegen.errors import BakegenError
from bakegen.graph.graph import Graph
from bakegen.registries.destinations import find_destinations, find_repositories
from bakegen.source.resources import schema_of
from bakegen.spec.registry_kinds import KINDS, kind_for, kind_of

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
    assert [kind_for(name, "") for name in names] == list(KINDS)


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
    graph = load(tmp_path, app=APP + registries + releases)
    found = find_destinations(graph, {})

    assert [(one.host, one.kind.name, *one.variables, one.repositories) for one in found] == [
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
    assert [one.name for one in find_repositories(graph, {}) if one.readme] == ["docker.io/acme/app"]
    assert [one.server for one in found] == [
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
        find_destinations(graph, {})
    [problem] = caught.value.problems
    assert (problem.code, str(problem.position)) == ("login-clash", "manifest/web.yml:7:71")

    assert [one.variables.user for one in find_destinations(graph, {}, ["app"])] == ["GHCR_USER", "ME"]
    assert [one.variables.user for one in find_destinations(graph, {}, ["web"])] == ["GHCR_USER", "QUAY_USER"]
    [found] = find_destinations(graph, {}, only="ghcr.io")
    assert found.repositories == ("ghcr.io/acme/app", "ghcr.io/acme/web")


@pytest.mark.parametrize("registry", ["index.docker.io", "docker.io"])
def test_a_registry_is_known_by_its_other_name(registry: str, tmp_path: Path) -> None:
    graph = load(tmp_path, app=f"{APP}tags: ['{{{{ flavour }}}}']\nregistries: [acme/app]\n")

    assert [one.host for one in find_destinations(graph, {}, only=registry)] == ["docker.io"]


@pytest.mark.parametrize(
    ("prefix", "host", "kind", "variables", "repositories"),
    [
        ("ghcr.io/me", "ghcr.io", "ghcr", ("GHCR_USER", "GHCR_PASSWORD"), ("ghcr.io/me/app", "ghcr.io/me/web")),
        ("quay.io/me/sub", "quay.io", "quay", ("ME", "QUAY_PASSWORD"), ("quay.io/me/sub/app", "quay.io/me/sub/web")),
        ("me", "docker.io", "dockerhub", ("DOCKER_USER", "DOCKER_PASSWORD"), ("me/app", "me/web")),
        ("localhost:5000", "localhost:5000", "harbor", ("A", "HARBOR_PASSWORD"), ("localhost:5000/app", "localhost:5000/web")),
    ],
)  # fmt: skip
def test_bakegen_registry_is_the_only_one_and_as_a_manifest_declares_it(
    prefix: str, host: str, kind: str, variables: tuple[str, str], repositories: tuple[str, ...], tmp_path: Path
) -> None:
    registries = """\
registries:
  - docker.io/acme/app
  - {repository: quay.io/acme/app, username: ME}
  - {repository: "localhost:5000/acme/web", kind: harbor, username: A}
"""
    graph = load(tmp_path, app=f"{APP}tags: ['{{{{ flavour }}}}']\n{registries}")
    environment = {"BAKEGEN_REGISTRY": prefix}

    [found] = find_destinations(graph, environment)

    assert (found.host, found.kind.name, found.variables, found.repositories) == (host, kind, variables, repositories)
    position = found.problem("no-login", "", hint="").position
    assert (str(position) if position else "") == {
        "ghcr.io": "",
        "quay.io": "manifest/app.yml:9:5",
        "docker.io": "manifest/app.yml:8:5",
        "localhost:5000": "manifest/app.yml:10:5",
    }[host]
    assert find_destinations(graph, environment, only=host) == (found,)
    with pytest.raises(BakegenError) as caught:
        find_destinations(graph, environment, only="registry.acme.com")
    assert caught.value.problems[0].hint == f"BAKEGEN_REGISTRY is set: all images go to {prefix}"


@pytest.mark.parametrize("prefix", ["https://ghcr.io/me", "ghcr.io/me/", "ghcr.io/Me", "a b"])
def test_bakegen_registry_is_where_images_can_be_pushed_to(prefix: str, tmp_path: Path) -> None:
    graph = load(tmp_path, app=f"{APP}tags: ['{{{{ flavour }}}}']\nregistries: [acme/app]\n")

    with pytest.raises(BakegenError) as caught:
        find_destinations(graph, {"BAKEGEN_REGISTRY": prefix})

    [problem] = caught.value.problems
    assert (problem.code, problem.message) == (
        "invalid-reference",
        f"BAKEGEN_REGISTRY={prefix} is not a registry",
    )


def test_what_is_declared_nowhere_needs_no_login(tmp_path: Path) -> None:
    assert find_destinations(load(tmp_path, app=f"{APP}tags: ['{{{{ flavour }}}}']\n"), {}) == ()


def test_the_document_lists_every_kind_with_its_variables() -> None:
    text = (Path(__file__).parent.parent / "docs" / "cli.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert [(name, title, user, password) for name, title, _, user, password in listed] == [
        (
            kind.name,
            kind.title,
            f"`{kind.variables[0]}`" if kind.variables[0] else "always `AWS`",
            f"`{kind.variables[1]}`" if kind.variables[1] else "from AWS",
        )
        for kind in KINDS
    ]
