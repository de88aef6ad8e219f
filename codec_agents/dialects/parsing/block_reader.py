"""Cut a turn into blocks, whose kind a control token says (Inkling).

A block begins with `<|message_model|>`, which the prompt has written before the first one, and ends with
`<|end_message|>`. `<|content_thinking|>` begins reasoning, `<|content_text|>` the answer, and
`<|content_invoke_tool_json|>` a call, before which its tool is named. Text of a block that says no kind is
answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from codec_agents.dialects.parsing.marked_reader import MarkedReader
from codec_agents.dialects.values import CallRegion, Port, PortIds, TurnEvent
from codec_core.vocabulary import Vocabulary

START, END = "<|message_model|>", "<|end_message|>"
THINKING, TEXT = "<|content_thinking|>", "<|content_text|>"
CALLS = ("<|content_invoke_tool_json|>", "<|content_invoke_tool_text|>")


class _Kind(Enum):
    HEAD = auto()
    """The block has not said its kind yet."""
    REASONING = auto()
    ANSWER = auto()
    CALL = auto()


@dataclass(frozen=True, slots=True)
class BlockTable:
    """The control ids of blocks, and the ids at which a turn is over."""

    start: int
    end: int
    thinking: int
    kinds: dict[int, _Kind]
    stops: frozenset[int]

    @classmethod
    def of(cls, vocabulary: Vocabulary, stops: Sequence[int]) -> BlockTable:
        """Resolve the form's control tokens in a vocabulary that has them."""
        known = vocabulary.special_tokens
        kinds = {known[THINKING]: _Kind.REASONING, known[TEXT]: _Kind.ANSWER}
        kinds |= {known[name]: _Kind.CALL for name in CALLS if name in known}
        return cls(known[START], known[END], known[THINKING], kinds, frozenset(stops))


class BlockReader(MarkedReader):
    """Reads a turn of blocks; the prompt may have opened the first of them."""

    __slots__ = ("_body", "_head", "_kind", "_start", "_table")

    def __init__(self, table: BlockTable, prompt_ids: Sequence[int] = ()) -> None:
        super().__init__({table.start, table.end, *table.kinds, *table.stops})
        self._table = table
        self._kind = _Kind.HEAD
        self._head: list[int] = []
        self._body: list[int] = []
        self._take_over(prompt_ids, table.start, table.stops)
        self._start = 0  # what the prompt has opened counts from the turn's first id

    def flush(self, finish_reason: str | None = None) -> list[TurnEvent]:  # noqa: ARG002 - blocks say their end
        """End the turn; a call that is still open is given as not closed."""
        events: list[TurnEvent] = []
        self._end_block(events, closed=False, stop=self._position)
        self._ended = True
        return events

    def _content(self, ids: Sequence[int], events: list[TurnEvent]) -> None:
        if self._kind is _Kind.HEAD:
            self._head += ids
        elif self._kind is _Kind.CALL:
            self._body += ids
        else:
            port: Port = "reasoning" if self._kind is _Kind.REASONING else "answer"
            events.append(PortIds(port, tuple(ids), self._position))

    def _marker(self, token_id: int, events: list[TurnEvent]) -> None:
        kind = self._table.kinds.get(token_id)
        if kind is None:
            # An end belongs to its block; a start is the first id of the next one, a stop of none.
            ends = token_id == self._table.end
            self._end_block(events, closed=ends, stop=self._position + ends)
            self._start = self._position + (token_id != self._table.start)
            self._ended = token_id in self._table.stops
        elif kind is _Kind.CALL and self._kind is not _Kind.CALL:
            if self._kind is not _Kind.HEAD:  # a call ends what is said before it
                self._end_block(events, closed=False, stop=self._position)
                self._start = self._position
            self._kind = kind
        elif self._kind is _Kind.CALL:
            self._body.append(token_id)  # no kind of its own: the payload is not JSON then
        else:
            self._flush_head(events)
            self._kind = kind

    def _end_block(self, events: list[TurnEvent], *, closed: bool, stop: int) -> None:
        if self._kind is _Kind.CALL:
            body, head = tuple(self._body), tuple(self._head)
            events.append(CallRegion(body, self._start, stop, closed, header=head))
            self._head = []
        self._flush_head(events)
        self._kind, self._body = _Kind.HEAD, []

    def _flush_head(self, events: list[TurnEvent]) -> None:
        if self._head:
            events.append(PortIds("answer", tuple(self._head), self._position - len(self._head)))
        self._head = []
