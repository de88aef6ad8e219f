"""One run of a pipeline, as its caller sees it: events, text as it comes, a result, cancellation."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import anyio
from anyio.abc import TaskGroup

from codec_agents.events import Event, HandoffFinished, HandoffReport, Outcome, RunFinished, RunStarted, Usage
from codec_agents.exceptions import RunCancelledError, RunError, ToolServerError
from codec_agents.prompts import History
from codec_agents.runtime.edges.channel import Signal
from codec_agents.runtime.edges.state import EdgeState, edge_states
from codec_agents.runtime.event_log import EventLog, EventReader
from codec_agents.runtime.executor import Execution
from codec_agents.runtime.outputs import SinkOutput, SinkReader
from codec_agents.telemetry import run_scope

if TYPE_CHECKING:
    from codec_agents.plan.plan import BuiltPipeline, Value
    from codec_agents.records.writer import Recorder
    from codec_agents.runtime.model.generation import Turn
    from codec_agents.runtime.pause import Resumption
    from codec_agents.tools.calls import Approver
    from codec_agents.tools.mcp_servers import OpenServers


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
    histories: dict[str, History] = field(default_factory=dict)
    """What each model node was told and said: what a run `after` this one goes on with."""

    @property
    def total(self) -> Usage:
        """The counts of all nodes together."""
        return sum(self.usage.values(), Usage())


class Run:
    """One execution. Use it as an async context manager; leaving it, for any reason, stops all it started."""

    def __init__(
        self,
        built: BuiltPipeline,
        inputs: Mapping[str, Value],
        *,
        run_id: str | None = None,
        recorder: Recorder | None = None,
        deps: object = None,
        approve: Approver | None = None,
        resumed: Resumption | None = None,
    ) -> None:
        self.built = built
        self.run_id = run_id or secrets.token_hex(16)
        self.deps = deps
        """What the caller hands to its tools, by their context argument."""
        self.approve = approve
        """Says whether a tool that wants to be asked about may run; without it such a call pauses the run."""
        self.servers: OpenServers | None = None
        """The MCP servers of the declaration, while they are open."""
        self.recorder = recorder
        self.usage: dict[str, Usage] = dict(resumed.pause.usage) if resumed else {}
        self.said: dict[str, tuple[Turn, int]] = {}
        """The last turn of each model that ended, and where its first one began."""
        self.handoffs: list[HandoffReport] = []
        self.outcomes: dict[str, Outcome] = {}
        self.stopping = False
        """Set by `cancel(after="turn")`: no node asks for a further turn."""
        self.scope = run_scope(built.name, run_id=self.run_id, digest=built.digest)
        self.bodies: list[Execution] = []
        """The bodies of loops and maps that run now."""
        self._execution = Execution(built, inputs, self, resumed=resumed, outermost=True)
        self._events = EventLog()
        self._started = time.perf_counter()
        self._over = False
        self._ended = Signal()
        self._error: BaseException | None = None
        self._group: TaskGroup | None = None

    # --- for the caller ---

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._execute_aside, name=f"codec run {self.built.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
        # The caller's own exception stays outside the group, which would wrap it into a group of exceptions.
        await self._group.__aexit__(None, None, None)
        return None

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
        sinks = self._execution.sinks
        if name not in sinks:
            known = ", ".join(sorted(sinks)) or "none"
            raise RunError(f"the pipeline {self.built.name!r} has no sink {name!r}; it has: {known}")
        return sinks[name]

    async def wait(self) -> RunResult:
        """Wait until the run is over and return its result; raise its error if it failed."""
        while not self._over:
            await self._ended.wait()
        return self.result

    @property
    def result(self) -> RunResult:
        """The result of a finished run.

        Raises:
            RunError: the run failed (the error itself is raised) or is not over yet.
        """
        if self._error is not None:
            raise self._error
        if not self._over:
            raise RunError("the run is not over; await run.wait() first")
        return self.partial_result()

    def edges(self) -> list[EdgeState]:
        """Return what flows over each edge now, and what waits in it; asking costs the run nothing else."""
        return edge_states([self._execution, *self.bodies])

    def partial_result(self) -> RunResult:
        """Return what there is by now; after a failure or a cancellation, what had been delivered."""
        sinks = self._execution.sinks
        return RunResult(
            run_id=self.run_id,
            text={name: sinks[name].text for name, node in self.built.sinks.items() if node.text},
            ids={name: list(sink.ids) for name, sink in sinks.items()},
            usage=dict(self.usage),
            handoffs=list(self.handoffs),
            outcomes=dict(self.outcomes),
            seconds=self.clock(),
            histories=self._histories(),
        )

    def _histories(self) -> dict[str, History]:
        """Return what each model said; one in a loop or a map has said as much as it ran, and is left out."""
        hashes = self.built.map_hashes
        return {
            path: History(prompt=turn.prompt, generated=turn.generated, begin=begin, map_hash=hashes[path])
            for path, (turn, begin) in self.said.items()
            if path in hashes
        }

    def cancel(self, after: Literal["now", "turn"] = "now") -> None:
        """Stop the run: at once, or (`after="turn"`) when the turns that are under way have ended.

        A run that was stopped at once has no result; `partial_result` has what was delivered.
        """
        self.stopping = True
        if after == "now":
            self._execution.cancel(RunCancelledError(f"the run of {self.built.name!r} was cancelled"))

    # --- for the nodes ---

    def clock(self) -> float:
        """Seconds since the run was made, from a monotonic clock."""
        return time.perf_counter() - self._started

    def since_start(self, instant: float | None) -> float | None:
        """Turn a reading of `time.perf_counter()` into seconds since the run was made."""
        return None if instant is None else instant - self._started

    @property
    def observed(self) -> bool:
        """Whether building an event is worth it."""
        return self.recorder is not None or self._events.wanted

    async def emit(self, event: Event) -> None:
        """Tell an event to the record and to whoever listens."""
        if self.recorder is not None:
            self.recorder.write(event)
        if self._events.wanted:
            await self._events.write(event)
        else:
            self._events.keep(event)

    async def report(self, report: HandoffReport) -> None:
        """Keep what an edge did."""
        self.handoffs.append(report)
        await self.emit(HandoffFinished(report, self.clock()))

    def add_usage(self, node: str, usage: Usage) -> None:
        """Add to the counts of a node."""
        before = self.usage.get(node)
        self.usage[node] = usage if before is None else before + usage

    # --- the execution itself ---

    async def execute(self) -> RunResult:
        """Run to the end in the calling task; return the result.

        Raises:
            RunError: the run failed.
        """
        await self._execute()
        return self.result

    async def _execute_aside(self) -> None:
        with anyio.CancelScope() as self._execution.scope:
            await self._execute()

    async def _execute(self) -> None:
        async with self.built.lease:
            try:
                await self.emit(RunStarted(self.run_id, self.built.name))
                await self._execute_with_servers()
                await self.emit(RunFinished(dict(self.usage), self.clock()))
            except Exception as error:  # kept for whoever waits: `result` raises it
                self._error = error
            except BaseException:
                left = RunCancelledError(f"the run of {self.built.name!r} was left")
                self._error = self._execution.error or left
                raise
            finally:
                self._end()

    async def _execute_with_servers(self) -> None:
        """Run the nodes while the declared MCP servers are open; one that does not come ends the run."""
        servers = self.built.servers
        if not servers.servers:
            await self._execution.execute()
            return

        def failed(error: ToolServerError) -> None:
            self._execution.cancel(error)
            scope.cancel()

        with anyio.CancelScope() as scope:
            async with servers.for_run(failed) as self.servers:
                await self._execution.execute()
        if self._execution.error is not None:
            raise self._execution.error

    def _end(self) -> None:
        self.scope.finish(error=self._error)
        if self.recorder is not None:
            self.recorder.close()
        self._events.close(self._error)
        self._over = True
        self._ended.give()
