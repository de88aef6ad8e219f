"""The places of single ids in a long sequence of them."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Sequence


class Places:
    """Finds ids in a sequence, which must not change.

    The sequence is searched once for each id that is asked for, in C.

    Attributes:
        ids: the sequence.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = array("I", ids)
        # One byte of each id: where it differs, so do the ids. `bytes.find` is fastest with a single byte.
        self._first_bytes = self.ids.tobytes()[:: self.ids.itemsize]
        self._known: dict[int, list[int]] = {}

    def of(self, token_id: int) -> list[int]:
        """Return all places of an id, in order."""
        places = self._known.get(token_id)
        if places is None:
            places = self._known[token_id] = self._search(token_id)
        return places

    def of_all(self, wanted: Collection[int]) -> list[int]:
        """Return all places of some ids, in order."""
        return sorted([place for token_id in set(wanted) for place in self.of(token_id)])

    def next(self, place: int, wanted: Collection[int], stop: int | None = None) -> int:
        """Return the first place, from one place on, of one of some ids.

        Args:
            place: the first place that counts.
            wanted: the ids.
            stop: what is returned where none of them is before it; None for the end of the sequence.
        """
        found = len(self.ids) if stop is None else stop
        for token_id in wanted:
            places = self._known.get(token_id) or self.of(token_id)
            number = bisect_left(places, place)
            if number < len(places) and places[number] < found:
                found = places[number]
        return found

    def last_before(self, place: int, token_id: int) -> int | None:
        """Return the last place of an id before a place; None where there is none."""
        places = self.of(token_id)
        number = bisect_left(places, place)
        return places[number - 1] if number else None

    def _search(self, token_id: int) -> list[int]:
        first_byte = array("I", (token_id,)).tobytes()[:1]
        ids, found = self.ids, []
        at = self._first_bytes.find(first_byte)
        while at >= 0:
            if ids[at] == token_id:
                found.append(at)
            at = self._first_bytes.find(first_byte, at + 1)
        return found
