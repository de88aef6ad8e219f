"""The fast road for byte-pair merging, and the proof that it may be taken.

`tiktoken` merges by the rank of the *result*: any two neighbours that spell a token together are a pair.
The merge list names pairs. The two agree on a piece when every merge that tiktoken did was of a listed
pair, at the place of its token in the list: a listed pair is always a pair to tiktoken too, so at each step
both pick the same one.

Which pair tiktoken forms a token from does not depend on where the token stands. As long as no merge
crosses its borders, its span evolves as it would alone, so the last two parts are always the same: the
token's own split. It is found by walking the borders of the listed splits: a split holds if nothing would
have been merged across it before. So the proof is one walk for each token ever given out, done once and
kept. A piece with a token whose proof fails is merged by the list itself.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence

from codec_core.merging import split_merge

Split = tuple[str, str]


class SplitProofs:
    """Proves, token by token, that merging by rank forms a token only from a listed pair."""

    def __init__(
        self, merges: Sequence[str], places: MergePlaces, rank_of: Callable[[str], int | None]
    ) -> None:
        self._merges = merges
        self._places = places
        self._rank_of = rank_of
        self._splits: dict[str, Split | None] = {}

    def prove(self, token: str) -> bool:
        """Tell whether the token, and all tokens it is made of, are formed from listed pairs only."""
        waiting = [token]
        while waiting:
            current = waiting[-1]
            if current in self._splits or self._place(current) is None:
                waiting.pop()
                continue
            first, stop = self._place(current) or (0, 0)
            candidates = [split_merge(self._merges[place]) for place in range(first, stop)]
            parts = {part for split in candidates for part in split}
            unknown = [part for part in parts if part not in self._splits and self._place(part) is not None]
            if unknown:
                waiting.extend(unknown)
                continue
            waiting.pop()
            self._splits[current] = self._own_split(current, candidates)
        return self._place(token) is None or self._splits[token] is not None

    def _own_split(self, token: str, candidates: Sequence[Split]) -> Split | None:
        limit = self._rank_of(token)
        assert limit is not None
        for left, right in candidates:
            if self._is_proven(left) and self._is_proven(right) and self._holds(left, right, limit):
                return left, right
        return None

    def _is_proven(self, token: str) -> bool:
        return self._splits.get(token, ("", "")) is not None and self._rank_of(token) is not None

    def _place(self, token: str) -> tuple[int, int] | None:
        return self._places.of(token)

    def _formed(self, token: str) -> int:
        """Return when a token is formed; symbols that no merge makes were always there."""
        if token not in self._splits:
            return -1
        rank = self._rank_of(token)
        assert rank is not None
        return rank

    def _holds(self, left: str, right: str, limit: int) -> bool:
        """Tell whether nothing is merged across the border of two tokens before rank `limit`.

        Takes the two tokens at the border apart, the one formed last first, and looks at each pair of
        neighbours that existed on the way.
        """
        while True:
            across = self._rank_of(left + right)
            if across is not None and across < limit:
                return False
            left_formed, right_formed = self._formed(left), self._formed(right)
            if left_formed > right_formed:
                limit = left_formed
                left = self._part(left)[1]
            elif right_formed >= 0:
                # Equal ranks merge from the left, so at the same rank the pair on the left comes first.
                limit = right_formed + 1
                right = self._part(right)[0]
            else:
                return True

    def _part(self, token: str) -> Split:
        split = self._splits[token]
        assert split is not None
        return split


class MergePlaces:
    """Where in the merge list a token's splits stand: one block, or the token cannot be proven."""

    def __init__(self, result_ids: Sequence[int], ids: Mapping[str, int]) -> None:
        self._ids = ids
        self._sorted: Sequence[int] | None = None
        self._blocks: dict[int, tuple[int, int]] = {}
        if _is_sorted(result_ids):
            self._sorted = result_ids
        else:
            self._blocks = _blocks(result_ids)

    @property
    def in_id_order(self) -> bool:
        """Tell whether the ids of merged tokens rise with their place in the list."""
        return self._sorted is not None

    def of(self, token: str) -> tuple[int, int] | None:
        """Return the token's block of places, or None if no merge makes it."""
        token_id = self._ids.get(token)
        if token_id is None:
            return None
        if self._sorted is None:
            return self._blocks.get(token_id)
        first = bisect_left(self._sorted, token_id)
        stop = bisect_right(self._sorted, token_id, first)
        return (first, stop) if stop > first else None


def _is_sorted(numbers: Sequence[int]) -> bool:
    return all(map(int.__le__, numbers, numbers[1:]))


def _blocks(result_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Return id to its first block of consecutive places."""
    blocks: dict[int, tuple[int, int]] = {}
    for place, token_id in enumerate(result_ids):
        first, stop = blocks.setdefault(token_id, (place, place))
        if stop == place:
            blocks[token_id] = (first, place + 1)
    return blocks
