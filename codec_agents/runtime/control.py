"""Exceptions by which a node does not run, or not now, and the places where a run was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from codec_agents.runtime.pause import PausedTurn


class NodeSkipped(Exception):  # noqa: N818 - not an error: a branch that was not taken
    """The node is on a branch that was not taken, or its turn did not come before the run was stopped."""


STOPPED = "the run was stopped before its turn"
"""Why a node is skipped after `cancel(after="turn")`."""


class Stops(Protocol):
    """Where the nodes of a recorded run ended because it was stopped: its replay ends them there again."""

    def ended(self, node: str, reason: str) -> bool:
        """Return whether a node ended for this reason."""
        ...

    def after_turn(self, node: str, turn: int) -> bool:
        """Return whether a model node ended, without a failure, after this turn."""
        ...

    def before_tools(self, node: str, turn: int, calls: int) -> bool:
        """Return whether it did, and answered no more calls than those of the turns before."""
        ...


class NodePaused(Exception):  # noqa: N818 - not an error: the node waits for a decision
    """The node can continue after a decision about its tool calls."""

    def __init__(self, turn: PausedTurn) -> None:
        super().__init__("waits for approval")
        self.turn = turn
