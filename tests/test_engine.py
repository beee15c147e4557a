"""A real engine builds, pushes and runs what bakegen generates, for three architectures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import pytest

from bakegen.project import load_project
from bakegen.views.explain import explain

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parent.parent
PLATFORMS = {"linux/amd64": "x86_64", "linux/arm64": "aarch64", "linux/ppc64le": "ppc64le"}
AWKWARD = 'say "hi" ${HOME} %{if} $$ %% \\ ]] }} \n second line\t🐳 é'

MANIFEST = """\
image: {image}
variables: {{VERSION: {{default: "1.0", description: release of the family}}}}
registries: ["{registry}/{image}"]
platforms: [linux/amd64, linux/arm64, linux/ppc64le]
axes: {{flavour: [plain, sweet]}}
template: Dockerfile.j2
dockerfile: "{{{{ release }}}}/Dockerfile"
args: {{FLAVOUR: "{{{{ flavour }}}}"}}
labels: {{awkward: {awkward}}}
releases:
  base: {{from: "tiny:1", tags: ["base-{{{{ flavour }}}}"], publish: {publish}}}
  runtime: {{from: base, tags: ["{{{{ VERSION }}}}-{{{{ flavour }}}}"]}}
  app: {{from: runtime, tags: ["app-{{{{ VERSION }}}}-{{{{ flavour }}}}"], args: {{VERSION: "{{{{ VERSION }}}}"}}}}
"""

TEMPLATE = """\
ARG FLAVOUR={{ args.FLAVOUR }}
{% if release == "app" %}
ARG VERSION=0
{% endif %}
FROM {{ parent }}
ARG FLAVOUR
ARG TARGETPLATFORM
RUN echo "{{ release }} $FLAVOUR $TARGETPLATFORM" >> /made
CMD ["/bin/busybox", "sh", "-c", "cat /made; uname -m"]
"""


def run(*command: str, cwd: Path, env: Mapping[str, str] | None = None, ok: bool = True) -> str:
    """Run a command; return what it printed on both streams."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )  # fmt: skip
    assert (done.returncode == 0) is ok, done.stdout
    return done.stdout


def make_project(folder: Path, registry: str, publish: str) -> str:
    """Write and generate a three-level family under a name of its own; return the name."""
    image = f"family-{uuid.uuid4().hex[:8]}"
    (folder / "manifest").mkdir()
    (folder / "templates").mkdir()
    text = MANIFEST.format(
        image=image, registry=registry, publish=publish, awkward=json.dumps(AWKWARD, ensure_ascii=False)
    )
    (folder / "manifest" / f"{image}.yml").write_text(text, encoding="utf-8")
    (folder / "templates" / "Dockerfile.j2").write_text(TEMPLATE)
    run(sys.executable, "-m", "bakegen", "generate", cwd=folder)
    return image


def tags_in(registry: str, image: str) -> set[str]:
    """Ask the registry which tags a repository has."""
    try:
        with urllib.request.urlopen(f"http://{registry}/v2/{image}/tags/list") as answer:
            return set(json.load(answer)["tags"])
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        return set()


def platforms_of(reference: str, cwd: Path) -> set[str]:
    """Return the platforms of a pushed image index, attestations left out."""
    raw = json.loads(run("docker", "buildx", "imagetools", "inspect", reference, "--raw", cwd=cwd))
    found = [manifest["platform"] for manifest in raw["manifests"]]
    return {f"{platform['os']}/{platform['architecture']}" for platform in found if platform["os"] != "unknown"}


def test_bake_builds_and_pushes_a_three_level_family_for_three_platforms(tmp_path: Path, registry: str) -> None:
    image = make_project(tmp_path, registry, publish="false")
    run("docker", "buildx", "bake", image, "--push", cwd=tmp_path)
    # The unpublished base is in no registry; everything else is.
    assert tags_in(registry, image) == {"1.0-plain", "1.0-sweet", "app-1.0-plain", "app-1.0-sweet"}
    reference = f"{registry}/{image}:app-1.0-sweet"
    assert platforms_of(reference, tmp_path) == set(PLATFORMS)
    for platform, machine in PLATFORMS.items():
        printed = run("docker", "run", "--rm", "--platform", platform, reference, cwd=tmp_path)
        expected = [f"{release} sweet {platform}" for release in ("base", "runtime", "app")]
        assert printed.splitlines()[-4:] == [*expected, machine]
    labels = json.loads(
        run("docker", "image", "inspect", reference, "--format", "{{json .Config.Labels}}", cwd=tmp_path)
    )
    assert labels["awkward"] == AWKWARD


