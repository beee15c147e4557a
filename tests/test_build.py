"""`bakegen build`: what bake is given, what the engine makes of it, and what is told about that."""

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
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from harness import run, tree
from test_console import on_terminal
from test_engine import make_project, platforms_of, tags_in
from test_engine import run as shell

from bakegen.commands.selection import selectors_of
from bakegen.docker.buildx import no_engine
from bakegen.docker.history import BuildRecord, Key, list_records, parse_record
from bakegen.errors import MisuseError

engine = pytest.mark.engine
KEYS = ["release", "python", "distro", "cuda_version", "features"]
HOST = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "ppc64le": "linux/ppc64le"}[platform.machine()]

MANIFEST = """\
image: app
variables: {VERSION: "1.0"}
registries: [ghcr.io/acme/app]
platforms: [linux/amd64, linux/arm64]
axes: {python: ["3.8", "3.9"], distro: {debian: {}, alpine: {platforms: [linux/amd64]}}}
template: Dockerfile.j2
dockerfile: "{{ distro }}/{{ release }}/Dockerfile"
args: {PYTHON: "{{ python }}", VERSION: "{{ VERSION }}"}
groups: {slim: [alpine]}
releases:
  base: {from: "tiny:1", tags: ["base-{{ python }}-{{ distro }}"], publish: false}
  runtime: {from: base, tags: ["{{ VERSION }}-{{ python }}-{{ distro }}"]}
  cudnn: {from: runtime, tags: ["{{ VERSION }}-{{ python }}-{{ distro }}-cudnn"]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "manifest").mkdir(parents=True)
    (root / "templates").mkdir()
    (root / "manifest" / "app.yml").write_text(MANIFEST)
    (root / "templates" / "Dockerfile.j2").write_text(
        "ARG PYTHON=3\nARG VERSION=0\nFROM {{ parent }}\nRUN echo {{ release }}\n"
    )
    assert run(root, ["generate"]).code == 0
    return root


# --- the older spelling ---


@pytest.mark.parametrize(
    ("words", "selectors"),
    [
        ("", ""),
        ("app runtime python=3.9", "app runtime python=3.9"),
        ("app --releases cudnn --python-version 3.9 --distros debian11", "app release=cudnn python=3.9 distro=debian11"),
        ("app --releases=cudnn,devel --python_version=3.9", "app release=cudnn,devel python=3.9"),
        ("--release cudnn app --python-versions 3.8,3.9", "release=cudnn app python=3.8,3.9"),
        ("--cuda-version 11 --cuda_versions 12", "cuda_version=11 cuda_version=12"),
        ("--feature conda", "features=conda"),
    ],
)  # fmt: skip
def test_an_axis_is_an_option_too(words: str, selectors: str) -> None:
    assert selectors_of(words.split(), KEYS) == selectors.split()


def test_a_key_goes_before_what_else_could_be_called_so() -> None:
    assert selectors_of(["--python-version", "1"], ["python", "python_version"]) == ["python_version=1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--pyton 3.9", 'No such option: --pyton (did you mean "--python"?)'),
        ("--pus", 'No such option: --pus (did you mean "--push"?)'),
        ("-x", "No such option: -x (available: "),
        ("-python 3.9", "No such option: -python ("),
        ("--python", "Option --python needs a value"),
        ("--python --distro debian11", "Option --python needs a value"),
        ("--python=", "Option --python needs a value"),
    ],
)
def test_other_options_are_misuse(words: str, message: str) -> None:
    with pytest.raises(MisuseError, match="^" + re.escape(message)):
        selectors_of(words.split(), KEYS, ["--push", "--load"])


# --- what bake is given ---


def as_bake_reads(printed: str, buildx: Path, folder: Path) -> tuple[set[str], set[str]]:
    """The targets that a bake file builds by default, and all that it builds for them."""
    command = [str(buildx), "bake", "--print", "-f", "-"]
    done = subprocess.run(command, cwd=folder, input=printed, text=True, capture_output=True, check=True)
    read = json.loads(done.stdout)
    return set(read["group"]["default"]["targets"]), set(read["target"])


def targets_in(printed: str) -> set[str]:
    """The targets that a bake file defines, built by default or not."""
    found = re.findall(r'\bname = "([\w-]+)"|^target "([^_"][\w-]*)"', printed, re.MULTILINE)
    return {row or block for row, block in found}


@engine
def test_the_bake_file_holds_the_selection_and_its_parents(project: Path, newest_buildx: Path) -> None:
    outcome = run(project, ["build", "app", "--releases", "cudnn", "--python-version", "3.9", "--dry-run"])

    assert outcome.code == 0
    assert outcome.stderr == "docker buildx bake -f -\n"
    default, everything = as_bake_reads(outcome.stdout, newest_buildx, project)
    assert default == {"app_cudnn_python3-9_debian", "app_cudnn_python3-9_alpine"}
    assert everything == {
        f"app_{release}_python3-9_{distro}"
        for release in ("base", "runtime", "cudnn")
        for distro in ("debian", "alpine")
    }
    assert targets_in(outcome.stdout) == everything


def test_options_reach_bake(project: Path) -> None:
    words = ["--push", "--no-cache", "--builder", "b", "--platform", "linux/arm64", "--metadata-file", "m.json"]
    outcome = run(
        project, ["build", "cudnn", "3.8", *words, "--dry-run", "--", "--set", "*.pull=true", "--provenance=false"]
    )

    assert outcome.stderr == (
        "BAKEGEN_PLATFORMS=linux/arm64 docker buildx bake -f - --metadata-file /project/m.json --builder b --push"
        " --no-cache --set '*.pull=true' --provenance=false\n"
    )
    assert "app_cudnn_python3-8_debian" in outcome.stdout
    assert "alpine" not in "".join(targets_in(outcome.stdout))


@engine
@pytest.mark.parametrize("publish", ["true", "false"])
def test_what_is_not_published_is_asked_for_only_where_nothing_else_builds_it(
    project: Path, publish: str, newest_buildx: Path
) -> None:
    file = project / "manifest" / "app.yml"
    tags = '["lonely-{{ python }}-{{ distro }}"]'
    file.write_text(f'{file.read_text()}  lonely: {{from: "tiny:1", tags: {tags}, publish: {publish}}}\n')
    assert run(project, ["generate"]).code == 0

    def asked(*words: str) -> set[str]:
        printed = run(project, ["build", "--dry-run", *words]).stdout
        default, _ = as_bake_reads(printed, newest_buildx, project)
        return {name.split("_")[1] for name in default}

    assert asked("base") == {"base"}
    assert asked("base", "runtime") == {"runtime"}
    assert asked("--all") == {"runtime", "cudnn", "lonely"}
    assert asked("--all", "--push") == {"runtime", "cudnn"} | ({"lonely"} if publish == "true" else set())


def test_targets_that_contexts_name_come_along(project: Path) -> None:
    (project / "manifest" / "tools.yml").write_text(
        "image: tools\nplatforms: [linux/amd64]\nreleases:\n"
        '  tool: {from: "tiny:1", tags: [tool]}\n'
        '  user: {from: "tiny:1", tags: [user], contexts: {tool: "target:tools_tool"}}\n'
    )
    for name in ("tool", "user"):
        (project / "templates" / f"{name}.Dockerfile.j2").write_text("FROM {{ parent }}\n")
    outcome = run(project, ["generate"])
    assert outcome.code == 0, outcome.text()

    assert targets_in(run(project, ["build", "user", "--dry-run"]).stdout) == {"tools_tool", "tools_user"}


@pytest.mark.parametrize("touched", ["base", "runtime"])
def test_only_files_of_the_selection_must_be_current(project: Path, touched: str) -> None:
    (project / "generated" / "app" / "debian" / touched / "Dockerfile").write_text("FROM scratch\n")

    assert run(project, ["build", "--dry-run", "base"]).code == (touched == "base")
    assert run(project, ["build", "--dry-run", "runtime", "alpine"]).code == 0
    outcome = run(project, ["build", "--dry-run", "runtime"])
    assert outcome.code == 1
    assert f"generated/app/debian/{touched}/Dockerfile [stale-output]" in outcome.stderr


@pytest.mark.parametrize("words", [[], ["--push"], ["--dry-run"]])
def test_without_a_selection_it_says_what_there_is(project: Path, words: Sequence[str]) -> None:
    outcome = run(project, ["build", *words])

    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr.endswith(
        "Error: select what to build, or use --all for everything:\n"
        "  images:   app\n  releases: base, runtime, cudnn\n  groups:   slim\n"
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--all", "--push", "--load"], 2, "--push and --load cannot be combined"),
        (["runtime", "--pythn", "3.9"], 2, 'No such option: --pythn (did you mean "--python"?)'),
        (["--python-version", "4"], 1, 'unknown python "4"'),
        (["runtime", "--platform", "linux/s390x"], 1, "no selected target is built for linux/s390x"),
        (["alpine", "--platform", "linux/arm64"], 1, "available: linux/amd64"),
        (["base", "--load"], 1, "nothing to load"),
        (["runtime", "--load"], 1, "use --platform linux/amd64"),
        (["runtime", "--metadata-file", "missing/made.json"], 1, "its folder does not exist [cannot-write]"),
        (["runtime", "--metadata-file", "manifest"], 1, "manifest: it exists and is not a file [cannot-write]"),
        (["runtime", "--metadata-file", "x" * 300], 1, "File name too long [cannot-write]"),
    ],
)
def test_what_cannot_be_built_is_said_before(project: Path, words: Sequence[str], code: int, message: str) -> None:
    outcome = run(project, ["build", *words])

    assert (outcome.code, outcome.stdout) == (code, "")
    assert message in outcome.stderr


def test_one_platform_can_be_loaded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(project, ["build", "runtime", "alpine", "--load", "--dry-run"]).code == 0
    assert run(project, ["build", "runtime", "--load", "--dry-run", "--platform", "linux/arm64"]).code == 0
    monkeypatch.setenv("BAKEGEN_PLATFORMS", "linux/amd64")
    assert run(project, ["build", "runtime", "--load", "--dry-run"]).code == 0


# --- what docker answers ---


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ("ERROR: permission denied while trying to connect to the Docker daemon socket at unix:///x", "denied", "usermod"),
        ("Name: x\nError:   Cannot connect to the Docker daemon at unix:///x.", "Cannot connect", "systemctl start"),
        ('ERROR: no builder "x" found', 'no builder "x" found', "buildx ls"),
        ("ERROR: something else", "something else", "buildx inspect"),
        ("unknown flag: --x\n\nUsage:  docker", "unknown flag: --x", "buildx inspect"),
        ("", "no error message", "buildx inspect"),
    ],
)  # fmt: skip
def test_what_docker_complains_of_is_told_with_a_way_out(said: str, message: str, hint: str) -> None:
    [problem] = no_engine(said).problems

    assert problem.code == "no-docker"
    assert message in problem.message
    assert "\n" not in problem.message
    assert hint in problem.hint


def listed(node: str, reference: str, microseconds: int, status: str = "Completed") -> tuple[Key, BuildRecord]:
    """A record as `docker buildx history ls` prints it."""
    end = {} if status == "Running" else {"completed_at": f"2026-01-01T00:00:00.{microseconds:06}789Z"}
    line = {"created_at": "2026-01-01T00:00:00Z", "status": status, "total_steps": 9, "cached_steps": 4, **end}
    return parse_record(json.dumps({"ref": f"farm/{node}/{reference}", "name": "app", **line}))


def test_a_record_of_a_build_tells_how_it_went() -> None:
    assert listed("farm0", "x", 250_000) == (
        ("farm0", "x"),
        BuildRecord(
            "completed", datetime(2026, 1, 1, tzinfo=UTC), timedelta(microseconds=250_000), steps=9, cached_steps=4
        ),
    )
    assert listed("farm0", "x", 1, "Error")[1].status == "failed"
    assert listed("farm0", "x", 0, "Running")[1].duration == timedelta(0)


@pytest.mark.parametrize("kept", [30, 50, 51, 100, 1000])
@pytest.mark.parametrize("nodes", [1, 2])
def test_all_records_are_found_however_few_are_listed_at_once(kept: int, nodes: int) -> None:
    random = Random(kept)
    history = [
        listed(f"farm{node}", f"{node}-{number}", random.choice((number, random.randrange(10**6))))
        for node in range(nodes)
        for number in range(kept)
    ]
    random.shuffle(history)
    asked = 0

    def page(filters: Sequence[str]) -> list[tuple[Key, BuildRecord]]:
        nonlocal asked
        asked += 1
        found: dict[str, list[tuple[Key, BuildRecord]]] = {}
        for key, record in history:
            duration = record.duration // timedelta(microseconds=1) * 1000
            bounds = [re.fullmatch(r"duration([<>])(\d+)ns", one) for one in filters]
            if all(one and (duration < int(one[2])) is (one[1] == "<") for one in bounds):
                found.setdefault(key[0], []).append((key, record))
        return [one for records in found.values() for one in records[:50]]

    assert dict(list_records(page, [key for key, _ in history])) == dict(history)
    assert asked <= 1 + kept / 15


def test_records_that_nobody_has_are_not_looked_for_for_ever() -> None:
    same = [listed("farm0", str(number), 7) for number in range(50)]

    assert dict(list_records(lambda _: same, [("farm0", "lost")])) == dict(same)


# --- on the engine ---


@pytest.fixture
def family(tmp_path: Path, registry: str) -> tuple[Path, str]:
    """A three-level family whose base is not published, under a name of its own."""
    root = tmp_path / "family"
    root.mkdir()
    image = make_project(root, registry, publish="false")
    template = root / "templates" / "Dockerfile.j2"
    template.write_text(f"{template.read_text()}RUN echo {image} > /new\n")  # to no cache
    assert bakegen(root, "generate").returncode == 0
    return root, image


def digest_of(reference: str, cwd: Path) -> str:
    words = ["docker", "buildx", "imagetools", "inspect", reference, "--format", "{{json .Manifest}}"]
    digest: str = json.loads(shell(*words, cwd=cwd))["digest"]
    return digest


def bakegen(root: Path, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run bakegen in a process of its own, as its child writes to the terminal by itself."""
    command = [sys.executable, "-m", "bakegen", *words]
    return subprocess.run(
        command, cwd=root, env={**os.environ, **(env or {})}, text=True, capture_output=True, check=False
    )


