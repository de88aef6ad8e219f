"""Every promise of the threat model names tests, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "threat-model.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def promises() -> list[tuple[str, str]]:
    """Return the rows of the table of promises: what is promised, and the tests."""
    section = PAGE.split("\n## Promises\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [
        (promise.strip(), tests.strip())
        for promise, tests in rows
        if not promise.strip().startswith("**") and promise.strip() not in ("promise", "---")
    ]


@cache
def names_in(path: str) -> set[str]:
    """Return the names of the tests in a file, those in classes too."""
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize(("promise", "tests"), promises(), ids=[promise[:50] for promise, _ in promises()])
def test_a_promise_names_tests_that_exist(promise: str, tests: str) -> None:
    named = TEST.findall(tests)
    assert named, f"no test holds: {promise}"
    assert TEST.sub("", tests).strip(" ,") == "", f"not a list of tests: {tests}"
    for path, name in named:
        assert (REPOSITORY / path).is_file(), path
        assert name in names_in(path), f"{path} has no {name}"


def test_the_page_has_promises_of_every_part() -> None:
    assert len(promises()) > 30
    assert "docs/threat-model.md" in (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
