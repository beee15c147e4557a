"""docs/migrating-from-manager.md: every row is tried.

The commands of the second column are run as they are written, by a shell in the page's project, against the real
engine; pushes go to a corner of the test registry. `CHECKS` says what must hold afterwards, and what the rows without
a command promise. A row that is neither run nor checked fails.

Docker Hub, Quay, Harbor, Google and Amazon are those of tests/world.py: what is not tried is whether they themselves
take a login. The plugin pushrm is the stand-in of tests/test_push_readme.py.

tests/data/manager.yml lists what the documents of manager say; nothing of it may be missing in the first column.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from buildkit import endpoint
from pages import Machine, files_of
from registries import PASSWORD, USER
from test_push_readme import Pushrm
from world import ECR, NO_ENGINE, World

import bakegen
from bakegen.graph.graph import Graph
from bakegen.source.resources import schema_of

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "migrating-from-manager.md"
IMAGE = "bento-server"
VALUES = [(python, distro) for distro in ("debian11", "alpine3.14") for python in ("3.8", "3.9")]
IN_IMAGE = "tests/test_image.py runs the image of bakegen"
NOT_HERE = {  # command -> why it is not run
    "docker buildx bake bakegen --load": "tests/test_image.py builds that image",
    "docker run --rm -u $(id -u):$(id -g) -v $PWD:/project bentoml/bakegen:0.1.0 generate": IN_IMAGE,
    "alias bakegen='docker run --rm -u $(id -u):$(id -g) -v $PWD:/project bentoml/bakegen:0.1.0'": IN_IMAGE,
    "docker run --privileged --rm tonistiigi/binfmt --install arm64,ppc64le": "it changes the machine; tests/test_doctor.py has doctor say it",
}
VARIABLES = {  # who logs in, and by what, at the registries of tests/world.py
    **dict.fromkeys(("DOCKER_USER", "QUAY_USER", "HARBOR_USER"), USER),
    **dict.fromkeys(("DOCKER_PASSWORD", "QUAY_PASSWORD", "HARBOR_PASSWORD", "GCR_PASSWORD"), PASSWORD),
    "AWS_ACCESS_KEY_ID": "AKIATEST",
    "AWS_SECRET_ACCESS_KEY": "swordfish",
}
USERS = {"gcr.io": "oauth2accesstoken", ECR: "AWS"}
REGISTRIES = ("docker.io", "quay.io", "demo.goharbor.io", "gcr.io", ECR)


def rows() -> list[tuple[str, str]]:
    """The first two cells of each row of the page's tables."""
    cells = [line.strip("|").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [(old.strip(), new.strip()) for old, new, _ in cells if new.strip() != "bakegen"]


def commands_in(cell: str) -> list[str]:
    """The commands among the words in code of a cell."""
    spans = re.findall(r"`([^`]+)`", cell)
    return [span for span in spans if re.match(r"([A-Z_]+=\S+ )*(bakegen|docker) |alias ", span)]


@pytest.fixture
def machine(tmp_path: Path, registry: str, docker_config: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for name in [name for name in os.environ if name in VARIABLES or name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config))
    monkeypatch.setenv("BUILDX_CONFIG", str(tmp_path / "buildx"))
    (tmp_path / "project").mkdir()
    return Machine(tmp_path / "project", registry, files_of(PAGE))


# --- what must be there before ---


def no_family_is_there(machine: Machine) -> None:
    for name in ("manifest", "templates", "generated"):
        shutil.rmtree(machine.root / name)
    (machine.root / "docker-bake.hcl").unlink()


def builders_are_included(machine: Machine) -> None:
    file = machine.root / "manifest" / "bento-server.yml"
    file.write_text(f"include: [shared/builders.yml]\n{file.read_text()}")


def plugin_is_there(machine: Machine) -> None:
    Pushrm(machine.root.parent).install()
    variables_are_set(machine, list(VARIABLES))


def variables_are_set(machine: Machine, names: list[str]) -> None:
    escaped = {name: VARIABLES[name].replace("\\", "\\\\").replace("'", "\\'") for name in names}
    (machine.root / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in escaped.items()))


def prepare(machine: Machine, row: str, everywhere: Callable[[], World]) -> None:
    """Bring about what the commands of a row need; only variables that the row names are set, if it names any."""
    if "bakegen init" in row:
        no_family_is_there(machine)
    elif "bakegen builder" in row:
        builders_are_included(machine)
    elif "bakegen push-readme" in row:
        plugin_is_there(machine)
    elif "bakegen doctor" in row:
        machine.environment |= everywhere().environment
    elif "authenticate" in row:
        machine.environment |= {**everywhere().environment, **NO_ENGINE}
        variables_are_set(machine, [name for name in VARIABLES if f"`{name}`" in row] or list(VARIABLES))


