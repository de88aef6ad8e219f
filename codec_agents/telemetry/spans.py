"""The spans that a run opens: run, node, call, tool, handoff.

The rules of this file:

- The context travels in the scopes, explicitly; it is attached only around foreign code (the sending of a
  request, a tool), so that instrumentation in there finds its parent, and never across a `yield`.
- A scope is ended once; ending it again does nothing.
- An error sets `error.type` and the status. A cancellation is no error: `codec.cancelled`, status unset.
- Nothing happens per id or per frame. What is known at the end is set in one go, on spans that record.
- Handoffs are siblings of the nodes, not their children: they overlap both. Links tell the flow of the data.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

import msgspec
from opentelemetry import context as otel_context
from opentelemetry import propagate
from opentelemetry.trace import SpanKind, Status, StatusCode

from codec_agents.engines.base import is_text_boundary
from codec_agents.telemetry import names
from codec_agents.telemetry.scope import AttachedStream, Attributes, Scope, Telemetry, links_to

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from codec_agents.built import BuiltAsking, BuiltEdge
    from codec_agents.dialects import ToolCall
    from codec_agents.dispatch import Attempt
    from codec_agents.engines.base import FrameStream, SamplingOptions, StreamStats
    from codec_agents.events import HandoffReport
    from codec_agents.nodes.generation import Turn

OpenedStream: TypeAlias = "AbstractAsyncContextManager[FrameStream]"

_current = Telemetry()


def use(telemetry: Telemetry) -> None:
    """Let later runs send their spans and metrics there."""
    global _current  # noqa: PLW0603 - one process has one place for telemetry, as OpenTelemetry itself has
    _current = telemetry


def run_scope(pipeline: str, *, run_id: str | None = None, digest: str | None = None) -> RunScope:
    """Begin the span of a run, under whatever span the caller is in.

    Where neither spans nor metrics go anywhere, the scope and all scopes in it do nothing.
    """
    if not _current.listens:
        return cast("RunScope", SILENT)
    return RunScope(_current, pipeline, run_id, digest)


class Silent:
    """Stands for every scope of a run that nobody listens to."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def node(self, *_: object, **__: object) -> Self:
        """Open nothing."""
        return self

    call = tool = handoff = attached = node

    def finish(self, *_: object, **__: object) -> None:
        """Close nothing."""

    end = finish_handoff = finish

    def headers(self) -> dict[str, str]:
        """Send nothing."""
        return {}

    def around(self, stream: OpenedStream) -> OpenedStream:
        """Return the stream as it is."""
        return stream


SILENT = Silent()


class RunScope(Scope):
    """`invoke_workflow {pipeline}`: one a run."""

    __slots__ = ("_epoch", "_last_calls", "_pipeline")

    def __init__(self, telemetry: Telemetry, pipeline: str, run_id: str | None, digest: str | None) -> None:
        attributes = {names.OPERATION: names.RUN, names.AGENT: pipeline, names.WORKFLOW: pipeline}
        if run_id:
            attributes[names.RUN_ID] = run_id
        if digest:
            attributes[names.PIPELINE_DIGEST] = digest
        self._epoch = time.time_ns()
        self._pipeline = pipeline
        self._last_calls: dict[str, CallScope] = {}
        # The caller's context now, because `node` is called from other tasks.
        super().__init__(telemetry, f"{names.RUN} {pipeline}", otel_context.get_current(), attributes)

    def node(self, name: str, model: str | None = None) -> NodeScope:
        """Begin `invoke_agent {node}`."""
        return NodeScope(self, name, model)

    def finish(self, error: BaseException | None = None) -> None:
        """End the run."""
        self.end(error)

    def nanoseconds(self, at: float) -> int:
        """Turn seconds since the run's start into the clock of spans."""
        return self._epoch + int(at * 1e9)

    def call_began(self, node: str, call: CallScope) -> None:
        """Remember a node's latest call, for the links of what it feeds."""
        self._last_calls[node] = call

    def last_call(self, node: str) -> CallScope | None:
        """Return a node's latest call."""
        return self._last_calls.get(node)

    def _record(self) -> None:
        attributes = self._with_error({names.OPERATION: names.RUN, names.AGENT: self._pipeline})
        self.telemetry.instruments.node.record(self.seconds, attributes)