@engine
def test_a_selection_is_pushed_and_nothing_else(family: tuple[Path, str], registry: str) -> None:
    root, image = family

    first = bakegen(root, "build", "runtime", "--flavours", "sweet", "--push", "--format", "json")
    assert first.returncode == 0, first.stderr
    [row] = json.loads(first.stdout)

    assert tags_in(registry, image) == {"1.0-sweet"}
    reference = f"{registry}/{image}:1.0-sweet"
    assert row == {
        "target": f"{image}_runtime_sweet",
        "result": "pushed",
        "seconds": row["seconds"],
        "steps": row["steps"],
        "cached_steps": row["cached_steps"],
        "platforms": ["linux/amd64", "linux/arm64", "linux/ppc64le"],
        "digest": digest_of(reference, root),
        "tags": [reference],
    }
    assert 0 < row["seconds"] < 600
    assert 0 <= row["cached_steps"] < row["steps"]
    assert platforms_of(reference, root) == set(row["platforms"])

    again = bakegen(root, "build", image, "--push", "--platform", "linux/amd64")
    assert again.returncode == 0, again.stderr
    assert tags_in(registry, image) == {"1.0-plain", "1.0-sweet", "app-1.0-plain", "app-1.0-sweet"}
    head, *lines = again.stdout.splitlines()
    assert head.split() == ["TARGET", "RESULT", "SECONDS", "CACHED", "PLATFORMS", "DIGEST", "TAGS"]
    rows = [line.split() for line in lines]
    assert [cells[0] for cells in rows] == [
        f"{image}_{release}_{flavour}" for release in ("runtime", "app") for flavour in ("plain", "sweet")
    ]
    done = {tag: int(steps.partition("/")[2]) - int(steps.partition("/")[0]) for _, _, _, steps, _, _, tag in rows}
    for _, result, _, _, platforms, digest, tag in rows:
        assert (result, platforms) == ("pushed", "linux/amd64")
        assert digest == digest_of(tag, root)
        assert tag == reference or done[tag] > done[reference], "the image of the first build came from the cache"


