"""The events of a run.

Events are frozen values in the order of what happened; consumers match on the type. Instants (`at`) are
seconds since the run started, read from a monotonic clock. Token ids (ids) come in batches, never one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from codec_core.frames import SampledValues

if TYPE_CHECKING:
    from codec_agents.graph.edges import Strategy
    from codec_agents.tools.calls import Attempt, ToolCall

Port: TypeAlias = Literal["answer", "reasoning", "tool_calls"]
"""A named lane of a node's stream."""

Outcome: TypeAlias = Literal["finished", "limited", "failed", "skipped", "cancelled", "paused"]
"""How a node ended: by itself, at a limit, by an error, by its failure policy, or with the run.

A node that is `paused` waits for a decision.
"""


class Usage(msgspec.Struct, frozen=True):
    """Counts of one node, over all its turns."""

    prompt_ids: int = 0
    """Ids sent in prompts, cached ones included."""
    cached_ids: int | None = None
    """Ids of prompts that the engine found in its prefix cache; None where it does not report them, which is
    not 0."""
    generated_ids: int = 0
    """Ids that the model generated, with reasoning and tool calls."""
    reasoning_ids: int = 0
    """Ids that left by the reasoning port."""
    turns: int = 0
    """Generations requested."""
    tool_calls: int = 0
    """Tool calls attempted."""
    retries: int = 0
    """Requests sent again after a transient failure."""
    bytes_received: int = 0
    """Body bytes received from the engine, before decompression."""
    bytes_sent: int = 0
    """Body bytes sent to the engine."""
    prefill_requests: int = 0
    """Requests that prefill the beginning of a prompt before the rest is known."""
    prefill_ids: int = 0
    """Ids in those requests; they are not among `prompt_ids`."""

    def __add__(self, other: Usage) -> Usage:
        """Return the sums; None where neither is known."""
        # In one expression: it is evaluated for eleven fields of every turn.
        added: list[Any] = [
            mine if theirs is None else theirs if mine is None else mine + theirs
            for mine, theirs in zip(
                msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True
            )
        ]
        return Usage(*added)


