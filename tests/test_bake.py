"""The bake file, as bake reads it: on the oldest and the newest buildx, it says what the graph says."""

from __future__ import annotations

import re
import subprocess
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import TESTS, projects
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from bakegen.bake import hcl
from bakegen.bake.model import BAKE_FILE, bake_model
from bakegen.bake.platform_images import with_platform_images
from bakegen.bake.print import read_with_buildx
from bakegen.bake.reading import Reading
from bakegen.bake.syntax import compare
from bakegen.bake.verify import judge, needed_buildx, resolved_attributes
from bakegen.docker.buildx import Buildx
from bakegen.errors import BakegenError
from bakegen.expressions.scope import Scope
from bakegen.expressions.text import Text, Variable
from bakegen.graph.graph import Graph
from bakegen.project import Project, load_project
from bakegen.source.resources import BAKE_TEMPLATE

ROOT = TESTS.parent
PROJECTS = [ROOT, *projects(TESTS / "cases", 1)]
each_project = pytest.mark.parametrize("root", PROJECTS, ids=lambda root: root.name)

Reader = Callable[[bytes, Mapping[str, str]], Reading]


@cache
def load(root: Path) -> Project:
    return load_project(root)


def bake_file(project: Project) -> bytes:
    """The bake file that `generate` writes, without the Dockerfiles."""
    scope = Scope(project.evaluator, project.graph.manifests[0].source, {}, {}).add({"bake": bake_model(project.graph)})
    return project.evaluator.render(BAKE_TEMPLATE, scope).encode()


def readers(buildx: Buildx, graph: Graph, asked: str = "") -> Sequence[Reader]:
    """The ways to read the bake file of a graph; buildx 0.13 refuses to read groups that are empty."""
    groups = [group.name for group in graph.groups if any(fits(graph, name, asked) for name in group.members)]
    names = [*groups, *(name for name in graph.targets if fits(graph, name, asked))]
    targets = [resolved_attributes(graph, target) for target in graph.targets.values()]
    return (
        lambda content, environment: read_with_buildx(buildx, content, names, targets=targets, environment=environment),
    )


def fits(graph: Graph, name: str, asked: str) -> bool:
    """Whether a target is for one of the asked platforms."""
    return not asked or not {*asked.split(",")}.isdisjoint(graph.targets[name].platforms)


def closed(graph: Graph) -> bool:
    """Whether each group holds the publishable parents of its members."""
    return all(
        name in group.members
        for group in graph.groups
        if group.kind != "image release"  # which are called like what their members begin with
        for name in graph.ancestors(group.members)
        if graph.targets[name].publish
    )


# ---- Whole projects


@each_project
def test_buildx_reads_what_the_manifests_say(root: Path, buildx: Buildx) -> None:
    project = load(root)
    if buildx.version < needed_buildx(project.graph):
        pytest.skip("a newer buildx is needed")

    targets = with_platform_images(project.graph).targets
    assert judge(project.graph, bake_file(project), buildx) == (len(targets), len(project.graph.groups))


@each_project
def test_python_hcl2_parses_what_is_written(root: Path) -> None:
    content = bake_file(load(root))

    assert compare(content, content)


@each_project
def test_the_committed_bake_file_is_what_generate_writes(root: Path) -> None:
    if not (root / BAKE_FILE).exists():
        pytest.skip("nothing is committed yet")

    assert (root / BAKE_FILE).read_bytes() == bake_file(load(root))


@each_project
def test_groups_are_closed_and_children_fit_on_their_parents(root: Path) -> None:
    graph = load(root).graph

    assert closed(graph)
    for target in graph.targets.values():
        for parent in target.parents:
            assert not parent.target or set(target.platforms) <= set(graph.targets[parent.target].platforms)


