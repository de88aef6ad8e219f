"""An answer as the blocks of one turn: reasoning, text and calls, in the order in which they come.

The events of Responses and of Messages both begin, fill and end such blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from codec_agents.server.answers import named_event, random_id, reason_of
from codec_agents.server.backends.backend import Job
from codec_agents.server.lanes import Lanes
from codec_agents.server.parts import Part
from codec_core.frames import CodecFrame

Kind: TypeAlias = Literal["reasoning", "text", "call"]

PROGRESS = "codec.progress"

Mint: TypeAlias = Callable[[str], str]
"""Returns a new id that begins with the given prefix."""

KINDS: Mapping[str, Kind] = {"reasoning": "reasoning", "answer": "text", "tool_calls": "call"}
"""The kind of block that holds each lane."""


@dataclass(slots=True)
class Block:
    """One block of a turn.

    Fields:
        kind: what it holds.
        place: its place in the turn, from 0.
        id: its id. For a call, the one that the result names.
        name: the tool of a call.
        text: what it holds so far; for a call the arguments, as JSON.
        whole: whether the model ended it. The last block of an answer that was cut is not.
    """

    kind: Kind
    place: int
    id: str
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    whole: bool = True

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Step:
    """A block begins, grows by a text, or ends."""

    kind: Literal["start", "delta", "stop"]
    block: Block
    text: str = ""
    stop: int = 0
    """The position behind the ids that the text is of."""


class Turn:
    """Makes blocks of the frames of one answer.

    Args:
        job: the generation.
        tools: whether calls leave as calls; they are text otherwise.
        mint: gives ids.
        prefixes: how the API's ids of each kind of block begin.
    """

    def __init__(self, job: Job, *, tools: bool, mint: Mint, prefixes: Mapping[Kind, str]) -> None:
        self.blocks: list[Block] = []
        self.ids = 0
        """The number of ids so far."""
        self.reason = "stop"
        """Why the answer ended, in the words of OpenAI's chats; `tool_calls` where it ended with calls."""
        self.lanes = Lanes(job, tools=tools)
        self._mint = mint
        self._prefixes = prefixes
        self._open: Block | None = None

    def feed(self, frame: CodecFrame) -> Iterator[Step]:
        """Yield what a frame begins, adds and ends; after the last one every block has ended."""
        self.ids += len(frame.ids)
        for part in self.lanes.feed(frame):
            yield from self._add(part)
        if frame.done:
            reason = reason_of(frame)
            self.reason = "tool_calls" if self.lanes.calls and reason == "stop" else reason
            yield from self._end(whole=reason == "stop")

    def _add(self, part: Part) -> Iterator[Step]:
        kind = KINDS[part.lane]
        if self._open is not None and self._open.kind != kind:
            yield from self._end()
        block = self._open
        if block is None:
            block = self._open = self._begin(kind, part)
            yield Step("start", block)
        text = part.text if part.call is None else part.arguments
        block.pieces.append(text)
        yield Step("delta", block, text, part.stop)
        # A call comes whole, and the next part may be another call.
        if part.call is not None:
            yield from self._end()

    def _begin(self, kind: Kind, part: Part) -> Block:
        given = None if part.call is None else part.call.call_id
        block = Block(kind, len(self.blocks), given or self._mint(self._prefixes[kind]))
        if part.call is not None:
            block.name = part.call.name
        self.blocks.append(block)
        return block

    def _end(self, *, whole: bool = True) -> Iterator[Step]:
        if self._open is not None:
            block, self._open = self._open, None
            block.whole = whole
            yield Step("stop", block)


def progress_events(lanes: Lanes) -> bytes:
    """Return the events of what happened since the last ones; clients that do not know them skip them."""
    events, lanes.progress = lanes.progress, []
    return b"".join([named_event(PROGRESS, {"type": PROGRESS, **event}) for event in events])


RANDOM: Mint = random_id
"""Gives ids that say nothing."""
