"""Byte-pair encoding of text with U+2581 for spaces.

The ids are those that the merge list gives. They come from tiktoken's engine where `rank_engine` proves it
equal for the tokens at hand, and from the list itself elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import chain

from codec_core.exceptions import UnencodableTextError
from codec_core.merging.by_list import UNKNOWN, merge_symbols
from codec_core.merging.merge_list import MergeList, engine, proofs_of
from codec_core.vocabulary import METASPACE, Vocabulary

_SHORT_MARK = " "
"""Stands for U+2581 within the engine: marked text holds no spaces, and one byte merges faster than three."""


class RankedCharacters:
    """The byte sequences that the engine merges for a metaspace vocabulary, and the ids of each rank.

    Attributes:
        ranks: the rank of each sequence of bytes, until the engine takes them.
        single: by rank, its id, or None for a rank of several ids or none.
        first_merged: the first rank that a merge of the list makes.
    """

    def __init__(self) -> None:
        self.ranks: dict[bytes, int] = {}
        self.single: list[int | None] = []
        self.first_merged = 0
        self._several: dict[int, tuple[int, ...]] = {}

    def add(self, data: bytes, ids: tuple[int, ...]) -> None:
        """Give bytes the next rank, and the rank its ids."""
        rank = self.ranks[data] = len(self.single)
        self.single.append(ids[0] if len(ids) == 1 else None)
        if len(ids) != 1:
            self._several[rank] = ids

    def ids_of(self, rank: int) -> tuple[int, ...]:
        """Return the ids of a rank."""
        number = self.single[rank]
        return self._several[rank] if number is None else (number,)

    @cached_property
    def encode(self) -> Callable[[str], list[int]]:
        """Return the engine. It empties `ranks`."""
        return engine(self.ranks)


class MetaspaceMerger:
    """Encodes pieces of text with U+2581 for spaces, and with bytes for characters without a token.

    tiktoken merges bytes, the list merges characters. So merges that rank before all others put the
    characters together first. Of unknown characters, the bytes to fall back to remain.
    """

    missing_bytes: frozenset[int] = frozenset()

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._list = MergeList(vocabulary)
        self._fallback = vocabulary.byte_fallback
        self._proofs = proofs_of(self._list, vocabulary.hash)

    def ids_of_text(self, text: str) -> None:
        """Return None: a text has to be cut before its pieces are merged."""
        del text

    def ids_of(self, piece: str) -> tuple[int, ...]:
        """Return the ids of a piece.

        Raises:
            UnencodableTextError: a character has no token and the vocabulary no bytes to fall back to.
        """
        ranked = self._ranked
        ranks = ranked.encode(piece.replace(METASPACE, _SHORT_MARK))
        # With no bytes to fall back to, the engine would leave out what the list raises an error for.
        if not (self._fallback and self._proofs.cover(ranks, self._token_of)):
            return self._ids_by_list(piece)
        ids = tuple(map(ranked.single.__getitem__, ranks))
        if None not in ids:
            return ids  # type: ignore[return-value] # none is None
        return tuple(chain.from_iterable(map(ranked.ids_of, ranks)))

    def is_known(self, character: str) -> bool:
        """Return whether a character has a token of its own."""
        return self._list.id_of(character) is not None

    def joinable(self) -> list[str]:
        """Return the tokens that merges make."""
        return list(map(self._vocabulary.raw_token, dict.fromkeys(self._list.result_ids)))

    def _ids_by_list(self, piece: str) -> tuple[int, ...]:
        symbols = [c if self.is_known(c) else UNKNOWN + c for c in piece]
        ids: list[int] = []
        for symbol in merge_symbols(symbols, self._list.ranks):
            if not symbol.startswith(UNKNOWN):
                token_id = self._list.id_of(symbol)
                assert token_id is not None  # a known character, or what a merge of ordinary tokens makes
                ids.append(token_id)
            elif self._fallback:
                ids.extend(self._fallback[byte] for byte in symbol[1:].encode())
            else:
                raise UnencodableTextError(
                    f"vocabulary {self._vocabulary.id} has no token for {symbol[1:]!r}, nor for its bytes"
                )
        return tuple(ids)

    def _token_of(self, rank: int) -> str | None:
        ranked = self._ranked
        number = ranked.single[rank] if rank >= ranked.first_merged else None
        return None if number is None else self._vocabulary.raw_token(number)

    @cached_property
    def _ranked(self) -> RankedCharacters:
        # The engine merges bytes, lowest rank first. So first come the bytes, then the beginnings of known
        # characters in order of length, so that these are put together before any merge of the list is made.
        ranked = RankedCharacters()
        for byte in range(256):
            data = bytes((byte,))
            character = METASPACE if byte == ord(_SHORT_MARK) else chr(byte)
            known = self._list.id_of(character) if byte < 128 else None
            ranked.add(data, (known,) if known is not None else self._fallback_ids(data))
        for character in self._known_characters():
            data = character.encode()
            for length in range(2, len(data)):
                if data[:length] not in ranked.ranks:
                    ranked.add(data[:length], self._fallback_ids(data[:length]))
            token_id = self._list.id_of(character)
            assert token_id is not None
            ranked.add(data, (token_id,))
        ranked.first_merged = len(ranked.single)
        for token_id in dict.fromkeys(self._list.result_ids):
            token = self._vocabulary.raw_token(token_id)
            ranked.add(token.replace(METASPACE, _SHORT_MARK).encode(), (token_id,))
        return ranked

    def _known_characters(self) -> list[str]:
        vocab = self._vocabulary.map.vocab or self._vocabulary.ordinary()
        return [
            token
            for token in vocab
            if len(token) == 1 and not token.isascii() and token != METASPACE and self.is_known(token)
        ]

    def _fallback_ids(self, data: bytes) -> tuple[int, ...]:
        return tuple(self._fallback[byte] for byte in data) if self._fallback else ()
