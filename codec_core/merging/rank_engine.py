"""The proof that tiktoken's byte-pair merging gives the ids of a merge list.

`tiktoken` merges by the rank of the *result*: any two neighbours that spell a token together are a pair. The
merge list names pairs. The two agree on a piece if every merge of tiktoken is of a listed pair, at the place
of its token in the list: a listed pair is always a pair to tiktoken too, so at each step both choose the same
one.

The pair from which tiktoken forms a token does not depend on the token's surroundings. As long as no merge
crosses its borders, its span evolves as it would alone, so its last two parts are always the same: the
token's own split. It is found by walking the borders of the listed splits: a split holds if nothing is merged
across it before. So the proof is one walk per token, done once and kept. A piece with a token whose proof
fails is merged by the list.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from operator import le

Split = tuple[str, str]

MAX_DEPTH = 200
"""The depth to which tokens made of tokens are followed, by recursion. Deeper ones are merged by the list."""


class SplitProofs:
    """Proves, token by token, that merging by rank forms a token only from a listed pair.

    `rank_of` returns the engine's rank of every token that a merge makes or uses.
    """

    def __init__(
        self, merges: Sequence[str], places: MergePlaces, rank_of: Callable[[str], int | None]
    ) -> None:
        self._merges = merges
        self._places = places
        self._rank_of = rank_of
        self._splits: dict[str, Split | None] = {}

    def prove(self, token: str, depth: int = 0) -> bool:
        """Return whether the token, and all tokens within it, are formed from listed pairs only."""
        splits = self._splits
        if token in splits:
            return splits[token] is not None
        limit = self._rank_of(token)
        if limit is None or depth > MAX_DEPTH:
            return False  # not kept: from a token nearer to it, the proof may be found
        if len(token) == 1:
            return True
        own = None  # of the splits listed at the token's own place; one listed elsewhere has another priority
        for place in self._places.of(limit):
            left, _, right = self._merges[place].partition(" ")
            if (
                self.prove(left, depth + 1)
                and self.prove(right, depth + 1)
                and self._holds(left, right, limit)
            ):
                own = left, right
                break
        splits[token] = own
        return own is not None

    def _holds(self, left: str, right: str, limit: int) -> bool:
        """Return whether nothing is merged across the border of two proven tokens before rank `limit`.

        The two tokens at the border are taken apart, the one formed last first, and each pair of neighbours
        on the way is tested. Symbols that no merge makes exist from the start.
        """
        rank_of, splits = self._rank_of, self._splits
        while True:
            across = rank_of(left + right)
            if across is not None and across < limit:
                return False
            # What has parts is proven, and so has a rank: `or` says it to the type checker alone.
            left_parts, right_parts = splits.get(left), splits.get(right)
            left_formed = (rank_of(left) or 0) if left_parts else -1
            right_formed = (rank_of(right) or 0) if right_parts else -1
            if left_parts and left_formed > right_formed:
                limit, left = left_formed, left_parts[1]
            elif right_parts:
                # Equal ranks merge from the left, so at the same rank the pair on the left comes first.
                limit, right = right_formed + 1, right_parts[0]
            else:
                return True


class MergePlaces:
    """The places of a token's splits in the merge list, by the rank of the token.

    Where the ids of merged tokens rise with the list, the rank is the id, else the place of the token's
    first merge. Only the splits in one block from there count: a split listed elsewhere has another priority.
    """

    def __init__(self, result_ids: Sequence[int]) -> None:
        self._result_ids = result_ids
        self.in_id_order = all(map(le, result_ids, result_ids[1:]))

    def of(self, rank: int) -> range:
        """Return the places of the token with this rank."""
        ids = self._result_ids
        if self.in_id_order:
            first = bisect_left(ids, rank)
            return range(first, bisect_right(ids, rank, first))
        stop = rank
        while stop < len(ids) and ids[stop] == ids[rank]:
            stop += 1
        return range(rank, stop)
