"""Cut a turn that is a sequence of messages, each with a header that says what its body is.

A header runs from `<|start|>` or `<|channel|>` to `<|message|>`, the body to the message's end. The channel
`analysis` is reasoning, a message with a recipient is a call, everything else is answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from codec_agents.dialects.grammars.marked import recipient_of
from codec_agents.dialects.parsing.marked_reader import MarkedReader
from codec_agents.dialects.values import PROPER_ENDS, CallRegion, PortIds, TurnEvent
from codec_core.vocabulary import Vocabulary

MAX_HEADER_IDS = 256
"""A header is a role, a channel and a recipient: a longer one is no header, and its ids are dropped."""


class _Place(Enum):
    HEADER = auto()
    BODY = auto()
    BETWEEN = auto()


@dataclass(frozen=True, slots=True)
class MessageTable:
    """The control ids of the form, and how a header is read."""

    message: int
    channel: int
    start: int
    constrain: int | None
    end: int
    stops: frozenset[int]
    spell: Callable[[int], bytes]

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> MessageTable:
        """Resolve the form's control tokens in a vocabulary that has them."""
        known = vocabulary.special_tokens
        # Of these, `<|endoftext|>` and `<|constrain|>` are optional markers.
        stops = {known[name] for name in ("<|return|>", "<|call|>", "<|endoftext|>") if name in known}
        return cls(
            known["<|message|>"],
            known["<|channel|>"],
            known["<|start|>"],
            known.get("<|constrain|>"),
            known["<|end|>"],
            frozenset(stops),
            vocabulary.byte_table.__getitem__,
        )


class MessageReader(MarkedReader):
    """Reads a turn of messages; the prompt has opened the first header, or even the first body."""

    __slots__ = (
        "_body",
        "_channel",
        "_header",
        "_place",
        "_port",
        "_start",
        "_table",
    )

    def __init__(self, table: MessageTable, prompt_ids: Sequence[int] = ()) -> None:
        super().__init__({table.message, table.channel, table.start, table.end, *table.stops})
        self._table = table
        self._place = _Place.HEADER
        self._header: list[int] = []
        self._channel: list[int] | None = None
        self._body: list[int] = []
        self._port: Literal["answer", "reasoning"] | None = "answer"
        self._take_over(prompt_ids, table.start, table.stops)
        self._start = 0  # what the prompt has opened counts from the turn's first id

    def flush(self, finish_reason: str | None = None) -> list[TurnEvent]:
        """End the turn; a call still open is given as not closed."""
        events: list[TurnEvent] = []
        if self._place is _Place.BODY and self._port is None:
            # The id that ends a call stops the turn: one that stopped properly without it has ended there.
            self._give_call(events, closed=finish_reason in PROPER_ENDS, stop=self._position)
        self._place, self._ended = _Place.BETWEEN, True
        return events

    def _content(self, ids: Sequence[int], events: list[TurnEvent]) -> None:
        if self._place is _Place.HEADER:
            kept = ids[: MAX_HEADER_IDS - len(self._header)]  # the same ones, however the ids were cut
            self._header += kept
            if self._channel is not None:
                self._channel += kept
        elif self._place is _Place.BODY and self._port is None:
            self._body += ids
        elif self._place is _Place.BODY and self._port is not None:
            events.append(PortIds(self._port, tuple(ids), self._position))
        elif self._place is _Place.BETWEEN:
            events.append(PortIds("answer", tuple(ids), self._position))

    def _marker(self, token_id: int, events: list[TurnEvent]) -> None:
        table = self._table
        if token_id == table.message and self._place is _Place.HEADER:
            self._begin_body()
        elif token_id in (table.start, table.channel):
            self._begin_header(token_id, events)
        elif token_id == table.end or token_id in table.stops:
            self._end_body(token_id, events)

    def _begin_header(self, token_id: int, events: list[TurnEvent]) -> None:
        if self._place is _Place.BODY and self._port is None:
            self._give_call(events, closed=False, stop=self._position)  # nothing has ended it
        if token_id == self._table.channel:
            # In a header the role is before it, even where the prompt has written that.
            if self._place is not _Place.HEADER:
                self._open_header()
            self._channel = []
            if len(self._header) < MAX_HEADER_IDS:
                self._header.append(token_id)
        else:
            self._open_header()
        self._place = _Place.HEADER

    def _open_header(self) -> None:
        self._header, self._channel = [], None
        self._start = self._position

    def _begin_body(self) -> None:
        header = self._spelled(self._header)
        channel = self._spelled(self._channel or []).split()
        self._place, self._body = _Place.BODY, []
        if recipient_of(header) is not None:
            self._port = None
        else:
            self._port = "reasoning" if channel[:1] == ["analysis"] else "answer"

    def _end_body(self, token_id: int, events: list[TurnEvent]) -> None:
        if self._place is _Place.BODY and self._port is None:
            self._give_call(events, closed=True, stop=self._position + 1)
        self._place, self._ended = _Place.BETWEEN, token_id in self._table.stops
        self._start = self._position + 1

    def _give_call(self, events: list[TurnEvent], *, closed: bool, stop: int) -> None:
        header = tuple(self._header)
        events.append(CallRegion(tuple(self._body), self._start, stop, closed, header=header))

    def _spelled(self, ids: Sequence[int]) -> str:
        """Return what a header says; a control token divides words, as white space does."""
        apart = (self._table.channel, self._table.constrain)
        spelled = (b" " if token_id in apart else self._table.spell(token_id) for token_id in ids)
        return b"".join(spelled).decode("utf-8", "replace")
