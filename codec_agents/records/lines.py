"""The lines of a record as they are read: the fields that each kind must have, and their types.

The bounds keep a damaged file of an old version, which has no checksums, from failing later and elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, TypedDict

import msgspec

from codec_agents.prompts import History
from codec_core.frames import SampledValues, WeightVersion

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Id: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Instant: TypeAlias = Annotated[float, msgspec.Meta(gt=-1e12, lt=1e12)]
"""Seconds since the run started."""


class NodeHeader(msgspec.Struct):
    """A node of the first line."""

    map: str | None = None
    dialect: str | None = None
    model: str | None = None
    engine: str | None = None
    sampling: dict[str, Any] | None = None
    logprob_mode: str | None = None


class EdgeHeader(msgspec.Struct, rename={"source": "from", "target": "to"}):
    """An edge of the first line."""

    source: str
    target: str
    strategy: str


class RunLine(msgspec.Struct):
    """The first line."""

    run_id: str | None = None
    pipeline: str = ""
    digest: str | None = None
    trace_id: str | None = None
    versions: dict[str, str] = {}
    maps: dict[str, str | None] = {}
    nodes: dict[str, NodeHeader] = {}
    edges: list[EdgeHeader] = []
    inputs: dict[str, str | list[Id]] = {}
    after: dict[str, History] = {}


class PromptLine(msgspec.Struct):
    """A model was asked for a turn."""

    node: str
    turn: Count
    kept: Count
    ids: list[Id]
    at: Instant
    results: list[tuple[Count, Count]] = []
    kept_prefix: Count = 0
    """Of a first turn, how many of its ids are those of an earlier run, which is not in this record, or of
    another branch of a conversation."""
    id: str | None = None
    """The turn's part of the ids that a gateway's client got."""
    sampling: dict[str, Any] | None = None
    """The options of this turn, where turns have their own; those of the first line otherwise."""


class ValuesLine(msgspec.Struct):
    """The values of a frame's ids; null stands for minus infinity, which JSON does not have."""

    logprobs: list[float | None] = []
    top: list[list[tuple[Id, float | None]]] = []
    sampling_mask: list[list[Id]] = []
    weight_versions: list[tuple[str, Count, Count]] = []
    routed_experts: str | None = None

    def read(self) -> SampledValues:
        """Return the values as frames have them."""
        return SampledValues(
            tuple(map(_number, self.logprobs)),
            tuple(tuple((token, _number(logprob)) for token, logprob in row) for row in self.top),
            tuple(map(tuple, self.sampling_mask)),
            tuple(WeightVersion(*span) for span in self.weight_versions),
            self.routed_experts,
        )


def _number(logprob: float | None) -> float:
    return -math.inf if logprob is None else logprob


class IdsLine(msgspec.Struct):
    """A frame of an engine."""

    node: str
    turn: Count
    ids: list[Id]
    at: Instant
    values: ValuesLine | None = None


class TurnLine(msgspec.Struct):
    """A turn ended."""

    node: str
    turn: Count
    regions: list[tuple[str, Count, Count]]
    at: Instant
    bytes: Count = 0
    reason: str | None = None
    first_id_at: Instant | None = None
    cached: Count | None = None
    engine: dict[str, Instant] = {}


class ContextLine(msgspec.Struct):
    """The context of a node's engine, from a turn on."""

    node: str
    turn: Count
    ids: Count
    at: Instant


class DroppedLine(msgspec.Struct):
    """A prompt was shortened before a turn; the turn's own line holds what is left."""

    node: str
    turn: Count
    policy: str
    before: Count
    after: Count
    dropped: list[tuple[Count, Count]]
    at: Instant


class ToolLine(msgspec.Struct):
    """A call has a result."""

    node: str
    turn: Count
    name: str
    arguments: dict[str, Any] | None
    call: tuple[int, int]
    status: str
    told: str
    seconds: Instant
    at: Instant
    prepared: list[Id] | None = None
    repeated: Count = 0


class FunctionLine(msgspec.Struct):
    """A function answered."""

    node: str
    given: str
    gave: Any
    at: Instant


class DecidedLine(msgspec.Struct):
    """An order of arrival decided."""

    node: str
    choices: list[str | int]
    at: Instant


class HandoffLine(msgspec.Struct):
    """Ids reached the request of the next node; the fields are those of `HandoffReport`."""

    source: str
    target: str
    strategy: str
    source_map: str | None
    target_map: str | None
    input_ids: Count
    output_ids: Count
    dropped_ids: Count
    replaced: Count
    translate_seconds: Instant
    tail_seconds: Instant
    first_in: Instant | None
    last_in: Instant | None
    request_sent: Instant | None
    first_out: Instant | None
    wire_bytes: Count
    wire_ids: Count
    at: Instant
    last_id: Instant | None = None
    wait_seconds: Instant = 0.0
    render_seconds: Instant = 0.0
    queue_seconds: Instant = 0.0
    request_seconds: Instant = 0.0
    prefilled_ids: Count = 0
    cached_ids: Count | None = None
    engine_queue: Instant | None = None
    engine_prefill: Instant | None = None


class RetryLine(msgspec.Struct):
    """A request was sent again."""

    node: str
    turn: Count
    kept: Count
    type: str
    message: str
    at: Instant


class ErrorFields(msgspec.Struct):
    """An error by its class and message."""

    type: str
    message: str


class NodeLine(msgspec.Struct):
    """A node ended."""

    node: str
    outcome: str
    at: Instant
    reason: str = ""
    usage: dict[str, Count] = {}
    probabilities: dict[str, float] = {}
    """Of a router: of the first id of each label that its engine told."""
    error: ErrorFields | msgspec.UnsetType = msgspec.UNSET
    """Of a node that failed; other nodes have no such field, and readers ask only for its presence."""


class TextLine(msgspec.Struct):
    """Text reached a sink."""

    sink: str
    text: str
    at: Instant


class EndLine(msgspec.Struct):
    """The run ended with a result."""

    at: Instant


class WaitingCall(TypedDict):
    """A call that waits for a decision."""

    key: str
    node: str
    name: str
    arguments: dict[str, Any] | None


class SuspendedLine(msgspec.Struct):
    """The run waits for decisions on calls."""

    pause: str
    calls: list[WaitingCall]
    at: Instant


class ContinuedLine(msgspec.Struct):
    """A process went on with the run, in this record."""

    at: Instant
    trace_id: str | None = None


class AnsweredLine(msgspec.Struct):
    """A pause of the run was answered; a run that goes on in its record reads the decisions, by call."""

    pause: str
    decisions: dict[str, bool | str] = {}


class AnnotationLine(msgspec.Struct):
    """A note on the run, added after it."""

    fields: dict[str, Any]


LINES: Mapping[str, type[msgspec.Struct]] = {
    "prompt": PromptLine,
    "ids": IdsLine,
    "turn": TurnLine,
    "context": ContextLine,
    "dropped": DroppedLine,
    "tool": ToolLine,
    "function": FunctionLine,
    "decided": DecidedLine,
    "handoff": HandoffLine,
    "retry": RetryLine,
    "node": NodeLine,
    "text": TextLine,
    "end": EndLine,
    "suspended": SuspendedLine,
    "continued": ContinuedLine,
    "answered": AnsweredLine,
    "annotation": AnnotationLine,
}
"""The kinds of lines; a line of another kind is kept without a check."""
