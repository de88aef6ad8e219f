"""The spans of runs and of their nodes; those of calls, tools and handoffs are opened from here.

The rules of all of them:

- The context travels in the scopes, explicitly; it is attached only around foreign code (the sending of a
  request, a tool), so that instrumentation in there finds its parent, and never across a `yield`.
- A scope is ended once; ending it again does nothing.
- An error sets `error.type` and the status. A cancellation is no error: `codec.cancelled`, status unset.
- Nothing happens per id or per frame. Attributes known at the end are set at once, on spans that record.
- Handoffs are siblings of the nodes, not their children: they overlap both. Links hold the flow of the data.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self, cast

from opentelemetry import context as otel_context

from codec_agents.telemetry import names
from codec_agents.telemetry.calls import CallScope
from codec_agents.telemetry.handoffs import HandoffScope
from codec_agents.telemetry.scope import Attributes, Scope, Telemetry
from codec_agents.telemetry.tools import ToolScope

if TYPE_CHECKING:
    from codec_agents.events import HandoffReport
    from codec_agents.plan.nodes import BuiltEdge, PromptedNode
    from codec_agents.telemetry.calls import OpenedStream
    from codec_agents.tools.calls import ToolCall
    from codec_agents.turn import Turn

_current = Telemetry()


def use(telemetry: Telemetry) -> None:
    """Send the spans and metrics of later runs there."""
    global _current  # noqa: PLW0603 - one process has one place for telemetry, as OpenTelemetry itself has
    _current = telemetry


def current() -> Telemetry:
    """Return where spans and metrics go."""
    return _current


def run_scope(pipeline: str, *, run_id: str | None = None, digest: str | None = None) -> RunScope:
    """Begin the span of a run, as a child of the caller's span.

    If neither spans nor metrics go anywhere, the scope and all scopes in it do nothing.
    """
    if not _current.listens:
        # `Silent` has the methods of all scopes at once, so no one of their classes can be its type.
        return cast("RunScope", SILENT)
    return RunScope(_current, pipeline, run_id, digest)


class Silent:
    """Replaces every scope of a run whose spans and metrics go nowhere."""

    __slots__ = ()

    trace_id = None

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
    """`invoke_workflow {pipeline}`: one per run."""

    __slots__ = ("_epoch", "_last_calls")

    def __init__(self, telemetry: Telemetry, pipeline: str, run_id: str | None, digest: str | None) -> None:
        # The name twice: readers of different versions of the conventions look at the one or the other.
        attributes = {names.OPERATION: names.RUN, names.AGENT: pipeline, names.WORKFLOW: pipeline}
        if run_id:
            attributes[names.RUN_ID] = run_id
        if digest:
            attributes[names.PIPELINE_DIGEST] = digest
        self._epoch = time.time_ns()
        self._last_calls: dict[str, CallScope] = {}
        # The caller's context now, because `node` is called from other tasks.
        super().__init__(
            telemetry,
            f"{names.RUN} {pipeline}",
            otel_context.get_current(),
            attributes,
            pipeline=pipeline,
        )

    def node(self, name: str, model: str | None = None) -> NodeScope:
        """Begin `invoke_agent {node}`."""
        return NodeScope(self, name, model)

    def finish(self, error: BaseException | None = None) -> None:
        """End the run; all its spans have ended when this returns."""
        self.end(error)
        self.telemetry.catch_up()

    def nanoseconds(self, at: float) -> int:
        """Turn seconds since the run's start into the clock of spans."""
        return self._epoch + int(at * 1e9)

    def call_began(self, node: str, call: CallScope) -> None:
        """Remember a node's latest call, for the links of its handoffs."""
        self._last_calls[node] = call

    def last_call(self, node: str) -> CallScope | None:
        """Return a node's latest call."""
        return self._last_calls.get(node)

    def _record(self) -> None:
        attributes = self._with_error({names.OPERATION: names.RUN, names.AGENT: self.pipeline})
        self.telemetry.instruments.node.record(self.seconds, attributes)


class NodeScope(Scope):
    """`invoke_agent {node}`: one per activation, with all its turns. Usage is on the calls alone."""

    __slots__ = ("_attributes", "_handoffs", "_last_call", "name", "run")

    def __init__(self, run: RunScope, name: str, model: str | None) -> None:
        self._attributes: Attributes = {names.OPERATION: names.NODE, names.AGENT: name}
        if model:
            self._attributes[names.REQUEST_MODEL] = model
        self.run = run
        self.name = name
        self._last_call: CallScope | None = None
        self._handoffs: dict[tuple[str, str], HandoffScope] = {}
        """By both ends: edges from one port may lead into several slots."""
        super().__init__(
            run.telemetry, f"{names.NODE} {name}", run.context, self._attributes, pipeline=run.pipeline
        )

    def handoff(self, edge: BuiltEdge, *, since: float, mode: str = "streamed") -> None:
        """Begin `codec.handoff {source} -> {target}`, backdated to `since` seconds after the run's start.

        It is linked to the source's last call, and this node's first call is linked to it.
        """
        upstream, start = self.run.last_call(edge.source_node), self.run.nanoseconds(since)
        opened = HandoffScope(self.run, edge, mode, upstream=upstream, start_time=start)
        self._handoffs[edge.source, edge.target] = opened

    def finish_handoff(self, report: HandoffReport) -> None:
        """End the span of a handoff at the instant at which the request was sent."""
        if (handoff := self._handoffs.get((report.source, report.target))) is not None:
            sent = report.request_sent
            handoff.finish(report, None if sent is None else self.run.nanoseconds(sent))

    def call(self, node: PromptedNode, turn: Turn) -> CallScope:
        """Begin `text_completion {model}`: one request, of which a retry makes another."""
        handoffs = self._handoffs.values() if turn.number == 1 else ()
        self._last_call = CallScope(self, node, turn, handoffs)
        self.run.call_began(self.name, self._last_call)
        return self._last_call

    def tool(self, call: ToolCall) -> ToolScope:
        """Begin `execute_tool {tool}`, linked to the call that requested it."""
        return ToolScope(self, self.name, call, self._last_call)

    def end(self, error: BaseException | None = None, *, end_time: int | None = None) -> None:
        """End the node, and the handoffs into it that never became a request."""
        for handoff in self._handoffs.values():
            handoff.end(error)
        super().end(error, end_time=end_time)

    def _record(self) -> None:
        self.telemetry.instruments.node.record(self.seconds, self._with_error(self._attributes))
