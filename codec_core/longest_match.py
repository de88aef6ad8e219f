"""The longest token at each place: the encoding of maps that have no merges."""

from __future__ import annotations

from codec_core.byte_level import encode_byte_level_chars
from codec_core.exceptions import UnencodableTextError
from codec_core.vocabulary import Vocabulary


class LongestMatcher:
    """Walks a trie of all ordinary tokens along the text."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._by_bytes = vocabulary.map.encoder == "byte_level"
        self._fallback = vocabulary.byte_fallback
        self._ids = {token: number for token, number in vocabulary.ordinary().items() if token}
        self._starts = {token[:length] for token in self._ids for length in range(1, len(token))}

    def spell(self, text: str) -> str:
        """Return the text as the tokens write it."""
        return encode_byte_level_chars(text.encode()) if self._by_bytes else text

    def match(self, text: str, *, final: bool) -> tuple[list[int], int]:
        """Return ids and how many characters they cover.

        If the text is not `final`, these are only the ids that no continuation changes.

        Raises:
            UnencodableTextError: a character has no token and the vocabulary no bytes to fall back to.
        """
        ids: list[int] = []
        place = 0
        while place < len(text):
            stop, open_ended = self._longest(text, place)
            if open_ended and not final:
                break
            if stop > place:
                ids.append(self._ids[text[place:stop]])
                place = stop
            else:
                ids += self._fall_back(text[place])
                place += 1
        return ids, place

    def _longest(self, text: str, place: int) -> tuple[int, bool]:
        """Return where the longest token at a place ends, and whether more text could make it longer."""
        best, stop = place, place + 1
        while stop <= len(text):
            candidate = text[place:stop]
            if candidate in self._ids:
                best = stop
            if candidate not in self._starts:
                return best, False
            stop += 1
        return best, True

    def _fall_back(self, character: str) -> list[int]:
        if self._fallback:
            return [self._fallback[byte] for byte in character.encode()]
        raise UnencodableTextError(
            f"vocabulary {self._vocabulary.id} has no token for {character!r}, nor for its bytes"
        )
