"""The rooms keep to the order of the table in CONTRIBUTING.md, and the command line starts without the heavy ones."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bakegen"
FILES = [file for file in PACKAGE.rglob("*.py") if file.name != "__init__.py" or file.parent == PACKAGE]
MODULES = {".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in FILES}
HEAVY = {"jinja2", "yaml", "networkx", "jsonschema", "hcl2", "packaging", "dotenv", "boto3"}


def rooms() -> list[str]:
    """The folders and modules at the top of the package, in the order of the table."""
    return re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)


def room(module: str) -> str:
    return module.partition(".")[0]


def imports(name: str) -> Iterator[tuple[str, int]]:
    """The modules of bakegen that a module imports anywhere, unless for its types only, and the lines that do."""
    stack: list[ast.AST] = [ast.parse(MODULES[name].read_text())]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            stack += node.orelse
            continue
        stack += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}.py:{node.lineno}: a relative import"
            package, _, module = (node.module or "").partition(".")
            if package == "bakegen":
                inside = [".".join(filter(None, (module, alias.name))) for alias in node.names]
                for found in {module, *inside} & MODULES.keys():  # else a name of the package itself
                    yield found, node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("bakegen."):
                    yield alias.name.removeprefix("bakegen."), node.lineno


def test_every_room_is_listed_once() -> None:
    assert sorted(rooms()) == sorted({room(name) for name in MODULES} - {"__init__", "__main__"})


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"__init__", "__main__"}))
def test_imports_point_up_the_list(name: str) -> None:
    order = rooms()
    allowed = {*order[: order.index(room(name)) + 1], "__init__"}

    assert [f"{name}.py:{line} imports {module}" for module, line in imports(name) if room(module) not in allowed] == []


def test_no_modules_import_each_other() -> None:
    edges = nx.DiGraph((name, module) for name in MODULES for module, _ in imports(name))

    assert list(nx.simple_cycles(edges)) == []


@pytest.mark.parametrize(
    ("sentence", "libraries"),
    [("Processes are started", "subprocess"), ("The network is asked", r"urllib\.request|boto3")],
)
def test_the_edges_are_where_the_design_says(sentence: str, libraries: str) -> None:
    told = re.search(rf"^- {sentence} by (.+?)(;|\. |\.$)", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE)
    assert told
    imported = re.compile(rf"^ *import ({libraries})\b", re.MULTILINE)

    assert sorted(re.findall(r"`([\w.]+)`", told[1])) == sorted(
        name for name, file in MODULES.items() if imported.search(file.read_text())
    )


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["generate", "--help"], ["builder", "create", "--help"]], ids=" ".join
)
def test_the_command_line_starts_light(words: list[str]) -> None:
    script = (
        "import sys\nfrom bakegen.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], text=True, capture_output=True, check=True)

    assert "typer" in done.stderr.split()
    assert not HEAVY & set(done.stderr.split())


def test_importing_the_package_costs_nothing() -> None:
    script = "import sys; before = set(sys.modules); import bakegen; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, check=True)

    assert {name.partition(".")[0] for name in done.stdout.split()} <= {"bakegen", *sys.stdlib_module_names}
