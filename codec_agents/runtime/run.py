"""One run of a plan, as its caller sees it: events, text as it arrives, a result, cancellation.

Rules:

- A `Run` has no public attribute that a caller does not need. Nodes, edges and reporting know its context,
  and never the run itself.
- Its error is kept, and raised where the caller asks: by `result`, `wait`, the events and the readers of
  sinks. No exception group reaches the caller.
- However a run ends, its record is closed and its result is known before those that wait for it go on.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio

from codec_agents.concurrency.deadline import new_scope
from codec_agents.concurrency.signal import Signal
from codec_agents.concurrency.task_group import TaskGroup
from codec_agents.events import Outcome, RunFinished, RunStarted, Usage
from codec_agents.exceptions import (
    ApprovalRequiredError,
    RecordLostError,
    RunCancelledError,
    RunError,
    ToolServerError,
)
from codec_agents.plan.nodes import declared_path
from codec_agents.plan.variants import prompted_nodes
from codec_agents.prompts import History
from codec_agents.records.appending import annotate
from codec_agents.runtime.context import RunContext
from codec_agents.runtime.edges.state import EdgeState, edge_states
from codec_agents.runtime.executor import Executor
from codec_agents.runtime.outputs import SinkOutput, SinkReader
from codec_agents.runtime.result import RunResult
from codec_agents.tools.calls import call_key

if TYPE_CHECKING:
    from codec_agents.plan.nodes import Value
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.records.writer import Recorder
    from codec_agents.runtime.control import Stops
    from codec_agents.runtime.event_log import EventReader
    from codec_agents.runtime.pause import Decision, Pause, Resumption
    from codec_agents.tools.calls import Approver


class Run:
    """One execution of a plan.

    Use it as an async context manager; leaving it, for any reason, stops everything it started.
    """

    def __init__(
        self,
        plan: BuiltPipeline,
        inputs: Mapping[str, Value],
        *,
        run_id: str | None = None,
        recorder: Recorder | None = None,
        deps: object = None,
        approve: Approver | None = None,
        resumed: Resumption | None = None,
        decisions: Mapping[str, Decision] | None = None,
        stops: Stops | None = None,
    ) -> None:
        self._context = RunContext(
            plan,
            run_id=run_id,
            recorder=recorder,
            deps=deps,
            approve=approve,
            resumed=resumed,
            decisions=decisions,
            stops=stops,
        )
        self._executor = Executor(plan, inputs, self._context, resumed=resumed, outermost=True)
        self._begun = self._over = False
        self._ended = Signal()
        self._error: BaseException | None = None
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._group = TaskGroup()
        self._begun = True
        await self._group.__aenter__()
        self._group.start_soon(self._execute_in_task, name=f"codec run {self._context.plan.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
        # The caller's own exception is kept from the group, which would wrap it into an exception group.
        await self._group.__aexit__(None, None, None)
        return None

    @property
    def run_id(self) -> str:
        """The name of the run in traces and records."""
        return self._context.run_id

    @property
    def seconds(self) -> float:
        """Seconds since the run was created."""
        return self._context.clock()

    @property
    def usage(self) -> Mapping[str, Usage]:
        """The counts of each model node so far."""
        return self._context.usage

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """How each node ended, for those that have."""
        return self._context.outcomes

    def __aiter__(self) -> EventReader:
        """Yield the events in order; raise the run's error at the end if it failed.

        While a reader iterates, the run waits for it when it lags. Without a reader, only the last few events
        are kept.

        Raises:
            RunError: they are being read already, or the run has not begun.
        """
        self._check_begun()
        return self._context.events.read()

    def text(self, sink: str) -> SinkReader[str]:
        """Yield the text of a sink from its beginning, as it arrives; raise the run's error if it failed.

        Raises:
            RunError: the pipeline has no such sink, or the run has not begun.
        """
        return self._sink(sink).read_text()

    def ids(self, sink: str) -> SinkReader[list[int]]:
        """Yield the ids of a sink from its beginning, in batches; raise the run's error if it failed.

        Raises:
            RunError: the pipeline has no such sink, or the run has not begun.
        """
        return self._sink(sink).read_ids()

    def _check_begun(self) -> None:
        """Refuse to wait for a run that was never entered: it would be for ever."""
        if not self._begun:
            raise RunError("the run has not begun; use `async with pipeline.run(...) as run:`, or `invoke`")

    def _sink(self, name: str) -> SinkOutput:
        self._check_begun()
        sinks = self._executor.context.sinks
        if name not in sinks:
            known = ", ".join(sorted(sinks)) or "none"
            raise RunError(
                f"the pipeline {self._context.plan.name!r} has no sink {name!r}; its sinks: {known}"
            )
        return sinks[name]

    async def wait(self) -> RunResult:
        """Wait until the run is over and return its result.

        Raises:
            RunError: the run failed (the error itself is raised), or has not begun.
        """
        self._check_begun()
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
        """Return the state of each edge now; the run pays nothing else for it."""
        return edge_states([self._executor.context, *self._context.nested])

    def partial_result(self) -> RunResult:
        """Return what there is so far; after a failure or a cancellation, what had been delivered."""
        context, sinks = self._context, self._executor.context.sinks
        turns = context.last_turns
        return RunResult(
            run_id=context.run_id,
            text={name: sinks[name].text for name, node in context.plan.sinks.items() if node.text},
            ids={name: list(sink.ids) for name, sink in sinks.items()},
            usage=dict(context.usage),
            handoffs=list(context.handoffs),
            outcomes=dict(context.outcomes),
            seconds=context.clock(),
            histories=self._histories(),
            value=dict(context.values),
            probabilities=dict(context.probabilities),
            # Not every engine gives a reason.
            finish_reasons={path: last.turn.finish_reason or "stop" for path, last in turns.items()},
        )

    def _histories(self) -> dict[str, History]:
        """Return the conversation of each model; one in a loop or a map has many, and is left out."""
        hashes = self._context.plan.map_hashes
        return {
            path: last.history(hashes[path])
            for path, last in self._context.last_turns.items()
            if path in hashes
        }

    def reward(self, node: str | None, value: float, **metadata: Any) -> None:
        """Write a reward into the record, while the run goes or afterwards; exporters give it to the rows.

        Args:
            node: the model node that earned it, by its path; None for the whole run.
            value: the reward; the last one of a node counts.
            metadata: what else to note beside it, as JSON can hold it.

        Raises:
            RunError: the run has no record, or no such node that asks a model.
            RecordError: the record cannot be written.
        """
        if (recorder := self._context.recorder) is None:
            raise RunError("a reward is kept in the record, and this run has none; give `record=`")
        known = prompted_nodes(self._context.plan)
        # Items of a map and rounds of a loop have paths of their own, which no plan lists.
        if node is not None and node not in known and declared_path(node) not in known:
            raise RunError(f"the pipeline has no model node {node!r}; it has {', '.join(known)}")
        fields = {**metadata, "reward": float(value) if node is None else {node: float(value)}}
        if recorder.closed:  # the run is over, and another one may write the file
            annotate(recorder.place.path, fields)
        else:
            recorder.annotate(fields)

    def cancel(self, after: Literal["now", "turn"] = "now") -> None:
        """Stop the run: at once, or (`after="turn"`) when the turns that are being generated have ended.

        A run that was stopped at once has no result; `partial_result` has what was delivered.
        """
        self._context.stopping = True
        if after == "now":
            self._executor.cancel(RunCancelledError(f"the run of {self._context.plan.name!r} was cancelled"))

    async def execute(self) -> RunResult:
        """Run to the end in the calling task; return the result.

        Raises:
            RunError: the run failed.
        """
        self._begun = True
        await self._execute()
        return self.result

    async def _execute_in_task(self) -> None:
        with new_scope() as self._executor.scope:
            await self._execute()

    async def _execute(self) -> None:
        context, plan = self._context, self._context.plan
        async with plan.lease:  # the engines stay open as long as a run uses them
            try:
                await context.emit(RunStarted(context.run_id, plan.name, trace_id=context.telemetry.trace_id))
                await self._execute_with_servers()
                await self._grade()
                await context.emit(RunFinished(dict(context.usage), context.clock()))
            except ApprovalRequiredError as error:
                self._error = error
                self._record_suspended(error.pause)
            except Exception as error:  # `result` and `wait` raise it
                self._error = error
            except BaseException:
                # `cancel` leaves its reason with the executor; a cancellation from outside gives none.
                left = RunCancelledError(f"the run of {plan.name!r} was abandoned by its caller")
                self._error = self._executor.error or left
                raise
            finally:
                self._end()

    async def _grade(self) -> None:
        """Ask the pipeline's reward function, where the run has a record to keep its answer."""
        if self._context.plan.reward is None or self._context.recorder is None:
            return
        try:
            found = self._context.plan.reward(self.partial_result())
            if inspect.isawaitable(found):
                found = await found
            given = found if isinstance(found, Mapping) else {None: found}
            # A function may give no reward.
            rewards = {node: float(value) for node, value in given.items() if value is not None}
        except Exception as error:
            problem = f"the reward function of {self._context.plan.name!r} failed"
            raise RunError(f"{problem}: {type(error).__name__}: {error}") from error
        for node, value in rewards.items():
            self.reward(node, value)

    async def _execute_with_servers(self) -> None:
        """Run the nodes while the declared MCP servers are open; one that fails ends the run."""
        servers = self._context.plan.servers
        if not servers.servers:
            await self._executor.execute()
            return

        def failed(error: ToolServerError) -> None:
            self._executor.cancel(error)
            scope.cancel()

        # A failed server ends what waits in `for_run` as well, while the servers are opened or closed.
        with anyio.CancelScope() as scope:
            async with servers.for_run(failed) as self._context.servers:
                await self._executor.execute()
        if self._executor.error is not None:
            raise self._executor.error

    def _record_suspended(self, pause: Pause) -> None:
        if (recorder := self._context.recorder) is None:
            return
        calls = [
            {
                "key": call_key(call.node, pause.waiting[call.node].number, call.position),
                "node": call.node,
                "name": call.name,
                "arguments": call.arguments,
            }
            for call in pause.pending
        ]
        try:
            recorder.write_suspended(pause.id, calls, self._context.clock())
        except RecordLostError as error:  # the pause names a record that could not hold its answer
            self._error = error

    def _end(self) -> None:
        context = self._context
        try:
            if context.recorder is not None:
                context.recorder.close()
        except RecordLostError as error:
            # Raised here, it would leave those that wait for the end without one.
            self._error = self._error or error
        context.telemetry.finish(error=self._error)
        context.events.close(self._error)
        self._over = True
        self._ended.give()
