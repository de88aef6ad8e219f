"""Values as families write them in calls and declarations: JSON, Python literals, Gemma's own.

A string in a value is pieces already, texts and slots. In JSON and Python a slot is inside the quotes,
and what fills it is escaped id by id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from codec_agents.dialects.pieces import Hole, Literal, Marker, Piece


@dataclass(frozen=True, slots=True)
class Notation:
    """A notation of values.

    Fields:
        string: a string from its pieces.
        key: the key of an entry.
        between, colon: the text between entries, and behind a key.
        words: how true, false and null are spelled.
        is_sorted: whether the keys are sorted.
    """

    string: Callable[[Sequence[Piece]], list[Piece]]
    key: Callable[[str], str]
    between: str = ", "
    colon: str = ": "
    words: tuple[str, str, str] = ("true", "false", "null")
    is_sorted: bool = False


def write_value(value: Any, notation: Notation, string: Callable[[str], Sequence[Piece]]) -> list[Piece]:
    """Return the pieces of a value.

    Args:
        value: what JSON can hold.
        notation: how it is written.
        string: the pieces of one of its strings.
    """
    return list(_value(value, notation, string))


def _value(value: Any, notation: Notation, string: Callable[[str], Sequence[Piece]]) -> Iterator[Piece]:
    if isinstance(value, str):
        yield from notation.string(string(value))
    elif isinstance(value, Mapping):
        value = dict(sorted(value.items())) if notation.is_sorted else value
        keys = [f"{notation.key(key)}{notation.colon}" for key in value]
        yield from _entries("{", keys, value.values(), "}", notation, string)
    elif isinstance(value, (list, tuple)):
        yield from _entries("[", [""] * len(value), value, "]", notation, string)
    elif isinstance(value, bool) or value is None:
        yield Literal(notation.words[(True, False, None).index(value)])
    else:
        yield Literal(json.dumps(value))


def _entries(
    begin: str,
    heads: Sequence[str],
    values: Any,
    end: str,
    notation: Notation,
    string: Callable[[str], Sequence[Piece]],
) -> Iterator[Piece]:
    yield Literal(begin)
    for number, (head, value) in enumerate(zip(heads, values, strict=True)):
        yield Literal(f"{notation.between if number else ''}{head}")
        yield from _value(value, notation, string)
    yield Literal(end)


def write_elements(value: Any, mark: str, string: Callable[[str], Sequence[Piece]]) -> list[Piece]:
    """Return the pieces of a value whose parts are elements: tags behind a control token.

    Args:
        value: what JSON can hold; None, for which the form has no element, is written as nothing.
        mark: the control token.
        string: the pieces of one of its strings.
    """
    if isinstance(value, str):
        return list(string(value))
    if isinstance(value, Mapping):
        parts = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [("item", entry) for entry in value]
    else:
        return [Literal("" if value is None else json.dumps(value))]
    pieces: list[Piece] = []
    for name, entry in parts:
        pieces += [Marker(mark), Literal(f"<{name}>"), *write_elements(entry, mark, string)]
        pieces += [Marker(mark), Literal(f"</{name}>")]
    return pieces


def plain_string(text: str) -> Sequence[Piece]:
    """Return the pieces of a string in which braces have no meaning."""
    return [Literal(text)]


def json_text(text: str) -> str:
    """Return a text as a JSON string."""
    return json.dumps(text, ensure_ascii=False)


def attribute_text(text: str) -> str:
    """Return a text as the value of an XML attribute, without the quotes."""
    return text.replace("&", "&amp;").replace('"', "&quot;")


def json_type(value: Any) -> str:
    """Return the name of a value's JSON type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, Mapping):
        return "object"
    return "array" if isinstance(value, (list, tuple)) else "number"


def json_string(pieces: Sequence[Piece]) -> list[Piece]:
    """Return a JSON string of texts and slots."""
    quote: Piece = Literal('"')
    return [quote, *map(_inside_json, pieces), quote]


def _inside_json(piece: Piece) -> Piece:
    if isinstance(piece, Hole):
        return Hole(piece.name, in_json=True)
    assert isinstance(piece, Literal)
    return Literal(json_text(piece.text)[1:-1])


def _python_string(pieces: Sequence[Piece]) -> list[Piece]:
    """Quote as Python does; around slots as JSON does, whose strings Python reads as the same."""
    texts = [piece.text for piece in pieces if isinstance(piece, Literal)]
    return [Literal(repr("".join(texts)))] if len(texts) == len(pieces) else json_string(pieces)


def _marked_string(marker: str, pieces: Sequence[Piece]) -> list[Piece]:
    quote: Piece = Marker(marker)
    return [quote, *pieces, quote]


JSON = Notation(json_string, json_text)
CANONICAL = Notation(json_string, json_text, between=",", colon=":", is_sorted=True)
PYTHON = Notation(_python_string, repr, words=("True", "False", "None"))
GEMMA = Notation(partial(_marked_string, '<|"|>'), str, between=",", colon=":")
FUNCTION_GEMMA = Notation(partial(_marked_string, "<escape>"), str, between=",", colon=":", is_sorted=True)

NOTATIONS: Mapping[str, Notation] = {
    "json": JSON,
    "canonical": CANONICAL,
    "python": PYTHON,
    "gemma": GEMMA,
    "function-gemma": FUNCTION_GEMMA,
}
