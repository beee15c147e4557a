"""The project's own manifests make exactly the families that were published."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bakegen.graph.graph import Graph
from bakegen.graph.model import Target
from bakegen.output.files import OutputFile
from bakegen.project import Project, load_project
from bakegen.render.files import render_project

ROOT = Path(__file__).parent.parent
FAMILIES: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "data/families.yml").read_text())
NVIDIA = "https://developer.download.nvidia.com/compute"
NVIDIA_ARCHITECTURES = {"amd64": "x86_64", "arm64": "sbsa", "ppc64le": "ppc64le"}

each_family = pytest.mark.parametrize("family", FAMILIES)


@dataclass(frozen=True)
class Image:
    """What is compared of one image."""

    platforms: tuple[str, ...]
    args: Mapping[str, str]
    dockerfile: str
    parent: str


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project(ROOT)


@pytest.fixture(scope="module")
def files(project: Project) -> Mapping[str, OutputFile]:
    return render_project(project)


def published(family: str) -> dict[str, Image]:
    """The images that the facts tell of, by tag."""
    facts = FAMILIES[family]
    return {
        tag: image
        for name, distro in facts["distros"].items()
        for release, python, variant in itertools.product(distro["releases"], facts["pythons"], distro["from"])
        if python not in distro.get("without", ())
        for tag, image in [derive(family, name, release, python, variant)]
    }


def derive(family: str, name: str, release: str, python: str, variant: str) -> tuple[str, Image]:
    """One image by the rules of its time: how tags, parents, build args and files are called."""
    facts = FAMILIES[family]
    distro = facts["distros"][name]
    suffix = distro.get("suffix", name)
    end = f"-{variant}" if variant else ""
    base = f"base-python{python}-{suffix}{end}"
    by_version = release in {"runtime", "cudnn"}
    words = {"python": python, "nodot": python.replace(".", "")}
    args = {"PYTHON_VERSION": python, **facts.get("args", {}), **(distro.get("args", {}) if release == "base" else {})}
    image = Image(
        platforms=tuple(f"linux/{arch}" for arch in distro["platforms"]),
        args={name: value.format(**words) for name, value in args.items()}
        | ({"BENTOML_VERSION": facts["version"]} if by_version else {}),
        dockerfile=f"generated/{family}/{name}/{release}/Dockerfile{end}",
        parent=distro["from"][variant].format(**words) if release == "base" else f"bentoml/{family}:{base}",
    )
    if release == "base":
        return base, image
    if by_version:
        return f"{facts['version']}-python{python}-{suffix}-{release}{end}", image
    return f"{release}-python{python}-{suffix}{end}", image


def described(graph: Graph, family: str) -> Iterator[Target]:
    """The targets of the manifest, apart from the release that came later."""
    return (target for target in graph.by_image[family] if target.release != "devel-trt")


def as_image(target: Target) -> Image:
    return Image(
        platforms=target.platforms,
        args={name: value.with_defaults() for name, value in target.args.items()},
        dockerfile=target.dockerfile,
        parent=target.parents[0].reference.with_defaults().removeprefix("docker.io/"),
    )


@each_family
def test_the_manifest_makes_the_published_images(project: Project, family: str) -> None:
    graph = project.graph

    made = {tag.with_defaults(): as_image(target) for target in described(graph, family) for tag in target.tags}

    assert made == published(family)
    assert all(target.publish for target in described(graph, family))


@each_family
def test_the_numbers_are_those_of_the_old_generators(project: Project, family: str) -> None:
    targets = list(described(project.graph, family))

    assert FAMILIES[family]["expected"] == {
        "tags": sum(len(target.tags) for target in targets),
        "dockerfiles": len({target.dockerfile for target in targets}),
        "parent_edges": sum(parent.target is not None for target in targets for parent in target.parents),
        "platform_builds": sum(len(target.platforms) for target in targets),
        "repository_files": len(repositories(family)),
    }


@each_family
def test_a_parent_in_the_family_is_the_target_that_makes_it(project: Project, family: str) -> None:
    graph = project.graph

    for target in described(graph, family):
        first, *tools = target.parents
        assert not any(parent.target for parent in tools)
        if target.release == "base":
            assert first.target is None
        else:
            assert first.target is not None
            references = [text.with_defaults() for text in graph.targets[first.target].references]
            assert first.reference.with_defaults() in {
                text for reference in references for text in (reference, reference.removeprefix("docker.io/"))
            }


def repositories(family: str) -> dict[str, dict[str, str]]:
    """The package repositories of NVIDIA that lie next to Dockerfiles, by path."""
    return {
        f"generated/{family}/{name}/cudnn/{section}.repo{wanted['suffix'].format(arch=arch)}": {
            "name": section,
            "baseurl": f"{NVIDIA}/{area}/repos/{wanted['system']}/{NVIDIA_ARCHITECTURES[arch]}",
            "enabled": "1",
            "gpgcheck": "1",
            "gpgkey": "file:///etc/pki/rpm-gpg/RPM-GPG-KEY-NVIDIA",
        }
        for name, distro in FAMILIES[family]["distros"].items()
        if "repositories" in distro and "cudnn" in distro["releases"]
        for wanted in [distro["repositories"]]
        for arch in distro["platforms"]
        for section, area in (("cuda", "cuda"), ("nvidia-ml", "machine-learning"))
    }


@each_family
def test_repository_files_lie_next_to_their_dockerfile(files: Mapping[str, OutputFile], family: str) -> None:
    made = {
        path: file.content.decode()
        for path, file in files.items()
        if path.startswith(f"generated/{family}/") and ".repo" in Path(path).name
    }

    expected = repositories(family)

    assert made.keys() == expected.keys()
    for path, text in made.items():
        parser = ConfigParser()
        parser.read_string(text)
        assert parser.sections() == [expected[path]["name"]]
        assert dict(parser[expected[path]["name"]]) == expected[path]


def test_no_dockerfile_of_the_family_declares_an_arg_that_it_does_not_use(files: Mapping[str, OutputFile]) -> None:
    for path, file in files.items():
        if Path(path).name.startswith("Dockerfile"):
            text = file.content.decode()
            for name in {*re.findall(r"^ARG (\w+)", text, re.MULTILINE)} - {"PYTHON_VERSION"}:  # which all have
                assert re.search(rf"\$\{{?{name}\b", text), f"{path}: {name}"


def test_keys_are_read_once_and_not_on_each_platform(files: Mapping[str, OutputFile]) -> None:
    stages = re.compile(r"^FROM (--platform=\S+ )?.* AS keys$", re.MULTILINE)
    found = [stages.findall(file.content.decode()) for path, file in files.items() if "/cudnn/Dockerfile" in path]

    assert found == [["--platform=$BUILDPLATFORM "]] * 8


def test_tensorrt_comes_on_top_of_cudnn(project: Project) -> None:
    graph = project.graph

    made = {
        (target.tags[0].with_defaults(), target.platforms, target.parents[0].target)
        for target in graph.by_image["bento-server"]
        if target.release == "devel-trt"
    }

    assert made == {
        (f"devel-trt-python{python}-debian11", ("linux/amd64",), cudnn.name)
        for cudnn in graph.select(["bento-server", "cudnn", "distro=debian11", "variant=plain"])
        for python in [cudnn.values["python"]]
    }
    assert len(made) == len(FAMILIES["bento-server"]["pythons"])


@each_family
def test_every_file_of_the_family_has_a_dockerfile_or_is_about_the_family(
    files: Mapping[str, OutputFile], family: str
) -> None:
    mine = {path.removeprefix(f"generated/{family}/") for path in files if path.startswith(f"generated/{family}/")}

    others = {path for path in mine if not Path(path).name.startswith("Dockerfile") and ".repo" not in path}

    assert others == {"README.md", "versions"}
    assert files[f"generated/{family}/versions"].content == f"{FAMILIES[family]['version']}\n".encode()
