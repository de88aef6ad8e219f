"""The delta form of a frame: each id as its distance from the one before, zigzag-coded.

`delta[0] = zigzag(ids[0] - base_id)` and `delta[k] = zigzag(ids[k] - ids[k-1])`. The base is the last id of
the frame before, and is in the frame, so that each frame can be read alone. On real text the delta form
is larger than the plain one: neighbouring ids are not close to each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from codec_core.frames.frame import MAX_ID


def zigzag(value: int) -> int:
    """Map 0, -1, 1, -2, 2 to 0, 1, 2, 3, 4."""
    return value << 1 if value >= 0 else ~(value << 1)


def to_deltas(ids: Sequence[int], base_id: int) -> list[int]:
    """Return the zigzag distances of `ids`, the first one from `base_id`."""
    return [zigzag(after - before) for before, after in zip([base_id, *ids], ids, strict=False)]


def from_deltas(deltas: Iterable[int], base_id: int) -> tuple[int, ...]:
    """Return the ids that lie at these zigzag distances from each other, the first from `base_id`.

    Raises:
        ValueError: an id would lie outside 0..2^32-1.
    """
    distances = ((delta >> 1) ^ -(delta & 1) for delta in deltas)  # maps 0, 1, 2, 3, 4 to 0, -1, 1, -2, 2
    first = next(distances, None)
    if first is None:
        return ()
    ids = tuple(accumulate(distances, initial=base_id + first))
    if min(ids) < 0 or max(ids) > MAX_ID:
        raise ValueError("a delta leads to an id outside 0..2^32-1")
    return ids
