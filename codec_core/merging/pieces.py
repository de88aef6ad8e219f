"""The cache between pieces of text and their ids."""

from __future__ import annotations

from collections.abc import Callable

MAX_PIECES = 65_536
"""The most pieces that one tokenizer keeps, about 10 MB. Prose reuses a few thousand, a large code base some
ten thousand. A stream of random pieces costs a merge each, and a copy of half of the cache for every
32,768."""

MAX_PIECE_LENGTH = 64
"""Longer pieces seldom occur twice, and keeping them would leave memory unbounded."""


class PieceCache(dict[str, tuple[int, ...]]):
    """Piece to ids, computed at the first use.

    There are two generations. When the young one holds half of the pieces it becomes the old one, and a piece
    that is found there becomes young again. So pieces in use stay and others are dropped, without any work
    per use.
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
        """The number of pieces kept; those in both generations count twice."""
        return len(self) + len(self._old)