# --- what must hold ---


def tags(version: str) -> set[str]:
    """All tags of the page's family at a version."""
    found = {f"{kind}-python{python}-{distro}" for python, distro in VALUES for kind in ("base", "devel")}
    found |= {f"{version}-python{python}-{distro}-runtime" for python, distro in VALUES}
    for python in ("3.8", "3.9"):
        found |= {f"{version}-python{python}-debian11-cudnn", f"devel-trt-python{python}-debian11"}
    return found


def graph_of(machine: Machine) -> Graph:
    return bakegen.load(machine.root)


def no_tag_is_pushed(machine: Machine, _said: str) -> None:
    assert machine.pushed(IMAGE) == set()


def old_version_is_pushed(machine: Machine, _said: str) -> None:
    assert machine.pushed(IMAGE) == tags("0.13.0")


def everything_is_pushed(machine: Machine, _said: str) -> None:
    assert machine.pushed(IMAGE) == tags("1.0.0a4")


def cudnn_is_pushed(machine: Machine, _said: str) -> None:
    assert machine.pushed(IMAGE) == {"1.0.0a4-python3.9-debian11-cudnn"}


def old_version_and_metadata_are_written(machine: Machine, said: str) -> None:
    assert "manifest/bento-server.yml" in said
    assert (machine.root / "generated" / IMAGE / "versions").read_text().split() == ["0.13.0"]
    metadata_is_written(machine, said)


def metadata_is_written(machine: Machine, _said: str) -> None:
    for name in ("dockerfiles.json", "images.json"):
        assert json.loads((machine.root / "generated" / IMAGE / name).read_text())


def new_version_is_written(machine: Machine, _said: str) -> None:
    assert (machine.root / "generated" / IMAGE / "versions").read_text().split() == ["1.0.0a5"]
    assert "VERSION: 1.0.0a5" in (machine.root / "manifest" / "bento-server.yml").read_text()


def version_is_free(_machine: Machine, said: str) -> None:
    assert "bento-server:0.13.0-python3.8-debian11-cudnn" in said
    assert "1.0.0a4-" not in said


def image_is_loaded(machine: Machine, _said: str) -> None:
    said = machine.bash("docker run --rm bentoml-docker /bin/busybox cat /made; docker image rm --force bentoml-docker")
    assert said.splitlines()[:2] == ["base 3.8", "runtime 3.8"]


def base_is_loaded(machine: Machine, _said: str) -> None:
    """The second of the two plain commands, which takes the first one's image as its base."""
    base = "bentoml/bento-server:base-python3.9-debian11"
    machine.bash(
        "docker buildx build --load --platform linux/amd64 --build-arg PYTHON_VERSION=3.9 --tag bento-server:migrated"
        " --file generated/bento-server/debian11/cudnn/Dockerfile ."
    )
    said = machine.bash(
        f"docker run --rm bento-server:migrated /bin/busybox cat /made; docker image rm --force bento-server:migrated {base}"
    )
    assert said.splitlines()[:2] == ["base 3.9", "cudnn 3.9"]


def one_file_for_each_image(machine: Machine, _said: str) -> None:
    assert [manifest.image for manifest in graph_of(machine).manifests] == [IMAGE]
    assert [file.name for file in (machine.root / "manifest").glob("*.yml")] == [f"{IMAGE}.yml"]


def templates_are_named(machine: Machine, _said: str) -> None:
    assert {target.template for target in graph_of(machine).targets.values()} == {"Dockerfile.j2"}
    assert (machine.root / "templates" / "Dockerfile.j2").is_file()


def outputs_are_looked_after(machine: Machine, _said: str) -> None:
    edited = machine.root / "generated" / IMAGE / "debian11" / "base" / "Dockerfile"
    edited.write_text("FROM scratch\n")
    with pytest.raises(AssertionError, match="edited-output"):
        machine.bash("bakegen generate")


def contexts_are_the_root(machine: Machine, _said: str) -> None:
    assert {target.context.with_defaults() for target in graph_of(machine).targets.values()} == {"."}
    assert "context" in schema_of("manifest")["$defs"]["release"]["properties"]


def tags_are_patterns(machine: Machine, _said: str) -> None:
    said = machine.bash("bakegen list tags --format names")
    assert {line.rpartition(":")[2] for line in said.splitlines()} == tags("1.0.0a4")


