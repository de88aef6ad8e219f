"""The state that nodes, edges and reporting share while a plan runs.

Rules:

- There is one `RunContext` per run, and one `NodeContext` per pass over a plan: the outermost plan, or the
  body of a loop or a map, once per round or item.
- Neither knows `Run` or the executor. Both of those own a context and hand it on, so a node can ask for no
  more than what this file lists.
- A context refers to no object that refers to the context's owner. A finished run is therefore freed
  without the garbage collector.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from codec_agents.events import Event, HandoffFinished, HandoffReport, Outcome, Usage
from codec_agents.runtime.edges.gate import Gate
from codec_agents.runtime.event_log import EventLog
from codec_agents.runtime.model.shared_prefix import SharedPrefixes
from codec_agents.runtime.outputs import SinkOutput
from codec_agents.telemetry import run_scope

if TYPE_CHECKING:
    from codec_agents.concurrency.task_group import TaskGroup
    from codec_agents.plan.nodes import BuiltNode, Value
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.records.writer import Recorder, RecordPlace
    from codec_agents.runtime.control import Stops
    from codec_agents.runtime.edges.wiring import Wiring
    from codec_agents.runtime.pause import Decision, Resumption
    from codec_agents.tools.calls import Approver
    from codec_agents.tools.mcp_servers import OpenServers
    from codec_agents.turn import LastTurn


class RunContext:
    """The state of one run that its nodes read and add to."""

    def __init__(
        self,
        plan: BuiltPipeline,
        *,
        run_id: str | None = None,
        recorder: Recorder | None = None,
        deps: object = None,
        approve: Approver | None = None,
        resumed: Resumption | None = None,
        decisions: Mapping[str, Decision] | None = None,
        stops: Stops | None = None,
    ) -> None:
        self.plan = plan
        self.run_id = run_id or secrets.token_hex(16)
        self.deps = deps
        """What the caller hands to its tools, by their context argument."""
        self.approve = approve
        """Decides whether a tool that needs approval may run; None: such a call suspends the run."""
        self.decisions = decisions or {}
        """The decisions on calls of a run that goes on in its record, by `call_key`."""
        self.servers: OpenServers | None = None
        """The MCP servers of the declaration, while they are open."""
        self.recorder = recorder
        self._resumed = resumed
        self.usage: dict[str, Usage] = dict(resumed.pause.usage) if resumed else {}
        """The counts of each model node, by path."""
        self.last_turns: dict[str, LastTurn] = {}
        """By path of each model node that finished."""
        self.values: dict[str, Any] = {}
        """The value of each answer that has a form, and the label that each router chose, by path."""
        self.probabilities: dict[str, dict[str, float]] = {}
        """The probability of each label, by path of the router."""
        self.shared_prefixes = SharedPrefixes()
        """The requests that are reading their prompts."""
        self.handoffs: list[HandoffReport] = []
        self.outcomes: dict[str, Outcome] = {}
        """How each node ended, by path."""
        self.stopping = False
        """Set by `cancel(after="turn")`: no node asks for a further turn."""
        self._stops = stops
        self.telemetry = run_scope(plan.name, run_id=self.run_id, digest=plan.digest)
        self.nested: list[NodeContext] = []
        """The bodies of loops and maps that run now."""
        self.events = EventLog()
        # A run that goes on in its record counts on from there.
        self._started = time.perf_counter() - (0.0 if recorder is None else recorder.elapsed)

    def ends_here(self, node: str, reason: str) -> bool:
        """Return whether a node ends because the run is stopped; `reason` is what is reported then."""
        return self.stopping or (self._stops is not None and self._stops.ended(node, reason))

    def ends_after(self, node: str, turn: int) -> bool:
        """Return whether a model node asks for no turn after this one because the run is stopped."""
        return self.stopping or (self._stops is not None and self._stops.after_turn(node, turn))

    def runs_no_tools(self, node: str, turn: int, calls: int) -> bool:
        """Return whether, because the run is stopped, no call of a turn runs; `calls` ran in those before."""
        return self.stopping or (self._stops is not None and self._stops.before_tools(node, turn, calls))

    @property
    def record_place(self) -> RecordPlace | None:
        """The position in the record of the run; without one, that of the pause from which it resumed."""
        if self.recorder is not None:
            return self.recorder.place
        return self._resumed.pause.record if self._resumed is not None else None

    def session_of(self, node: str) -> str:
        """Return what identifies the conversation of a node in this run, for routers and pools of engines.

        It is a digest: other servers learn neither the run's id nor the node's name.
        """
        return hashlib.blake2b(f"{self.run_id}/{node}".encode(), digest_size=16).hexdigest()

    def clock(self) -> float:
        """Return seconds since the run was created, from a monotonic clock."""
        return time.perf_counter() - self._started

    def since_start(self, instant: float | None) -> float | None:
        """Turn a reading of `time.perf_counter()` into seconds since the run was created."""
        return None if instant is None else instant - self._started

    @property
    def observed(self) -> bool:
        """True if a record or a reader will see events. Events that carry ids are built only then."""
        return self.recorder is not None or self.events.wanted

    async def emit(self, event: Event) -> None:
        """Write an event to the record and to the reader; wait while the reader lags."""
        if self.recorder is not None:
            self.recorder.write(event)
        if self.events.wanted:
            await self.events.write(event)
        else:
            self.events.keep(event)

    async def report_handoff(self, report: HandoffReport) -> None:
        """Keep and emit the report of one edge."""
        self.handoffs.append(report)
        await self.emit(HandoffFinished(report, self.clock()))

    def add_usage(self, node: str, usage: Usage) -> None:
        """Add to the counts of the node with this path."""
        before = self.usage.get(node)
        self.usage[node] = usage if before is None else before + usage


class Pass(Protocol):
    """One execution of a nested plan, as `NodeContext.run_nested` uses it."""

    context: NodeContext

    async def execute(self) -> None:
        """Run all nodes until they have finished."""
        ...


class NodeContext:
    """One pass over a plan, as its nodes see it: gates, background tasks, nested runs, suspending."""

    __slots__ = (
        "_nest",
        "at_work",
        "background",
        "failures",
        "gates",
        "group",
        "inputs",
        "last_ids",
        "plan",
        "resumed",
        "run",
        "sinks",
        "suspends",
        "wirings",
    )

    def __init__(
        self,
        plan: BuiltPipeline,
        inputs: Mapping[str, Value],
        run: RunContext,
        nest: Callable[[BuiltPipeline, Mapping[str, Value], RunContext], Pass],
        *,
        resumed: Resumption | None = None,
        suspends: bool = False,
    ) -> None:
        """Begin a pass.

        Args:
            plan: what runs.
            inputs: a value for each of its inputs.
            run: the run that this pass is a part of.
            nest: creates the pass over a nested plan.
            resumed: the suspended run that this pass continues.
            suspends: whether a call that needs approval suspends the run.
        """
        self.plan = plan
        self.inputs = inputs
        self.run = run
        self.suspends = suspends
        self.sinks = {name: SinkOutput() for name in plan.sinks}
        self.gates = {name: Gate() for name, node in plan.nodes.items() if node.conditional}
        self.wirings: dict[str, Wiring] = {}
        """The ends of the edges at each node, by its name."""
        self.last_ids: dict[str, float] = {}
        """When the last id of each model arrived, in seconds since the run was created."""
        self.at_work: set[str] = set()
        """The nodes that have their inputs and have not finished."""
        self.failures: dict[str, str] = {}
        """The error of each failed node whose policy lets the run continue."""
        self.group: TaskGroup | None = None
        """Where background tasks run; None in a sequential pass, which has none."""
        self._nest = nest
        self.resumed = resumed
        """The suspended run that this pass continues."""
        self.background: dict[str, list[anyio.CancelScope]] = {}
        """The scopes of what runs beside each node."""

    def resumption_of(self, node: BuiltNode) -> Resumption | None:
        """Return the suspended run if this node has a turn in it that waited for a decision."""
        resumed = self.resumed
        return resumed if resumed is not None and node.name in resumed.pause.waiting else None

    def start_background(self, node: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` beside a node, at most until the node finishes.

        Errors of `work` are dropped: it only prepares for a request that the node sends in any case.
        """
        assert self.group is not None
        scope = anyio.CancelScope()
        self.background.setdefault(node, []).append(scope)

        async def run() -> None:
            with scope, suppress(Exception):
                await work()
            if (scopes := self.background.get(node)) is not None:
                scopes.remove(scope)  # cancelling a scope costs time even when nothing runs in it

        self.group.start_soon(run, name=f"codec background {node}")

    def stop_background(self, node: str) -> None:
        """Cancel what runs beside a node."""
        for scope in self.background.pop(node, ()):
            scope.cancel()

    async def run_nested(self, plan: BuiltPipeline, inputs: Mapping[str, Value]) -> Mapping[str, SinkOutput]:
        """Run a nested plan as a part of the same run; return its sinks.

        Raises:
            RunError: a node failed, and no policy handled it.
        """
        inner = self._nest(plan, inputs, self.run)
        self.run.nested.append(inner.context)
        try:
            await inner.execute()
        finally:
            self.run.nested.remove(inner.context)
        return inner.context.sinks

    def detach(self) -> None:
        """Drop what only running nodes need.

        A finished pass is then freed without the garbage collector.
        """
        for wiring in self.wirings.values():
            wiring.slots = None
            for inlet in wiring.inlets:
                inlet.channel.detach()
