"""What others wrote may be nested without end: whatever parses it gives a typed error for that too."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import REPOSITORY

PARSERS = {("json", "loads"), ("json", "load"), ("yaml", "load"), ("yaml", "safe_load")}
METHODS = {"raw_decode"}

OWN = {
    "codec_agents/cli/demo/travel_models.py": "reads what its own tools return",
    "codec_agents/dialects/templates/template_process.py": "reads what its own worker writes",
    "codec_agents/dialects/templates/template_worker.py": "reads what its own parent writes",
    "codec_agents/scale/ray_actor.py": "reads what its own driver writes",
    "codec_agents/scale/ray_data.py": "reads what its own actors write",
    "codec_agents/server/apis/messages_answers.py": "reads arguments that were parsed, and are bounded",
    "codec_agents/tools/texts.py": "reads what it has written",
}
"""Files in which a call without the check reads what this project wrote, and why that is so."""


def unguarded(tree: ast.AST) -> Iterator[int]:
    """Yield the lines of calls of a parser that no `except RecursionError` is around."""

    def visit(node: ast.AST, guarded: bool) -> Iterator[int]:
        if isinstance(node, ast.Try):
            named = {each.id for handler in node.handlers for each in ast.walk(handler.type or handler)
                     if isinstance(each, ast.Name)}  # fmt: skip
            for child in node.body:
                yield from visit(child, guarded or "RecursionError" in named)
            for child in [*node.handlers, *node.orelse, *node.finalbody]:
                yield from visit(child, guarded)
            return
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not guarded:
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else None
            if (owner, node.func.attr) in PARSERS or node.func.attr in METHODS:
                yield node.lineno
        for child in ast.iter_child_nodes(node):
            yield from visit(child, guarded)

    yield from visit(tree, False)


def sources() -> Iterator[tuple[str, str]]:
    """Yield the files that name a parser, with their text."""
    for path in (
        path for part in ("codec_core", "codec_agents") for path in (REPOSITORY / part).rglob("*.py")
    ):
        text = path.read_text(encoding="utf-8")
        if any(word in text for word in ("json.load", "raw_decode", "yaml.")):
            yield path.relative_to(REPOSITORY).as_posix(), text


def test_every_parser_of_nested_text_gives_up_in_a_typed_way() -> None:
    found = {name: lines for name, text in sources() if (lines := list(unguarded(ast.parse(text))))}
    assert set(found) == set(OWN), found


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("json.loads(a)", [1]),
        ("try:\n    json.loads(a)\nexcept ValueError:\n    pass", [2]),
        ("try:\n    x.raw_decode(a)\nexcept (ValueError, RecursionError):\n    json.loads(b)", [4]),
    ],
)
def test_the_check_sees_what_is_missing(code: str, lines: list[int]) -> None:
    assert list(unguarded(ast.parse(code))) == lines
