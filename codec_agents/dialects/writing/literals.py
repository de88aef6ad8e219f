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
        order: what the keys are sorted by; None leaves them as they come.
    """

    string: Callable[[Sequence[Piece]], list[Piece]]
    key: Callable[[str], list[Piece]]
    between: str = ", "
    colon: str = ": "
    words: tuple[str, str, str] = ("true", "false", "null")
    order: Callable[[str], str] | None = None


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
        names = list(value) if notation.order is None else sorted(value, key=notation.order)
        keys = [[*notation.key(name), Literal(notation.colon)] for name in names]
        yield from _entries("{", keys, [value[name] for name in names], "}", notation, string)
    elif isinstance(value, (list, tuple)):
        yield from _entries("[", [[]] * len(value), value, "]", notation, string)
    elif isinstance(value, bool) or value is None:
        yield Literal(notation.words[(True, False, None).index(value)])
    else:
        yield Literal(json.dumps(value))


def _entries(
    begin: str,
    heads: Sequence[Sequence[Piece]],
    values: Sequence[Any],
    end: str,
    notation: Notation,
    string: Callable[[str], Sequence[Piece]],
) -> Iterator[Piece]:
    yield Literal(begin)
    for number, (head, value) in enumerate(zip(heads, values, strict=True)):
        yield Literal(notation.between if number else "")
        yield from head
        yield from _value(value, notation, string)
    yield Literal(end)


def write_elements(value: Any, mark: str, string: Callable[[str], Sequence[Piece]]) -> list[Piece]:
    """Return the pieces of a value whose parts are elements: tags behind a control token.

    Args:
        value: what JSON can hold; None, for which the form has no element, is written as nothing. Members of
            objects are never None (`WrittenCalls.writes_null`).
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


class MarkedKey(str):
    """A key that Gemma's notation writes as a string, where other keys are bare."""

    __slots__ = ()


def _marked_string(marker: str, pieces: Sequence[Piece]) -> list[Piece]:
    quote: Piece = Marker(marker)
    return [quote, *pieces, quote]


def _marked_key(marker: str, key: str) -> list[Piece]:
    text: list[Piece] = [Literal(key)]
    return _marked_string(marker, text) if isinstance(key, MarkedKey) else text


def _json_key(key: str) -> list[Piece]:
    return [Literal(json_text(key))]


def _python_key(key: str) -> list[Piece]:
    return [Literal(repr(key))]


def _gemma(marker: str) -> Notation:
    """Return the notation of a Gemma family.

    Its template sorts keys without regard to case, and leaves null to Python, which spells it `None`.
    """
    return Notation(
        partial(_marked_string, marker),
        partial(_marked_key, marker),
        between=",",
        colon=":",
        words=("true", "false", "None"),
        order=str.lower,
    )


JSON = Notation(json_string, _json_key)
CANONICAL = Notation(json_string, _json_key, between=",", colon=":", order=str)
PYTHON = Notation(_python_string, _python_key, words=("True", "False", "None"))
GEMMA = _gemma('<|"|>')
FUNCTION_GEMMA = _gemma("<escape>")

NOTATIONS: Mapping[str, Notation] = {
    "json": JSON,
    "canonical": CANONICAL,
    "python": PYTHON,
    "gemma": GEMMA,
    "function-gemma": FUNCTION_GEMMA,
}
