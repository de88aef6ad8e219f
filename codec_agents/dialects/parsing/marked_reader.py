"""The common part of readers whose form is marked by single control ids: ids are content or a marker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from codec_agents.dialects.values import TurnEvent


class MarkedReader(ABC):
    """Divides the ids of a turn at its control ids."""

    __slots__ = ("_control", "_position")

    def __init__(self, control: AbstractSet[int]) -> None:
        """Begin at the first id of a turn.

        Args:
            control: the control ids of the form.
        """
        self._control = control
        self._position = 0
        """Of the next id in the turn."""

    def feed(self, ids: Sequence[int]) -> list[TurnEvent]:
        """Take the next ids; return what is known of the turn now."""
        events: list[TurnEvent] = []
        begin = 0
        if not self._control.isdisjoint(ids):  # one test in C, instead of a step of Python for each id
            for place, token_id in enumerate(ids):
                if token_id in self._control:
                    self._content(ids[begin:place], events)
                    self._marker(token_id, events)
                    self._position += 1
                    begin = place + 1
        self._content(ids[begin:], events)
        return events

    def _take_over(self, prompt_ids: Sequence[int], opening: int, stops: AbstractSet[int]) -> None:
        """Read the end of a prompt, from the last `opening` on, unless one of `stops` follows it.

        That turn is over then, and the prompt has opened none: the model itself opens the one that is read.
        """
        places = range(len(prompt_ids) - 1, -1, -1)
        last = next((place for place in places if prompt_ids[place] == opening), None)
        if last is not None and stops.isdisjoint(prompt_ids[last:]):
            self.feed(prompt_ids[last:])
            self._position = 0

    @abstractmethod
    def _content(self, ids: Sequence[int], events: list[TurnEvent]) -> None:
        """Take ids between markers, of which there may be none, and advance the position by their number."""

    @abstractmethod
    def _marker(self, token_id: int, events: list[TurnEvent]) -> None:
        """Take a control id, which is at the position."""
