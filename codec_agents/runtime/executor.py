"""Execute the nodes of a plan: one task group, one bounded channel per edge, and as few tasks as possible.

Rules:

- There is no scheduler. A node's sources fill its slots while they stream. When a node finishes and thereby
  completes the inputs of another node, it starts that node in its own task, and further ones in new tasks.
  So no node waits once its inputs are complete, and a chain needs one task.
- A node that acts before its inputs are complete has a task from the start: joins, maps, sinks that write.
  In a plan in which a node may end before its sources, every node has one: a node that only a router or a
  failure can start waits at its gate, and a node without consumers is stopped.
- A task never raises into the group. The first failure is kept and the other tasks are cancelled, so the
  caller gets that failure itself and not an exception group. The exit of the program is no failure of a
  node: no policy handles it, and it goes through to the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import anyio

from codec_agents.concurrency.event_loop import is_being_cancelled
from codec_agents.concurrency.signal import Signal
from codec_agents.concurrency.task_group import EXITS, TaskGroup
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
from codec_agents.plan.nodes import BuiltInput, BuiltNode, BuiltRouter, BuiltSink, PromptedNode, Value
from codec_agents.runtime.context import NodeContext
from codec_agents.runtime.control import NodePaused, NodeSkipped
from codec_agents.runtime.edges.channel import Channel
from codec_agents.runtime.edges.slots import Slots
from codec_agents.runtime.edges.wiring import Inlet, Wiring
from codec_agents.runtime.model.prompt_slots import PromptSlots
from codec_agents.runtime.nodes.registry import run_node
from codec_agents.runtime.nodes.sink import open_sink
from codec_agents.runtime.snapshot import repeat_output, send_again, take_snapshot

if TYPE_CHECKING:
    from codec_agents.plan.plan import BuiltPipeline
    from codec_agents.runtime.context import RunContext
    from codec_agents.runtime.pause import PausedTurn, Resumption

UNUSED = Signal()
"""The `ready` signal of all nodes without a task: their channels have receivers, so no task waits for it."""


class Executor:
    """One pass over a plan: the outermost, or the body of a loop or a map."""

    def __init__(
        self,
        plan: BuiltPipeline,
        inputs: Mapping[str, Value],
        run: RunContext,
        *,
        resumed: Resumption | None = None,
        outermost: bool = False,
    ) -> None:
        # A loop or a map cannot be resumed in its middle: only the outermost pass has a snapshot.
        suspends = outermost and run.approve is None and plan.needs_approval
        self.plan = plan
        self.context = NodeContext(plan, inputs, run, Executor, resumed=resumed, suspends=suspends)
        self.error: BaseException | None = None
        """The first failure; nothing may report success once it is set."""
        self.scope: anyio.CancelScope | None = None
        """Stops a sequential pass, which has no task group; None where nothing cancels it."""
        # A node that waits for a decision keeps its task, while the others go on in theirs.
        self._is_sequential = plan.is_sequential and resumed is None and not suspends
        # In a resumed run, a node that had finished has no inputs to be started by: it repeats its output.
        self._has_tasks_from_the_start = plan.may_end_early or resumed is not None
        self._waiting: dict[str, PausedTurn] = {}
        """The turn of each node that waits for a decision."""
        self._startable: list[BuiltNode] = []
        """The nodes whose inputs became complete when the node before finished."""
        self._register_deciders()
        for name in resumed.pause.started if resumed else ():
            self.context.gates[name].start(name)  # the node that decided does not run again

    def _register_deciders(self) -> None:
        """Tell each gate which nodes decide about it: routers, and nodes with a fallback edge to it."""
        gates = self.context.gates
        if not gates:
            return
        for name, node in self.plan.nodes.items():
            if isinstance(node, BuiltRouter):
                for target in {*sum(node.targets.values(), ()), *(node.default or ())}:
                    gates[target].wait_for(name)
        for edge in self.plan.edges:
            if edge.fallback:
                gates[edge.target_node].wait_for(edge.source_node)

    async def execute(self) -> None:
        """Run all nodes until they have finished.

        Raises:
            RunError: the first failure that no policy of its node handled.
        """
        try:
            if self.error is not None:  # cancelled before it began
                raise self.error
            if self._is_sequential:
                await self._start()
                await self._run_startable()
            else:
                async with TaskGroup() as self.context.group:
                    await self._start()
                    await self._run_startable()
        # Before the sinks are closed: their readers must not take the output for complete.
        except BaseException as error:
            left = RunCancelledError(f"the run of {self.plan.name!r} was abandoned by its caller")
            self.error = error if isinstance(error, EXITS) else self.error or left
            raise
        finally:
            for sink in self.context.sinks.values():
                sink.close(self.error)
            self.context.detach()
        if self.error is not None:
            raise self.error

    def cancel(self, reason: BaseException) -> None:
        """Stop all nodes; `execute` raises the reason, unless there is an earlier one."""
        self.error = self.error or reason
        group = self.context.group
        scope = self.scope if group is None else group.cancel_scope
        if scope is not None:
            scope.cancel()

    async def _start(self) -> None:
        """Connect all nodes, start those that have a task from the start, and send the inputs."""
        plan, context = self.plan, self.context
        ready = {name: Signal() if self._needs_task(node) else UNUSED for name, node in plan.nodes.items()}
        inlets = [Inlet(edge, Channel(edge.buffer, ready[edge.target_node])) for edge in plan.edges]
        for name in plan.nodes:
            wiring = Wiring.of_node(plan.links[name], inlets, ready[name], keeps=context.suspends)
            context.wirings[name] = wiring
        for name, node in plan.nodes.items():
            if not isinstance(node, BuiltInput):
                await self._prepare(node, context.wirings[name])
        # Inputs are sent last, because a node that they complete needs the edges behind it.
        for node in plan.inputs.values():
            await self._send_input(node)

    async def _send_input(self, node: BuiltInput) -> None:
        """Send the value of one input. This needs no task: an empty channel takes a batch of any size."""
        wiring = self.context.wirings[node.name]
        await wiring.send(VALUE, self.context.inputs[node.name])
        self._end_node(node, "finished")
        wiring.close()

    async def _prepare(self, node: BuiltNode, wiring: Wiring) -> None:
        """Open the slots of a node, or start its task."""
        if self._needs_task(node):
            self._start_task(node)
        elif isinstance(node, BuiltSink):
            await open_sink(node, wiring, self.context, partial(self._end_node, node, "finished"))
        else:
            slots = (
                PromptSlots(node, wiring, self.context)
                if isinstance(node, PromptedNode)
                else Slots(node, wiring, self.context)
            )
            wiring.slots = slots
            await slots.open(partial(self._add_startable, node))

    def _needs_task(self, node: BuiltNode) -> bool:
        """Return whether a node has a task from the start."""
        return self._has_tasks_from_the_start or not (node.passive or node.starts_when_inputs_complete)

    def _start_task(self, node: BuiltNode) -> None:
        assert self.context.group is not None
        self.context.group.start_soon(self._run_task, node, name=node.name)

    def _add_startable(self, node: BuiltNode) -> None:
        self.context.at_work.add(node.name)
        self._startable.append(node)

    async def _run_task(self, node: BuiltNode) -> None:
        await self._run_node(node)
        await self._run_startable()

    async def _run_startable(self) -> None:
        """Run the nodes that became startable in this task: the first one here, the others in new tasks."""
        while self._startable and self.error is None:
            first, *others = self._startable
            self._startable.clear()
            for node in others:
                self._start_task(node)
            await self._run_node(first)

    async def _run_node(self, node: BuiltNode) -> None:
        """Run one node; keep what it raises for the caller, and close its edges.

        A node that is stopped with the whole pass closes no edge: to nodes that are not stopped yet, what
        it had sent must not look complete.
        """
        wiring = self.context.wirings[node.name]
        try:
            skipped = await self._run_to_outcome(node, wiring)
        except RecordLostError as error:  # no event can be written any more, so no policy can handle it
            self.cancel(error)
        else:
            if self.error is None:
                wiring.close(skipped=skipped)
                self.context.at_work.discard(node.name)
                self._suspend_when_settled()
        finally:
            if node.name in self.context.background:
                self.context.stop_background(node.name)

    async def _run_to_outcome(self, node: BuiltNode, wiring: Wiring) -> bool:
        """Run one node; return whether the nodes after it are to go on without its output."""
        outcome: Outcome
        try:
            if self.plan.may_end_early:
                outcome = await self._run_while_wanted(node, wiring)
            else:
                await self._run_or_repeat(node, wiring)
                outcome = "finished"
            await wiring.flush()  # may fail, as a sink's function may: then the node has not finished
            self._end_node(node, outcome)
        except NodeSkipped as why:
            await self._report_skipped(node, str(why) or "no branch led here")
            return True
        except NodePaused as paused:
            await self._wait_for_decision(node, paused)
        except RecordLostError:
            raise
        except Exception as error:
            return await self._handle_failure(node, wiring, error)
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            # A function or an engine raised it, for example by awaiting a task that was cancelled elsewhere.
            # It would end this task without a word, and the run as if the nodes behind had nothing to say.
            stray = RuntimeError("CancelledError from within, and nothing has cancelled the run")
            stray.__cause__ = error
            return await self._handle_failure(node, wiring, stray)
        return False

    async def _run_while_wanted(self, node: BuiltNode, wiring: Wiring) -> Outcome:
        """Run one node until it finishes or all its consumers have left."""
        with anyio.CancelScope() as scope:
            wiring.stop_when_abandoned(scope.cancel)
            await self._run_or_repeat(node, wiring)
        return "cancelled" if scope.cancelled_caught else "finished"

    async def _run_or_repeat(self, node: BuiltNode, wiring: Wiring) -> None:
        """Run one node; in a resumed run, a node that had finished sends its output again instead."""
        pause = self.context.resumed.pause if self.context.resumed else None
        if pause is not None and (output := pause.ended.get(node.name)) is not None:
            await repeat_output(wiring, output)
            return
        await self._pass_gate(node, wiring)
        if pause is not None and (waiting := pause.waiting.get(node.name)) is not None:
            await send_again(wiring, waiting.sent)
        await run_node(node, wiring, self.context)

    async def _wait_for_decision(self, node: BuiltNode, paused: NodePaused) -> None:
        """Keep a node's turn until every node at work has finished or waits as well; then suspend the run.

        The bound of all edges is removed: the sources of a waiting node have no consumer until the run
        resumes, and have to finish first.
        """
        run = self.context.run
        self._waiting[node.name] = paused.turn
        run.outcomes[node.path] = "paused"
        usage = run.usage.get(node.path, Usage())
        await run.emit(NodeFinished(node.path, "paused", str(paused), usage, run.clock()))
        for wiring in self.context.wirings.values():
            wiring.remove_bound()
        self._suspend_when_settled()
        # Returning would close the node's edges as if it had finished; suspending the run cancels this wait.
        await anyio.sleep_forever()

    def _suspend_when_settled(self) -> None:
        if self.error is None and self._waiting and self.context.at_work <= self._waiting.keys():
            self.cancel(ApprovalRequiredError(take_snapshot(self.context, self._waiting)))

    async def _pass_gate(self, node: BuiltNode, wiring: Wiring) -> None:
        """Wait until a node is chosen.

        Its edges have no bound meanwhile: a router may decide only after the very stream that fills them
        ends.
        """
        gate = self.context.gates.get(node.name)
        if gate is None:
            return
        wiring.remove_bound()
        if not await gate.passed():
            raise NodeSkipped
        for inlet in wiring.inlets:
            inlet.channel.bind(inlet.edge.buffer)

    def _end_node(self, node: BuiltNode, outcome: Outcome) -> None:
        self.context.run.outcomes[node.path] = outcome
        for gate in self.context.gates.values():
            gate.decide(node.name)

    async def _report_skipped(self, node: BuiltNode, reason: str) -> None:
        run = self.context.run
        self._end_node(node, "skipped")
        await run.emit(NodeFinished(node.path, "skipped", reason, Usage(), run.clock()))

    async def _handle_failure(self, node: BuiltNode, wiring: Wiring, error: Exception) -> bool:
        """Apply the node's policy; return whether the nodes after it are to go on without its output."""
        run = self.context.run
        known = error if isinstance(error, RunError) else NodeFailedError(node.path, error)
        # As `raise ... from` would set it: the error is kept, and raised by the caller of the pass.
        known.__cause__ = error if known is not error else error.__cause__
        usage = run.usage.get(node.path, Usage())
        await run.emit(NodeFailed(node.path, known, usage, run.clock()))
        # A replay that differs from its record is no failure of the node: no policy may hide it.
        if node.policy.on_failure == "fail" or isinstance(known, ReplayError):
            run.outcomes[node.path] = "failed"  # without `_end_node`: no gate opens in a run that ends
            self.cancel(known)
            return False
        if node.policy.on_failure == "fallback":
            await wiring.send_fallback()  # before the gate opens, with which the bound of these edges returns
            for edge in self.plan.edges:
                if edge.fallback and edge.source_node == node.name:
                    self.context.gates[edge.target_node].start(node.name)
        self.context.failures[node.name] = str(known)
        self._end_node(node, "limited" if isinstance(known, LimitExceededError) else "failed")
        return True
