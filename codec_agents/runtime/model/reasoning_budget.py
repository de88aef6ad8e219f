"""A budget of reasoning: a model that has used it up goes on behind the closing marker, or ends its node.

Closing reasoning is a turn like one behind tool calls: the next prompt is the prompt, the ids as they were
sampled, and what is inserted. So a record says which ids are which, and a replay needs nothing of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from codec_agents.engines.prompt_body import extended

if TYPE_CHECKING:
    from codec_agents.dialects import BoundDialect
    from codec_agents.turn import Turn

SPENT = "reasoning_budget"
"""Why a turn ended whose reasoning used up its budget."""


class ReasoningBudget:
    """Watches the reasoning of one node's turns."""

    def __init__(self, dialect: BoundDialect, allowed: int | None) -> None:
        """Begin.

        Args:
            dialect: how the family closes reasoning.
            allowed: ids of reasoning in a turn; None for any number.
        """
        self._dialect = dialect
        self._allowed = allowed
        self._closed = False
        """Whether reasoning was closed just before: a model that begins again is not closed twice."""

    @property
    def watch(self) -> Callable[[Turn], bool] | None:
        """What tells after each frame whether a turn is to end; None where there is nothing to watch."""
        return None if self._allowed is None else self._is_spent

    def _is_spent(self, turn: Turn) -> bool:
        """Tell whether a turn is to end here: it reasons, has called nothing, and may reason no longer."""
        assert self._allowed is not None
        if turn.reasoning_ids < (1 if self._closed else self._allowed):
            return False
        port, _, stop = turn.spans[-1]
        if port != "reasoning" or stop != len(turn.generated):
            return False
        if any(each == "tool_calls" for each, _, _ in turn.spans):
            return False
        turn.finish_reason = SPENT
        return True

    def close(self, turn: Turn) -> list[int] | None:
        """Return the next prompt of a turn that ended here; None if reasoning cannot be closed, or again."""
        end = self._dialect.reasoning.end()
        if end is None or self._closed:
            return None
        self._closed = True
        return extended(turn.prompt, [*turn.generated, *end])

    def renew(self) -> None:
        """Allow the whole budget again: a turn has ended by itself."""
        self._closed = False
