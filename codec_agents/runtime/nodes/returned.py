"""Check what a function of the user's returned: ids of a map, or text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from codec_agents.exceptions import NodeFailedError
from codec_core.exceptions import UnencodableTextError
from codec_core.tokenizer import check_text
from codec_core.vocabulary import Vocabulary


def checked_value(path: str, vocabulary: Vocabulary | None, value: Any, giver: str) -> list[int] | str:
    """Return the value of a function; refuse one that the edges from its node cannot carry.

    Args:
        path: the node.
        vocabulary: that of the ids; None for text.
        value: what the function returned, or an item of it.
        giver: begins the sentence of an error: "the function returned".

    Raises:
        NodeFailedError: it is neither.
    """
    return _text(path, value, giver) if vocabulary is None else _ids(path, vocabulary, value, giver)


def _text(path: str, value: Any, giver: str) -> str:
    if not isinstance(value, str):
        raise NodeFailedError(path, TypeError(f"{giver} {type(value).__name__}, not text"))
    try:
        check_text(value)  # a record and a file could not hold it
    except UnencodableTextError as error:
        raise NodeFailedError(path, error) from None
    return value


def _ids(path: str, vocabulary: Vocabulary, value: Any, giver: str) -> list[int]:
    # Bytes are numbers when they are iterated over, and none of them an id that was meant.
    if isinstance(value, str | bytes | bytearray | memoryview) or not isinstance(value, Iterable):
        problem = f"{giver} {type(value).__name__}, not ids of the map {vocabulary.id}"
        raise NodeFailedError(path, TypeError(problem))
    ids = list(value)
    for token_id in ids:
        # A `bool` is an `int` as well, and numpy's integers are none that a record could hold.
        if type(token_id) is not int or not vocabulary.is_valid(token_id):
            problem = f"{giver} {token_id!r}, which is no id of the map {vocabulary.id}"
            raise NodeFailedError(path, ValueError(problem))
    return ids
