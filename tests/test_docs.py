"""The documents do not lie: their commands are run, their files are written, their links are followed.

In every document, `<!-- file: PATH -->` before a fenced block means that PATH holds it, `<!-- output: PATH -->` that
bakegen makes it, and `<!-- exit: N -->` that the last command of the console block below ends with N. A line `…`
stands for any number of lines, `…` within a line for any text. `<!-- new project -->` starts over in an empty folder.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import reference
from harness import run
from typer import Typer

from bakegen.cli import app
from bakegen.errors import BakegenError
from bakegen.graph.select import FIXED_KEYS
from bakegen.manifest.schema import check_schema
from bakegen.source.resources import schema_of
from bakegen.source.yaml import Source, parse_source

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKING = sorted(
    file
    for file in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in file.relative_to(ROOT).parts) and "node_modules" not in file.parts
)
BUILDX = os.environ.get("BAKEGEN_BUILDX_NEWEST")
SKIPPED = "…"

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the comment right before it, and its lines, which begin at `start`."""

    language: str
    mark: str
    lines: tuple[str, ...]
    start: int


def blocks(text: str) -> Iterator[Block | str]:
    """Yield the fenced blocks of a document, and the comments that stand alone, in order."""
    lines = text.splitlines()
    at, mark = 0, ""
    while at < len(lines):
        comment = re.fullmatch(r"<!-- (.+) -->", lines[at])
        fence = re.fullmatch(r"```(\w*)", lines[at])
        if fence:
            end = lines.index("```", at + 1)
            yield Block(fence[1], mark, tuple(lines[at + 1 : end]), at + 1)
            at = end
        elif comment and not lines[at + 1].startswith("```"):
            yield comment[1]
        mark = comment[1] if comment else ""
        at += 1


def agree(shown: Sequence[str], real: Sequence[str]) -> bool:
    """Whether `real` is what is shown, where a line `…` stands for any number of lines, and `…` in one for any text."""
    parts: list[list[str]] = [[]]
    for line in shown:
        if line.strip() == SKIPPED:
            parts.append([])
        else:
            parts[-1].append(line)
    first, *others = parts
    if not others:
        return alike(first, real)
    *middle, last = others
    at, end = len(first), len(real) - len(last)
    for part in middle:
        found = next((here for here in range(at, end) if alike(part, real[here : here + len(part)])), None)
        if found is None:
            return False
        at = found + len(part)
    return at <= end and alike(first, real[: len(first)]) and alike(last, real[end:])


def alike(shown: Sequence[str], real: Sequence[str]) -> bool:
    """Whether lines are those that are shown, one by one."""
    return len(shown) == len(real) and all(
        re.fullmatch(".*".join(map(re.escape, left.split(SKIPPED))), right)
        for left, right in zip(shown, real, strict=True)
    )


def expect_same(shown: str, real: str, where: str = "") -> None:
    """Fail with the difference of two texts (an assertion would cut it short)."""
    lines = difflib.unified_diff(shown.splitlines(), real.splitlines(), "shown", "real", lineterm="")
    if difference := "\n".join(lines):
        pytest.fail(f"{where}\n{difference}", pytrace=False)


def bakes(root: Path, command: str) -> tuple[str, int]:
    """Run `[NAME=VALUE…] docker buildx bake … --print`; return the bake definition, or the error."""
    assert BUILDX
    words = shlex.split(command)
    settings = dict(word.split("=", 1) for word in words[: words.index("docker")])
    env = {name: value for name, value in os.environ.items() if not name.startswith("BAKEGEN_")} | settings
    rest = words[words.index("docker") + 2 :]
    done = subprocess.run([BUILDX, *rest], cwd=root, env=env, text=True, capture_output=True, check=False)
    errors = [line for line in done.stderr.splitlines(keepends=True) if line.startswith("ERROR")]
    return done.stdout + "".join(errors), done.returncode


def says(root: Path, command: str) -> tuple[str, int] | None:
    """Run one command of a document; None if this machine cannot."""
    words = shlex.split(command)
    if words[0] == "bakegen":
        outcome = run(root, words[1:])
        return outcome.stdout + outcome.stderr, outcome.code
    assert re.match(r"([A-Z_]+=\S+ )*docker buildx bake .*--print", command), f"documents run no `{command}`"
    if not BUILDX:
        assert not os.environ.get("CI"), "CI must have buildx"
        return None
    return bakes(root, command)


def replay(text: str, folder: Path) -> str:
    """Return a document with the output that its commands and files really have."""
    lines = text.splitlines()
    new = list(lines)
    shift = project = 0

    def put(start: int, shown: Sequence[str], real: Sequence[str]) -> None:
        nonlocal shift
        if agree(shown, real):
            return
        if any(SKIPPED in line for line in shown):
            expect_same("\n".join(shown), "\n".join(real), f"from line {start + 1} on, where lines are skipped")
        new[start + shift : start + shift + len(shown)] = real
        shift += len(real) - len(shown)

    root = folder / "0"
    (root / "manifest").mkdir(parents=True)
    for block in blocks(text):
        if isinstance(block, str):
            if block == "new project":
                project += 1
                root = folder / str(project)
                (root / "manifest").mkdir(parents=True)
            continue
        kind, _, value = block.mark.partition(": ")
        if kind == "file":
            (root / value).parent.mkdir(parents=True, exist_ok=True)
            (root / value).write_text("".join(f"{line}\n" for line in block.lines))
        elif kind == "output":
            outcome = run(root, ["generate"])
            assert outcome.code == 0, outcome.text()
            put(block.start, block.lines, (root / value).read_text().splitlines())
        elif block.language == "console":
            starts = [index for index, line in enumerate(block.lines) if line.startswith("$ ")]
            for at, end in pairwise([*starts, len(block.lines)]):
                said = says(root, block.lines[at].removeprefix("$ "))
                if said is None:
                    continue
                expected = int(value) if kind == "exit" and end == len(block.lines) else 0
                assert said[1] == expected, f"{block.lines[at]}: exit {said[1]}\n{said[0]}"
                gap = 1 if end < len(block.lines) and block.lines[end - 1] == "" else 0  # between two commands
                put(block.start + at + 1, block.lines[at + 1 : end - gap], said[0].splitlines())
    return "".join(f"{line}\n" for line in new)