class HandoffReport(msgspec.Struct, frozen=True):
    """The figures of one edge into a prompt; durations in seconds, instants since the run started."""

    source: str
    """The source, as `node.port`."""
    target: str
    """The target, as `node.slot`."""
    strategy: Strategy
    """Same map, another map, text encoded once, ids decoded for a function that takes text, text as it is."""
    source_map: str | None
    """None where the source gives text."""
    target_map: str | None
    """None where the target takes text."""
    input_ids: int
    """Ids that entered the edge (0 where text entered)."""
    output_ids: int
    """Ids that reached the slot."""
    dropped_ids: int
    """Special ids of the source that were dropped."""
    replaced: int
    """Invalid UTF-8 sequences that became U+FFFD; not counted where ids are decoded for a function."""
    translate_seconds: float
    """Time spent in the translator, or encoding text."""
    tail_seconds: float
    """Of that, the part after the source's last id."""
    first_in: float | None
    """When the source's first id arrived."""
    last_in: float | None
    """When the source ended."""
    request_sent: float | None
    """When the target's request was written."""
    first_out: float | None
    """When the target's first id arrived."""
    wire_bytes: int
    """Body bytes of the source's stream."""
    wire_ids: int
    """Ids of the source's stream, of all its ports."""
    last_id: float | None = None
    """When the source's last id arrived; None where the source is not a model."""
    wait_seconds: float = 0.0
    """Part of the gap: until the target's other inputs were complete."""
    render_seconds: float = 0.0
    """Part of the gap: assembling the prompt."""
    queue_seconds: float = 0.0
    """Part of the gap: until the engine had a free place for the request, retries included."""
    request_seconds: float = 0.0
    """Part of the gap: writing the request, and connecting where no connection was open."""
    prefilled_ids: int = 0
    """Ids of the target's prompt that its engine had prefilled."""
    cached_ids: int | None = None
    """Ids of the target's prompt that its engine found in its cache. This and the following are known when
    the target's turn has ended; None where the engine does not report them, which is not 0."""
    engine_queue: float | None = None
    """Part of the engine's time: in its own queue."""
    engine_prefill: float | None = None
    """Part of the engine's time: reading the prompt, until the first id where both are reported as one."""

    def with_engine(self, engine: EngineReport) -> HandoffReport:
        """Return the report with what the target's engine said of the turn."""
        return msgspec.structs.replace(
            self, cached_ids=engine.cached_ids, engine_queue=engine.queue, engine_prefill=engine.prefill
        )

    @property
    def began(self) -> float | None:
        """When the gap begins: with the source's last id, or with its end where it is not a model."""
        return self.last_in if self.last_id is None else self.last_id

    def inside(self, prefix: str) -> HandoffReport:
        """Return the report of an edge inside a node, with the node's path before both ends."""
        if not prefix:
            return self
        return msgspec.structs.replace(self, source=prefix + self.source, target=prefix + self.target)

    @property
    def gap(self) -> float | None:
        """Seconds from the source's last id to the target's request: the cost of this side."""
        return None if self.began is None or self.request_sent is None else self.request_sent - self.began

    @property
    def first_id_latency(self) -> float | None:
        """Seconds from the source's last id to the target's first: the delay that a user sees."""
        return None if self.began is None or self.first_out is None else self.first_out - self.began

    @property
    def parts(self) -> dict[str, float]:
        """The parts of `first_id_latency`, in order; they add up to it. Empty where it is unknown."""
        if self.began is None or self.last_in is None or self.request_sent is None or self.first_out is None:
            return {}
        return {
            "detect": self.last_in - self.began,
            "translate": self.tail_seconds,
            # These four fill the time from the end of the source, with its tail, to the request.
            "wait": self.wait_seconds,
            "render": self.render_seconds,
            "queue": self.queue_seconds,
            "request": self.request_seconds,
            "engine": self.first_out - self.request_sent,
        }

    @property
    def bytes_per_id(self) -> float | None:
        """Body bytes per id on the source's stream."""
        return self.wire_bytes / self.wire_ids if self.wire_ids else None


class RunStarted(msgspec.Struct, frozen=True):
    """The run began."""

    run_id: str
    pipeline: str
    at: float = 0.0
    trace_id: str | None = None
    """The OpenTelemetry trace of the run, in hexadecimal; None where no trace is recorded."""


class NodeStarted(msgspec.Struct, frozen=True):
    """A node has its inputs and starts."""

    node: str
    at: float


class GenerationStarted(msgspec.Struct, frozen=True):
    """A model was asked for a turn."""

    node: str
    turn: int
    prompt_ids: tuple[int, ...]
    """The whole prompt of this turn."""
    kept_prefix: int
    """The number of its first ids that are exactly the turn before: its prompt and its generated ids."""
    at: float
    results: tuple[tuple[int, int], ...] = ()
    """The ranges of the prompt with the results of the calls of the turn before, in order: the position of
    the first id, and the position after the last. An id that a result shares with its neighbours counts."""


class IdsSampled(msgspec.Struct, frozen=True):
    """A frame of a model arrived, with markers and turn end; `IdsReceived` assigns the ids to ports."""

    node: str
    turn: int
    ids: tuple[int, ...]
    at: float
    values: SampledValues | None = None
    """The values of the ids, where `sampling.logprobs` asks for them. Those of the whole answer come with its
    last ids, or with an event of their own that has none."""


class IdsReceived(msgspec.Struct, frozen=True):
    """A model generated ids on one of its ports."""

    node: str
    port: Port
    turn: int
    ids: tuple[int, ...]
    at: float


class EngineReport(msgspec.Struct, frozen=True):
    """An engine's own figures of one turn; None where it does not report one."""

    cached_ids: int | None = None
    """Ids of the prompt that it found in its cache."""
    queue: float | None = None
    """Seconds in its own queue."""
    prefill: float | None = None
    """Seconds of reading the prompt, until the first id where both are reported as one."""
    first_id: float | None = None
    """Seconds from the request's arrival to its first id."""


