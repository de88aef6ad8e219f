"""The common part of readers whose form is marked by single control ids: ids are content or a marker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from codec_agents.dialects.values import TurnEvent


class MarkedReader(ABC):
    """Divides the ids of a turn at its control ids.

    What an engine sends behind the end of the turn says nothing that belongs to it, and is passed over.
    """

    __slots__ = ("_control", "_ended", "_position")

    def __init__(self, control: AbstractSet[int]) -> None:
        """Begin at the first id of a turn.

        Args:
            control: the control ids of the form.
        """
        self._control = control
        self._position = 0
        """That of the content or the marker which is being taken, in the turn."""
        self._ended = False
        """Set by a subclass at the end of the turn."""

    def feed(self, ids: Sequence[int]) -> list[TurnEvent]:
        """Take the next ids; return what is known of the turn now."""
        events: list[TurnEvent] = []
        first, begin = self._position, 0
        if not self._control.isdisjoint(ids):  # one test in C, instead of a step of Python for each id
            for place, token_id in enumerate(ids):
                if token_id in self._control:
                    if begin < place and not self._ended:
                        self._content(ids[begin:place], events)
                    self._position = first + place
                    if not self._ended:
                        self._marker(token_id, events)
                    begin = place + 1
                    self._position = first + begin
        if begin < len(ids) and not self._ended:
            self._content(ids[begin:], events)
        self._position = first + len(ids)
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
        """Take ids between markers, the first of which is at the position."""

    @abstractmethod
    def _marker(self, token_id: int, events: list[TurnEvent]) -> None:
        """Take a control id, which is at the position."""
