"""The tool calls of one turn, run concurrently.

A read-only tool starts as soon as its call is closed, while the turn is still generated. The others start
when the turn is complete. If it is not completed (the engine failed, a limit was reached, the run was
left), the calls that had started are cancelled. A retry cancels nothing: the stream continues after what
was received.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from codec_agents.concurrency.task_group import TaskGroup
from codec_agents.events import ToolFinished, ToolStarted
from codec_agents.runtime.pause import Decision, PausedTurn, PendingCall, SettledCall
from codec_agents.tools.calls import ToolContext, call_key

if TYPE_CHECKING:
    from codec_agents.dialects import CallRegion
    from codec_agents.plan.nodes import BuiltModel
    from codec_agents.prompts import ToldResults
    from codec_agents.runtime.context import RunContext
    from codec_agents.runtime.pause import Resumption
    from codec_agents.telemetry.spans import NodeScope
    from codec_agents.tools.calls import Attempt, ToolCall
    from codec_agents.turn import Turn


class ToolRound:
    """Run the calls of a turn; leaving the context waits for all that were started.

    Attributes:
        calls: the calls, in the order in which the model wrote them.
        attempts: the attempts that have ended, by position of their call.
    """

    def __init__(
        self, node: BuiltModel, run: RunContext, scope: NodeScope, turn: int, *, early: int = 0
    ) -> None:
        self._node = node
        self._run = run
        self._scope = scope
        self._turn = turn
        self._early = early
        """How many calls may start before the turn is over."""
        self._context = ToolContext(
            run_id=run.run_id, node=node.path, deps=run.deps, approve=run.approve, servers=run.servers
        )
        self._started: set[int] = set()
        self._error: Exception | None = None
        self._group: TaskGroup | None = None
        self.calls: list[ToolCall] = []
        self.attempts: dict[int, Attempt] = {}

    async def __aenter__(self) -> Self:
        if self._early > 0 and self._node.dispatcher.has_early_tools:
            await self._open()
        return self

    async def _open(self) -> TaskGroup:
        """Open the task group of the calls; most turns have no calls and need none."""
        if self._group is None:
            self._group = TaskGroup()
            await self._group.__aenter__()
        return self._group

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._group is None:
            return False
        if error is not None:  # the turn is not complete, so no prompt will hold the results
            self._group.cancel_scope.cancel()
        # Of errors, only a cancellation goes through the group: one that `cancel` began has to end there, and
        # any other error would be wrapped into a group of exceptions.
        if isinstance(error, anyio.get_cancelled_exc_class()):
            ends_here = bool(await self._group.__aexit__(kind, error, trace))
        else:
            ends_here = False
            await self._group.__aexit__(None, None, None)
        if self._error is not None and (error is None or ends_here):
            raise self._error
        return ends_here

    def take(self, region: CallRegion) -> None:
        """Parse the calls of a region; start those of read-only tools."""
        for call in self._node.dialect.parse_calls(region):
            self.calls.append(call)
            if len(self.calls) <= self._early and self._node.dispatcher.may_start_early(call):
                self._start(len(self.calls) - 1)

    async def start(self, *, pausing: bool) -> list[int]:
        """Start the calls that have not started; return the positions of those that wait for a decision."""
        await self._open()
        waiting = [
            position
            for position, call in enumerate(self.calls)
            if pausing
            and self._key(position) not in self._run.decisions
            and self._node.dispatcher.waits_for_approval(call, self._node.path)
        ]
        for position in range(len(self.calls)):
            if position not in waiting and position not in self._started:
                self._start(position)
        return waiting

    async def go_on(self, resumed: Resumption) -> None:
        """Take over the attempts from before the run was suspended, and start the calls that were decided.

        Raises:
            PauseError: the pause lists other calls than the turn has.
        """
        settled = resumed.pause.waiting[self._node.name].settled
        decisions = resumed.decisions(self._node.name)
        resumed.check_calls(self._node.name, self.calls)
        self.attempts |= {each.position: each.attempt(self.calls[each.position]) for each in settled}
        await self._open()
        for position, decision in decisions.items():
            self._start(position, partial(_decided, decision))

    def paused(
        self, turn: Turn, waiting: Sequence[int], begin: int, told: Sequence[ToldResults]
    ) -> PausedTurn:
        """Return the turn as a value, while some of its calls wait for a decision."""
        pending = [(position, self.calls[position]) for position in waiting]
        return PausedTurn(
            number=turn.number,
            begin=begin,
            prompt=turn.prompt,
            generated=turn.generated,
            finish_reason=turn.finish_reason,
            pending=tuple(
                PendingCall(self._node.name, position, call.name, call.arguments or {})
                for position, call in pending
            ),
            told=tuple(told),
            settled=tuple(SettledCall.of(position, each) for position, each in sorted(self.attempts.items())),
        )

    @property
    def results(self) -> list[Attempt]:
        """The results of the calls in their order, once all have ended."""
        return [self.attempts[position] for position in range(len(self.calls))]

    @property
    def started(self) -> int:
        """How many calls were started here."""
        return len(self._started)

    def cancel(self) -> None:
        """Cancel the calls that have started."""
        if self._group is not None and self._started:
            self._group.cancel_scope.cancel()

    def _start(self, position: int, approve: Callable[..., Decision] | None = None) -> None:
        assert self._group is not None
        self._started.add(position)
        self._group.start_soon(self._run_one, position, approve)

    def _key(self, position: int) -> str:
        return call_key(self._node.path, self._turn, position)

    async def _run_one(self, position: int, approve: Callable[..., Decision] | None) -> None:
        call, key = self.calls[position], self._key(position)
        if key in self._run.decisions:  # of a run that goes on in its record: the same call was asked about
            approve = partial(_decided, self._run.decisions[key])
        context = replace(
            self._context,
            approve=self._context.approve if approve is None else approve,
            call_key=f"{self._run.run_id}/{key}",
        )
        try:
            await self._run.emit(ToolStarted(self._node.path, self._turn, call, self._run.clock()))
            with self._scope.tool(call) as scope:
                with scope.attached():
                    attempt = await self._node.dispatcher.run(call, context)
                self.attempts[position] = attempt
                scope.finish(attempt)
            await self._run.emit(ToolFinished(self._node.path, self._turn, attempt, self._run.clock()))
        except Exception as error:  # only emitting can fail, for example when the record's disk is full
            self._error = self._error or error
            self.cancel()


def _decided(decision: Decision, _call: ToolCall, _context: ToolContext) -> Decision:
    return decision
