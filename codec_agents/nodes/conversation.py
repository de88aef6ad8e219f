"""The turns of one node with its model: each prompt begins with exactly the turn before."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from codec_agents.dispatch import Attempt
from codec_agents.events import ToolFinished, ToolStarted, Usage
from codec_agents.exceptions import EngineError, LimitExceededError, NodeFailedError, RepeatedFailureError
from codec_agents.handoff import Departure
from codec_agents.nodes.generation import Generation, Turn
from codec_agents.tools import ToolContext

if TYPE_CHECKING:
    from codec_agents.built import BuiltAsking, BuiltModel
    from codec_agents.dialects import ToolCall
    from codec_agents.execution import Execution
    from codec_agents.nodes.slots import Slots
    from codec_agents.nodes.wiring import Wiring
    from codec_agents.telemetry.spans import NodeScope


class Conversation:
    """Ask a model, turn by turn, within the limits of its node."""

    def __init__(
        self, node: BuiltAsking, wiring: Wiring, execution: Execution, scope: NodeScope, slots: Slots
    ) -> None:
        self._node = node
        self._execution = execution
        self._run = execution.run
        self._wiring = wiring
        self._slots = slots
        self._scope = scope
        self._generation = Generation(node, wiring, self._run, scope, on_first_id=self._report_handoffs)
        self._spent = Usage()
        for handoff in slots.handoffs:
            if handoff.last_in is not None:
                began = execution.last_ids.get(handoff.edge.source_node, handoff.last_in)
                scope.handoff(handoff.edge, since=began)

    async def ask_once(self, *, enough: Callable[[Turn], bool]) -> Turn:
        """Ask for one turn, and stop the model as soon as there is enough of it."""
        return await self._ask(self._first_prompt(), 1, 0, enough)

    async def hold(self, node: BuiltModel) -> str:
        """Go from turn to turn until the model calls no tool; return why the last turn ended.

        Raises:
            NodeFailedError: the engine failed for good.
            LimitExceededError: the node's policy allows no more turns, calls or ids.
        """
        limits = node.policy.limits
        prompt, kept = self._first_prompt(), 0
        for number in range(1, limits.turns + 1):
            turn = await self._ask(prompt, number, kept)
            calls = [call for region in turn.regions for call in node.dialect.parse_calls(region)]
            if not calls or self._run.stopping:
                return turn.finish_reason or "stop"
            self._check("tool_calls", self._spent.tool_calls + len(calls), limits.tool_calls)
            attempts = await self._run_tools(node, turn, calls)
            self._give_up_on_repeats(node, attempts)
            said = turn.prompt + turn.generated
            kept = len(said)
            prompt = said + node.dialect.extend(turn.generated, turn.finish_reason, attempts)
        raise self._limit("turns", limits.turns)

    def _give_up_on_repeats(self, node: BuiltModel, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            if attempt.status != "ok" and node.dispatcher.gives_up_on(attempt):
                raise RepeatedFailureError(node.path, attempt.call.name, attempt.repeated + 1, attempt.text)

    def _first_prompt(self) -> list[int]:
        return self._node.template.render(self._slots.ids())

    async def _ask(
        self, prompt: list[int], number: int, kept: int, enough: Callable[[Turn], bool] | None = None
    ) -> Turn:
        limits, options = self._node.policy.limits, self._node.options
        self._check("max_ids", self._spent.generated_ids + 1, limits.max_ids)
        budget = min(options.max_tokens, limits.max_ids - self._spent.generated_ids)
        turn = Turn(number, prompt, kept)
        try:
            await self._generation.ask(turn, max_ids=budget, enough=enough)
        except EngineError as error:
            raise NodeFailedError(self._node.path, error, delivered=self._wiring.sent()) from error
        finally:
            self._spend(turn.usage())
            self._note_last_id(turn)
        return turn

    def _note_last_id(self, turn: Turn) -> None:
        last = self._run.since_start(turn.stats[-1].last_id) if turn.stats else None
        if last is not None:
            self._execution.last_ids[self._node.name] = last

    def _spend(self, usage: Usage) -> None:
        self._spent += usage
        self._run.add_usage(self._node.path, usage)

    def _check(self, limit: str, value: int, allowed: int) -> None:
        if value > allowed:
            raise self._limit(limit, allowed)

    def _limit(self, limit: str, allowed: float) -> LimitExceededError:
        return LimitExceededError(self._node.path, limit, allowed, delivered=self._wiring.sent())

    async def _report_handoffs(self, turn: Turn) -> None:
        """Say what each edge into the prompt did, now that the model's first id is there."""
        stats, slots = turn.stats[0], self._slots
        target = Departure(
            filled=turn.asked if slots.filled is None else slots.filled,
            asked=turn.asked,
            admitted=turn.admitted,
            sent=self._run.since_start(stats.request_sent),
            first_id=self._run.since_start(stats.first_id),
            prefilled_ids=0 if slots.ahead is None else slots.ahead.prefilled_ids,
        )
        for handoff in slots.handoffs:
            source = handoff.edge.source_node
            report = handoff.report(
                target,
                source=self._run.usage.get(self._execution.built.nodes[source].path),
                last_id=self._execution.last_ids.get(source),
            )
            self._scope.finish_handoff(report)
            await self._run.report(report.inside(self._node.prefix))

    async def _run_tools(self, node: BuiltModel, turn: Turn, calls: list[ToolCall]) -> list[Attempt]:
        """Run the calls of a turn in parallel; return the attempts in the order of the calls."""
        attempts: dict[int, Attempt] = {}
        context = ToolContext(run_id=self._run.run_id, node=node.path, deps=self._run.deps)

        async def run_one(position: int, call: ToolCall) -> None:
            await self._run.emit(ToolStarted(node.path, turn.number, call, self._run.clock()))
            with self._scope.tool(call) as scope:
                attempts[position] = attempt = await node.dispatcher.run(call, context)
                scope.finish(attempt)
            await self._run.emit(ToolFinished(node.path, turn.number, attempt, self._run.clock()))

        async with anyio.create_task_group() as group:
            for position, call in enumerate(calls):
                group.start_soon(run_one, position, call)
        self._spend(Usage(tool_calls=len(calls)))
        return [attempts[position] for position in range(len(calls))]