def values_have_names(_machine: Machine, _said: str) -> None:
    graph = bakegen.load(ROOT)  # this repository has such a value
    made = [tag for target in graph.select(["model-server", "amazonlinux2", "runtime"]) for tag in target.references]
    assert made
    assert all(tag.with_defaults().endswith("-ami2-runtime") for tag in made)


def reasons_are_told(machine: Machine, _said: str) -> None:
    with pytest.raises(AssertionError, match=r"does not exist: .*distro.gpu"):
        machine.bash("bakegen explain cudnn alpine3.14 3.9")
    assert "exclude" in schema_of("manifest")["properties"]


def a_value_is_enough(machine: Machine, _said: str) -> None:
    file = machine.root / "manifest" / "bento-server.yml"
    file.write_text(file.read_text().replace("    debian11:", "    debian12: {gpu: true}\n    debian11:"))
    machine.bash("bakegen generate")
    assert (machine.root / "generated" / IMAGE / "debian12" / "cudnn" / "Dockerfile").is_file()


def no_latest(_machine: Machine, said: str) -> None:
    assert "1.0.0a4-python3.8-debian11-runtime" in said
    assert "latest" not in said


def registries_are_listed(machine: Machine, _said: str) -> None:
    said = machine.bash("bakegen list tags runtime debian11 3.9 --format json")
    assert [reference.split("/")[0] for reference in json.loads(said)[0]["references"]] == list(REGISTRIES)


def python_loads(machine: Machine, _said: str) -> None:
    script = "import bakegen; print(len(bakegen.load('.').targets))"
    assert machine.bash(f'"{sys.executable}" -c "{script}"').strip() == str(len(tags("")))


def schema_is_json(_machine: Machine, said: str) -> None:
    start = said.index("{")
    assert json.loads(said[start:]) == schema_of("manifest")


def parts_are_shared(_machine: Machine, _said: str) -> None:
    manifest = yaml.safe_load((ROOT / "manifest" / "bento-server.yml").read_text())
    assert manifest["include"] == ["shared/bentoml.yml"]
    assert manifest["define"]


def versions_can_be_read(machine: Machine, _said: str) -> None:
    assert machine.bash(f"VERSION=$(cat generated/{IMAGE}/versions); echo $VERSION").strip() == "1.0.0a4"


def readme_is_made(machine: Machine, _said: str) -> None:
    assert (machine.root / "generated" / IMAGE / "README.md").is_file()


def deprecated_is_told(machine: Machine, _said: str) -> None:
    text = (machine.root / "generated" / IMAGE / "README.md").read_text()
    assert "- `latest` (no longer published): it names no Python\n" in text


def side_files_are_made(machine: Machine, _said: str) -> None:
    folder = machine.root / "generated" / IMAGE / "debian11" / "cudnn"
    assert {file.name for file in folder.iterdir()} == {
        "Dockerfile",
        "cuda.repo-amd64",
        "cuda.repo-arm64",
        "cuda.repo-ppc64le",
    }


def releases_are_built_on_each_other(machine: Machine, _said: str) -> None:
    graph = graph_of(machine)
    assert list(dict.fromkeys(target.release for target in graph.targets.values())) == [
        "base",
        "runtime",
        "cudnn",
        "devel",
        "devel-trt",
    ]
    assert graph.ancestors([f"{IMAGE}_devel-trt_debian11_python3-9"]) == {
        f"{IMAGE}_cudnn_debian11_python3-9",
        f"{IMAGE}_base_debian11_python3-9",
    }


def platforms_are_free(machine: Machine, _said: str) -> None:
    file = machine.root / "manifest" / "bento-server.yml"
    file.write_text(file.read_text().replace("linux/ppc64le]", "linux/ppc64le, linux/arm/v7]"))
    machine.bash("bakegen validate")


def axes_are_free(machine: Machine, _said: str) -> None:
    assert [axis.name for axis in graph_of(machine).manifests[0].axes] == ["distro", "python"]


def platforms_are_told(_machine: Machine, said: str) -> None:
    told = dict(re.findall(r"^platform linux/(\w+) +ok +(\w+)$", said, re.MULTILINE))
    assert told.keys() == {"amd64", "arm64", "ppc64le"}
    assert sorted(told.values()) == ["emulated", "emulated", "native"]


