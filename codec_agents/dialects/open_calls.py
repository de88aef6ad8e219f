"""The calls of one turn that have no result yet.

A client may send thousands of calls and of results. Looking through all calls for each result would take time
in proportion to the square of them, so calls are found by their ids.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence


class OpenCalls:
    """Finds the call that a result answers.

    Args:
        ids: of each call in its order, the ids by which a result may name it.
    """

    def __init__(self, ids: Sequence[Collection[str | None]]) -> None:
        self._places: dict[str | None, deque[int]] = {}
        for place, known in enumerate(ids):
            for call_id in known:
                self._places.setdefault(call_id, deque()).append(place)
        self._unnamed = deque(range(len(ids)))
        self._answered: set[int] = set()

    def take(self, call_id: str | None) -> int | None:
        """Return the place of the first open call of an id, or of all without one; None for none."""
        places = self._unnamed if call_id is None else self._places.get(call_id, deque())
        # A call is in several of these: by each of its ids, and for results without one.
        while places and places[0] in self._answered:
            places.popleft()
        if not places:
            return None
        self._answered.add(places[0])
        return places.popleft()