def test_groups_exist_for_everything_that_people_ask_for() -> None:
    for manifest in (graph := load(ROOT).graph).manifests:
        targets = graph.by_image[manifest.image]
        groups = {group.name: set(group.members) for group in graph.groups}
        published = {target.name for target in targets if target.publish}
        assert published <= groups["default"] & groups.get(manifest.image, {manifest.image})
        for release in manifest.releases:
            mine = {target.name for target in targets if target.release == release.name}
            assert mine <= groups.get(release.name, {release.name})


# ---- Free at bake time


def test_the_repository_is_overridden_by_environment_variables(buildx: Buildx) -> None:
    project = load(ROOT)
    graph = project.graph
    environment = {
        "BENTO_SERVER_VERSION": "9.9",
        "BAKEGEN_REGISTRY": "localhost:5000/x",
        "BAKEGEN_PLATFORMS": "linux/arm64",
    }
    if buildx.version < needed_buildx(graph):
        pytest.skip("a newer buildx is needed")

    for read in readers(buildx, graph, environment["BAKEGEN_PLATFORMS"]):
        reading = read(bake_file(project), environment)
        members = reading.members("runtime")
        assert members
        for name in members:
            target = graph.targets[name]
            tags = [tag.replaced(lambda _: "9.9") for tag in target.tags]
            images = {repository.with_defaults().rsplit("/", 1)[-1] for repository in target.repositories}
            attributes = reading.targets[name]
            assert attributes["platforms"] == ("linux/arm64",)
            if target.image == "bento-server":
                assert attributes["tags"] == tuple(sorted(f"localhost:5000/x/{image}:{tag}" for image in images for tag in tags))  # fmt: skip
        assert {name for name in graph.targets if "linux/arm64" in graph.targets[name].platforms} >= members