def logged_in_to(*hosts: str) -> Callable[[Machine, str], None]:
    """Docker has the login of these registries and no others, and they take it."""

    def check(machine: Machine, said: str) -> None:
        config = json.loads(Path(machine.environment["DOCKER_CONFIG"], "config.json").read_text())
        assert {server: base64.b64decode(entry["auth"]).decode() for server, entry in config["auths"].items()} == {
            "https://index.docker.io/v1/" if host == "docker.io" else host: f"{USERS.get(host, USER)}:{PASSWORD}"
            for host in hosts
        }
        assert PASSWORD not in said
        for host in hosts:
            rows = json.loads(machine.bash(f"bakegen authenticate --check --registry {host} --format json --quiet"))
            assert [(row["registry"], row["result"]) for row in rows] == [(host, "logged in")]

    return check


def environment_goes_first(machine: Machine, said: str) -> None:
    logged_in_to(*REGISTRIES)(machine, said)
    machine.environment["QUAY_PASSWORD"] = "swordfish"
    with pytest.raises(AssertionError, match=r"quay\.io rejected .*\[login-failed\]"):
        machine.bash("bakegen authenticate")


def readmes_are_pushed(machine: Machine, _said: str) -> None:
    readme = (machine.root / "generated" / IMAGE / "README.md").read_text()
    calls = Pushrm(machine.root.parent).calls
    assert [(call["words"][-1], call["file"]) for call in calls] == [
        (f"{host}/bentoml/{IMAGE}", readme) for host in REGISTRIES[:3]
    ]


def five_at_once(machine: Machine, _said: str) -> None:
    assert re.search(r"^BuildKit daemon flags: +--oci-max-parallelism=5\b", inspected(machine, "farm"), re.MULTILINE)


def inspected(machine: Machine, builder: str) -> str:
    return machine.bash(f"docker buildx inspect {builder}")


def builders_are_there(machine: Machine, said: str) -> None:
    assert re.findall(r"^(\w+) +([\w-]+) .* as declared$", said, re.MULTILINE) == [
        ("far", "remote"),
        ("farm", "docker-container"),
    ]
    assert re.search(r"^Endpoint: +tcp://build.example.com:1234$", inspected(machine, "far"), re.MULTILINE)
    assert "far matches the manifest\nfarm matches the manifest" in machine.bash("bakegen builder create")


def nothing_is_lost_with_a_builder(machine: Machine, _said: str) -> None:
    """What was built on a builder is there after it, and builds on the next one of that name."""
    build = "bakegen build cudnn python=3.9 --push --builder far --format json"
    file = machine.root / "manifest" / "shared" / "builders.yml"
    with endpoint(machine.environment["DOCKER_HOST"], tcp=True) as here:
        file.write_text(file.read_text().replace("tcp://build.example.com:1234", here))
        machine.bash(f"bakegen builder create && {build} && bakegen builder remove")
        cudnn_is_pushed(machine, "")
        said = machine.bash(f"bakegen builder create && {build} && bakegen builder remove")
    assert re.search(r'"cached_steps": [1-9]', said)
    assert not list(Path(machine.environment["BUILDX_CONFIG"], "instances").iterdir())


def a_selection_is_listed(_machine: Machine, said: str) -> None:
    assert re.findall(rf"^({IMAGE}_\S+)", said, re.MULTILINE) == [f"{IMAGE}_cudnn_debian11_python3-9"]


def init_writes_a_family(machine: Machine, _said: str) -> None:
    assert (machine.root / "manifest" / f"{IMAGE}.yml").is_file()
    machine.bash("bakegen generate && bakegen verify && docker buildx bake --print")


def selection_is_data(_machine: Machine, said: str) -> None:
    assert len(json.loads(said)) == len(VALUES)


def init_writes_releases(machine: Machine, _said: str) -> None:
    manifest = yaml.safe_load((machine.root / "manifest" / "bento-server.yml").read_text())
    assert list(manifest["releases"]) == ["base", "runtime", "cudnn", "devel"]
    assert manifest["releases"]["cudnn"]["when"] == "distro.gpu_supported"
    machine.bash("bakegen generate && bakegen verify && docker buildx bake --print")


