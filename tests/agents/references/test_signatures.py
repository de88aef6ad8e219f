"""Signatures are read without their annotations."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from codec_agents.graph.arguments import argument_names
from codec_agents.references.signatures import signature_of


def test_an_annotation_may_name_what_only_a_type_checker_imports() -> None:
    if sys.version_info < (3, 14):
        pytest.skip("before Python 3.14, annotations are evaluated with the function, or are texts")
    made: dict[str, Any] = {}
    source = "def call(a: Missing, b: list[Missing] = ()) -> Missing: ..."
    exec(compile(source, "module", "exec", dont_inherit=True), made)  # annotations are no texts in it
    assert argument_names(made["call"]) == ["a"]
    assert list(signature_of(made["call"]).parameters) == ["a", "b"]


def test_a_decorated_function_may_be_asked_for_its_own() -> None:
    def inner(a: int) -> None: ...

    def outer(b: int) -> None: ...

    outer.__wrapped__ = inner  # type: ignore[attr-defined]
    assert list(signature_of(outer).parameters) == ["a"]
    assert list(signature_of(outer, follow_wrapped=False).parameters) == ["b"]
