# Tasks of bakegen's developers. `just` lists them; `just check` is what CI runs.

set shell := ["bash", "-euo", "pipefail", "-c"]

export PATH := justfile_directory() / ".venv/bin:" + env("PATH")

default:
    @just --list --unsorted

# install bakegen and the tools of its developers into .venv
setup:
    python3 -m venv .venv
    pip install --quiet --upgrade pip
    pip install --quiet --editable . --group dev

# format the code
fmt:
    ruff format .
    ruff check --fix .

# style, types and shell scripts
lint:
    ruff format --check .
    ruff check .
    mypy
    shellcheck .ci/engine .ci/run

# the tests; arguments go to pytest
test *args:
    pytest -n auto --dist worksteal {{ args }}

# everything that must hold before a commit lands
check: lint self test

# what this repository generates is current, and bake reads it as it was meant
self:
    bakegen generate --check
    bakegen verify

# write generated/ and docker-bake.hcl
gen:
    bakegen generate

# rewrite the expected outputs of the golden tests and the documents made from the code
golden:
    pytest -q tests/test_cases.py tests/test_errors.py tests/test_docs.py tests/test_metadata.py --update-golden || true
    pytest -q tests/test_cases.py tests/test_errors.py tests/test_docs.py tests/test_metadata.py

# the real engine and registry that the tests use: up, down, status
engine command="status":
    .ci/engine {{ command }}

# time whole processes on synthetic families
bench *args:
    python benchmarks/run.py {{ args }}

# change graph, render and bake in thousands of small ways, and name those that no test notices
mutate *names:
    pip install --quiet --group mutate
    mutmut run {{ names }}
    mutmut results | sed '/not checked/d'
