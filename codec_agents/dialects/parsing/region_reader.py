"""Cut a model's turn into lanes while it streams.

The rules of this file:

1. Only a control id of the dialect changes the lane. The same characters spelled by ordinary ids are content.
2. A marker is in no event; every other id before the turn's end is in exactly one.
3. A call that opens while reasoning is open is held back until it is known what it was: reasoning that closes
   later makes it a rehearsal, which stays reasoning; a turn that ends properly makes it a call.
4. One call of a block that comes without the block is a region of its own.
5. A call that opens inside a call may be the rest of a value that holds a marker. Neither of the two is
   closed, so neither runs. Families whose calls end with the next one are the exception.
6. How the ids were cut into feeds never changes what comes out, put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property

from codec_agents.dialects.parsing.text_calls import TextLane
from codec_agents.dialects.values import PROPER_ENDS, CallRegion, Port, PortIds, TurnEvent


class Action(Enum):
    """The effect of a control id on the lane."""

    THINK_OPEN = auto()
    THINK_CLOSE = auto()
    CALL_OPEN = auto()
    CALL_CLOSE = auto()
    PART_OPEN = auto()
    """Begins one call of a block, or a call without the block."""
    PART_CLOSE = auto()
    TURN_END = auto()
    WRAPPER = auto()
    """Is around an answer, without another meaning."""


class Lane(Enum):
    """The destination of content."""

    ANSWER = auto()
    REASONING = auto()
    CALL = auto()
    ENDED = auto()


@dataclass(frozen=True)  # without slots, where `cached_property` could not keep its value
class ReaderTable:
    """A dialect as a reader needs it, resolved to the ids of one vocabulary.

    Fields:
        actions: what each control id does.
        calls_end_thinking: whether a call may open without reasoning being closed first.
        calls_end_with_turn: whether a call is ended by the next one or by the turn, having no end marker.
        calls_nest: whether a start inside a call belongs to its payload.
    """

    actions: Mapping[int, Action]
    calls_end_thinking: bool
    calls_end_with_turn: bool
    calls_nest: bool = False

    @cached_property
    def markers_absent(self) -> Callable[[Iterable[int]], bool]:
        """Return the test that no control id is among some ids."""
        return frozenset(self.actions).isdisjoint


class RegionReader:
    """Reads turns whose regions are marked by single control ids, as nearly all families do."""

    __slots__ = (
        "_alone",
        "_call_start",
        "_doubtful",
        "_held",
        "_lane",
        "_markers_absent",
        "_payload",
        "_port",
        "_position",
        "_table",
        "_text",
        "_thought",
    )

    def __init__(
        self,
        table: ReaderTable,
        *,
        thinking: bool = False,
        text: TextLane | None = None,
        thought: TextLane | None = None,
    ) -> None:
        """Begin at the first id of a turn.

        Args:
            table: the dialect.
            thinking: whether reasoning is open there.
            text: searches the answer for calls that text marks.
            thought: searches the reasoning for them, as long as it is not known whether it is closed.
        """
        self._table = table
        self._thought = thought
        self._markers_absent = table.markers_absent
        self._lane = Lane.REASONING if thinking else Lane.ANSWER
        self._text = text
        self._position = 0
        self._payload: list[int] = []
        self._call_start = 0
        self._doubtful = False
        self._alone = False
        """Whether the call is one without its block."""
        self._held: list[TurnEvent] | None = None
        self._port = self._open_port()

    def feed(self, ids: Sequence[int]) -> list[TurnEvent]:
        """Take the next ids; return what is known of the turn now."""
        if self._markers_absent(ids):
            port = self._port
            if port is None or not ids:
                return self._plain(ids)
            start = self._position  # nearly all feeds of nearly all streams come here: it is kept short
            self._position = start + len(ids)
            return [PortIds(port, ids if type(ids) is tuple else tuple(ids), start)]
        events: list[TurnEvent] = []
        actions, begin = self._table.actions, 0
        for place, token_id in enumerate(ids):
            if token_id in actions:
                self._content(ids[begin:place], events)
                _TRANSITIONS[actions[token_id]](self, token_id, events)
                self._position += 1
                begin = place + 1
        self._content(ids[begin:], events)
        self._port = self._open_port()
        return events

    def flush(self, finish_reason: str | None = None) -> list[TurnEvent]:
        """End the turn; return what was held back. A call still open is given as not closed."""
        events: list[TurnEvent] = []
        if self._lane is not Lane.ENDED:
            self._end(events, proper=finish_reason in PROPER_ENDS)
        self._port = None
        return events

    def _open_port(self) -> Port | None:
        """Return the port by which content leaves as it comes; None where more has to be done with it."""
        if self._lane is Lane.ANSWER and self._text is None:
            return "answer"
        if self._lane is Lane.REASONING and self._held is None and self._thought is None:
            return "reasoning"
        return None

    def _plain(self, ids: Sequence[int]) -> list[TurnEvent]:
        """Take ids without a marker."""
        events: list[TurnEvent] = []
        self._content(ids, events)
        return events

    def _content(self, ids: Sequence[int], events: list[TurnEvent]) -> None:
        if not ids:
            return
        start = self._position
        self._position += len(ids)
        match self._lane:
            case Lane.CALL:
                self._payload += ids
            case Lane.REASONING if self._thought is not None:
                self._take_thought(self._thought.feed(ids, start), events)
            case Lane.REASONING:
                self._emit(PortIds("reasoning", tuple(ids), start), events)
            case Lane.ANSWER if self._text is not None:
                events += self._text.feed(ids, start)
            case Lane.ANSWER:
                events.append(PortIds("answer", tuple(ids), start))
            case Lane.ENDED:
                pass  # an engine that goes on after the turn's end says nothing that belongs to it

    def _emit(self, event: TurnEvent, events: list[TurnEvent]) -> None:
        (events if self._held is None else self._held).append(event)

    def _take_thought(self, found: Sequence[TurnEvent], events: list[TurnEvent]) -> None:
        """Take what a search of the reasoning gives; from a call on, all of it is held."""
        for event in found:
            if isinstance(event, CallRegion) and self._held is None:
                self._held = []
            self._emit(event, events)

    def _end_thought(self, events: list[TurnEvent], *, proper: bool) -> None:
        if self._thought is not None and self._lane is Lane.REASONING:
            self._take_thought(self._thought.flush(proper=proper), events)

    def _open_thinking(self, token_id: int, events: list[TurnEvent]) -> None:
        if self._lane is Lane.ANSWER:
            self._flush_text(events, proper=True)
            self._lane = Lane.REASONING
        elif self._lane is Lane.CALL:
            self._payload.append(token_id)

    def _close_thinking(self, token_id: int, events: list[TurnEvent]) -> None:
        self._end_thought(events, proper=False)
        if self._held is not None:
            self._withdraw(events)
            self._lane = Lane.ANSWER
        elif self._lane is Lane.REASONING:
            self._lane = Lane.ANSWER
        elif self._lane is Lane.CALL:
            self._payload.append(token_id)

    def _open_call(self, token_id: int, events: list[TurnEvent]) -> None:
        if self._lane is Lane.ENDED or (self._lane is Lane.REASONING and not self._table.calls_end_thinking):
            return  # in such a family, a call in reasoning is a rehearsal whatever follows
        if self._lane is Lane.CALL and self._table.calls_nest:
            self._payload.append(token_id)
            return
        if self._lane is Lane.CALL:
            self._finish_call(events, closed=self._table.calls_end_with_turn, stop=self._position)
            # A marker inside a value also looks like this: what follows may be the rest of the value.
            self._doubtful = not self._table.calls_end_with_turn
        elif self._lane is Lane.ANSWER:
            self._flush_text(events, proper=True)
        else:
            self._end_thought(events, proper=True)
            self._held = self._held or []
        self._lane = Lane.CALL
        self._alone = False
        self._call_start = self._position
        self._payload = []

    def _close_call(self, _id: int, events: list[TurnEvent]) -> None:
        if self._lane is Lane.CALL:
            # The end of a block is not the end of a call without it.
            closed = not self._doubtful and not self._alone
            self._finish_call(events, closed=closed, stop=self._position + 1)
            self._doubtful = False
            self._lane = Lane.ANSWER if self._held is None else Lane.REASONING

    def _open_part(self, token_id: int, events: list[TurnEvent]) -> None:
        if self._lane is Lane.CALL and not self._alone:
            self._payload.append(token_id)
            return
        self._open_call(token_id, events)
        self._alone = self._lane is Lane.CALL

    def _close_part(self, token_id: int, events: list[TurnEvent]) -> None:
        if self._lane is Lane.CALL and not self._alone:
            self._payload.append(token_id)
        else:
            self._alone = False
            self._close_call(token_id, events)

    def _end_turn(self, _id: int, events: list[TurnEvent]) -> None:
        if self._lane is not Lane.ENDED:
            self._end(events, proper=True)

    def _skip(self, _id: int, _events: list[TurnEvent]) -> None:
        """Leave a wrapper out: it says nothing, inside a call either."""

    def _finish_call(self, events: list[TurnEvent], *, closed: bool, stop: int) -> None:
        self._emit(CallRegion(tuple(self._payload), self._call_start, stop, closed), events)

    def _end(self, events: list[TurnEvent], *, proper: bool) -> None:
        self._end_thought(events, proper=proper)
        if self._lane is Lane.CALL:
            closed = proper and self._table.calls_end_with_turn
            self._finish_call(events, closed=closed, stop=self._position)
        if self._held is not None:
            if proper:
                events += self._held
                self._held = None
            else:
                self._withdraw(events)  # reasoning was cut off: it may have been closed later
        self._flush_text(events, proper=proper)
        self._lane = Lane.ENDED

    def _withdraw(self, events: list[TurnEvent]) -> None:
        """Give what was held, and a call still open, as the reasoning that it was."""
        assert self._held is not None
        if self._lane is Lane.CALL:
            self._held.append(CallRegion(tuple(self._payload), self._call_start, self._position, False))
        for event in self._held:
            if isinstance(event, PortIds):
                events.append(event)
            elif event.text is not None and self._thought is not None:
                events.append(self._thought.withdraw(event))
            elif event.ids:  # behind the mark of the call, which is in no event
                events.append(PortIds("reasoning", event.ids, event.start + 1))
        self._held = None

    def _flush_text(self, events: list[TurnEvent], *, proper: bool) -> None:
        if self._text is not None:
            events += self._text.flush(proper=proper)


_TRANSITIONS: Mapping[Action, Callable[[RegionReader, int, list[TurnEvent]], None]] = {
    Action.THINK_OPEN: RegionReader._open_thinking,
    Action.THINK_CLOSE: RegionReader._close_thinking,
    Action.CALL_OPEN: RegionReader._open_call,
    Action.CALL_CLOSE: RegionReader._close_call,
    Action.PART_OPEN: RegionReader._open_part,
    Action.PART_CLOSE: RegionReader._close_part,
    Action.TURN_END: RegionReader._end_turn,
    Action.WRAPPER: RegionReader._skip,
}
