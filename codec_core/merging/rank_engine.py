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
from collections.abc import Callable, Sequence
from operator import le

Split = tuple[str, str]

MAX_DEPTH = 200
"""Tokens made of tokens made of tokens, so deep; a vocabulary nested deeper is merged by its list."""


class SplitProofs:
    """Proves, token by token, that merging by rank forms a token only from a listed pair.

    `rank_of` gives every token that any merge makes or uses the rank it has in the engine.
    """

    def __init__(
        self, merges: Sequence[str], places: MergePlaces, rank_of: Callable[[str], int | None]
    ) -> None:
        self._merges = merges
        self._places = places
        self._rank_of = rank_of
        self._splits: dict[str, Split | None] = {}

    def prove(self, token: str, depth: int = 0) -> bool:
        """Tell whether the token, and all tokens it is made of, are formed from listed pairs only."""
        splits = self._splits
        if token in splits:
            return splits[token] is not None
        limit = self._rank_of(token)
        if limit is None or depth > MAX_DEPTH:
            return False
        if len(token) == 1:
            return True
        own = None
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
        """Tell whether nothing is merged across the border of two proven tokens before rank `limit`.

        Takes the two tokens at the border apart, the one formed last first, and looks at each pair of
        neighbours that existed on the way. Symbols that no merge makes were there from the start.
        """
        rank_of, splits = self._rank_of, self._splits
        while True:
            across = rank_of(left + right)
            if across is not None and across < limit:
                return False
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
    """Where in the merge list the splits of a token stand, by the rank of the token.

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
