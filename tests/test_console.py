"""What a user sees: colours and moving lines on terminals only, talk that `--quiet` silences, nothing that hides."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import run

from bakegen.console import print_json, say, show_problems, warn
from bakegen.errors import BakegenError, Position, Problem, format_problem, printable
from bakegen.views.listing import table

TESTS = Path(__file__).parent
TEN_LINES = TESTS / "cases" / "ten-lines"
WRONG = TESTS / "errors" / "undefined-name"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TEN_LINES, tmp_path / "project"))


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    project = next(path for path in sorted(WRONG.iterdir()) if path.is_dir())
    return Path(shutil.copytree(project, tmp_path / "wrong"))


def on_terminal(*command: str, **environment: str) -> str:
    """What a command shows on a terminal."""
    main, end = pty.openpty()
    usual = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    child = subprocess.Popen(
        command, stdin=end, stdout=end, stderr=end, env={**usual, "TERM": "xterm", **environment}, close_fds=True
    )
    os.close(end)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(main)
    child.wait()
    return shown.decode().replace("\r\n", "\n")


def bakegen(*words: str) -> list[str]:
    return [sys.executable, "-m", "bakegen", *words]


def test_a_terminal_shows_colours_unless_they_are_unwanted(wrong: Path) -> None:
    command = bakegen("-C", str(wrong), "validate")
    plain = subprocess.run(command, text=True, capture_output=True, check=False).stderr
    coloured = on_terminal(*command)

    assert "\x1b[31m^~" in coloured
    assert "\x1b" not in plain
    assert on_terminal(*command, NO_COLOR="1") == plain
    assert on_terminal(*command, TERM="dumb") == plain


@pytest.mark.parametrize(
    "words", [["generate"], ["generate", "--check"], ["validate"], ["create-context", "redis-exporter"]]
)
def test_quiet_says_nothing_of_what_went_well(project: Path, words: list[str]) -> None:
    loud, quiet = run(project, words), run(project, [*words, "--quiet"])

    assert loud.stderr
    assert (quiet.stderr, quiet.code) == ("", 0)


def test_quiet_silences_neither_data_nor_problems(project: Path, wrong: Path) -> None:
    assert run(project, ["list", "-q"]).stdout == run(project, ["list"]).stdout
    assert run(wrong, ["validate", "-q"]) == run(wrong, ["validate"])


def test_quiet_is_for_one_run_only(project: Path) -> None:
    run(project, ["validate", "--quiet"])

    assert run(project, ["validate"]).stderr


@pytest.mark.parametrize("words", [["list"], ["list", "--format", "json"]])
def test_a_full_disk_is_told_and_closed_streams_are_not_written_to(project: Path, words: list[str]) -> None:
    command = " ".join(bakegen("-C", str(project), *words))
    full = subprocess.run(f"{command} >/dev/full", shell=True, text=True, capture_output=True, check=False)
    closed = subprocess.run(f"{command} >&- 2>&-", shell=True, text=True, capture_output=True, check=False)
    enough = subprocess.run(f"{command} | true", shell=True, text=True, capture_output=True, check=False)

    assert (full.returncode, full.stderr) == (
        1,
        (
            "cannot write to standard output: No space left on device [cannot-write]\n"
            "  = help: check the free space and the permissions\n"
        ),
    )
    assert closed.returncode == 0
    assert enough.stderr == ""


def test_an_interrupt_while_python_reads_us_is_no_traceback() -> None:
    interrupted = "import os, signal, sys; sys.meta_path.insert(0, type('', (), {'find_spec': lambda name, *_: "
    interrupted += "os.kill(os.getpid(), signal.SIGINT) if name == 'bakegen.cli' else None})); import bakegen.__main__"
    done = subprocess.run([sys.executable, "-c", interrupted], text=True, capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


PROGRESS = """
from bakegen.console import progress
with progress(2) as done:
    done("the first")
    done("the second, whose name is " + 100 * "long")
