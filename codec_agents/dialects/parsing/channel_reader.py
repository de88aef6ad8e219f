"""Cut a turn into channels: elements whose tags are a name between control tokens (Kimi K3).

`<|open|>think<|sep|>` begins the channel of reasoning and `<|close|>think<|sep|>` ends it; `response` is the
answer and `tools` a region of calls, which is kept with the control tokens inside it. Ids outside of every
channel are answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codec_agents.dialects.parsing.marked_reader import MarkedReader
from codec_agents.dialects.values import CallRegion, Port, PortIds, TurnEvent
from codec_core.vocabulary import Vocabulary

MAX_TAG_IDS = 256
"""A tag is a name and a few attributes; of a longer one the rest is dropped."""

OPEN, CLOSE, SEPARATOR = "<|open|>", "<|close|>", "<|sep|>"
THINK, RESPONSE, TOOLS = "think", "response", "tools"


@dataclass(frozen=True, slots=True)
class ChannelTable:
    """The control ids of tags, and the ids at which a turn is over."""

    open: int
    close: int
    separator: int
    stops: frozenset[int]
    spell: Callable[[int], bytes]

    @classmethod
    def of(cls, vocabulary: Vocabulary, stops: Sequence[int]) -> ChannelTable:
        """Resolve the form's control tokens in a vocabulary that has them."""
        known = vocabulary.special_tokens
        names = known[OPEN], known[CLOSE], known[SEPARATOR]
        return cls(*names, frozenset(stops), vocabulary.byte_table.__getitem__)

    def tag_name(self, ids: Sequence[int]) -> str:
        """Return the name of a tag, without its attributes."""
        return b"".join(map(self.spell, ids)).decode("utf-8", "replace").split(" ")[0]


class ChannelReader(MarkedReader):
    """Reads a turn of channels; the prompt may have opened the first of them."""

    __slots__ = (
        "_channel",
        "_opens",
        "_payload",
        "_start",
        "_table",
        "_tag",
        "_tag_start",
    )

    def __init__(self, table: ChannelTable, prompt_ids: Sequence[int] = ()) -> None:
        super().__init__({table.open, table.close, table.separator, *table.stops})
        self._table = table
        self._channel: str | None = None
        self._tag: list[int] | None = None
        self._opens = False
        self._tag_start = 0
        self._payload: list[int] = []
        self._start = 0
        self._take_over(prompt_ids, table.open, table.stops)

    def flush(self, finish_reason: str | None = None) -> list[TurnEvent]:  # noqa: ARG002 - tags end every channel
        """End the turn; calls that are still open are given as not closed."""
        events: list[TurnEvent] = []
        self._end(events)
        return events

    def _content(self, ids: Sequence[int], events: list[TurnEvent]) -> None:
        if self._channel == TOOLS:  # tags inside of calls are payload, too
            self._payload += ids
        if self._tag is not None:
            self._tag += ids[: MAX_TAG_IDS - len(self._tag)]
        elif self._channel != TOOLS:
            port: Port = "reasoning" if self._channel == THINK else "answer"
            events.append(PortIds(port, tuple(ids), self._position))

    def _marker(self, token_id: int, events: list[TurnEvent]) -> None:
        table = self._table
        if token_id in table.stops:
            self._end(events)
            return
        if self._channel == TOOLS:
            # Every marker first goes into the payload. `_closed` cuts the tag that ends the region off again.
            self._payload.append(token_id)
        if token_id != table.separator:
            self._tag, self._opens, self._tag_start = [], token_id == table.open, self._position
        elif self._tag is not None:
            name, self._tag = table.tag_name(self._tag), None
            self._opened(name) if self._opens else self._closed(name, events)

    def _opened(self, name: str) -> None:
        """Enter a channel. Inside of calls, tags are payload; calls inside of reasoning are a rehearsal."""
        if self._channel == TOOLS or (self._channel == THINK and name == TOOLS):
            return
        if name in (THINK, RESPONSE, TOOLS):
            self._channel, self._start, self._payload = name, self._tag_start, []

    def _closed(self, name: str, events: list[TurnEvent]) -> None:
        if name != self._channel:
            return
        if name == TOOLS:
            tag = self._position + 1 - self._tag_start
            payload = tuple(self._payload[:-tag])
            events.append(CallRegion(payload, self._start, self._position + 1, True))
        self._channel = None

    def _end(self, events: list[TurnEvent]) -> None:
        if self._channel == TOOLS and not self._ended:
            events.append(CallRegion(tuple(self._payload), self._start, self._position, False))
        self._ended = True