CHECKS: dict[str, Callable[[Machine, str], None]] = {  # how the first cell of a row begins -> what must hold
    "manager_dockerfiles -bv 0.13.0 -dm": old_version_and_metadata_are_written,
    "-bv 0.13.0": version_is_free,
    "-dm": metadata_is_written,
    "manager_images -bv 0.13.0 -bi": no_tag_is_pushed,
    "manager_images -bv 0.13.0 -bi -pth": old_version_is_pushed,
    "export PYTHON_VERSION=3.8": image_is_loaded,
    "manifest.yml": one_file_for_each_image,
    "./templates": templates_are_named,
    "./generated": outputs_are_looked_after,
    "build context": contexts_are_the_root,
    "<release_type>": tags_are_patterns,
    "ami2": values_have_names,
    "supported OS": reasons_are_told,
    "new distribution": a_value_is_enough,
    "docker pull": no_latest,
    "manager generate bento-server --target_version": new_version_is_written,
    "manager generate bento-server --save_metadata": metadata_is_written,
    "manager generate bento-server --authenticate": logged_in_to(*REGISTRIES),
    "manager authenticate bento-server --registry docker.io": logged_in_to("docker.io"),
    "manager authenticate bento-server --registry quay.io": logged_in_to("quay.io"),
    "$BENTOML_GIT_ROOT/.env": environment_goes_first,
    "DOCKER_USER": logged_in_to("docker.io"),
    "QUAY_USER": logged_in_to("quay.io"),
    "HARBOR_USER": logged_in_to("demo.goharbor.io"),
    "GCR": logged_in_to("gcr.io"),
    "ECR": logged_in_to(ECR),
    "docker-pushrm": readmes_are_pushed,
    "manager generate --yaml <docker_registry>": init_writes_a_family,
    "manager generate --yaml bento-server": init_writes_releases,
    "manifest/<docker-registry>.yaml": registries_are_listed,
    "manager create_context": metadata_is_written,
    "def create_context": python_loads,
    "validation using cerberus": schema_is_json,
    "$GIT_ROOT/docker/manager/specs.yml": parts_are_shared,
    "$GIT_ROOT/docker/templates/": templates_are_named,
    "$BENTOML_GIT_ROOT/docker/generated": outputs_are_looked_after,
    "generated/bento-server/versions": versions_can_be_read,
    "generated/bento-server/README.md": readme_is_made,
    "announcement": deprecated_is_told,
    "cuda.repo-amd64": side_files_are_made,
    "base, runtime": releases_are_built_on_each_other,
    "several platforms": platforms_are_free,
    "several OS": axes_are_free,
    "docker run --rm --privileged multiarch": platforms_are_told,
    "PYTHON_VERSION='3.9'": a_selection_is_listed,
    "docker buildx build --push --platform linux/amd64,linux/arm64,linux/ppc64le --build-arg PYTHON_VERSION=${PYTHON_VERSION} -t bento-server:base": base_is_loaded,
    "docker buildx build --push": cudnn_is_pushed,
    "manager build bento-server --releases": cudnn_is_pushed,
    "manager build bento-server --all": everything_is_pushed,
    "threadpoolexecutor": five_at_once,
    "generate multiple buildx builder": builders_are_there,
    "builder to be stateless": nothing_is_lost_with_a_builder,
    "CI: GitHub CI": selection_is_data,
}


def key_of(old: str) -> str:
    """The longest key of `CHECKS` that the first cell of a row begins with; empty if there is none."""
    plain = old.replace("`", "")
    return max((key for key in CHECKS if plain.startswith(key)), key=len, default="")


def test_no_check_is_left_over() -> None:
    assert {key_of(old) for old, _ in rows()} - {""} == CHECKS.keys()
    assert {command for _, new in rows() for command in commands_in(new)} >= NOT_HERE.keys()


def said_by_manager(kind: str) -> list[str]:
    found: list[str] = yaml.safe_load((ROOT / "tests" / "data" / "manager.yml").read_text())[kind]
    return found


@pytest.mark.parametrize("kind", ["commands", "options", "variables", "files", "plans"])
def test_nothing_that_manager_had_is_missing(kind: str) -> None:
    cells = [old for old, _ in rows()]
    spans = [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]
    words = {word for span in spans for word in re.findall(r"-{0,2}\w+", span)}
    known = {"commands": spans, "files": spans, "options": words, "variables": words}.get(kind, "\n".join(cells))

    assert [text for text in said_by_manager(kind) if text not in known] == []


@pytest.mark.parametrize(("old", "new"), rows(), ids=[old.replace("`", "") for old, _ in rows()])
def test_a_row_is_true(machine: Machine, request: pytest.FixtureRequest, old: str, new: str) -> None:
    commands = commands_in(new)
    check = CHECKS.get(key_of(old))
    assert commands or check, "a row without a test"
    prepare(machine, f"{old} | {new}", lambda: request.getfixturevalue("everywhere"))

    said = "".join(machine.bash(command) for command in commands if command not in NOT_HERE)

    if check:
        check(machine, said)
