"""The results of a run: rows for a table or JSON, text for people, JUnit XML for CI systems.

The XML is what the widely used schema of Jenkins accepts (xunit-plugin, junit-10.xsd).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from bakegen.testing.verdict import Failure, Result

COLUMNS = ("target", "platform", "check", "result", "seconds")
Row = dict[str, Any]


def result_rows(results: Iterable[Result]) -> list[Row]:
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


def failure_lines(result: Result) -> Iterator[str]:
    """Yield the lines that explain why a check has failed."""
    yield f"FAILED {_title(result)}"
    for failure in result.failures:
        yield from (f"  {line}" for line in _failure_lines(failure))


def junit(results: Sequence[Result]) -> bytes:
    """Return the results as JUnit XML: a suite for each target, a case for each check on each platform."""
    suites: dict[str, list[Result]] = {}
    for result in results:
        suites.setdefault(result.target, []).append(result)
    root = ET.Element("testsuites", {"name": "bakegen", **_sums(results)})
    for target, cases in suites.items():
        suite = ET.SubElement(root, "testsuite", {"name": _valid(target), **_sums(cases)})
        several = len({case.references for case in cases if case.platform}) > 1
        for case in cases:
            name = " ".join(filter(None, (case.platform, case.check, case.references[0] if several else "")))
            attributes = {"name": _valid(name), "classname": _valid(target), "time": f"{case.seconds:.3f}"}
            element = ET.SubElement(suite, "testcase", attributes)
            for failure in case.failures:
                attributes = {"message": _valid(failure.lines[0]), "type": _valid(case.check)}
                ET.SubElement(element, "failure", attributes).text = _valid("\n".join(_failure_lines(failure)))
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def _failure_lines(failure: Failure) -> Iterator[str]:
    yield from failure.lines
    if failure.command:
        yield f"$ {failure.command}"


def _title(result: Result) -> str:
    return " ".join(filter(None, (result.target, result.platform, result.check)))


def _sums(results: Sequence[Result]) -> dict[str, str]:
    failed = sum(bool(result.failures) for result in results)
    seconds = sum(result.seconds for result in results)
    return {"tests": str(len(results)), "failures": str(failed), "errors": "0", "time": f"{seconds:.3f}"}


def _valid(text: str) -> str:
    """Return text without what XML 1.0 has no way to write (https://www.w3.org/TR/xml/#charsets)."""
    return "".join(c if c in "\t\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)
