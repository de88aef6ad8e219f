"""The cache between pieces of text and their ids."""

from __future__ import annotations

from collections.abc import Callable

MAX_PIECES = 65_536
"""Pieces kept by one tokenizer: some 10 MB. Prose reuses a few thousand, a large code base some ten thousand;
a stream of random pieces costs a merge each, and one copy of half of the cache for every 32,768 of them."""

MAX_PIECE_LENGTH = 64
"""Longer pieces do not come twice, and would make the bound on the number of pieces no bound on memory."""


class PieceCache(dict[str, tuple[int, ...]]):
    """Piece to ids, computed at the first use.

    Two generations: when the young one has half of the pieces it becomes the old one, and a piece that is
    found there is young again. So what is used stays, and what is not is dropped, without a note on each use.
    """

    __slots__ = ("_half", "_ids_of", "_old")

    def __init__(self, ids_of: Callable[[str], tuple[int, ...]], limit: int = MAX_PIECES) -> None:
        self._ids_of = ids_of
        self._half = max(1, limit // 2)
        self._old: dict[str, tuple[int, ...]] = {}

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = self._old.get(piece) or self._ids_of(piece)
        if len(piece) <= MAX_PIECE_LENGTH:
            if len(self) >= self._half:
                self._old = dict(self)
                self.clear()
            self[piece] = ids
        return ids

    @property
    def held(self) -> int:
        """How many pieces are kept, counting twice those that are young again."""
        return len(self) + len(self._old)
