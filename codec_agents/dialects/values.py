"""The parts of a turn: lanes of token ids, and the regions that hold tool calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import msgspec

ThinkingMode: TypeAlias = Literal["on", "off", "forced"]
"""Reasoning before an answer: requested, declined, or forced by a marker that the prompt opens."""


Port: TypeAlias = Literal["answer", "reasoning"]
"""The way by which content leaves a turn."""


class PortIds(msgspec.Struct, frozen=True, gc=False):
    """Ids that leave by a port.

    Fields:
        port: `answer` or `reasoning`.
        ids: the ids, as sampled; markers are never among them.
        start: the position of the first one in the turn.
    """

    port: Port
    ids: tuple[int, ...]
    start: int


class CallRegion(msgspec.Struct, frozen=True):
    """The span of one tool call, or of one block of calls.

    Fields:
        ids: the payload, without the markers around it.
        start: the position in the turn of the first id, the marker included.
        stop: the position after the last id, the marker included.
        closed: whether the region ended as the family ends it; one that did not is never run.
        text: the payload as text, where the family marks calls by text only; otherwise None.
        header: ids that stood before the payload and say what it is, in families that have such a header.
    """

    ids: tuple[int, ...]
    start: int
    stop: int
    closed: bool
    text: str | None = None
    header: tuple[int, ...] = ()


TurnEvent: TypeAlias = PortIds | CallRegion

PROPER_ENDS = frozenset({"stop", "tool_calls", "eos", "eos_token", "end_turn", "stop_sequence"})
"""Reasons that mean the model itself ended its turn; after any other, what is open was cut off."""


class TurnReader(Protocol):
    """Reads one turn."""

    def feed(self, ids: Sequence[int]) -> list[TurnEvent]:
        """Take the next ids; return what is known of the turn now."""

    def flush(self, finish_reason: str | None = None) -> list[TurnEvent]:
        """End the turn; return what was held back. A call still open is given as not closed."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A control token inside a payload; the same characters spelled by ordinary ids are text."""

    name: str


Segment: TypeAlias = str | Marked
"""A payload is a sequence of texts and control tokens."""