UNREPORTED = EngineReport()


class GenerationFinished(msgspec.Struct, frozen=True):
    """A model's turn ended."""

    node: str
    turn: int
    generated_ids: tuple[int, ...]
    """All ids of the turn as sampled, markers and turn end included."""
    finish_reason: str | None
    regions: tuple[tuple[Port, int, int], ...]
    """The lanes of the turn: port, first position and last (exclusive) among the generated ids."""
    bytes_received: int
    first_id_at: float | None
    at: float
    engine: EngineReport = UNREPORTED


class ContextKnown(msgspec.Struct, frozen=True):
    """The context of a node's engine, on which the dropping of its history depends."""

    node: str
    turn: int
    """The turn from which on it is known."""
    ids: int
    """The most ids that a prompt and its answer may have together."""
    at: float


class HistoryDropped(msgspec.Struct, frozen=True):
    """A prompt left no room for an answer, and was shortened before it was sent."""

    node: str
    turn: int
    """The turn that is asked for next."""
    policy: str
    """`drop_oldest_results`, or `function`."""
    before: int
    """Ids of the prompt as it would have been."""
    after: int
    """Ids of the prompt that is sent."""
    dropped: tuple[tuple[int, int], ...]
    """The parts that are gone, by position in the prompt as it would have been: the first id, and the one
    after the last."""
    at: float


class ToolStarted(msgspec.Struct, frozen=True):
    """A tool call was parsed from the stream and runs."""

    node: str
    turn: int
    call: ToolCall
    at: float


class ToolFinished(msgspec.Struct, frozen=True):
    """A tool call has a result, or an error for the model."""

    node: str
    turn: int
    attempt: Attempt
    at: float


class HandoffFinished(msgspec.Struct, frozen=True):
    """Ids of one node are in the request of the next."""

    report: HandoffReport
    at: float


class SinkIds(msgspec.Struct, frozen=True):
    """Ids reached an id sink."""

    sink: str
    ids: tuple[int, ...]
    at: float


class SinkText(msgspec.Struct, frozen=True):
    """Text reached a text sink."""

    sink: str
    text: str
    at: float


class Retried(msgspec.Struct, frozen=True):
    """A transient failure: the node repeats its request."""

    node: str
    turn: int
    error: BaseException
    delay: float
    kept_ids: int
    """Ids received so far, from which the stream continues without a seam."""
    at: float


class FunctionFinished(msgspec.Struct, frozen=True):
    """A function of the user's returned: of a function node, a condition, or one that splits a stream."""

    node: str
    given: str
    """A digest of its arguments: equal arguments have equal digests."""
    gave: object
    """Ids, text, true or false, or a list of items."""
    at: float


class Decided(msgspec.Struct, frozen=True):
    """An order of arrival decided: the edges that a join takes, or the item whose result a map sends next."""

    node: str
    choices: tuple[str | int, ...]
    """The sources of the edges as `node.port`, or the item's number, from 0."""
    at: float


class NodeFinished(msgspec.Struct, frozen=True):
    """A node ended."""

    node: str
    outcome: Outcome
    reason: str
    usage: Usage
    at: float
    probabilities: dict[str, float] = {}
    """Of a router with `sampling.logprobs`: of each label that its engine told, that of its first id."""


class NodeFailed(msgspec.Struct, frozen=True):
    """A node ended by an error; its failure policy decides what follows."""

    node: str
    error: BaseException
    usage: Usage
    at: float


class RunFinished(msgspec.Struct, frozen=True):
    """The run ended with a result."""

    usage: dict[str, Usage] = {}
    at: float = 0.0


Event: TypeAlias = (
    RunStarted
    | NodeStarted
    | GenerationStarted
    | IdsSampled
    | IdsReceived
    | GenerationFinished
    | ContextKnown
    | HistoryDropped
    | ToolStarted
    | ToolFinished
    | HandoffFinished
    | SinkIds
    | SinkText
    | Retried
    | FunctionFinished
    | Decided
    | NodeFinished
    | NodeFailed
    | RunFinished
)
"""Any event of a run."""
