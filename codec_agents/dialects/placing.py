"""Where a part of a text lies among the ids that the whole text became."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

MARKED_SPACE = 1
"""Vocabularies that mark spaces put one before a text: one byte more than the text has."""


def place_of(
    text: str, start: int, stop: int, ids: Sequence[int], spell: Callable[[int], bytes]
) -> tuple[int, int]:
    """Return the smallest range of ids that holds a part of a text.

    A tokenizer merges over the edges of the part; an id that it shares with its neighbours is in the range.
    Of a text that the vocabulary normalizes, the place inside is not known: the range is the whole.

    Args:
        text: the whole text.
        start: the first character of the part.
        stop: the character after it.
        ids: what the whole text became.
        spell: the bytes of an id.
    """
    ends = list(accumulate(len(spell(token_id)) for token_id in ids))
    more = (ends[-1] if ends else 0) - len(text.encode())
    if more not in (0, MARKED_SPACE):
        return 0, len(ids)
    first, last = (len(text[:place].encode()) + more for place in (start, stop))
    begin = bisect_right(ends, first)
    return (begin, begin) if start == stop else (begin, bisect_left(ends, last) + 1)
