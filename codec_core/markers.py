"""The question that every batch of ids is asked: is none of a few markers among them?

A set answers it, in one call for a whole batch. How long that takes depends on how full the set's table is:
an id that meets a place taken by another number costs a wrong guess of the processor's branch prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

MarkersAbsent = Callable[[Iterable[int]], bool]
"""Tell whether none of the markers is among these ids."""

_EMPTIEST = (19, 77)
"""How many numbers a set has when its table has just grown fourfold, so that a seventh of it is taken."""

_STRIDE = 7
"""Numbers that lie next to each other in a table are passed one by one by what meets the first of them."""


_KEPT = 256
"""Questions kept for the streams to come: one for each state of each dialect in use, some kilobytes each."""


@lru_cache(_KEPT)
def markers_absent(markers: frozenset[int]) -> MarkersAbsent:
    """Return the question about these ids, which all streams share.

    Numbers that are no ids fill the set up until its table has just grown. It is filled from a list: a set
    made from a set or a dictionary gets a table only twice as large as it must be.
    """
    size = next((size for size in _EMPTIEST if size >= len(markers)), len(markers))
    fillers = [-2 - _STRIDE * number for number in range(size - len(markers))]
    return frozenset([*markers, *fillers]).isdisjoint
