"""Run the nodes of a pipeline: one task group, one bounded channel an edge, and a task for who is at work.

There is no scheduler. What a node's slots take is put into them by those who send it, while they stream. The
end of a node that fills the last slot of another one starts that one: in its own task, which has nothing else
to do, and further ones in tasks of theirs. So nothing waits that has its inputs, and a chain needs one task.

Nodes that act before their inputs have ended have a task from the start: joins, maps, sinks that write
somewhere. In a pipeline in which a node may end before those that feed it, all have: one that only a router
or a failure can start waits at its gate, and one that nobody listens to any more is stopped.

A task never raises into the group: the first failure is kept, the rest is cancelled, and the caller gets that
failure itself, not a group of exceptions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from codec_agents.events import NodeFailed, NodeFinished, Outcome, Usage
from codec_agents.exceptions import (
    ApprovalRequiredError,
    LimitExceededError,
    NodeFailedError,
    RecordLostError,
    ReplayError,
    RunCancelledError,
    RunError,
)
from codec_agents.graph.kinds import VALUE
from codec_agents.plan.plan import BuiltInput, BuiltNode, BuiltPipeline, BuiltRouter, BuiltSink, Value
from codec_agents.runtime.control import NodePaused
from codec_agents.runtime.edges.channel import Channel, Signal
from codec_agents.runtime.edges.gate import Gate
from codec_agents.runtime.edges.slots import Slots
from codec_agents.runtime.edges.wiring import Inlet, Wiring
from codec_agents.runtime.nodes import NodeSkipped, run_node
from codec_agents.runtime.nodes.sink import open_sink
from codec_agents.runtime.outputs import SinkOutput
from codec_agents.runtime.snapshot import give_again, pause_of, send_again

if TYPE_CHECKING:
    from codec_agents.runtime.pause import PausedTurn, Resumption
    from codec_agents.runtime.run import Run

UNHEARD = Signal()
"""Given by the channels of nodes without a task: they have receivers, and nobody waits."""


class Execution:
    """One pass over the nodes of a pipeline, the outermost or a nested one."""

    def __init__(
        self,
        built: BuiltPipeline,
        inputs: Mapping[str, Value],
        run: Run,
        *,
        resumed: Resumption | None = None,
        outermost: bool = False,
    ) -> None:
        self.built = built
        self.inputs = inputs
        self.run = run
        self.sinks = {name: SinkOutput() for name in built.sinks}
        self.gates = {name: Gate() for name, node in built.nodes.items() if node.conditional}
        self.error: BaseException | None = None
        self.scope: anyio.CancelScope | None = None
        """What stops an execution that has no task group; None where nobody could ask for it."""
        self._group: TaskGroup | None = None
        self._aside: dict[str, list[anyio.CancelScope]] = {}
        """What runs beside each node, to be stopped with it."""
        self.last_ids: dict[str, float] = {}
        """When the last id of each model arrived, in seconds since the run was made."""
        self.pausing = outermost and run.approve is None and built.asks
        """Whether a tool that needs somebody's approval puts the whole run down."""
        self._one_by_one = built.one_by_one and resumed is None and not self.pausing
        self._has_tasks_from_the_start = built.quits_early or resumed is not None
        self.failures: dict[str, str] = {}
        """What nodes failed of whose policy lets the run go on."""
        self._resumed = resumed
        self.at_work: set[str] = set()
        """The nodes that have their inputs, have begun and have not ended."""
        self._waiting: dict[str, PausedTurn] = {}
        self.wirings: dict[str, Wiring] = {}
        """The ends of the edges at each node."""
        self._filled: list[BuiltNode] = []
        """The nodes that the end of another one has let start."""
        self._declare_deciders()
        for name in resumed.pause.started if resumed else ():
            self.gates[name].start(name)

    def _declare_deciders(self) -> None:
        if not self.gates:
            return
        for name, node in self.built.nodes.items():
            if isinstance(node, BuiltRouter):
                for target in {*sum(node.targets.values(), ()), *(node.default or ())}:
                    self.gates[target].wait_for(name)
        for edge in self.built.edges:
            if edge.fallback:
                self.gates[edge.target_node].wait_for(edge.source_node)

    async def execute(self) -> None:
        """Run all nodes to their end.

        Raises:
            RunError: the first failure that no policy of its node took care of.
        """
        try:
            if self.error is not None:  # cancelled before it began
                raise self.error
            if self._one_by_one:
                await self._start()
                await self._run_filled()
            else:
                async with anyio.create_task_group() as self._group:
                    await self._start()
                    await self._run_filled()
        except BaseException:
            self.error = self.error or RunCancelledError(f"the run of {self.built.name!r} was left")
            raise
        finally:
            for sink in self.sinks.values():
                sink.close(self.error)
            self._let_go()
        if self.error is not None:
            raise self.error

    def _let_go(self) -> None:
        """Drop what only nodes at work need, so that what is over is freed without the garbage collector."""
        for wiring in self.wirings.values():
            wiring.slots = None
            for inlet in wiring.inlets:
                inlet.channel.let_go()
        del self.run

    def inside(self, body: BuiltPipeline, inputs: Mapping[str, Value]) -> Execution:
        """Return a pass over a nested pipeline, as a part of the same run."""
        return Execution(body, inputs, self.run)

    def start_aside(self, node: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run something beside a node, until the node ends; what it raises is nobody's business."""
        assert self._group is not None
        scope = anyio.CancelScope()
        self._aside.setdefault(node, []).append(scope)

        async def aside() -> None:
            with scope, suppress(Exception):
                await work()
            if (scopes := self._aside.get(node)) is not None:
                scopes.remove(scope)  # cancelling costs even where nothing is left to be cancelled

        self._group.start_soon(aside, name=f"codec aside {node}")

    def cancel(self, reason: BaseException) -> None:
        """Stop all nodes; `execute` raises the reason, unless there is an earlier one."""
        self.error = self.error or reason
        scope = self.scope if self._group is None else self._group.cancel_scope
        if scope is not None:
            scope.cancel()

    async def _start(self) -> None:
        """Connect all nodes, start those that have a task from the start, and let the inputs in."""
        built = self.built
        ready = {name: Signal() if self._needs_task(node) else UNHEARD for name, node in built.nodes.items()}
        inlets = [Inlet(edge, Channel(edge.buffer, ready[edge.target_node])) for edge in built.edges]
        for name in built.nodes:
            wiring = Wiring.of_node(built.links[name], inlets, ready[name], keeps=self.pausing)
            self.wirings[name] = wiring
        for name, node in built.nodes.items():
            if not isinstance(node, BuiltInput):
                await self._prepare(node, self.wirings[name])
        for node in built.inputs.values():
            await self._let_in(node)

    async def _let_in(self, node: BuiltInput) -> None:
        """Send the value of one input: no task is needed, because an edge that is still empty takes any."""
        wiring = self.wirings[node.name]
        await wiring.send(VALUE, self.inputs[node.name])
        self._end_node(node, "finished")
        wiring.close()

    async def _prepare(self, node: BuiltNode, wiring: Wiring) -> None:
        """Open the slots of a node, or start its task."""
        if self._needs_task(node):
            self._start_task(node)
        elif isinstance(node, BuiltSink):
            await open_sink(node, wiring, self, partial(self._end_node, node, "finished"))
        else:
            wiring.slots = Slots(node, wiring, self)
            await wiring.slots.open(partial(self._let_start, node))

    def _needs_task(self, node: BuiltNode) -> bool:
        """Whether a node has a task from the start."""
        return self._has_tasks_from_the_start or not (node.passive or node.starts_filled)

    def _start_task(self, node: BuiltNode) -> None:
        assert self._group is not None
        self._group.start_soon(self._run_task, node, name=node.name)

    def _let_start(self, node: BuiltNode) -> None:
        self.at_work.add(node.name)
        self._filled.append(node)

    async def _run_task(self, node: BuiltNode) -> None:
        await self._run_node(node)
        await self._run_filled()

    async def _run_filled(self) -> None:
        """Run what the node that has just ended in this task let start; all but the first in other tasks."""
        while self._filled and self.error is None:
            first, *others = self._filled
            self._filled.clear()
            for node in others:
                self._start_task(node)
            await self._run_node(first)

    async def _run_node(self, node: BuiltNode) -> None:
        """Run one node to its end; whatever it raises is kept for the caller, and its neighbours are told.

        A node that is stopped with the whole execution has no end: what it had sent must not look complete
        to those who are not stopped yet.
        """
        wiring = self.wirings[node.name]
        try:
            skipped = await self._run_to_its_end(node, wiring)
        except RecordLostError as error:  # nothing can be told any more, whatever a policy says
            self.cancel(error)
        else:
            if self.error is None:
                wiring.close(skipped=skipped)
                self.at_work.discard(node.name)
                self._put_down_when_settled()
        finally:
            for beside in self._aside.pop(node.name, ()):
                beside.cancel()

    async def _run_to_its_end(self, node: BuiltNode, wiring: Wiring) -> bool:
        """Run one node; return whether the nodes after it go without its output."""
        outcome: Outcome
        try:
            if self.built.quits_early:
                outcome = await self._run_while_heard(node, wiring)
            else:
                await self._run_or_repeat(node, wiring)
                outcome = "finished"
            await wiring.flush()
            self._end_node(node, outcome)
        except NodeSkipped as why:
            await self._skipped(node, str(why) or "no branch led here")
            return True
        except NodePaused as paused:
            await self._paused(node, paused)
        except RecordLostError:
            raise
        except Exception as error:
            return await self._failed(node, wiring, error)
        return False

    async def _run_while_heard(self, node: BuiltNode, wiring: Wiring) -> Outcome:
        with anyio.CancelScope() as scope:
            wiring.stop_when_unheard(scope.cancel)
            await self._run_or_repeat(node, wiring)
        return "cancelled" if scope.cancelled_caught else "finished"

    async def _run_or_repeat(self, node: BuiltNode, wiring: Wiring) -> None:
        pause = self._resumed.pause if self._resumed else None
        if pause is not None and (output := pause.ended.get(node.name)) is not None:
            await give_again(wiring, output)
            return
        await self._pass_gate(node, wiring)
        if pause is not None and (waiting := pause.waiting.get(node.name)) is not None:
            await send_again(wiring, waiting.sent)
        await run_node(node, wiring, self)

    def resumption_of(self, node: BuiltNode) -> Resumption | None:
        """Return the turn that a node goes on with, if it is the one that the run was paused for."""
        resumed = self._resumed
        return resumed if resumed is not None and node.name in resumed.pause.waiting else None

    async def _paused(self, node: BuiltNode, paused: NodePaused) -> None:
        """Keep a node's turn until all nodes that are at work have ended or wait as well.

        What leads to a node that waits for this one is no longer bounded: nobody reads there until the run
        is taken up, and whoever writes there is to come to its end.
        """
        self._waiting[node.name] = paused.turn
        self.run.outcomes[node.path] = "paused"
        usage = self.run.usage.get(node.path, Usage())
        await self.run.emit(NodeFinished(node.path, "paused", str(paused), usage, self.run.clock()))
        for wiring in self.wirings.values():
            wiring.unbind()
        self._put_down_when_settled()
        await anyio.sleep_forever()

    def _put_down_when_settled(self) -> None:
        if self.error is None and self._waiting and self.at_work <= self._waiting.keys():
            self.cancel(ApprovalRequiredError(pause_of(self, self.wirings, self._waiting)))

    async def _pass_gate(self, node: BuiltNode, wiring: Wiring) -> None:
        """Wait until a node is chosen; what leads to it is not held up meanwhile.

        Who decides may wait for the end of the very streams that lead here, as a router does that reads them.
        """
        gate = self.gates.get(node.name)
        if gate is None:
            return
        wiring.unbind()
        if not await gate.passed():
            raise NodeSkipped
        for inlet in wiring.inlets:
            inlet.channel.bind(inlet.edge.buffer)

    def _end_node(self, node: BuiltNode, outcome: Outcome) -> None:
        self.run.outcomes[node.path] = outcome
        for gate in self.gates.values():
            gate.decide(node.name)

    async def _skipped(self, node: BuiltNode, reason: str) -> None:
        self._end_node(node, "skipped")
        await self.run.emit(NodeFinished(node.path, "skipped", reason, Usage(), self.run.clock()))

    async def _failed(self, node: BuiltNode, wiring: Wiring, error: Exception) -> bool:
        """Do what the node's policy says; return whether the nodes after it go without its output."""
        known = error if isinstance(error, RunError) else NodeFailedError(node.path, error)
        known.__cause__ = error if known is not error else error.__cause__
        usage = self.run.usage.get(node.path, Usage())
        await self.run.emit(NodeFailed(node.path, known, usage, self.run.clock()))
        limited = isinstance(known, LimitExceededError)
        if node.policy.on_failure == "fail" or isinstance(known, ReplayError):
            self.run.outcomes[node.path] = "failed"
            self.cancel(known)
            return False
        if node.policy.on_failure == "fallback":
            await wiring.send_fallback()
            for edge in self.built.edges:
                if edge.fallback and edge.source_node == node.name:
                    self.gates[edge.target_node].start(node.name)
        self.failures[node.name] = str(known)
        self._end_node(node, "limited" if limited else "failed")
        return True
