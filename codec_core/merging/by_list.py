"""Byte-pair merging, exactly as the merge list says.

The pair with the lowest place in the list is merged first, the leftmost of equal ones before the others,
until no listed pair is left. Heap and linked list keep this at O(n log n) in the length of the piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from codec_core.exceptions import TokenizerMapValidationError

UNKNOWN = "\ud800"
"""Stands for, or before, a symbol without a token: no text holds a lone surrogate, and no merge takes one."""


def split_merge(merge: str) -> tuple[str, str]:
    """Return the two sides of a merge.

    Raises:
        TokenizerMapValidationError: it has not just two.
    """
    left, space, right = merge.partition(" ")
    if not (left and space and right) or " " in right:
        raise TokenizerMapValidationError(f"merges: {merge!r} is not two tokens with a space between them")
    return left, right


def check_merges(merges: Sequence[str]) -> None:
    """Refuse a merge list with an entry that is not two tokens.

    Raises:
        TokenizerMapValidationError: the entry.
    """
    # A list may have half a million entries: in C, and one by one only to find the wrong one. The string of
    # spaces gives `map` one separator for each merge.
    joined = "\n".join(merges)
    suspicious = "\n " in joined or " \n" in joined or joined[:1] == " " or joined[-1:] == " "
    if suspicious or set(map(str.count, merges, " " * len(merges))) - {1}:
        for merge in merges:
            split_merge(merge)


def merge_symbols(symbols: list[str], ranks: Mapping[str, int]) -> list[str]:
    """Return the symbols after all merges; `ranks` maps `"left right"` to its place in the list."""
    count = len(symbols)
    before = list(range(-1, count - 1))
    after = [*range(1, count), -1]
    queue = [
        (rank, position)
        for position in range(count - 1)
        if (rank := ranks.get(f"{symbols[position]} {symbols[position + 1]}")) is not None
    ]
    heapify(queue)
    while queue:
        rank, left = heappop(queue)
        right = after[left]
        # An entry is stale when either side has been merged meanwhile: then the pair there has another rank.
        if right < 0 or not symbols[left] or ranks.get(f"{symbols[left]} {symbols[right]}") != rank:
            continue
        symbols[left] += symbols[right]
        symbols[right] = ""
        after[left] = following = after[right]
        after[right] = -1
        if following >= 0:
            before[following] = left
            _offer(queue, symbols, ranks, left, following)
        if before[left] >= 0:
            _offer(queue, symbols, ranks, before[left], left)
    return [symbol for symbol in symbols if symbol]


def _offer(
    queue: list[tuple[int, int]], symbols: list[str], ranks: Mapping[str, int], left: int, right: int
) -> None:
    rank = ranks.get(f"{symbols[left]} {symbols[right]}")
    if rank is not None:
        heappush(queue, (rank, left))
