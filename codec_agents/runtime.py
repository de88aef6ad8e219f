"""One execution of a pipeline: one task group, one task a node, one bounded channel an edge.

There is no scheduler. Every node's task starts at once and waits for its inputs; bounded channels give
back-pressure, closing them gives completion. A task never raises into the group: a failure is kept, the rest
is cancelled, and whoever waits for the run gets the failure itself, not a group of exceptions.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
from anyio.abc import TaskGroup

from codec_agents.channel import Channel, Signal
from codec_agents.event_log import EventLog, EventReader
from codec_agents.events import (
    Event,
    HandoffFinished,
    HandoffReport,
    NodeFailed,
    RunFinished,
    RunStarted,
    Usage,
)
from codec_agents.exceptions import RunError
from codec_agents.handoff import Batch
from codec_agents.nodes import run_node
from codec_agents.nodes.wiring import Inlet, Outlet, Wiring
from codec_agents.outputs import SinkOutput, SinkReader
from codec_agents.telemetry import run_scope

if TYPE_CHECKING:
    from codec_agents.build import BuiltNode, BuiltPipeline
    from codec_agents.record import Recorder


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run leaves behind."""

    run_id: str
    text: dict[str, str]
    """The text of each text sink."""
    ids: dict[str, list[int]]
    """The ids that reached each sink."""
    usage: dict[str, Usage]
    """Counts of each model node."""
    handoffs: list[HandoffReport]
    """What each edge into a prompt did, in the order of the requests."""
    outcomes: dict[str, str] = field(default_factory=dict)
    """How each node ended."""
    seconds: float = 0.0

    @property
    def total(self) -> Usage:
        """The counts of all nodes together."""
        return sum(self.usage.values(), Usage())


