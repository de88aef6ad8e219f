"""The language of the product's code: docstrings that say what a thing does, in standard terms."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path
    for package in ("codec_core", "codec_agents")
    for path in (ROOT / package).rglob("*.py")
    if not path.name.endswith("_pb2.py")
)

BAD_BEGINNINGS = ("What ", "Who ", "Whether ", "Take note")
"""A docstring begins with a verb, or names the thing."""

BAD_WORDS = re.compile(r"\b(?:nobody|somebody|whoever)\b", re.IGNORECASE)
"""A reader has to ask which part of the program is meant."""


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


def words(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the text of each comment and string, and each name, with its line."""
    text = path.read_text(encoding="utf-8")
    if BAD_WORDS.search(text):  # few files have one, and reading tokens takes long
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        yield from ((token.start[0], token.string) for token in tokens)


def test_docstrings_begin_with_a_verb_or_name_the_thing() -> None:
    assert [
        f"{place(path)}:{line}: {text.splitlines()[0]}"
        for path in SOURCES
        for line, text in docstrings(path)
        if text.startswith(BAD_BEGINNINGS)
    ] == []


def test_no_sentence_speaks_of_unnamed_persons() -> None:
    assert [
        f"{place(path)}:{line}: {word[0]}"
        for path in SOURCES
        for line, text in words(path)
        for word in BAD_WORDS.finditer(text)
    ] == []
