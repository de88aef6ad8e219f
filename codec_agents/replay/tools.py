"""Tools whose results are recorded."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

from codec_agents.records.recorded import RecordedRun
from codec_agents.tools.calls import Attempt
from codec_agents.tools.dispatch import Dispatcher

if TYPE_CHECKING:
    from codec_agents.tools.calls import ToolCall, ToolContext


class RecordedTools(Dispatcher):
    """Gives the recorded result of a call; one that is not recorded is run, or refused."""

    def __init__(self, record: RecordedRun, behind: Dispatcher, *, run_others: bool) -> None:
        """Begin.

        Args:
            record: What happened.
            behind: What runs the calls of the node.
            run_others: Whether calls without a recorded result are run.
        """
        super().__init__(behind.tools)
        self._behind = behind
        self._run_others = run_others
        self._recorded: dict[tuple[str, int, int], deque[dict[str, Any]]] = defaultdict(deque)
        for turn in record.turns:
            for line in turn.tools:
                self._recorded[turn.node, *line["call"]].append(line)

    async def run(self, call: ToolCall, context: ToolContext) -> Attempt:
        """Return what came of a call."""
        recorded = self._recorded.get((context.node, call.start, call.index))
        if recorded:
            return _attempt(call, recorded.popleft())
        if self._run_others:
            return await self._behind.run(call, context)
        # The turn after this one is not recorded either, and says so as an error that names the place.
        return Attempt(call, "tool_error", "the record has no result of this call")

    @property
    def needs_approval(self) -> bool:
        """Whether somebody outside must agree to some of the calls: never to one that is not run again."""
        return self._run_others and self._behind.needs_approval

    def waits_for_approval(self, call: ToolCall) -> bool:
        """Tell whether a call could run at once if somebody agreed to it."""
        recorded = any(
            lines and (start, index) == (call.start, call.index)
            for (_, start, index), lines in self._recorded.items()
        )
        return self._run_others and not recorded and self._behind.waits_for_approval(call)

    def may_start_early(self, call: ToolCall) -> bool:
        """Tell whether a call may run before it is known that its turn stands."""
        return self._behind.may_start_early(call)

    def gives_up_on(self, attempt: Attempt) -> bool:
        """Tell whether asking the model again is of no use."""
        return self._behind.gives_up_on(attempt)

    def forget(self, run_id: str) -> None:
        """Drop what is kept of a run."""
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