class Run:
    """One execution. Use it as an async context manager; leaving it, for any reason, stops all it started."""

    def __init__(
        self,
        built: BuiltPipeline,
        inputs: Mapping[str, Batch],
        *,
        run_id: str | None = None,
        recorder: Recorder | None = None,
        deps: object = None,
    ) -> None:
        self.built = built
        self.run_id = run_id or uuid.uuid4().hex
        self.deps = deps
        """What the caller hands to its tools, by their context argument."""
        self.recorder = recorder
        self.sinks = {name: SinkOutput() for name in built.sinks}
        self.usage: dict[str, Usage] = {}
        self.handoffs: list[HandoffReport] = []
        self.outcomes: dict[str, str] = {}
        self.wire: dict[str, tuple[int, int]] = {}
        """Body bytes and ids received so far, by model node."""
        self.scope = run_scope(built.name, digest=built.digest)
        self.inputs = inputs
        self._events = EventLog()
        self._started = time.perf_counter()
        self._error: BaseException | None = None
        self._finished = anyio.Event()
        self._group: TaskGroup | None = None
        self._nodes: anyio.CancelScope | None = None
        self.stopping = False
        """Set by `cancel(after="turn")`: no node asks for a further turn."""

    # --- for the caller ---

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._execute, name=f"codec run {self.built.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(kind, error, trace)

    def __aiter__(self) -> EventReader:
        """Yield the events in order; raise the run's error at the end if it failed.

        While somebody iterates, the run waits for a slow reader; without a reader, events are not kept
        beyond a short backlog.
        """
        return self._events.read()

    def text(self, sink: str) -> SinkReader[str]:
        """Follow the text of a sink as it comes; the run's error comes at the end if it failed."""
        return self._sink(sink).read_text()

    def ids(self, sink: str) -> SinkReader[list[int]]:
        """Follow the ids that reach a sink, in batches; the run's error comes at the end if it failed."""
        return self._sink(sink).read_ids()

    def _sink(self, name: str) -> SinkOutput:
        if name not in self.sinks:
            known = ", ".join(sorted(self.sinks)) or "none"
            raise RunError(f"the pipeline {self.built.name!r} has no sink {name!r}; it has: {known}")
        return self.sinks[name]

    async def wait(self) -> RunResult:
        """Wait until the run is over and return its result; raise its error if it failed."""
        await self._finished.wait()
        return self.result

    @property
    def result(self) -> RunResult:
        """The result of a finished run.

        Raises:
            RunError: the run failed (the error itself is raised) or is not over yet.
        """
        if self._error is not None:
            raise self._error
        if not self._finished.is_set():
            raise RunError("the run is not over; await run.wait() first")
        return self.partial_result()

    def partial_result(self) -> RunResult:
        """Return what there is by now; after a failure or a cancellation, what had been delivered."""
        return RunResult(
            run_id=self.run_id,
            text={name: sink.text for name, sink in self.sinks.items() if sink.has_text},
            ids={name: list(sink.ids) for name, sink in self.sinks.items()},
            usage=dict(self.usage),
            handoffs=list(self.handoffs),
            outcomes=dict(self.outcomes),
            seconds=self.clock(),
        )

    def cancel(self, after: str = "now") -> None:
        """Stop the run: at once, or (`after="turn"`) when the turns that are under way have ended."""
        if after == "turn":
            self.stopping = True
        elif self._nodes is not None:
            self._nodes.cancel()

    # --- for the nodes ---

    def clock(self) -> float:
        """Seconds since the run was made, from a monotonic clock."""
        return time.perf_counter() - self._started

    @property
    def observed(self) -> bool:
        """Whether building an event is worth it."""
        return self.recorder is not None or self._events.wanted

    async def emit(self, event: Event) -> None:
        """Tell an event to the record and to whoever listens."""
        if self.recorder is not None:
            self.recorder.write(event)
        await self._events.write(event)

    async def report(self, report: HandoffReport) -> None:
        """Keep what an edge did."""
        self.handoffs.append(report)
        await self.emit(HandoffFinished(report, self.clock()))

    def since_start(self, instant: float) -> float:
        """Turn a reading of `time.perf_counter()` into seconds since the run was made."""
        return instant - self._started

    async def _fail(self, node: str, error: BaseException) -> None:
        """End the run with a node's error; the first one wins."""
        if self._error is None:
            self._error = error
        self.outcomes[node] = "failed"
        await self.emit(NodeFailed(node, error, self.usage.get(node, Usage()), self.clock()))
        if self._nodes is not None:
            self._nodes.cancel()

    # --- the execution itself ---

    async def execute(self) -> RunResult:
        """Run to the end in the calling task."""
        await self._execute()
        return self.result

    async def _execute(self) -> None:
        await self.emit(RunStarted(self.run_id, self.built.name))
        try:
            async with anyio.create_task_group() as group:
                self._nodes = group.cancel_scope
                self._start_nodes(group)
            if self._error is None:
                await self.emit(RunFinished(dict(self.usage), self.clock()))
        finally:
            self._end()

    def _end(self) -> None:
        for sink in self.sinks.values():
            sink.close(self._error)
        self.scope.finish(error=self._error)
        if self.recorder is not None:
            self.recorder.close()
        self._events.close(self._error)
        self._finished.set()

    def _start_nodes(self, group: TaskGroup) -> None:
        ready = {name: Signal() for name in self.built.nodes}
        inlets = [Inlet(edge, Channel(edge.buffer, ready[edge.target_node])) for edge in self.built.edges]
        for name, node in self.built.nodes.items():
            outgoing: dict[str, list[Channel[Batch]]] = {}
            for inlet in inlets:
                if inlet.edge.source_node == name:
                    outgoing.setdefault(inlet.edge.source_port, []).append(inlet.channel)
            wiring = Wiring(
                inlets=[inlet for inlet in inlets if inlet.edge.target_node == name],
                outlets={port: Outlet(channels) for port, channels in outgoing.items()},
                ready=ready[name],
            )
            group.start_soon(self._run_node, node, wiring, name=f"codec node {name}")

    async def _run_node(self, node: BuiltNode, wiring: Wiring) -> None:
        """Run one node; whatever it raises is kept for the caller, and its neighbours are told."""
        try:
            await run_node(node, wiring, self)
            self.outcomes.setdefault(node.name, "finished")
        except Exception as error:  # a task never raises into the group; `wait` raises it
            await self._fail(node.name, error)
        finally:
            wiring.close()
