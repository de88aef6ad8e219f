"""The turns of one node with its model: each prompt begins with exactly the turn before."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from codec_agents.engines.base import continues_answers
from codec_agents.engines.prompt_body import extended
from codec_agents.events import UNREPORTED, Usage
from codec_agents.exceptions import (
    AnswerCutError,
    EngineError,
    LimitExceededError,
    NodeFailedError,
    RepeatedFailureError,
)
from codec_agents.plan.answer_readers import InvalidAnswerError
from codec_agents.plan.nodes import declared_path
from codec_agents.runtime.control import NodePaused
from codec_agents.runtime.edges.handoff import Departure
from codec_agents.runtime.model.answer_check import AnswerCheck
from codec_agents.runtime.model.generation import Generation, Listeners
from codec_agents.runtime.model.reasoning_budget import SPENT, ReasoningBudget
from codec_agents.runtime.model.room import Prompt, Room
from codec_agents.runtime.model.tool_round import ToolRound
from codec_agents.tools.calls import Attempt
from codec_agents.turn import LastTurn, Turn, shared_prefix

_log = logging.getLogger("codec_agents")

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltModel, PromptedNode
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring
    from codec_agents.runtime.model.prompt_slots import PromptSlots
    from codec_agents.runtime.pause import PausedTurn, Resumption
    from codec_agents.telemetry.spans import NodeScope


class Conversation:
    """Asks a model, turn by turn, within the limits of its node."""

    def __init__(
        self, node: PromptedNode, wiring: Wiring, context: NodeContext, scope: NodeScope, slots: PromptSlots
    ) -> None:
        self._node = node
        self._context = context
        self._run = context.run
        self._wiring = wiring
        self._slots = slots
        self._scope = scope
        self._generation = Generation(node, wiring, self._run, scope)
        self._spent = Usage()
        self._room = Room(node, context, wiring, node.told)
        self._sent_ahead = 0
        """Ids of the first prompt that the engine was sent before; of a shortened prompt none counts."""
        self._unread: tuple[int, ...] = ()
        """The ids of results that no turn reads, because the run was stopped."""
        self._reported: list[int] = []
        """The positions of this node's reports among those of the run, until its first turn ends."""
        self._warned = False
        """Whether a cache loss was logged: one warning per conversation, however many turns it has."""
        self._budget = ReasoningBudget(node.dialect, node.policy.limits.reasoning_ids)
        for handoff in slots.handoffs:
            assert handoff.last_in is not None  # the slots are complete, so every edge into them has ended
            # A handoff begins with the last id of its source, before the edge itself ends.
            began = context.last_ids.get(handoff.edge.source_node, handoff.last_in)
            scope.handoff(handoff.edge, since=began)

    async def ask_once(self, *, enough: Callable[[Turn], bool]) -> Turn:
        """Ask for one answer; stop the model as soon as there is enough of it.

        Raises:
            NodeFailedError: the engine failed for good.
            LimitExceededError: the node's policy allows no more ids, turns or reasoning.
        """
        spent, limits = self._budget.watch or _never, self._node.policy.limits
        prompt = await self._first_prompt()
        turn = Turn(1, prompt.ids, prompt.kept, sent_ahead=self._sent_ahead)

        def stop(turn: Turn) -> bool:
            return enough(turn) or spent(turn)

        await self._ask(turn, Listeners(stop, on_first_id=self._report_handoffs))
        while turn.finish_reason == SPENT and not self._ends_after(turn):
            self._check("turns", turn.number + 1, limits.turns)
            closed = self._following(self._close_reasoning(turn), turn, prompt.begin)
            prompt = await self._room.fit(turn.number + 1, closed)
            turn = Turn(turn.number + 1, prompt.ids, prompt.kept)  # nothing of it was sent ahead
            await self._ask(turn, Listeners(stop))
        return turn

    async def hold(self, node: BuiltModel) -> str:
        """Ask for turns until the model calls no tool; return the finish reason of the last one.

        Raises:
            NodeFailedError: the engine failed for good.
            LimitExceededError: the node's policy allows no more turns, calls or ids.
        """
        limits, resumed = node.policy.limits, self._context.resumption_of(node)
        if resumed is None:
            prompt, first = await self._first_prompt(), 1
        else:
            paused = resumed.pause.waiting[node.name]
            turn, longer = await self._go_on(node, paused, resumed)
            if longer is None:
                return self._end(turn, paused.begin)
            first = paused.number + 1
            prompt = await self._room.fit(first, longer)
        check = None if node.output is None else AnswerCheck(node, node.output)
        for number in range(first, limits.turns + 1):
            turn = Turn(number, prompt.ids, prompt.kept, results=self._room.results)
            turn.sent_ahead = self._sent_ahead if number == 1 else 0  # later prompts are not sent ahead
            if check is not None and check.holds:
                self._generation.hold_answer()
            on_first_id = self._report_handoffs if number == 1 else None
            async with self._tool_round(node, turn) as tools:
                await self._ask(turn, Listeners(self._budget.watch, tools.take, on_first_id))
                waiting = await self._start_calls(turn, tools, limits.tool_calls)
            longer = await self._longer(node, turn, tools, waiting, check, prompt.begin)
            if longer is None:
                return self._end(turn, prompt.begin)
            if number < limits.turns:  # else nothing may be dropped for a turn that is not asked for
                prompt = await self._room.fit(number + 1, longer)
        raise self._limit("turns", limits.turns)

    async def _start_calls(self, turn: Turn, tools: ToolRound, allowed: int) -> list[int] | None:
        """Start the calls of a turn; return those that wait for a decision, or None if none is answered."""
        spent = self._spent.tool_calls
        if not tools.calls or self._run.runs_no_tools(self._node.path, turn.number, spent):
            tools.cancel()  # a stopped run answers no call, not even one that started early
            return None
        self._check("tool_calls", spent + len(tools.calls), allowed)
        return await tools.start(pausing=self._context.suspends)

    async def _longer(
        self,
        node: BuiltModel,
        turn: Turn,
        tools: ToolRound,
        waiting: list[int] | None,
        check: AnswerCheck | None,
        begin: int,
    ) -> Prompt | None:
        """Return the prompt of the turn after this one; None if this one is the last.

        The tool round has been left: what is awaited inside one is cancelled with its calls.
        """
        if turn.finish_reason == SPENT and not self._ends_after(turn):
            return self._following(self._close_reasoning(turn), turn, begin)
        self._budget.renew()
        if waiting is None:
            return None if check is None else await self._accept(check, turn, begin)
        return self._next_prompt(node, turn, tools, waiting, begin)

    async def _accept(self, check: AnswerCheck, turn: Turn, begin: int) -> Prompt | None:
        """Keep the value of an answer, and let the answer leave; or return the prompt that corrects it."""
        try:
            value = await check.value(turn)
        except InvalidAnswerError as error:
            self._room.results = ()  # the next prompt adds a correction, and no results
            stopping, delivered = self._ends_after(turn), self._wiring.sent()
            again = check.correct(turn, error, stopping=stopping, delivered=delivered)
            return self._following(again, turn, begin)
        self._run.values[self._node.path] = value
        await self._generation.release_answer()
        return None

    async def _first_prompt(self) -> Prompt:
        ids = self._slots.prompt()
        kept = shared_prefix(self._node.earlier, ids)
        prompt = await self._room.fit(1, Prompt(ids, kept, len(ids)))
        self._sent_ahead = self._slots.prefilled_ids if prompt.ids is ids else 0
        return prompt

    @staticmethod
    def _following(ids: list[int], turn: Turn, begin: int) -> Prompt:
        """Return a prompt that goes on behind a turn."""
        return Prompt(ids, len(turn.prompt) + len(turn.generated), begin)

    async def _go_on(
        self, node: BuiltModel, paused: PausedTurn, resumed: Resumption
    ) -> tuple[Turn, Prompt | None]:
        """Finish the turn that waited for decisions; return it, and the prompt of the turn after it."""
        self._room.told = list(paused.told)
        # It keeps nothing: the record of this run has no turn before it, and has to hold the whole prompt.
        turn = Turn(paused.number, paused.prompt, 0, paused.generated, finish_reason=paused.finish_reason)
        # Limits count what was spent before the pause.
        self._spent = self._run.usage.get(node.path, Usage())
        # Parsing starts no call: some have their results, and the others their decisions.
        async with self._tool_round(node, turn, early=False) as tools:
            await self._generation.repeat(turn, tools.take)
            await tools.go_on(resumed)
        return turn, self._next_prompt(node, turn, tools, [], paused.begin)

    def _close_reasoning(self, turn: Turn) -> list[int]:
        prompt = self._budget.close(turn)
        if prompt is None:
            raise self._limit("reasoning_ids", self._node.policy.limits.reasoning_ids or 0)
        self._room.results = ()  # the next prompt adds a mark, and no results
        return prompt

    def _tool_round(self, node: BuiltModel, turn: Turn, *, early: bool = True) -> ToolRound:
        left = node.policy.limits.tool_calls - self._spent.tool_calls
        return ToolRound(node, self._run, self._scope, turn.number, early=left if early else 0)

    def _next_prompt(
        self, node: BuiltModel, turn: Turn, tools: ToolRound, waiting: list[int], begin: int
    ) -> Prompt | None:
        """Return the prompt with a turn's results; None where the run was stopped while its tools ran."""
        self._spend(Usage(tool_calls=tools.started))  # before a pause, which keeps the counts
        if waiting:
            raise NodePaused(tools.paused(turn, waiting, begin, self._room.told))
        if self._ends_after(turn):
            self._unread = tuple(self._told(node, turn, tools.results, goes_on=False))
            return None
        self._give_up_on_repeats(node, tools.results)
        added = self._told(node, turn, tools.results, goes_on=True)
        return self._following(extended(turn.prompt, [*turn.generated, *added]), turn, begin)

    def _ends_after(self, turn: Turn) -> bool:
        return self._run.ends_after(self._node.path, turn.number)

    def _told(self, node: BuiltModel, turn: Turn, attempts: list[Attempt], *, goes_on: bool) -> list[int]:
        """Return the ids of a turn's results, and note where they lie."""
        said = len(turn.prompt) + len(turn.generated)
        extend = node.dialect.extend_placed
        added, places = extend(turn.generated, turn.finish_reason, attempts, goes_on=goes_on)
        self._room.add(said, said + len(added), attempts, places)
        return added

    def _end(self, turn: Turn, begin: int) -> str:
        """Keep the last turn for a run that continues the conversation; return its finish reason."""
        last = LastTurn(turn, begin, tuple(self._room.told), self._unread)
        self._run.last_turns[self._node.path] = last
        return turn.finish_reason or "stop"  # not every engine gives one

    def _give_up_on_repeats(self, node: BuiltModel, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            if attempt.status != "ok" and node.dispatcher.gives_up_on(attempt):
                raise RepeatedFailureError(node.path, attempt.call.name, attempt.repeated + 1, attempt.text)

    async def _ask(self, turn: Turn, listeners: Listeners) -> None:
        limits = self._node.policy.limits
        self._check("max_ids", self._spent.generated_ids + 1, limits.max_ids)  # room for one id at least
        left = limits.max_ids - self._spent.generated_ids
        step = self._room.most_ids(turn.prompt)
        # `max_tokens` bounds one request. An answer that is continued takes several, so only the limit of the
        # node and the context bound it. (The room is unknown or positive: `fit` refuses a full context.)
        budget = (
            min(left, self._room.left(turn.prompt) or left)
            if self._continues_cut_answers
            else min(step, left)
        )
        try:
            await self._generation.ask(turn, listeners, max_ids=budget, step=step)
        except EngineError as error:
            raise NodeFailedError(self._node.path, error, delivered=self._wiring.sent()) from error
        finally:  # what a failed or abandoned turn used is paid for all the same
            self._spend(turn.usage())
            self._note_last_id(turn)
            self._note_engine(turn)
        if turn.finish_reason == "length":
            if len(turn.generated) >= left:
                raise self._limit("max_ids", limits.max_ids)
            if self._node.policy.on_length != "accept":
                raise AnswerCutError(self._node.path, delivered=self._wiring.sent())

    @property
    def _continues_cut_answers(self) -> bool:
        return self._node.policy.on_length == "continue" and continues_answers(self._node.engine)

    def _note_engine(self, turn: Turn) -> None:
        """Complete the reports of the handoffs, and warn where the engine had forgotten the turn before."""
        declared = declared_path(self._node.path)
        if turn.stats and self._node.measured.note(declared, turn.sent_ahead, turn.stats[0]):
            _log.info("node %s: no gain from prefill; its engine finds too few of these ids", self._node.path)
        # The edges lead into the first prompt, so its answer completes their reports.
        if turn.number == 1 and (said := turn.engine_report()) != UNREPORTED:
            for position in self._reported:
                self._run.handoffs[position] = self._run.handoffs[position].with_engine(said)
            self._reported = []
        if (lost := turn.lost_from) is not None and not self._warned:
            self._warned = True
            _log.warning(
                "run %s, node %s: in turn %d the engine found %d of the %d ids of the turn before in its "
                "cache, and read anew from id %d on; it evicted them, has no prefix cache, or is another "
                "replica",
                self._run.run_id,
                self._node.path,
                turn.number,
                lost,
                turn.kept_prefix,
                turn.prompt[lost],
            )

    def _note_last_id(self, turn: Turn) -> None:
        last = self._run.since_start(turn.stats[-1].last_id) if turn.stats else None
        if last is not None:
            self._context.last_ids[self._node.name] = last

    def _spend(self, usage: Usage) -> None:
        self._spent += usage
        self._run.add_usage(self._node.path, usage)

    def _check(self, limit: str, value: int, allowed: int) -> None:
        if value > allowed:
            raise self._limit(limit, allowed)

    def _limit(self, limit: str, allowed: float) -> LimitExceededError:
        return LimitExceededError(self._node.path, limit, allowed, delivered=self._wiring.sent())

    async def _report_handoffs(self, turn: Turn) -> None:
        """Report each edge into the prompt, now that the model's first id is there."""
        stats, slots = turn.stats[0], self._slots
        target = Departure(
            filled=turn.asked if slots.filled is None else slots.filled,  # None by its type alone
            asked=turn.asked,
            admitted=turn.admitted,
            sent=self._run.since_start(stats.request_sent),
            first_id=self._run.since_start(stats.first_id),
            prefilled_ids=slots.prefilled_ids,
        )
        for handoff in slots.handoffs:
            source = handoff.edge.source_node
            report = handoff.report(
                target,
                source=self._run.usage.get(self._context.plan.nodes[source].path),
                last_id=self._context.last_ids.get(source),
            )
            self._scope.finish_handoff(report)  # as the span was begun, by the names of this plan alone
            # Where `report_handoff` puts it: nothing is awaited before.
            self._reported.append(len(self._run.handoffs))
            await self._run.report_handoff(report.inside(self._node.prefix))


def _never(_turn: Turn) -> bool:
    return False