print("over")
"""


def test_progress_is_a_line_for_each_step() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRESS], text=True, capture_output=True, check=True)

    assert done.stderr.splitlines()[0] == "[1/2] the first"
    assert len(done.stderr.splitlines()) == 2
    assert done.stdout == "over\n"


def test_progress_on_a_terminal_is_one_line_that_goes_away() -> None:
    shown = on_terminal(sys.executable, "-c", PROGRESS, COLUMNS="40")
    first, second, last = shown.split("\r\x1b[K")[1:]

    assert first == "[1/2] the first"
    assert len(second) == 39
    assert last == "over\n"


def test_changes_are_data_too(project: Path) -> None:
    made = json.loads(run(project, ["generate", "--format", "json"]).stdout)
    assert "diff" not in made
    (project / "docker-bake.hcl").unlink()
    drifted = run(project, ["generate", "--check", "--format", "json"])
    changes = json.loads(drifted.stdout)

    assert drifted.code == 1
    assert changes["new"] == ["docker-bake.hcl"]
    assert changes["diff"].startswith("diff --git a/docker-bake.hcl b/docker-bake.hcl\nnew file mode 100644\n")


@pytest.mark.parametrize("words", [["validate", "--format", "json"], ["validate", "--format", "github"]], ids=" ".join)
def test_a_locale_without_the_characters_gets_them_spelt_out(words: list[str]) -> None:
    project = TESTS / "errors" / "invalid-tag" / "unicode"
    done = subprocess.run(
        bakegen("-C", str(project), *words),
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )

    assert (done.returncode, done.stderr) == (1, "")
    assert "caf\\u00e9" in done.stdout if "json" in words else "caf\\xe9" in done.stdout
    if "json" in words:
        assert "café" in json.loads(done.stdout)[1]["message"]


# --- characters that steer a terminal, turn text around or hide ---

STEERING = "\x1b[2J\x9b1m\u202egnp\u2066\u200b\ufeff"
SPELT = r"\x1b[2J\x9b1m\u202egnp\u2066\u200b\ufeff"
RAW = set(STEERING) - set("[2J1mgnp")
UNSEEN = "\x9b1m\u202egnp\u2066\u200b"  # of these, those that values may hold
UNSEEN_SPELT = r"\x9b1m\u202egnp\u2066\u200b"


@pytest.fixture
def unseen(tmp_path: Path) -> Path:
    """A project whose label and build arg hold characters that cannot be seen."""
    root = tmp_path / "unseen"
    (root / "manifest").mkdir(parents=True)
    (root / "templates").mkdir()
    (root / "manifest" / "app.yml").write_text(
        "image: app\nplatforms: [linux/amd64]\nregistries: [ghcr.io/acme/app]\nfrom: debian:12\ntags: [latest]\n"
        f"labels: {{note: {json.dumps(UNSEEN)}}}\nargs: {{NOTE: {json.dumps(UNSEEN)}}}\n"
    )
    (root / "templates" / "app.Dockerfile.j2").write_text("FROM {{ parent }}\nARG NOTE\n")
    return root


def test_a_line_of_text_shows_what_cannot_be_seen() -> None:
    assert printable(STEERING) == SPELT
    assert printable("plain, café, 日本, 🐳, e\u0301\tand tabs") == "plain, café, 日本, 🐳, e\u0301\tand tabs"
    assert printable("a\u00a0b\u2028c\ud800") == r"a\xa0b\u2028c\ud800"


def test_a_problem_shows_what_cannot_be_seen_in_its_place_its_message_its_line_and_its_hint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = Position(f"manifest/{STEERING}.yml", 1, 1)
    problem = Problem(code="wrong-value", message=STEERING, position=place, source=STEERING, hint=STEERING)
    show_problems([problem])
    said = capsys.readouterr().err

    assert said.count(SPELT) == 4
    assert not RAW & set(said)
    assert not RAW & set(str(BakegenError([problem])))


@pytest.mark.parametrize("talk", [say, warn])
def test_talk_shows_what_cannot_be_seen(talk: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    talk(f"a {STEERING}\nb")

    assert capsys.readouterr().err == f"a {SPELT}\nb\n"


@pytest.mark.parametrize(
    "words",
    [[f"--x{UNSEEN}"], [f"x{UNSEEN}"], ["list", f"-{UNSEEN}"], ["list", "--format", UNSEEN], ["build", f"--x{UNSEEN}"],
     ["builder", UNSEEN], ["-C", UNSEEN, "list"], ["init", UNSEEN], ["init", "app", "--releases", UNSEEN],
     ["init", "app", "--registry", UNSEEN], ["test", "--jobs", UNSEEN], ["schema", UNSEEN], ["schema", "images", UNSEEN]],
    ids=lambda words: " ".join(map(printable, words)),
)  # fmt: skip
def test_a_misused_command_line_shows_what_cannot_be_seen(project: Path, words: list[str]) -> None:
    outcome = run(project, words)

    assert outcome.code == 2
    assert not RAW & set(outcome.text())
    assert "Error: " in outcome.stderr


def test_progress_shows_what_cannot_be_seen() -> None:
    script = f"from bakegen.console import progress\nwith progress(1) as done:\n    done({STEERING!r})\n"
    shown = on_terminal(sys.executable, "-c", script).replace("\r\x1b[K", "")

    assert shown == f"[1/1] {SPELT}"


def test_a_table_shows_what_cannot_be_seen() -> None:
    assert table([{"name": STEERING, "size": 1}], ("name", "size")) == [
        f"NAME{' ' * (len(SPELT) - 4)}  SIZE",
        f"{SPELT}  1",
    ]


def test_json_keeps_what_cannot_be_seen_but_spells_it_out(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"name": STEERING, "more": ["\U000e0041", "café 🐳"]}
    print_json(data)
    printed = capsys.readouterr().out

    assert json.loads(printed) == data
    assert not RAW & set(printed)
    assert "café 🐳" in printed
    assert r"\udb40\udc41" in printed


@pytest.mark.parametrize(
    "words", ["explain app", "list tags", "build app --dry-run", "generate --diff", "validate --format github"]
)
def test_no_command_shows_a_terminal_what_cannot_be_seen(unseen: Path, words: str) -> None:
    shown = on_terminal(*bakegen("-C", str(unseen), *words.split()), NO_COLOR="1")

    assert not RAW & set(shown)
    assert "explain" not in words or shown.count(UNSEEN_SPELT) >= 2


def test_explain_shows_it_even_to_a_pipe_where_a_diff_stays_a_diff(unseen: Path) -> None:
    assert not RAW & set(run(unseen, ["explain", "app"]).stdout)
    run(unseen, ["generate"])
    (unseen / "generated" / "app" / "README.md").write_text(STEERING)

    assert STEERING in run(unseen, ["generate", "--diff"]).stdout
    assert SPELT in on_terminal(*bakegen("-C", str(unseen), "generate", "--diff"))


def test_a_file_name_shows_what_cannot_be_seen(unseen: Path) -> None:
    (unseen / "manifest" / "app.yml").rename(unseen / "manifest" / f"a{STEERING}\n.yml")
    for words in (["validate"], ["validate", "--format", "github"], ["validate", "--format", "json"], ["generate"]):
        outcome = run(unseen, words)
        assert outcome.code == 1
        assert not RAW & set(outcome.text())


def test_a_problem_of_a_very_long_line_costs_what_is_shown_of_it() -> None:
    line = "\t".join(["x" * 50] * 20_000)
    problems = [Problem(code="wrong-value", message="no", position=Position("a.yml", 1, at), source=line, length=10**6) for at in range(1, 2000)]  # fmt: skip
    start = time.process_time()

    shown = [format_problem(problem) for problem in problems]

    assert time.process_time() - start < 10
    assert max(map(len, shown)) < 500
