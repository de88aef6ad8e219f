"""A model node: fill the prompt, ask for a turn, run the tools it calls, go on until it answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from codec_agents.dispatch import Attempt
from codec_agents.events import NodeFinished, NodeStarted, ToolFinished, ToolStarted, Usage
from codec_agents.exceptions import EngineError, LimitExceededError, NodeFailedError
from codec_agents.nodes.generation import Generation, Turn
from codec_agents.nodes.slots import Slots
from codec_agents.tools import ToolContext

if TYPE_CHECKING:
    from codec_agents.build import BuiltModel
    from codec_agents.dialects import ToolCall
    from codec_agents.nodes.wiring import Wiring
    from codec_agents.runtime import Run
    from codec_agents.telemetry.spans import NodeScope


async def run_model(node: BuiltModel, wiring: Wiring, run: Run) -> None:
    """Run one model node to its end."""
    slots = Slots(wiring, run, node.separators)
    await slots.fill()
    with run.scope.node(node.name, node.model) as scope:
        await run.emit(NodeStarted(node.name, run.clock()))
        for handoff in slots.handoffs:
            scope.handoff(handoff.edge, since=handoff.last_in or run.clock())
        conversation = Conversation(node, wiring, run, scope, slots)
        reason = await conversation.hold(node.template.render(slots.ids()))
    await run.emit(NodeFinished(node.name, "finished", reason, run.usage[node.name], run.clock()))


class Conversation:
    """The turns of one node. Each prompt begins with exactly the prompt before and what was generated."""

    def __init__(self, node: BuiltModel, wiring: Wiring, run: Run, scope: NodeScope, slots: Slots) -> None:
        self._node = node
        self._run = run
        self._wiring = wiring
        self._slots = slots
        self._scope = scope
        self._generation = Generation(node, wiring, run, scope)
        self._usage = Usage()

    async def hold(self, prompt: list[int]) -> str:
        """Go from turn to turn until the model calls no tool; return why the last turn ended."""
        limits = self._node.policy.limits
        kept = 0
        for number in range(1, limits.turns + 1):
            turn = await self._ask(prompt, number, kept)
            if number == 1:
                await self._report_handoffs(turn)
            calls = [call for region in turn.regions for call in self._node.dialect.parse_calls(region)]
            if not calls or self._run.stopping:
                return turn.finish_reason or "stop"
            self._check("tool_calls", self._usage.tool_calls + len(calls), limits.tool_calls)
            attempts = await self._run_tools(turn, calls)
            said = turn.prompt + turn.generated
            kept = len(said)
            prompt = said + self._node.dialect.extend(turn.generated, turn.finish_reason, attempts)
        raise LimitExceededError(self._node.name, "turns", limits.turns)

    async def _ask(self, prompt: list[int], number: int, kept: int) -> Turn:
        limits, options = self._node.policy.limits, self._node.options
        budget = limits.max_ids - self._usage.generated_ids
        self._check("max_ids", self._usage.generated_ids + 1, limits.max_ids)
        try:
            turn = await self._generation.ask(
                prompt, number, kept_prefix=kept, max_ids=min(options.max_tokens, budget)
            )
        except EngineError as error:
            raise NodeFailedError(self._node.name, error, delivered=self._wiring.sent()) from error
        self._count(turn)
        return turn

    def _check(self, limit: str, value: int, allowed: int) -> None:
        if value > allowed:
            raise LimitExceededError(self._node.name, limit, allowed)

    def _count(self, turn: Turn) -> None:
        stats = turn.stats[-1]
        self._usage += Usage(
            prompt_ids=len(turn.prompt),
            cached_ids=stats.cached_tokens or 0,
            generated_ids=len(turn.generated),
            reasoning_ids=turn.reasoning_ids,
            turns=1,
            retries=turn.retries,
            bytes_received=turn.bytes_received,
            bytes_sent=sum(stats.bytes_sent for stats in turn.stats),
        )
        self._run.usage[self._node.name] = self._usage

    async def _report_handoffs(self, turn: Turn) -> None:
        """The first turn is under way: say what each edge into the prompt did."""
        for handoff in self._slots.handoffs:
            report = handoff.report_for(turn.stats[0], self._run)
            self._scope.finish_handoff(report)
            await self._run.report(report)

    async def _run_tools(self, turn: Turn, calls: list[ToolCall]) -> list[Attempt]:
        """Run the calls of a turn in parallel; return the attempts in the order of the calls."""
        attempts: dict[int, Attempt] = {}

        async def run_one(position: int, call: ToolCall) -> None:
            await self._run.emit(ToolStarted(self._node.name, turn.number, call, self._run.clock()))
            with self._scope.tool(call) as scope:
                attempts[position] = attempt = await self._node.dispatcher.run(call, self._context())
                scope.finish(attempt)
            await self._run.emit(ToolFinished(self._node.name, turn.number, attempt, self._run.clock()))

        async with anyio.create_task_group() as group:
            for position, call in enumerate(calls):
                group.start_soon(run_one, position, call)
        self._usage = replace(self._usage, tool_calls=self._usage.tool_calls + len(calls))
        self._run.usage[self._node.name] = self._usage
        return [attempts[position] for position in range(len(calls))]

    def _context(self) -> ToolContext:
        return ToolContext(run_id=self._run.run_id, node=self._node.name, deps=self._run.deps, deadline=None)