@engine
def test_the_dry_run_prints_what_bake_reads(family: tuple[Path, str], oldest_buildx: Path, newest_buildx: Path) -> None:
    root, image = family
    dry = bakegen(root, "build", "app", "plain", "--push", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    for buildx in (oldest_buildx, newest_buildx):
        done = subprocess.run(
            [buildx, "bake", "--print", "-f", "-"], cwd=root, input=dry.stdout, text=True, capture_output=True, check=True
        )  # fmt: skip
        read = json.loads(done.stdout)
        assert read["group"]["default"]["targets"] == [f"{image}_app_plain"]
        assert list(read["target"]) == [f"{image}_{release}_plain" for release in ("app", "base", "runtime")]


@engine
def test_a_failing_step_names_its_target_and_leaves_earlier_tags(family: tuple[Path, str], registry: str) -> None:
    root, image = family
    assert bakegen(root, "build", "runtime", "plain", "--push", "--platform", HOST).returncode == 0
    reference = f"{registry}/{image}:1.0-plain"
    before = digest_of(reference, root)
    template = root / "templates" / "Dockerfile.j2"
    template.write_text(template.read_text() + "RUN echo oh no && exit 7\n")
    assert bakegen(root, "generate").returncode == 0

    done = bakegen(root, "build", "runtime", "--push", "--platform", HOST)

    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(rf"target {image}_(base|runtime)_(plain|sweet): failed to solve", done.stderr)
    assert digest_of(reference, root) == before
    assert tags_in(registry, image) == {"1.0-plain"}


@engine
def test_what_is_loaded_runs(family: tuple[Path, str], registry: str) -> None:
    root, image = family
    done = bakegen(root, "build", "app", "plain", "--load", "--platform", HOST)
    assert done.returncode == 0, done.stderr
    reference = f"{registry}/{image}:app-1.0-plain"
    assert reference in done.stdout
    printed = shell("docker", "run", "--rm", "--pull", "never", reference, cwd=root)
    assert printed.splitlines() == [
        *(f"{release} plain {HOST}" for release in ("base", "runtime", "app")),
        platform.machine(),
    ]
    assert tags_in(registry, image) == set()


@engine
def test_the_oldest_client_builds_and_owns_what_it_does_not_know(
    family: tuple[Path, str], registry: str, oldest_buildx: Path, tmp_path: Path
) -> None:
    root, image = family
    config = tmp_path / "config"
    shutil.copytree(os.environ["DOCKER_CONFIG"], config, ignore=shutil.ignore_patterns("cli-plugins", "buildx"))
    (config / "cli-plugins").mkdir()
    (config / "cli-plugins" / "docker-buildx").symlink_to(oldest_buildx)
    env = {"DOCKER_CONFIG": str(config)}

    done = bakegen(root, "build", "runtime", "plain", "--push", "--format", "json", env=env)

    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    reference = f"{registry}/{image}:1.0-plain"
    assert row["digest"] == digest_of(reference, root)
    assert (row["tags"], row["result"]) == ([reference], "pushed")
    assert [row[figure] for figure in ("seconds", "steps", "cached_steps")] == [None, None, None], "it has no history"
    assert tags_in(registry, image) == {"1.0-plain"}


@engine
def test_metadata_is_kept_where_asked_and_bake_is_told_more(family: tuple[Path, str], registry: str) -> None:
    root, image = family
    words = ["build", "base", "plain", "--platform", HOST, "--metadata-file", "made.json", "--no-cache"]
    done = bakegen(root, *words, "--", "--progress", "plain")

    assert done.returncode == 0, done.stderr
    assert "[internal] load build definition" in done.stderr
    assert list(json.loads((root / "made.json").read_text())) == [f"{image}_base_plain"]
    head, line = done.stdout.splitlines()
    assert head.split() == ["TARGET", "RESULT", "SECONDS", "CACHED", "PLATFORMS"]
    assert line.split()[:2] == [f"{image}_base_plain", "built"]
    assert tags_in(registry, image) == set()

    nothing_built = bakegen(root, *words, "--", "--print")
    assert json.loads(nothing_built.stdout)["group"], "the metadata of the build before is no news"


QUICK_AND_SLOW = """\
image: {image}
variables: {{FAILS: "no"}}
registries: ["{registry}/{image}"]
platforms: [{platform}]
from: "tiny:1"
template: Dockerfile.j2
dockerfile: "{{{{ release }}}}/Dockerfile"
args: {{FAILS: "{{{{ FAILS }}}}"}}
releases:
  quick: {{tags: [quick, newest]}}
  slow: {{tags: [slow]}}
"""


@pytest.fixture
def quick_and_slow(tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """Two images under a name of their own, which no engine keeps; a test chooses the commands that make them."""
    monkeypatch.setenv("BUILDX_NO_DEFAULT_LOAD", "1")
    root = tmp_path / "project"
    (root / "manifest").mkdir(parents=True)
    (root / "templates").mkdir()
    image = f"pair-{uuid.uuid4().hex[:8]}"
    (root / "manifest" / "app.yml").write_text(QUICK_AND_SLOW.format(image=image, registry=registry, platform=HOST))
    set_commands(root, "true", "true")
    return root, image


def set_commands(root: Path, quick: str, slow: str) -> None:
    """Choose the commands that make the images, and let no cache have them."""
    steps = f'{{% if release == "slow" %}}{slow}{{% else %}}{quick}{{% endif %}} # {uuid.uuid4()}'
    (root / "templates" / "Dockerfile.j2").write_text(
        f"FROM {{{{ parent }}}}\nARG FAILS=no\nRUN --network=none {steps}\n"
    )
    assert run(root, ["generate"]).code == 0


@engine
def test_two_runs_at_once_tell_their_own_results(quick_and_slow: tuple[Path, str]) -> None:
    """The same targets, and the slow one fails in one of the runs."""
    root, image = quick_and_slow
    set_commands(root, "sleep 1; echo $FAILS", "sleep 3; test $FAILS = no")
    variable = f"{image.upper().replace('-', '_')}_FAILS"
    command = [sys.executable, "-m", "bakegen", "build", "--all", "--quiet"]
    runs = [
        subprocess.Popen(
            command, cwd=root, env={**os.environ, variable: fails}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for fails in ("no", "yes", "no")
    ]  # fmt: skip
    told = [process.communicate() for process in runs]

    assert [process.returncode for process in runs] == [0, 1, 0], told
    for printed, problems in told[::2]:
        rows = [line.split() for line in printed.splitlines()]
        assert [row[:2] for row in rows[1:]] == [[f"{image}_quick", "built"], [f"{image}_slow", "built"]], problems
        assert float(rows[2][2]) >= 3
    failed = {line.split()[0]: line.split()[1] for line in told[1][1].splitlines()[-2:]}
    assert failed == {f"{image}_quick": "built", f"{image}_slow": "failed"}


@engine
def test_an_interrupt_tells_which_tags_were_pushed(quick_and_slow: tuple[Path, str], registry: str) -> None:
    root, image = quick_and_slow
    set_commands(root, "true", "sleep 600")
    process = subprocess.Popen(
        [sys.executable, "-m", "bakegen", "build", "--all", "--push", "--quiet"],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: tags_in(registry, image) == {"quick", "newest"} or process.poll() is not None)
    time.sleep(1)  # until BuildKit has written down that it is pushed
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    printed, problems = process.communicate(timeout=60)

    assert (process.returncode, printed) == (128 + signal.SIGINT, "")
    assert time.monotonic() - began < 10
    rows = {line.split()[0]: line.split()[1:] for line in problems.splitlines()[-2:]}
    assert rows[f"{image}_quick"][0] == "pushed"
    assert rows[f"{image}_quick"][-2:] == [f"{registry}/{image}:quick,", f"{registry}/{image}:newest"]
    assert rows[f"{image}_slow"][0] == "canceled"
    assert tags_in(registry, image) == {"quick", "newest"}


@engine
def test_more_builds_than_buildx_lists_are_told(quick_and_slow: tuple[Path, str]) -> None:
    root, image = quick_and_slow
    numbers = [str(number) for number in range(51)]
    (root / "manifest" / "app.yml").write_text(
        f"image: {image}\nplatforms: [{HOST}]\nfrom: scratch\naxes: {{n: {json.dumps(numbers)}}}\n"
        'template: Dockerfile.j2\nreleases: {many: {tags: ["{{ n }}"], publish: false}}\n'
    )
    (root / "templates" / "Dockerfile.j2").write_text("FROM {{ parent }}\n")
    assert run(root, ["generate"]).code == 0

    done = bakegen(root, "build", "--all", "--format", "json")

    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["target"] for row in rows] == [f"{image}_many_n{number}" for number in numbers]
    assert None not in [row["seconds"] for row in rows]


@engine
@pytest.mark.parametrize("columns", [60, 300])
def test_the_summary_fits_the_terminal(quick_and_slow: tuple[Path, str], registry: str, columns: int) -> None:
    root, image = quick_and_slow
    shown = on_terminal(
        *(sys.executable, "-m", "bakegen", "-C", str(root), "build", "--all", "--push", "--quiet"), COLUMNS=str(columns)
    )

    lines = shown.splitlines()
    assert max(len(line) for line in lines if "sha256:" not in line) <= columns
    if columns == 60:
        assert [lines[0], lines[7 if len(lines) == 13 else 8]] == [f"{image}_quick", f"{image}_slow"]
        assert lines[1] == "  result     pushed"
        assert f"  tags       {registry}/{image}:quick," in lines
        assert f"             {registry}/{image}:newest" in lines
    else:
        assert lines[0].split()[:2] == ["TARGET", "RESULT"]
        assert len(lines) == 3


def commands() -> Iterator[tuple[int, list[str]]]:
    """The processes of this machine, those in containers included, and their words."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                yield int(folder.name), (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")


def processes(word: str) -> list[int]:
    """The processes that run something with `word`."""
    return [number for number, words in commands() if word in words]


def bakes(scratch: Path) -> list[int]:
    """The processes that are a bake whose scratch folders lie in a folder."""
    mine = [(number, words) for number, words in commands() if any(str(scratch) in word for word in words)]
    return [number for number, words in mine if words[0].endswith("docker-buildx")]


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class Interrupted:
    """A push that takes ten minutes, in a process group of its own."""

    def __init__(self, family: tuple[Path, str], scratch: Path) -> None:
        root, self.image = family
        self.sleep = f"{600 + os.getpid() % 100}.{time.monotonic_ns()}"
        template = root / "templates" / "Dockerfile.j2"
        template.write_text(f"{template.read_text()}RUN sleep {self.sleep}\n")
        assert bakegen(root, "generate").returncode == 0
        scratch.mkdir()
        self.root, self.scratch, self.before = root, scratch, tree(root)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bakegen", "build", "runtime", "plain", "--push", "--platform", HOST],
            cwd=root,
            env={**os.environ, "TMPDIR": str(scratch)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def plugins(self) -> list[int]:
        """The processes that are bake itself."""
        return bakes(self.scratch)

    def end(self, number: signal.Signals, registry: str, *, to_group: bool = False) -> None:
        """Interrupt it; nothing is left, and nothing comes later."""
        (os.killpg if to_group else os.kill)(self.process.pid, number)
        printed, _ = self.process.communicate(timeout=60)

        assert self.process.returncode == 128 + number, printed
        assert self.plugins() == []
        wait_for(lambda: not processes(self.sleep), 30)
        assert list(self.scratch.iterdir()) == []
        assert tree(self.root) == self.before
        assert tags_in(registry, self.image) == set()


@engine
@pytest.mark.parametrize(
    ("number", "to_group"), [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)],
    ids=["SIGINT", "Ctrl-C", "SIGTERM"],
)  # fmt: skip
def test_an_interrupt_stops_bake_and_leaves_nothing(
    family: tuple[Path, str], registry: str, tmp_path: Path, number: signal.Signals, to_group: bool
) -> None:
    build = Interrupted(family, tmp_path / "scratch")
    wait_for(lambda: bool(processes(build.sleep)) or build.process.poll() is not None)
    assert any(build.scratch.iterdir())

    build.end(number, registry, to_group=to_group)


@engine
def test_an_interrupt_stops_a_bake_that_is_just_beginning(
    family: tuple[Path, str], registry: str, tmp_path: Path
) -> None:
    """Docker then loses sight of its plugin, which would go on and push."""
    build = Interrupted(family, tmp_path / "scratch")
    wait_for(lambda: bool(build.plugins()) or build.process.poll() is not None)

    build.end(signal.SIGTERM, registry)


@engine
@pytest.mark.parametrize(
    ("env", "words", "message"),
    [
        ({"DOCKER_HOST": "unix:///nowhere/docker.sock"}, [], "Cannot connect to the Docker daemon at unix:///nowhere"),
        ({}, ["--builder", "nobody"], 'no builder "nobody" found'),
    ],
    ids=["no engine", "no builder"],
)
def test_an_engine_that_is_not_there_is_told(
    family: tuple[Path, str], env: Mapping[str, str], words: Sequence[str], message: str
) -> None:
    done = bakegen(family[0], "build", "runtime", *words, env=env)

    assert (done.returncode, done.stdout) == (1, "")
    assert f"docker cannot build here: {message}" in done.stderr
    assert "[no-docker]" in done.stderr


@engine
def test_a_socket_that_may_not_be_used_is_told(family: tuple[Path, str]) -> None:
    root, _ = family
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        file = Path(folder, "docker.sock")
        listener.bind(str(file))
        file.chmod(0)
        # Root may use every socket, unless it gives that up.
        plain = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        done = subprocess.run(
            [*plain, sys.executable, "-m", "bakegen", "build", "runtime"],
            cwd=root,
            env={**os.environ, "DOCKER_HOST": f"unix://{file}"},
            text=True,
            capture_output=True,
            check=False,
        )

    assert done.returncode == 1, done.stderr
    assert "permission denied" in done.stderr
    assert "usermod" in done.stderr
