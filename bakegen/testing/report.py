"""The results of a run: rows for a table or JSON, text for people, JUnit XML for CI systems.

The XML is what the widely used schema of Jenkins accepts (xunit-plugin, junit-10.xsd).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from bakegen.console import visible
from bakegen.testing.results import CheckFailure, CheckResult

_COLUMNS = ("target", "platform", "check", "result", "seconds")


def result_rows(results: Iterable[CheckResult]) -> list[dict[str, Any]]:
    """Return a row for each result."""
    return [
        {
            "target": result.target,
            "references": list(result.references),
            "platform": result.platform or None,
            "check": result.check,
            "result": "failed" if result.failures else "passed",
            "seconds": round(result.seconds, 1),
            "failures": [{"text": list(failure.lines), "command": failure.command} for failure in result.failures],
        }
        for result in results
    ]


def text_rows(results: Sequence[CheckResult]) -> list[dict[str, Any]]:
    """Return a row for each result, for people; a first tag tells apart the images of a target that has several."""
    several = _several_images(results)
    rows = []
    for result, row in zip(results, result_rows(results), strict=True):
        shown = {column: "-" if row[column] is None else row[column] for column in _COLUMNS}
        rows.append({**shown, "image": result.references[0]} if several else shown)
    return rows


def failure_blocks(results: Sequence[CheckResult]) -> Iterator[list[str]]:
    """Yield the lines that explain why a check has failed, for each that has."""
    several = _several_images(results)
    for result in results:
        if result.failures:
            lines = [f"  {line}" for failure in result.failures for line in _failure_lines(failure)]
            yield [f"FAILED {result.target} {_name(result, several)}", *lines]


def junit(results: Sequence[CheckResult]) -> bytes:
    """Return the results as JUnit XML: a suite for each target, a case for each check on each platform.

    What cannot be seen is spelt out: XML 1.0 has no way to write most of it (https://www.w3.org/TR/xml/#charsets).
    """
    suites: dict[str, list[CheckResult]] = {}
    for result in results:
        suites.setdefault(result.target, []).append(result)
    several = _several_images(results)
    root = ET.Element("testsuites", {"name": "bakegen", **_sums(results)})
    for target, cases in suites.items():
        suite = ET.SubElement(root, "testsuite", {"name": visible(target), **_sums(cases)})
        for case in cases:
            attributes = {
                "name": visible(_name(case, several)),
                "classname": visible(target),
                "time": f"{case.seconds:.3f}",
            }
            element = ET.SubElement(suite, "testcase", attributes)
            for failure in case.failures:
                attributes = {"message": visible(failure.lines[0]), "type": visible(case.check)}
                ET.SubElement(element, "failure", attributes).text = visible("\n".join(_failure_lines(failure)))
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def _failure_lines(failure: CheckFailure) -> Iterator[str]:
    yield from failure.lines
    if failure.command:
        yield f"$ {failure.command}"


def _several_images(results: Iterable[CheckResult]) -> set[str]:
    """Return the targets whose tags lead to different images."""
    images: dict[str, set[tuple[str, ...]]] = {}
    for result in results:
        if result.platform:
            images.setdefault(result.target, set()).add(result.references)
    return {target for target, found in images.items() if len(found) > 1}


def _name(result: CheckResult, several: Container[str]) -> str:
    """Return what tells a result apart from others of its target."""
    image = result.references[0] if result.target in several else ""
    return " ".join(filter(None, (result.platform, result.check, image)))


def _sums(results: Sequence[CheckResult]) -> dict[str, str]:
    failed = sum(bool(result.failures) for result in results)
    seconds = sum(result.seconds for result in results)
    return {"tests": str(len(results)), "failures": str(failed), "errors": "0", "time": f"{seconds:.3f}"}