class NodeScope(Scope):
    """`invoke_agent {node}`: one an activation; it holds all its turns. Usage stands on the calls alone."""

    __slots__ = ("_attributes", "_handoffs", "_last_call", "name", "run")

    def __init__(self, run: RunScope, name: str, model: str | None) -> None:
        self._attributes: Attributes = {names.OPERATION: names.NODE, names.AGENT: name}
        if model:
            self._attributes[names.REQUEST_MODEL] = model
        self.run = run
        self.name = name
        self._last_call: CallScope | None = None
        self._handoffs: dict[str, HandoffScope] = {}
        super().__init__(run.telemetry, f"{names.NODE} {name}", run.context, self._attributes)

    def handoff(self, edge: BuiltEdge, *, since: float, mode: str = "streamed") -> None:
        """Begin `codec.handoff {source} -> {target}`, backdated to `since` seconds after the run's start.

        It is linked to the source's last call, and this node's first call is linked to it.
        """
        self._handoffs[edge.source] = HandoffScope(self.run, edge, since, mode)

    def finish_handoff(self, report: HandoffReport) -> None:
        """End the span of a handoff at the instant at which the request was sent."""
        if (handoff := self._handoffs.get(report.source)) is not None:
            handoff.finish(report)

    def call(self, node: BuiltAsking, turn: Turn) -> CallScope:
        """Begin `text_completion {model}`: one request, of which a retry makes another."""
        handoffs = self._handoffs.values() if turn.number == 1 else ()
        self._last_call = CallScope(self, node, turn, handoffs)
        self.run.call_began(self.name, self._last_call)
        return self._last_call

    def tool(self, call: ToolCall) -> ToolScope:
        """Begin `execute_tool {tool}`, linked to the call that asked for it."""
        return ToolScope(self, call, self._last_call)

    def end(self, error: BaseException | None = None, *, end_time: int | None = None) -> None:
        """End the node, and the handoffs into it that never became a request."""
        for handoff in self._handoffs.values():
            handoff.end(error)
        super().end(error, end_time=end_time)

    def _record(self) -> None:
        self.telemetry.instruments.node.record(self.seconds, self._with_error(self._attributes))


class CallScope(Scope):
    """`text_completion {model}`: one HTTP generation."""

    __slots__ = ("_before", "_metric", "_requests", "_turn", "_usage")

    def __init__(self, parent: NodeScope, node: BuiltAsking, turn: Turn, link_to: Iterable[Scope]) -> None:
        self._turn = turn
        self._before = (len(turn.generated), turn.reasoning_ids)
        self._requests = len(turn.stats)
        self._usage = _metric_attributes(node)
        attributes = {**self._usage, **call_attributes(node.options), names.AGENT: node.name}
        attributes[names.MAP] = node.vocabulary.id
        attributes[names.TURN] = turn.number
        if is_text_boundary(node.engine):
            attributes[names.TEXT_BOUNDARY] = True
        if turn.retries:
            attributes[names.RETRY] = turn.retries
        self._metric = dict(self._usage)
        self._usage[names.TOKEN_MODALITY] = "text"
        name = f"{names.CALL} {node.model}" if node.model else names.CALL
        super().__init__(
            parent.telemetry, name, parent.context, attributes, kind=SpanKind.CLIENT, links=links_to(link_to)
        )

    def around(self, stream: OpenedStream) -> OpenedStream:
        """Return the stream so that this span is the current one while it is opened, and no longer."""
        return AttachedStream(self, stream)

    def headers(self) -> dict[str, str]:
        """Return the headers that let the engine's spans join this trace; none without a trace."""
        headers: dict[str, str] = {}
        if self.span.get_span_context().is_valid:
            propagate.inject(headers, self.context)
        return headers

    @property
    def _stats(self) -> StreamStats | None:
        return self._turn.stats[-1] if len(self._turn.stats) > self._requests else None

    def _closing_attributes(self) -> Attributes:
        turn, (ids_before, reasoning_before) = self._turn, self._before
        sent = len(turn.prompt) + ids_before
        found: Attributes = {
            names.USAGE_INPUT: sent,
            names.USAGE_OUTPUT: len(turn.generated) - ids_before,
            names.USAGE_REASONING: turn.reasoning_ids - reasoning_before,
        }
        reason = "error" if self._error is not None else turn.finish_reason
        if reason is not None:
            found[names.RESPONSE_FINISH_REASONS] = [reason]
        if self._stats is not None:
            found |= stream_attributes(self._stats)
        if self.telemetry.capture_content:
            found[names.PROMPT_IDS] = [*turn.prompt, *turn.generated[:ids_before]]
            found[names.GENERATED_IDS] = list(turn.generated[ids_before:])
        return found

    def _describe_end(self) -> None:
        super()._describe_end()
        if self._error is not None:
            log_exception(self._error, self.context)

    def _record(self) -> None:
        instruments = self.telemetry.instruments
        ids_before, reasoning_before = self._before
        instruments.record_call(self._with_error(self._metric), self._usage, self.seconds, self._stats)
        if self._stats is not None:
            instruments.input_tokens.add(len(self._turn.prompt) + ids_before, self._usage)
            instruments.reasoning_tokens.add(self._turn.reasoning_ids - reasoning_before, self._usage)


