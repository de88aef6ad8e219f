"""The ids of a text of which an engine has held some back.

While its text ends inside a character, llama.cpp's server sends nothing; the next event has the joined
text and the last id alone. How many ids are missing is known, and what is known of each: after it, the text
was still inside a character. Where that leaves one reading, it is the truth; where it leaves two, there is no
answer. (A control id has no text and could be among the missing ones, so fewer ordinary ids that make the
same text are a second reading, too.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from codec_core.byte_level import encode_byte_level_chars
from codec_core.maps.checks import ids_of_version_1
from codec_core.vocabulary import Vocabulary

MOST_MISSING = 12
"""Characters of several ids may follow one another without a break; beyond this many, ask the engine."""


class Pieces:
    """The ordinary ids of a vocabulary by their bytes, where these end inside a character.

    No table of all ids: making one would hold the event loop for a third of a second. Such bytes are no
    UTF-8, so only the byte alphabet of a map and its tokens of single bytes spell them.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._by_bytes = vocabulary.map.encoder == "byte_level"
        self._spelled = _ids_by_spelling(vocabulary) if self._by_bytes else {}
        # A character of the alphabet is a byte.
        self.longest = max(map(len, self._spelled), default=1)
        """Bytes of the longest: no longer piece of a text, which may be of any length, is looked up."""

    def ids(self, piece: bytes) -> list[int]:
        """Return the ids whose bytes are these."""
        found: list[int] = []
        if self._by_bytes:
            spelled = self._spelled.get(encode_byte_level_chars(piece), ())
            found += (spelled,) if isinstance(spelled, int) else spelled
        if len(piece) == 1 and (fallback := self._vocabulary.byte_fallback):
            found += {fallback[piece[0]]}.difference(found)
        # An id may have other bytes than its spelling: those of a name, or of a single byte.
        own, special = self._vocabulary.token_bytes, self._vocabulary.special_ids
        return [token for token in found if token not in special and own(token) == piece]


def _ids_by_spelling(vocabulary: Vocabulary) -> Mapping[str, int | list[int]]:
    """Return the ids of the tokens as the map writes them; only in version 1 several may be written alike."""
    if vocabulary.map.vocab is not None:
        return vocabulary.map.vocab
    found: dict[str, list[int]] = {}
    for token, text in ids_of_version_1(vocabulary.map.tokens or {}).items():
        found.setdefault(text, []).append(token)
    return found


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
    reading = _Readings(_pieces(vocabulary), content[: len(content) - len(tail)])
    found = [each for count in range(missing + 1) for each in reading.of(0, count)]
    return found[0] if len(found) == 1 and len(found[0]) == missing else None


class _Readings:
    """The ways in which tokens make a content, each ending inside a character; two are as good as many.

    Each place is looked at once for each number of tokens: a vocabulary and a text can be made for which
    there are millions of ways.
    """

    def __init__(self, pieces: Pieces, content: bytes) -> None:
        self._pieces = pieces
        self._content = content
        self._known: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        self._next: dict[int, list[tuple[int, list[int]]]] = {}

    def of(self, start: int, count: int) -> list[tuple[int, ...]]:
        """Return up to two ways to make the content from a place on with so many tokens."""
        if count == 0:
            return [()] if start == len(self._content) else []
        found = self._known.get((start, count))
        if found is None:
            ways = (
                (token, *rest)
                for end, ids in self._tokens_at(start)
                for rest in self.of(end, count - 1)
                for token in ids
            )
            found = self._known[start, count] = list(islice(ways, 2))
        return found

    def _tokens_at(self, start: int) -> list[tuple[int, list[int]]]:
        """Return the ids that may begin at a place, by their ends."""
        found = self._next.get(start)
        if found is None:
            ends = range(start + 1, min(len(self._content), start + self._pieces.longest) + 1)
            inside = (end for end in ends if _inside_character(self._content[max(0, end - 4) : end]))
            pairs = ((end, self._pieces.ids(self._content[start:end])) for end in inside)
            found = self._next[start] = [(end, ids) for end, ids in pairs if ids]
        return found


def _inside_character(data: bytes) -> bool:
    """Return whether a text ends inside a character."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # a first byte tells how many belong to its character
            return back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4)
        if byte < 0x80:
            return False
    return False


def _pieces(vocabulary: Vocabulary) -> Pieces:
    known: Pieces | None = vocabulary.derived.get(Pieces)
    if known is None:
        known = vocabulary.derived[Pieces] = Pieces(vocabulary)
    return known
