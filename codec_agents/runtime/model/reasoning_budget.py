"""A budget of reasoning: a model that has used it up continues after the closing marker, or ends its node.

Closing the reasoning makes a new turn, as tool calls do: the next prompt is the prompt, the sampled ids,
and the inserted marker. So a record distinguishes sampled from inserted ids, and a replay needs no special
case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from codec_agents.engines.prompt_body import extended

if TYPE_CHECKING:
    from codec_agents.dialects import BoundDialect
    from codec_agents.turn import Turn

SPENT = "reasoning_budget"
"""The finish reason of a turn whose reasoning used up its budget."""


class ReasoningBudget:
    """Watches the reasoning of one node's turns."""

    def __init__(self, dialect: BoundDialect, allowed: int | None) -> None:
        """Begin with the whole budget.

        Args:
            dialect: knows how the family closes reasoning.
            allowed: ids of reasoning in a turn; None for any number.
        """
        self._dialect = dialect
        self._allowed = allowed
        self._closed = False
        """Whether the previous turn was closed: reasoning that begins again is not closed a second time."""

    @property
    def watch(self) -> Callable[[Turn], bool] | None:
        """A function that decides after each frame whether the turn ends; None without a budget."""
        return None if self._allowed is None else self._is_spent

    def _is_spent(self, turn: Turn) -> bool:
        """Return whether a turn ends here: it is reasoning, has called no tool, and has no budget left."""
        assert self._allowed is not None
        if turn.reasoning_ids < (1 if self._closed else self._allowed):
            return False
        # The last span may be short of the last id, which its reader holds back: that is no reasoning yet.
        port, _, stop = turn.spans[-1]
        if port != "reasoning" or stop != len(turn.generated):
            return False
        # Of a turn that ends here no call is answered (`Conversation.hold`): a call in it would be lost.
        if any(each == "tool_calls" for each, _, _ in turn.spans):
            return False
        turn.finish_reason = SPENT
        return True

    def close(self, turn: Turn) -> list[int] | None:
        """Return the next prompt of a turn that ended here; None if its reasoning cannot be closed."""
        end = self._dialect.reasoning.end()
        if end is None or self._closed:
            return None
        self._closed = True
        return extended(turn.prompt, [*turn.generated, *end])

    def renew(self) -> None:
        """Restore the whole budget: a turn has ended by itself."""
        self._closed = False