class ToolScope(Scope):
    """`execute_tool {tool}`: one attempt, whatever came of it."""

    __slots__ = ("_attempt", "_call", "_metric")

    def __init__(self, parent: NodeScope, call: ToolCall, asked_by: CallScope | None) -> None:
        self._call = call
        self._attempt: Attempt | None = None
        self._metric: Attributes = {names.OPERATION: names.TOOL, names.TOOL_NAME: call.name}
        attributes = {**self._metric, names.TOOL_TYPE: "function", names.AGENT: parent.name}
        if call.stop > call.start:
            attributes[names.REGION_TOKENS] = call.stop - call.start
        if call.call_id:
            attributes[names.TOOL_CALL_ID] = call.call_id
        links = links_to([asked_by] if asked_by else [])
        name = f"{names.TOOL} {call.name}"
        super().__init__(parent.telemetry, name, parent.context, attributes, links=links)

    def finish(self, attempt: Attempt) -> None:
        """End the span with what came of the call; everything but `ok` is an error of that name."""
        self._attempt = attempt
        self.end()

    @property
    def _failure(self) -> str | None:
        if self._attempt is not None and self._attempt.status != "ok":
            return str(self._attempt.status)
        return None if self._error is None else type(self._error).__name__

    def _closing_attributes(self) -> Attributes:
        found: Attributes = {}
        if self._attempt is not None:
            found[names.TOOL_STATUS] = self._attempt.status
            if self._failure:
                found[names.ERROR_TYPE] = self._failure
                self.span.set_status(Status(StatusCode.ERROR, self._failure))
            if self.telemetry.capture_content:
                found[names.TOOL_ARGUMENTS] = msgspec.json.encode(self._call.arguments).decode()
                found[names.TOOL_RESULT] = self._attempt.text
        return found

    def _record(self) -> None:
        failure = self._failure
        attributes = {**self._metric, names.ERROR_TYPE: failure} if failure else self._metric
        self.telemetry.instruments.tool.record(self.seconds, attributes)


