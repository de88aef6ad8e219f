"""Tools whose results are recorded."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

from codec_agents.plan.nodes import declared_path
from codec_agents.records.recorded import RecordedRun
from codec_agents.tools.calls import Attempt
from codec_agents.tools.dispatch import Dispatcher

if TYPE_CHECKING:
    from codec_agents.tools.calls import ToolCall, ToolContext


class RecordedTools(Dispatcher):
    """Returns the recorded result of a call; a call without one is run, or refused."""

    def __init__(self, record: RecordedRun, node: str, behind: Dispatcher, *, run_others: bool) -> None:
        """Queue the recorded results of one node.

        Args:
            record: The recorded run.
            node: The declared path of the node.
            behind: The dispatcher of the node.
            run_others: True to run a call without a recorded result.
        """
        super().__init__(behind.tools)
        self._behind = behind
        self._run_others = run_others
        # By the turn's own path, which has the numbers of items and rounds, and by the place in the turn. The
        # turns of a conversation may have calls at the same place: their results are taken in order.
        self._recorded: dict[tuple[str, int, int], deque[dict[str, Any]]] = defaultdict(deque)
        for turn in record.turns:
            for line in turn.tools if declared_path(turn.node) == node else ():
                self._recorded[turn.node, *line["call"]].append(line)

    async def run(self, call: ToolCall, context: ToolContext) -> Attempt:
        """Return the attempt of a call."""
        recorded = self._recorded.get((context.node, call.start, call.index))
        if recorded:
            return _attempt(call, recorded.popleft())
        if self._run_others:
            return await self._behind.run(call, context)
        # The next turn is not recorded either, and its error names the place.
        return Attempt(call, "tool_error", "the record has no result of this call")

    @property
    def needs_approval(self) -> bool:
        """True if calls can need approval: those with a recorded result never do."""
        return self._run_others and self._behind.needs_approval

    def waits_for_approval(self, call: ToolCall, node: str) -> bool:
        """Return true if a call has no recorded result and needs approval to run."""
        recorded = self._recorded.get((node, call.start, call.index))
        return self._run_others and not recorded and self._behind.waits_for_approval(call, node)

    def may_start_early(self, call: ToolCall) -> bool:
        """Return true if a call may run before its turn is complete."""
        return self._behind.may_start_early(call)

    def gives_up_on(self, attempt: Attempt) -> bool:
        """Return true if asking the model again is of no use."""
        return self._behind.gives_up_on(attempt)

    def forget(self, run_id: str) -> None:
        """Drop the state of a run."""
        self._behind.forget(run_id)


def _attempt(call: ToolCall, line: dict[str, Any]) -> Attempt:
    prepared = line.get("prepared")
    return Attempt(
        call,
        line["status"],
        line["told"],
        None if prepared is None else tuple(prepared),
        started=time.perf_counter(),
        duration=line["seconds"],
        repeated=line.get("repeated", 0),
    )
