"""The question that every batch of ids is asked: is none of a few markers among them?

A set answers it, in one call for a whole batch. How long that takes depends on how full the set's table is:
an id that meets a place taken by another number costs a wrong guess of the processor's branch prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

MarkersAbsent = Callable[[Iterable[int]], bool]
"""Tell whether none of the markers is among these ids."""

_FEWEST = 64
"""Numbers in a set: with a power of four of them it gets a table of which an eighth is taken, see below.

With 64 the table has 8 KB, which stay in the processor's nearest cache; a smaller one is slower, because near
the end of a table a set looks at its entries in another way.
"""

_STRIDE = 7
"""Numbers that lie next to each other in a table are passed one by one by what meets the first of them."""

_KEPT = 256
"""Questions kept for the streams to come: one for each state of each dialect in use, 8 KB each."""


@lru_cache(_KEPT)
def markers_absent(markers: frozenset[int]) -> MarkersAbsent:
    """Return the question about these ids, which all streams share.

    Numbers that are no ids fill the set up. Then it is asked to take up the same ones again: it makes room
    for twice as many, fourfold, and finds that it has them all.
    """
    size = _FEWEST
    while size < len(markers):
        size *= 4
    numbers = [*markers, *(-2 - _STRIDE * number for number in range(size - len(markers)))]
    table = set(numbers)
    table |= set(numbers)
    return table.isdisjoint