class HandoffScope(Scope):
    """`codec.handoff {source} -> {target}`: from the source's last needed id to the target's request."""

    __slots__ = ("_attributes", "_report", "_run")

    def __init__(self, run: RunScope, edge: BuiltEdge, since: float, mode: str) -> None:
        self._run = run
        self._report: HandoffReport | None = None
        self._attributes: Attributes = {
            names.HANDOFF_SOURCE: edge.source_node,
            names.HANDOFF_TARGET: edge.target_node,
            names.HANDOFF_STRATEGY: edge.strategy,
            names.HANDOFF_MODE: mode,
        }
        maps = {
            name: vocabulary.id
            for name, vocabulary in (
                (names.SOURCE_MAP, edge.source_vocabulary),
                (names.TARGET_MAP, edge.target_vocabulary),
            )
            if vocabulary is not None
        }
        upstream = run.last_call(edge.source_node)
        super().__init__(
            run.telemetry,
            f"{names.HANDOFF} {edge.source_node} -> {edge.target_node}",
            run.context,
            {**self._attributes, **maps},
            links=links_to([upstream] if upstream else []),
            start_time=run.nanoseconds(since),
        )

    def finish(self, report: HandoffReport) -> None:
        """End the span at the instant at which the target's request was sent."""
        self._report = report
        sent = report.request_sent
        self.end(end_time=None if sent is None else self._run.nanoseconds(sent))

    def _closing_attributes(self) -> Attributes:
        report = self._report
        if report is None:
            return {}
        found: Attributes = {
            names.HANDOFF_INPUT: report.input_ids,
            names.HANDOFF_OUTPUT: report.output_ids,
            names.HANDOFF_TRANSLATE: report.translate_seconds,
            names.HANDOFF_TAIL: report.tail_seconds,
            names.HANDOFF_DROPPED: report.dropped_ids,
            names.HANDOFF_REPLACED: report.replaced,
        }
        if report.prefilled_ids:
            found[names.HANDOFF_PREFILLED] = report.prefilled_ids
        if parts := report.parts:
            found |= {name: parts[part] for part, name in HANDOFF_PARTS.items()}
        if report.gap is not None:
            found[names.HANDOFF_GAP] = report.gap
        if report.first_id_latency is not None:
            found[names.HANDOFF_FIRST_TOKEN] = report.first_id_latency
        return found

    def _record(self) -> None:
        if self._report is not None:
            self.telemetry.instruments.record_handoff(self._attributes, self._report)


HANDOFF_PARTS = {
    "detect": names.HANDOFF_DETECT,
    "wait": names.HANDOFF_WAIT,
    "render": names.HANDOFF_RENDER,
    "queue": names.HANDOFF_QUEUE,
    "request": names.HANDOFF_REQUEST,
}
"""With the tail, what the gap is made of."""


def _metric_attributes(node: BuiltAsking) -> Attributes:
    attributes: Attributes = {names.OPERATION: names.CALL, names.PROVIDER: node.engine.provider}
    if node.model:
        attributes[names.REQUEST_MODEL] = node.model
    pool = getattr(node.engine, "pool", None)  # engines over HTTP have one; samplers see where a call goes
    if pool is not None:
        attributes[names.SERVER_ADDRESS] = pool.host
        attributes[names.SERVER_PORT] = pool.port
    return attributes


def call_attributes(options: SamplingOptions) -> Attributes:
    """Return what is asked of the model, as the conventions name it."""
    asked: Mapping[str, Any] = {
        names.REQUEST_MAX_TOKENS: options.max_tokens,
        names.REQUEST_TEMPERATURE: options.temperature,
        names.REQUEST_TOP_P: options.top_p,
        names.REQUEST_TOP_K: options.top_k,
        names.REQUEST_SEED: options.seed,
        names.REQUEST_STOP: options.stop or None,
    }
    found = {name: value for name, value in asked.items() if value is not None}
    found[names.REQUEST_STREAM] = True
    return found


def stream_attributes(stats: StreamStats) -> Attributes:
    """Return what a stream cost, as attributes of its call."""
    found: Attributes = {
        names.STREAM_FORMAT: stats.format,
        names.STREAM_RECEIVED: stats.bytes_received,
        names.STREAM_SENT: stats.bytes_sent,
    }
    if stats.first_id is not None and stats.request_started is not None:
        found[names.RESPONSE_FIRST_CHUNK] = stats.first_id - stats.request_started
        if stats.last_id is not None and stats.chunks > 1:
            found[names.STREAM_INTERVAL] = (stats.last_id - stats.first_id) / (stats.chunks - 1)
    if stats.cached_tokens is not None:
        found[names.USAGE_CACHED] = stats.cached_tokens
    if stats.server_address is not None:
        found[names.SERVER_ADDRESS] = stats.server_address
        if stats.server_port is not None:
            found[names.SERVER_PORT] = stats.server_port
    return found


def log_exception(error: BaseException, context: Context) -> None:
    """Emit an error as a log record: span events are on their way out of OpenTelemetry."""
    from opentelemetry import _logs

    attributes = {names.EXCEPTION_TYPE: type(error).__name__, names.EXCEPTION_MESSAGE: str(error)}
    record = _logs.LogRecord(
        timestamp=time.time_ns(),
        context=context,
        severity_number=_logs.SeverityNumber.WARN,
        event_name=names.EXCEPTION_EVENT,
        attributes=attributes,
    )
    _logs.get_logger(names.SCOPE).emit(record)
