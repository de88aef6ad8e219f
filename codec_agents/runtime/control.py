"""Exceptions by which a node does not run, or not now."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codec_agents.runtime.pause import PausedTurn


class NodeSkipped(Exception):  # noqa: N818 - not an error: a branch that was not taken
    """The node is on a branch that was not taken, or its turn did not come before the run was stopped."""


STOPPED = "the run was stopped before its turn"
"""Why a node is skipped after `cancel(after="turn")`."""


class NodePaused(Exception):  # noqa: N818 - not an error: the node waits for a decision
    """The node can continue after a decision about its tool calls."""

    def __init__(self, turn: PausedTurn) -> None:
        super().__init__("waits for approval")
        self.turn = turn
