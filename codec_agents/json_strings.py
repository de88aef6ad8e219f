"""Ids from elsewhere inside the quotes of a JSON string: escaped id by id, without going over text.

JSON escapes quotes, backslashes and control characters, which are single bytes of UTF-8. So what an id spells
can be escaped by itself, whatever stands beside it: most ids stay, the others become the ids of their escaped
bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from codec_agents.exceptions import PromptError
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

_ESCAPES: dict[int, bytes] = {
    byte: json.dumps(chr(byte))[1:-1].encode() for byte in (*range(0x20), ord('"'), ord("\\"))
}
"""What stands in a JSON string for the bytes that cannot."""


class JsonStrings:
    """Escapes ids of one vocabulary. Remembers what it has met; may be shared."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Check that the vocabulary can spell every escape.

        Raises:
            PromptError: it cannot.
        """
        self._vocabulary = vocabulary
        self._tokenizer = pick_tokenizer(vocabulary)
        self._single: dict[bytes, int] = {}
        self._escaped: dict[int, tuple[int, ...]] = {}
        for escape in _ESCAPES.values():
            self._spelled(escape)

    def escape(self, ids: Sequence[int]) -> list[int]:
        """Return ids that spell, inside the quotes of a JSON string, what these ids spell.

        Raises:
            PromptError: the vocabulary cannot spell the escaped form of one of them.
        """
        escaped: list[int] = []
        for token_id in ids:
            known = self._escaped.get(token_id)
            if known is None:
                known = self._escaped[token_id] = self._escape(token_id)
            escaped += known
        return escaped

    def _escape(self, token_id: int) -> tuple[int, ...]:
        spelled = self._vocabulary.byte_table[token_id]
        if _ESCAPES.keys().isdisjoint(spelled):
            return (token_id,)
        return self._spelled(b"".join(_ESCAPES.get(byte) or bytes((byte,)) for byte in spelled))

    def _spelled(self, wanted: bytes) -> tuple[int, ...]:
        """Return ids that spell exactly these bytes, which may begin or end inside a character."""
        try:
            prepared = self._tokenizer.prepare(wanted.decode(), first=False)
            ids = tuple(self._tokenizer.encode_prepared(prepared))
        except UnicodeDecodeError:
            ids = ()
        if b"".join(map(self._vocabulary.byte_table.__getitem__, ids)) != wanted:
            ids = tuple(self._byte_id(wanted[place : place + 1]) for place in range(len(wanted)))
        return ids

    def _byte_id(self, byte: bytes) -> int:
        if not self._single:
            special, table = self._vocabulary.special_ids, self._vocabulary.byte_table
            known = [*self._vocabulary.ordinary().values(), *self._vocabulary.byte_fallback]
            self._single = {table[i]: i for i in known if i not in special and len(table[i]) == 1}
        if byte not in self._single:
            raise PromptError(
                f"the map {self._vocabulary.id!r} has no id for the byte {byte!r}: what fills a slot cannot "
                "stand in a JSON string there; write the value without a slot"
            )
        return self._single[byte]
