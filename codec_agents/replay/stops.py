"""The places at which a recorded run was stopped by `cancel(after="turn")`."""

from __future__ import annotations

from codec_agents.records.recorded import RecordedRun


class RecordedStops:
    """Where the nodes of a complete record ended because the run was stopped.

    No line says that the run was stopped. A node that ended without a failure, and went on no more where it
    would otherwise, shows it.
    """

    def __init__(self, record: RecordedRun) -> None:
        self._ends = record.ends
        self._last = {turn.node: turn.number for turn in record.turns}

    def ended(self, node: str, reason: str) -> bool:
        """Return whether a node ended for this reason."""
        return bool(self._ends.get(node, {}).get("reason") == reason)

    def after_turn(self, node: str, turn: int) -> bool:
        """Return whether a model node ended, without a failure, after this turn."""
        return self._last.get(node) == turn and self._ends.get(node, {}).get("outcome") == "finished"

    def before_tools(self, node: str, turn: int, calls: int) -> bool:
        """Return whether it did, and answered no more calls than those of the turns before."""
        return self.after_turn(node, turn) and self._ends[node].get("usage", {}).get("tool_calls", 0) <= calls