def test_variables_move_the_push_without_regenerating(tmp_path: Path, registry: str) -> None:
    image = make_project(tmp_path, registry, publish="false")
    env = {
        f"{image.replace('-', '_').upper()}_VERSION": "9.9",
        "BAKEGEN_REGISTRY": f"{registry}/elsewhere",
        "BAKEGEN_PLATFORMS": "linux/ppc64le",
    }
    run("docker", "buildx", "bake", "app", "--push", cwd=tmp_path, env=env)
    assert tags_in(registry, image) == set()
    assert tags_in(registry, f"elsewhere/{image}") >= {"app-9.9-plain", "app-9.9-sweet"}
    printed = run(
        "docker",
        "run",
        "--rm",
        "--platform",
        "linux/ppc64le",
        f"{registry}/elsewhere/{image}:app-9.9-plain",
        cwd=tmp_path,
    )
    assert printed.splitlines()[-1] == "ppc64le"


def test_a_target_without_the_asked_platform_is_refused_not_built_for_the_host(tmp_path: Path, registry: str) -> None:
    image = make_project(tmp_path, registry, publish="true")
    env = {"BAKEGEN_PLATFORMS": "linux/s390x"}
    printed = run("docker", "buildx", "bake", f"{image}_app_plain", "--push", cwd=tmp_path, env=env, ok=False)
    assert "nothing for linux-s390x" in printed
    assert "nothing for linux-s390x" in run(
        "docker", "buildx", "bake", image, "--push", cwd=tmp_path, env=env, ok=False
    )
    assert tags_in(registry, image) == set()


def test_the_oldest_client_pushes_the_same_family(tmp_path: Path, registry: str, oldest_buildx: str) -> None:
    image = make_project(tmp_path, registry, publish="false")
    run(oldest_buildx, "bake", "runtime", "--push", cwd=tmp_path)
    assert tags_in(registry, image) == {"1.0-plain", "1.0-sweet"}
    assert platforms_of(f"{registry}/{image}:1.0-plain", tmp_path) == set(PLATFORMS)


def test_a_child_builds_with_the_plain_command_once_its_base_is_pushed(tmp_path: Path, registry: str) -> None:
    image = make_project(tmp_path, registry, publish="true")
    run("docker", "buildx", "bake", f"{image}_base_plain", "--push", cwd=tmp_path)
    assert tags_in(registry, image) == {"base-plain"}
    target = f"{image}_runtime_plain"
    command = explain(load_project(tmp_path), [target], {})[0].commands[1]
    run("sh", "-c", f"{command} --push", cwd=tmp_path)
    assert tags_in(registry, image) == {"base-plain", "1.0-plain"}
    printed = run("docker", "run", "--rm", "--platform", "linux/arm64", f"{registry}/{image}:1.0-plain", cwd=tmp_path)
    assert printed.splitlines()[-3:] == ["base plain linux/arm64", "runtime plain linux/arm64", "aarch64"]


def digests_of(reference: str, cwd: Path) -> dict[str, str]:
    """Return the digest of each platform's image that a pushed reference leads to."""
    raw = json.loads(run("docker", "buildx", "imagetools", "inspect", reference, "--raw", cwd=cwd))
    entries = [(manifest["platform"], manifest["digest"]) for manifest in raw["manifests"]]
    return {
        f"{platform['os']}/{platform['architecture']}": digest
        for platform, digest in entries
        if platform["os"] != "unknown"
    }


@pytest.mark.parametrize("client", ["oldest", "newest"])
def test_tags_of_single_platforms_are_the_images_of_the_list(
    tmp_path: Path, registry: str, client: str, request: pytest.FixtureRequest
) -> None:
    buildx = request.getfixturevalue(f"{client}_buildx")
    image = make_project(tmp_path, registry, publish="false")
    manifest = tmp_path / "manifest" / f"{image}.yml"
    single = 'platform-tags: ["app-{{ VERSION }}-{{ flavour }}-{{ platform.arch }}"]'
    manifest.write_text(manifest.read_text().replace("app: {from", f"app: {{{single}, from"))
    run(sys.executable, "-m", "bakegen", "generate", cwd=tmp_path)

    run(str(buildx), "bake", "plain", "--push", cwd=tmp_path)

    names = [f"app-1.0-plain-{platform.removeprefix('linux/')}" for platform in PLATFORMS]
    assert tags_in(registry, image) == {"1.0-plain", "app-1.0-plain", *names}
    digests = digests_of(f"{registry}/{image}:app-1.0-plain", tmp_path)
    assert digests.keys() == PLATFORMS.keys()
    for platform, name in zip(PLATFORMS, names, strict=True):
        assert digests_of(f"{registry}/{image}:{name}", tmp_path) == {platform: digests[platform]}
