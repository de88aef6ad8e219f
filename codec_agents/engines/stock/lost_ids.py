"""The ids of a text of which an engine has held some back.

While its text ends inside a character, llama.cpp's server sends nothing; the next event has the joined
text and the last id alone. How many ids are missing is known, and what is known of each: after it, the text
was still inside a character. Where that leaves one reading, it is the truth; where it leaves two, there is no
answer. (A control id has no text and could be among the missing ones, so fewer ordinary ids that make the
same text are a second reading, too.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from codec_core.vocabulary import Vocabulary

MOST_MISSING = 12
"""Characters of several ids may follow one another without a break; beyond this many, ask the engine."""


class Index(NamedTuple):
    """The ordinary ids of a vocabulary by their bytes."""

    ids: Mapping[bytes, tuple[int, ...]]
    longest: int
    """Bytes of the longest: no longer piece of a text, which may be of any length, is looked up."""


def find_lost_ids(
    vocabulary: Vocabulary, missing: int, known: Sequence[int], text: str
) -> tuple[int, ...] | None:
    """Return the ids that come before the known ones; None unless there is exactly one reading.

    Args:
        vocabulary: whose ids they are.
        missing: how many there are.
        known: the ids that the engine did send, which end the text.
        text: the text that missing and known ids make together.
    """
    if not all(map(vocabulary.is_valid, known)):  # they have no bytes, and the stream refuses them
        return None
    content = text.encode("utf-8", "surrogatepass")  # JSON can hold half a pair; no token has its bytes
    tail = b"".join(map(vocabulary.token_bytes, known))
    # U+FFFD stands for bytes that the engine could not show, so the text does not say which they were.
    if missing > MOST_MISSING or not content.endswith(tail) or "\ufffd" in text:
        return None
    index, unknown = _index(vocabulary), content[: len(content) - len(tail)]
    readings = (reading for count in range(missing + 1) for reading in _readings(index, unknown, count))
    found = list(islice(readings, 2))
    return found[0] if len(found) == 1 and len(found[0]) == missing else None


def _readings(index: Index, content: bytes, missing: int, done: bytes = b"") -> Iterator[tuple[int, ...]]:
    """Yield every way in which so many tokens make the content, each ending inside a character."""
    if missing == 0:
        if not content:
            yield ()
        return
    # Each of the tokens after it needs a byte.
    for size in range(1, min(len(content) - missing + 1, index.longest) + 1):
        piece = content[:size]
        if piece in index.ids and _inside_character(done + piece):
            for rest in _readings(index, content[size:], missing - 1, done + piece):
                for token in index.ids[piece]:
                    yield (token, *rest)


def _inside_character(data: bytes) -> bool:
    """Return whether a text ends inside a character."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # a first byte tells how many belong to its character
            return back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4)
        if byte < 0x80:
            return False
    return False


def _index(vocabulary: Vocabulary) -> Index:
    """Return the ordinary ids by their bytes; made when the first id is lost."""
    known: Index | None = vocabulary.derived.get(Index)
    if known is not None:
        return known
    gathered: dict[bytes, list[int]] = {}
    for token in range(vocabulary.size):
        if vocabulary.is_valid(token) and token not in vocabulary.special_ids:
            gathered.setdefault(vocabulary.token_bytes(token), []).append(token)
    by_bytes = {data: tuple(tokens) for data, tokens in gathered.items() if data}
    index = Index(by_bytes, max(map(len, by_bytes), default=0))
    vocabulary.derived[Index] = index
    return index
