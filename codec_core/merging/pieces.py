"""The cache between pieces of text and their ids."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

MAX_PIECES = 32_768
"""Pieces kept by one tokenizer: some 5 MB. Prose reuses a few thousand; a stream of random pieces costs a
merge each, and dropping half of the cache every 16,384 of them."""

MAX_PIECE_LENGTH = 64
"""Longer pieces do not come twice, and would make the bound on the number of pieces no bound on memory."""


class PieceCache(dict[str, tuple[int, ...]]):
    """Piece to ids, computed at the first use. When it is full, the older half is dropped."""

    __slots__ = ("_ids_of", "_limit")

    def __init__(self, ids_of: Callable[[str], tuple[int, ...]], limit: int = MAX_PIECES) -> None:
        self._ids_of = ids_of
        self._limit = limit

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = self._ids_of(piece)
        if len(piece) <= MAX_PIECE_LENGTH:
            if len(self) >= self._limit:
                for old in list(islice(self, self._limit // 2)):
                    self.pop(old, None)
            self[piece] = ids
        return ids
