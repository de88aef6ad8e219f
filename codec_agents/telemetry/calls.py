"""The span of one request to a model."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

from opentelemetry import propagate
from opentelemetry.trace import SpanKind

from codec_agents.engines.base import WHOLE, is_text_boundary, replicas_of
from codec_agents.telemetry import names
from codec_agents.telemetry.scope import AttachedStream, Attributes, Scope, links_to

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from codec_agents.engines.base import FrameStream, SamplingOptions, StreamStats
    from codec_agents.plan.nodes import PromptedNode
    from codec_agents.turn import Turn

OpenedStream: TypeAlias = "AbstractAsyncContextManager[FrameStream]"


class CallScope(Scope):
    """`text_completion {model}`: one HTTP generation."""

    __slots__ = ("_before", "_metric", "_requests", "_turn", "_usage")

    def __init__(self, parent: Scope, node: PromptedNode, turn: Turn, link_to: Iterable[Scope]) -> None:
        self._turn = turn
        # A retry is a call of its own in the same turn: what the calls before it brought is not its.
        self._before = (len(turn.generated), turn.reasoning_ids)
        self._requests = len(turn.stats)
        self._usage = _metric_attributes(node)
        attributes = {**self._usage, **_sampling(node), names.AGENT: node.name}
        attributes[names.MAP] = node.vocabulary.id
        attributes[names.TURN] = turn.number
        if is_text_boundary(node.engine):
            attributes[names.TEXT_BOUNDARY] = True
        if turn.kept_prefix:
            attributes[names.PROMPT_KEPT] = turn.kept_prefix
        if turn.retries:
            attributes[names.RETRY] = turn.retries
        self._metric = dict(self._usage)
        # The conventions require the modality of counts of tokens, and of nothing else.
        self._usage[names.TOKEN_MODALITY] = "text"
        name = f"{names.CALL} {node.model}" if node.model else names.CALL
        super().__init__(
            parent.telemetry,
            name,
            parent.context,
            attributes,
            pipeline=parent.pipeline,
            kind=SpanKind.CLIENT,
            links=links_to(link_to),
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
        if self._requests == 0 and turn.lost_from is not None:  # a retry finds what the first request left
            found[names.CACHE_LOST_FROM] = turn.lost_from
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
        usage = self._of_pipeline(self._usage)
        instruments.record_call(self._with_error(self._metric), usage, self.seconds, self._stats)
        if self._stats is not None:  # without an answer, `record_call` has counted 0
            instruments.input_tokens.add(len(self._turn.prompt) + ids_before, usage)
            if self._requests == 0 and (sent := self._turn.sent_ahead):
                instruments.sent_ahead.add(sent, usage)
                if self._stats.cached_tokens is not None:
                    # The cache may hold more of the prompt than was sent ahead, such as the turn before.
                    instruments.sent_ahead_found.add(min(sent, self._stats.cached_tokens), usage)
            if self._requests == 0 and self._turn.lost_from is not None:
                instruments.cache_lost.add(self._turn.kept_prefix - self._turn.lost_from, usage)
            instruments.reasoning_tokens.add(self._turn.reasoning_ids - reasoning_before, usage)


def _metric_attributes(node: PromptedNode) -> Attributes:
    attributes: Attributes = {names.OPERATION: names.CALL, names.PROVIDER: node.engine.provider}
    if node.model:
        attributes[names.REQUEST_MODEL] = node.model
    pool = getattr(node.engine, "pool", None)  # engines over HTTP have one; samplers see where a call goes
    if pool is not None:
        attributes[names.SERVER_ADDRESS] = pool.host
        attributes[names.SERVER_PORT] = pool.port
    return attributes


def _sampling(node: PromptedNode) -> Attributes:
    """Return the declared sampling; the limit that a context leaves is none of it."""
    found = call_attributes(node.options)
    if not node.has_max_tokens:
        found.pop(names.REQUEST_MAX_TOKENS, None)
    # Of no option: the plan decides, and engines without unstreamed answers stream it all the same.
    can_be_whole = all(getattr(each, "unstreamed", False) for each in replicas_of(node.engine))
    found[names.REQUEST_STREAM] = node.stream_interval != WHOLE or not can_be_whole
    return found


def call_attributes(options: SamplingOptions) -> Attributes:
    """Return the sampling options under the names of the conventions."""
    asked: Mapping[str, Any] = {
        names.REQUEST_MAX_TOKENS: options.max_tokens,
        names.REQUEST_TEMPERATURE: options.temperature,
        names.REQUEST_TOP_P: options.top_p,
        names.REQUEST_TOP_K: options.top_k,
        names.REQUEST_SEED: options.seed,
        names.REQUEST_STOP: options.stop or None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def stream_attributes(stats: StreamStats) -> Attributes:
    """Return the figures of a stream as attributes of its call."""
    found: Attributes = {
        names.STREAM_FORMAT: stats.format,
        names.STREAM_RECEIVED: stats.bytes_received,
        names.STREAM_SENT: stats.bytes_sent,
    }
    if stats.first_id is not None and stats.request_started is not None:
        found[names.RESPONSE_FIRST_CHUNK] = stats.first_id - stats.request_started
        if stats.last_id is not None and stats.chunks > 1:
            found[names.STREAM_INTERVAL] = (stats.last_id - stats.first_id) / (stats.chunks - 1)
    reported = {
        names.ENGINE_FIRST_TOKEN: stats.engine_seconds,
        names.ENGINE_QUEUE: stats.engine_queue,
        names.ENGINE_PREFILL: stats.engine_prefill,
        names.USAGE_CACHED: stats.cached_tokens,
        # Of a pool of replicas, the span was begun before one of them was chosen.
        names.SERVER_ADDRESS: stats.server_address,
        names.SERVER_PORT: stats.server_port,
    }
    found.update((name, value) for name, value in reported.items() if value is not None)
    return found


def log_exception(error: BaseException, context: Context) -> None:
    """Emit an error as a log record: span events are on their way out of OpenTelemetry."""
    from opentelemetry import _logs  # under a private name as long as its API of logs may change

    attributes = {names.EXCEPTION_TYPE: type(error).__name__, names.EXCEPTION_MESSAGE: str(error)}
    record = _logs.LogRecord(
        timestamp=time.time_ns(),
        context=context,
        # A warning: a retry may follow. The span of the run tells whether it failed.
        severity_number=_logs.SeverityNumber.WARN,
        event_name=names.EXCEPTION_EVENT,
        attributes=attributes,
    )
    _logs.get_logger(names.SCOPE).emit(record)
