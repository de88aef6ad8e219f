"""One span: its context for what happens inside, how it ends, and where it is sent."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from time import perf_counter, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from codec_agents.concurrency.event_loop import running_loop
from codec_agents.exceptions import RunCancelledError
from codec_agents.telemetry import names
from codec_agents.telemetry.metrics import Instruments

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from codec_agents.engines.base import FrameStream

Attributes: TypeAlias = dict[str, Any]


def _captures_content() -> bool:
    return os.environ.get(names.CAPTURE_VARIABLE, "").upper() in {"SPAN_ONLY", "SPAN_AND_EVENT", "TRUE"}


_SILENT = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
"""The providers of the API itself, which keep nothing."""


class Telemetry:
    """Where spans and metrics go, and whether content goes with them."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        capture_content: bool | None = None,
    ) -> None:
        self._provider = tracer_provider
        self.tracer = trace.get_tracer(names.SCOPE, tracer_provider=tracer_provider)
        self.instruments = Instruments(meter_provider)
        self.capture_content = _captures_content() if capture_content is None else capture_content
        self._pending: deque[Callable[[], None]] = deque()

    def later(self, work: Callable[[], None]) -> None:
        """Do something when the running task is idle, after it has asked the next model.

        Ending a span and recording its metrics takes longer than a handoff.
        """
        loop = running_loop()
        if loop is None:
            work()
            return
        self._pending.append(work)
        loop.call_soon(self.catch_up)

    def catch_up(self) -> None:
        """Do now all work that was put off."""
        while self._pending:
            try:
                work = self._pending.popleft()
            except IndexError:  # another thread has taken the last
                return
            work()

    @property
    def listens(self) -> bool:
        """True if spans or metrics of a run that begins now go anywhere.

        The API's own providers keep nothing, but a span of the caller is passed on to engines.
        """
        provider = self._provider or trace.get_tracer_provider()
        if not isinstance(provider, _SILENT):
            return True
        return self.instruments.live or trace.get_current_span().get_span_context().is_valid


class Scope:
    """One span, its context for what happens inside, and how it ends."""

    __slots__ = (
        "_cancelled",
        "_end_time",
        "_ended",
        "_error",
        "_started",
        "context",
        "pipeline",
        "seconds",
        "span",
        "telemetry",
    )

    def __init__(
        self,
        telemetry: Telemetry,
        name: str,
        parent: Context | None,
        attributes: Attributes,
        *,
        pipeline: str,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
    ) -> None:
        self.telemetry = telemetry
        self.pipeline = pipeline
        """The name of the pipeline, an attribute of every metric."""
        self._started = perf_counter()
        # The SDK would add exceptions as span events, which are on their way out: `log_exception` tells them.
        self.span = telemetry.tracer.start_span(
            name, parent, kind, attributes, links, start_time, record_exception=False
        )
        self.context = trace.set_span_in_context(self.span, parent)
        self._ended = False
        self._end_time: int | None = None
        self.seconds = 0.0
        """From its beginning to its end."""
        self._error: BaseException | None = None
        self._cancelled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(error)

    def attached(self) -> Attached:
        """Make this span the current one, for foreign code only."""
        return Attached(self)

    def end(self, error: BaseException | None = None, *, end_time: int | None = None) -> None:
        """End the span; an `Exception` is an error, except a cancellation of the run."""
        if self._ended:
            return
        self._ended = True
        is_error = isinstance(error, Exception) and not isinstance(error, RunCancelledError)
        self._error = error if is_error else None
        self._cancelled = error is not None and self._error is None
        self.seconds = perf_counter() - self._started
        self._end_time = time_ns() if end_time is None else end_time
        self.telemetry.later(self._close)

    def _close(self) -> None:
        if self.span.is_recording():
            self._describe_end()
        self._record()
        self.span.end(self._end_time)

    @property
    def trace_id(self) -> str | None:
        """The id of the trace in hexadecimal; None where the span is not a real one."""
        span_context = self.span.get_span_context()
        return format(span_context.trace_id, "032x") if span_context.is_valid else None

    @property
    def link(self) -> Link | None:
        """A link to this span, if it is a real one."""
        span_context = self.span.get_span_context()
        return Link(span_context) if span_context.is_valid else None

    def _describe_end(self) -> None:
        found = self._closing_attributes()
        if self._error is not None:
            found[names.ERROR_TYPE] = type(self._error).__name__
            self.span.set_status(Status(StatusCode.ERROR, str(self._error)))
        elif self._cancelled:
            found[names.CANCELLED] = True
        self.span.set_attributes(found)

    def _closing_attributes(self) -> Attributes:
        """Return the attributes that are known only at the end."""
        return {}

    def _record(self) -> None:
        """Record metrics; they do not depend on whether the span records."""

    def _of_pipeline(self, attributes: Attributes) -> Attributes:
        """Return the attributes of a metric."""
        return {**attributes, names.WORKFLOW: self.pipeline}

    def _with_error(self, attributes: Attributes) -> Attributes:
        """Return the attributes of a metric, with the type of error if the scope ended with one."""
        if self._error is None:
            return self._of_pipeline(attributes)
        return {**self._of_pipeline(attributes), names.ERROR_TYPE: type(self._error).__name__}


class Attached:
    """Makes a scope's span the current one while foreign code runs."""

    __slots__ = ("_scope", "_token")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._token: Any = None

    def __enter__(self) -> None:
        if self._scope.span.get_span_context().is_valid:
            self._token = otel_context.attach(self._scope.context)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            otel_context.detach(self._token)


class AttachedStream:
    """Opens a stream while a scope's span is the current one, and no longer than that."""

    __slots__ = ("_scope", "_stream")

    def __init__(self, scope: Scope, stream: AbstractAsyncContextManager[FrameStream]) -> None:
        self._scope = scope
        self._stream = stream

    async def __aenter__(self) -> FrameStream:
        with self._scope.attached():
            return await self._stream.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stream.__aexit__(kind, error, trace)


def links_to(scopes: Iterable[Scope]) -> list[Link]:
    """Return links to the spans of these scopes."""
    return [link for scope in scopes if (link := scope.link) is not None]