@each_document
def test_commands_and_files_of_a_document_are_real(document: Path, tmp_path: Path, update_golden: bool) -> None:
    written = document.read_text()
    real = replay(written, tmp_path)
    if update_golden and real != written:
        document.write_text(real)
        written = real

    expect_same(written, real)


@pytest.mark.parametrize(
    "document",
    [file for file in DOCUMENTS if file.name not in {"ci.md", "migrating-from-manager.md"}],  # they have own tests
    ids=lambda file: file.name,
)
def test_every_manifest_that_is_shown_is_read_by_a_command(document: Path) -> None:
    unread: dict[str, int] = {}
    for block in blocks(document.read_text()):
        kind, _, path = ("", "", "") if isinstance(block, str) else block.mark.partition(": ")
        if isinstance(block, str):
            assert not unread or block != "new project", unread
        elif kind == "file" and path.startswith("manifest/"):
            assert path not in unread, unread
            unread[path] = block.start
        elif kind == "output" or block.language == "console":
            unread = {}

    assert not unread


def test_each_example_of_the_manifest_page_has_at_most_ten_lines() -> None:
    text = (ROOT / "docs" / "manifest.md").read_text().partition(reference.MARK)[0]
    sizes = {
        block.start: len(block.lines)
        for block in blocks(text)
        if isinstance(block, Block) and block.mark.startswith("file: manifest/")
    }

    assert len(sizes) > 30
    assert {start: size for start, size in sizes.items() if size > 10} == {}


def test_the_reference_is_made_from_the_schema(update_golden: bool) -> None:
    file = ROOT / "docs" / "manifest.md"
    introduction, mark, written = file.read_text().partition(f"{reference.MARK}\n")
    assert mark
    made = f"\n{reference.reference()}"
    if update_golden:
        file.write_text(f"{introduction}{mark}{made}")
        written = made

    expect_same(written, made)


@each_document
def test_parts_of_manifests_fit_the_schema(document: Path) -> None:
    text = document.read_text().partition(reference.MARK)[0]  # tests/test_schema.py checks the examples of the schema
    for block in blocks(text):
        if isinstance(block, str) or block.language != "yaml" or block.mark.partition(":")[0] in {"file", "output"}:
            continue
        place = f"{document.name}:{block.start + 1}"
        try:
            source = parse_source("".join(f"{line}\n" for line in block.lines).encode(), place)
        except BakegenError as error:
            pytest.fail(str(error))
        problems = check_schema(
            Source(source.file, {"image": "example", **source.content}, source.places, source.lines)
        )
        assert not problems, (place, problems)


def commands_of(typer_app: Typer, before: str = "") -> Iterator[str]:
    """The commands of an application, and the commands that they have themselves, each with a space at its end."""
    for command in typer_app.registered_commands:
        yield f"{before}{command.name} "
    for group in typer_app.registered_groups:
        yield f"{before}{group.name} "
        assert group.typer_instance
        yield from commands_of(group.typer_instance, f"{before}{group.name} ")


def test_every_command_shows_its_help() -> None:
    shown = (ROOT / "docs" / "cli.md").read_text().splitlines()
    for command in ["", *commands_of(app)]:
        assert f"$ bakegen {command}--help" in shown


def test_every_key_of_selectors_is_told() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    table = re.findall(r"^\| `(\w+)=…` \|", text, re.MULTILINE)

    assert table == list(FIXED_KEYS)


def test_every_setting_is_told_to_combine_in_one_way() -> None:
    text = (ROOT / "docs" / "manifest.md").read_text()
    table = re.search(r"^## How settings combine\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert table
    told = re.findall(r"`([a-z-]+)`", "".join(line.split("|")[1] for line in table[1].splitlines() if line[:1] == "|"))
    schema = schema_of("manifest")
    own, release = schema["properties"], schema["$defs"]["release"]["properties"]

    assert sorted(told) == sorted(key for key in own if own[key] == release.get(key))


def test_the_first_page_lists_all_documents() -> None:
    text = (ROOT / "README.md").read_text()

    assert [file.name for file in DOCUMENTS[1:] if f"](docs/{file.name})" not in text] == []


def prose(file: Path) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", file.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(file: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(file), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", LINKING, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`(?!\])", "", prose(document))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), f"{link}: there is no {path}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: {target.name} has no such heading"


@pytest.mark.parametrize(
    ("shown", "real", "same"),
    [
        ("a b", "a b", True),
        ("a b", "a", False),
        ("a …", "a b c", True),
        ("a …", "a", True),
        ("… c", "a b c", True),
        ("… c", "a c b", False),
        ("a … c … e", "a b c d e", True),
        ("a … d … c … e", "a b c d e", False),
        ("a … a", "a", False),
        ("a b…d", "a bcd", True),
        ("a b…d", "a b", False),
    ],
)
def test_an_ellipsis_stands_for_any_lines(shown: str, real: str, same: bool) -> None:
    assert agree(shown.split(), real.split()) is same
