"""What a turn is cut into: lanes of ids, regions of calls, and the calls that a grammar reads from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

ThinkingMode: TypeAlias = Literal["on", "off", "forced"]
"""Whether a model reasons first: asked for, asked not to, or made to by a marker opened in the prompt."""


Port: TypeAlias = Literal["answer", "reasoning"]
"""Where content leaves a turn."""


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


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call, as the model wrote it.

    Fields:
        index: its number within its region.
        name: the tool, or "" where the payload does not say.
        arguments: what the tool is to be called with; None where they could not be read.
        call_id: the model's own id of the call, where the family has one.
        text: the payload, for the record and for messages.
        error: what is wrong with the payload, in words for the model; None where nothing is.
        closed: False where the region was cut off.
        start: the position of the region in the turn.
        stop: the position after the region in the turn.
    """

    index: int
    name: str
    arguments: dict[str, Any] | None
    call_id: str | None
    text: str
    error: str | None = None
    closed: bool = True
    start: int = 0
    stop: int = 0


@dataclass(frozen=True, slots=True)
class Marked:
    """A control token inside a payload; the same characters spelled by ordinary ids are text."""

    name: str


Segment: TypeAlias = str | Marked
"""A payload is a sequence of texts and control tokens."""