PLATFORMS = ["linux/amd64", "linux/arm64", "linux/ppc64le"]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A family in which no two values of the axis are for the same platforms."""
    return write_project(
        tmp_path_factory.mktemp("narrow"),
        {
            "image": "tool",
            "variables": {"VERSION": "1.0", "SUFFIX": ""},
            "platforms": PLATFORMS,
            "registries": ["ghcr.io/acme/app", "quay.io/other/app", "docker.io/acme/sdk"],
            "axes": {"distro": {"all": None, "x86": {"platforms": PLATFORMS[:1]}, "power": {"platforms": PLATFORMS[2:]}}},
            "releases": {
                "base": {"from": "debian:12", "publish": False},
                "app": {"from": "base", "tags": ["{{ VERSION }}-{{ distro }}{{ SUFFIX }}", "{{ distro }}"]},
                "plus": {"from": "app", "tags": ["plus-{{ distro }}"]},
            },
        },
    )  # fmt: skip


def write_project(root: Path, *manifests: Mapping[str, Any]) -> Project:
    folder = root / "manifest"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    for index, manifest in enumerate(manifests):
        text = yaml.dump(manifest, allow_unicode=True, sort_keys=False, default_style='"')
        plain = re.sub(r'!!(null|bool) "(\w+)"', r"\2", text)
        (folder / f"{index}.yml").write_text(plain)
    return load_project(root)


@pytest.mark.parametrize("asked", ["linux/ppc64le", "linux/amd64,linux/arm64", "linux/s390x"])
def test_a_target_without_an_asked_platform_leaves_its_groups(buildx: Buildx, narrow: Project, asked: str) -> None:
    graph = narrow.graph

    for read in readers(buildx, graph, asked):
        reading = read(bake_file(narrow), {"BAKEGEN_PLATFORMS": asked})
        left = {group.name: {name for name in group.members if fits(graph, name, asked)} for group in graph.groups}
        for name, members in left.items():
            if members:
                assert reading.members(name) == members


def test_a_target_without_an_asked_platform_is_refused(buildx: Buildx, narrow: Project) -> None:
    content, environment = bake_file(narrow), {"BAKEGEN_PLATFORMS": "linux/ppc64le"}
    lacking = [name for name in narrow.graph.targets if not fits(narrow.graph, name, "linux/ppc64le")]

    assert lacking
    for name in lacking:
        with pytest.raises(BakegenError, match="nothing for linux-ppc64le"):
            read_with_buildx(buildx, content, [name], environment=environment)


def test_one_registry_takes_all_tags_once(buildx: Buildx, narrow: Project) -> None:
    environment = {"BAKEGEN_REGISTRY": "localhost:5000", "TOOL_VERSION": "2", "TOOL_SUFFIX": "-rc"}

    for read in readers(buildx, narrow.graph):
        tags = read(bake_file(narrow), environment).targets["tool_app_x86"]["tags"]
        assert tags == tuple(sorted(f"localhost:5000/{image}:{tag}" for image in ("app", "sdk") for tag in ("2-x86-rc", "x86")))  # fmt: skip


# ---- Every attribute, written out


def test_bake_reads_every_attribute(buildx: Buildx, tmp_path: Path) -> None:
    project = write_project(
        tmp_path,
        {
            "image": "app",
            "variables": {"VERSION": "1.0"},
            "platforms": PLATFORMS[:2],
            "registries": ["ghcr.io/acme/{{ release }}", "quay.io/acme/app"],
            "context": "services/app",
            "contexts": {"data": "shared/data"},
            "args": {"VERSION": "{{ VERSION }}", "EMPTY": ""},
            "labels": {"a.b/c d": "v{{ VERSION }}"},
            "annotations": {"index:x": "a=b,c"},
            "secrets": ["id=npmrc,src=.npmrc", "id=token,env=TOKEN", "id=PLAIN", "type=env,id=deep,env=X"],
            "ssh": ["default", "deploy=keys/deploy"],
            "cache-from": ["type=registry,ref=cache:{{ VERSION }}", "ghcr.io/acme/cache"],
            "attest": ["type=sbom", "type=provenance,mode=max", "type=provenance,disabled=true"],
            "bake": {"pull": True, "no-cache": False, "shm-size": "64m", "no-cache-filter": ["b", "a"], "ulimits": ["nofile=1:2"], "target": "{{ release }}"},
            "releases": {
                "base": {"from": "debian:12", "publish": False},
                "app": {"from": "base", "tags": ["{{ VERSION }}", "latest"], "cache-to": ["type=inline"], "labels": {"more": "1"}, "contexts": {"src": "https://x.test/a.git#b"}},
            },
        },
    )  # fmt: skip
    common = {
        "context": "services/app",
        "labels": {"a.b/c d": "v1.0"},
        "args": {"VERSION": "1.0", "EMPTY": ""},
        "annotations": ("index:x=a=b,c",),
        "platforms": ("linux/amd64", "linux/arm64"),
        "secret": ("env=TOKEN,id=token", "env=X,id=deep", "id=PLAIN", "id=npmrc,src=.npmrc"),
        "ssh": ("id=default", "id=deploy,paths=keys/deploy"),
        "cache-from": ("ref=cache:1.0,type=registry", "ref=ghcr.io/acme/cache,type=registry"),
        "attest": ("disabled=true,type=provenance", "type=sbom"),
        "pull": True,
        "no-cache": False,
        "shm-size": "64m",
        "no-cache-filter": ("a", "b"),
        "ulimits": ("nofile=1:2",),
    }
    expected = {
        "app_base": {
            **common,
            "dockerfile": "../../generated/app/base/Dockerfile",
            "contexts": {"data": "shared/data"},
            "target": "base",
            "output": ("type=cacheonly",),
        },
        "app_app": {
            **common,
            "dockerfile": "../../generated/app/app/Dockerfile",
            "contexts": {
                "ghcr.io/acme/base:app_base": "target:app_base",
                "data": "shared/data",
                "src": "https://x.test/a.git#b",
            },
            "labels": {"a.b/c d": "v1.0", "more": "1"},
            "cache-to": ("type=inline",),
            "target": "app",
            "tags": ("ghcr.io/acme/app:1.0", "ghcr.io/acme/app:latest", "quay.io/acme/app:1.0", "quay.io/acme/app:latest"),
        },
    }  # fmt: skip

    for read in readers(buildx, project.graph):
        found = read(bake_file(project), {}).targets
        assert {name: found[name] for name in expected} == expected


# ---- Text


def texts() -> st.SearchStrategy[str]:
    """Text that a manifest may hold, with much that means something to HCL, and variables as \\0NAME\\0."""
    nasty = st.sampled_from(
        ["$", "%", "{", "}", "${", "%{", "$${", "%%{", "${A}", "%{if}", "~}", '"', "\\", "\\n", "\\u0041", "\n", "\t", "]]",
         "#", "//", "/*", "<<EOT", "\u2028", "\u00a0", "\ufeff", "🚀", "\0VERSION\0", "\0OTHER\0"]
    )  # fmt: skip
    any_text = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=8)
    return st.lists(nasty | any_text, max_size=8).map("".join).map(nfc)


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


VARIABLES = {name: Variable(name, f"APP_{name}", "") for name in ("VERSION", "OTHER")}


def marked(text: str) -> Text:
    """Text with variables, from the way `texts` writes them."""
    return Text.joined(
        VARIABLES[part] if index % 2 else part for index, part in enumerate(re.split("\0(\\w+)\0", text))
    )


def all_marked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {marked(key): marked(item) for key, item in value.items()}
    return [marked(item) for item in value]


def text_file(attributes: Mapping[str, Any], defaults: Mapping[str, str]) -> bytes:
    variables = [f'variable "APP_{name}" {{\n  default = {hcl.quoted(text)}\n}}\n' for name, text in defaults.items()]
    lines = [f"  {name} = {hcl.write(all_marked(value), indent=2)}\n" for name, value in attributes.items()]
    return "".join([*variables, 'target "t" {\n', *lines, "}\n"]).encode()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    values=st.lists(texts(), max_size=40),
    defaults=st.fixed_dictionaries(dict.fromkeys(VARIABLES, texts().map(lambda text: text.replace("\0", "")))),
)
def test_text_comes_back_from_bake_as_it_was(buildx: Buildx, values: list[str], defaults: dict[str, str]) -> None:
    def resolved(text: str) -> str:
        return nfc(marked(text).replaced(lambda variable: nfc(defaults[variable.name])))

    attributes: dict[str, Any] = {
        "args": {f"A{index}": text for index, text in enumerate(values)},
        "labels": {text: text for text in values if text},
        "contexts": {f"c{index}": f"x{text}" for index, text in enumerate(values)},
        "annotations": [f"a={text}" for text in values],
        "tags": [f"t{text}" for text in values],
    }
    assume(len(set(map(resolved, attributes["labels"]))) == len(attributes["labels"]))
    content = text_file(attributes, defaults)

    for found in (read_with_buildx(buildx, content, ["t"]),):
        target = found.targets["t"]
        for name in ("args", "labels", "contexts"):
            expected = {resolved(key): resolved(text) for key, text in attributes[name].items()}
            assert target.get(name, {}) == expected
        for name in ("annotations", "tags"):
            assert target.get(name, ()) == tuple(sorted({resolved(text) for text in attributes[name]}))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("$\0VERSION\0", '"${"$"}${APP_VERSION}"'),
        ("a$$\0VERSION\0", '"a${"$$"}${APP_VERSION}"'),
        ("%$\0VERSION\0", '"${"%$"}${APP_VERSION}"'),
        ("${HOME}", '"$${HOME}"'),
        ("\0VERSION\0", "APP_VERSION"),
        ("v\0VERSION\0", '"v${APP_VERSION}"'),
    ],
)
def test_text_is_written_as_plainly_as_can_be(text: str, written: str) -> None:
    assert hcl.write(marked(text)) == written


# ---- Any project


def family(image: str, dockerfile: str, **more: Any) -> dict[str, Any]:
    """A family of two targets that share a Dockerfile."""
    return {
        "image": image,
        "platforms": PLATFORMS[:1],
        "registries": [f"ghcr.io/acme/{image}"],
        "axes": {"python": ["3.11", "3.12"]},
        "args": {"PYTHON": "{{ python }}", "IMAGE": image, "DOCKERFILE": dockerfile},
        "labels": {image: dockerfile},
        "releases": {"app": {"from": "debian:12", "tags": ["{{ python }}"]}},
        "dockerfile": dockerfile,
        **more,
    }


def test_what_images_add_to_the_bake_file_never_shares_a_name(buildx: Buildx, tmp_path: Path) -> None:
    plain = {"from": "debian:12", "tags": ["{{ python }}-more"], "args": {"IMAGE": "other"}, "dockerfile": "Dockerfile"}
    nested = family(
        "a", "b/Dockerfile", releases={"app": {"from": "debian:12", "tags": ["{{ python }}"]}, "more": plain}
    )
    graph = (project := write_project(tmp_path, nested, family("a_b", "Dockerfile"), family("a-b", "Dockerfile"))).graph

    judge(graph, bake_file(project), buildx)


def test_a_variable_of_an_image_named_by_a_number_has_a_name_that_hcl_can_read(buildx: Buildx, tmp_path: Path) -> None:
    tags = {"app": {"from": "debian:12", "tags": ["{{ VERSION }}-{{ python }}"]}}
    project = write_project(tmp_path, family("3d", "Dockerfile", variables={"VERSION": "1.0"}, releases=tags))

    for read in readers(buildx, project.graph):
        found = read(bake_file(project), {"IMAGE_3D_VERSION": "2.0"}).targets
        assert found["3d_app_python3-11"]["tags"] == ("ghcr.io/acme/3d:2.0-3.11",)


def test_variables_of_two_images_never_share_a_name(tmp_path: Path) -> None:
    variables = {"VERSION": "1.0"}

    with pytest.raises(BakegenError, match=r"A_B_VERSION.*\[name-collision\]"):
        write_project(tmp_path, *(family(image, "Dockerfile", variables=variables) for image in ("a-b", "a_b")))


def manifests() -> st.SearchStrategy[dict[str, Any]]:
    """Small families of every shape: axes with limited platforms, chains of releases that span some of the axes."""
    platforms = st.lists(st.sampled_from(PLATFORMS), min_size=1, unique=True)
    words = st.sampled_from(["1.0", "1-0", "1_0", "2", "slim", "SLIM", "a", "b", "app"])
    value = st.fixed_dictionaries({}, optional={"platforms": platforms})
    axes = st.dictionaries(st.sampled_from(["x", "y"]), st.dictionaries(words, value, min_size=1, max_size=3))
    return st.builds(
        _manifest,
        st.sampled_from(["app", "a-p", "a_p", "3d", "app-base"]),
        axes,
        st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3), st.sets(st.sampled_from(["x", "y"]))), min_size=1, max_size=4),
        st.booleans(),
    )  # fmt: skip


def _manifest(
    image: str, axes: dict[str, Any], shapes: list[tuple[bool, bool, int, set[str]]], shared: bool
) -> dict[str, Any]:
    releases: dict[str, Any] = {}
    for index, (publish, single, parent, spans) in enumerate(shapes):
        name = f"r{index}"
        values = "".join(f"-{{{{ {axis} }}}}" for axis in axes if axis in spans)
        releases[name] = {
            "from": f"r{parent}" if parent < index else "debian:12",
            "axes": [axis for axis in axes if axis in spans],
            "publish": publish,
            "tags": [f"{{{{ VERSION }}}}-{name}{values}"],
            "args": {axis.upper(): f"{{{{ {axis} }}}}" for axis in axes if axis in spans},
            **({"platform-tags": [f"{{{{ VERSION }}}}-{name}{values}-{{{{ platform.name }}}}"]} if single else {}),
        }
    content: dict[str, Any] = {
        "image": image,
        "variables": {"VERSION": "1.0"},
        "platforms": PLATFORMS,
        "registries": [f"ghcr.io/acme/{image}"],
        "releases": releases,
    }
    if shared:
        content["dockerfile"] = "{{ release }}/Dockerfile"
        content["buildx"] = "0.20"  # may narrow platforms
    return {**content, **({"axes": axes} if axes else {})}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(families=st.lists(manifests(), min_size=1, max_size=2, unique_by=lambda manifest: manifest["image"]))
def test_every_family_becomes_what_bake_reads(
    buildx: Buildx, tmp_path_factory: pytest.TempPathFactory, families: list[dict[str, Any]]
) -> None:
    root = tmp_path_factory.getbasetemp() / "any"
    root.mkdir(exist_ok=True)
    try:
        project = write_project(root, *families)
    except BakegenError as error:
        if surprises := [problem for problem in error.problems if problem.code not in REFUSED]:
            raise BakegenError(surprises) from error
        reject()
    graph = project.graph

    assert closed(graph)
    assert len({(t.image, t.release, *t.values.items()) for t in graph.targets.values()}) == len(graph.targets)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in (*graph.targets, *(g.name for g in graph.groups)))
    content = bake_file(project)
    assert compare(content, content)
    if buildx.version >= needed_buildx(graph):
        judge(graph, content, buildx)


# What the families above are refused for; anything else would be a surprise.
REFUSED = {
    "missing-parent",
    "uncovered-platform",
    "no-platform",
    "name-collision",
    "group-collision",
    "ambiguous-parent",
    "narrower-platforms",
}


# ---- How long the file is


def lines_of_file(project: Project) -> int:
    return bake_file(project).count(b"\n")


def test_our_own_families_fit_in_800_lines() -> None:
    assert len(load(ROOT).graph.targets) >= 163
    assert lines_of_file(load(ROOT)) <= 800


def test_a_family_of_ten_lines_makes_a_short_file() -> None:
    assert lines_of_file(load(TESTS / "cases" / "ten-lines")) <= 40


AXES: dict[str, Any] = {
    "distro": ["debian11", "debian12", "ubi9"],
    "python": ["3.11", "3.12", "3.13", "3.14"],
    "variant": {"plain": {"names": [""]}, "conda": {"platforms": PLATFORMS[:2]}},
    "cuda": ["12", "13"],
}


@pytest.mark.parametrize("number", [2, 3, 4])
@pytest.mark.parametrize("path", ["{{ release }}/Dockerfile", None, "{{ distro }}/{{ release }}/Dockerfile"])
def test_a_target_takes_three_lines_at_most(tmp_path: Path, number: int, path: str | None) -> None:
    axes = dict(list(AXES.items())[:number])
    tag = "-".join(f"{{{{ {axis} }}}}" for axis in axes)
    releases = {
        name: {
            "from": above,
            "tags": [f"{{{{ VERSION }}}}-{name}-{tag}", f"{name}-{tag}"],
            "description": f"the {name}",
        }
        for name, above in (("base", "debian:12"), ("runtime", "base"), ("devel", "runtime"))
    }
    project = write_project(
        tmp_path,
        {
            "image": "family",
            "variables": {"VERSION": "1.0"},
            "platforms": PLATFORMS,
            "registries": ["ghcr.io/acme/family", "quay.io/acme/family"],
            "axes": axes,
            "args": {axis.upper(): f"{{{{ {axis} }}}}" for axis in axes},
            "releases": releases,
            **({"dockerfile": path} if path else {}),
        },
    )

    assert len(project.graph.targets) >= 30
    assert lines_of_file(project) <= 3 * len(project.graph.targets)


def test_targets_and_groups_are_described(newest_buildx: str) -> None:
    listed = subprocess.run(
        [newest_buildx, "bake", "-f", str(ROOT / BAKE_FILE), "--list", "targets"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "bento-server_runtime_debian11_python3-10" in listed.stdout
    assert "the BentoML release" in listed.stdout
