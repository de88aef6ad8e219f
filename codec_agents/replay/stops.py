"""The places at which a recorded run was stopped by `cancel(after="turn")`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from codec_agents.records.recorded import RecordedRun

_ITEM = re.compile(r"\]")


class RecordedStops:
    """Where the nodes of a complete record ended because the run was stopped.

    No line says that the run was stopped. A node that ended without a failure, and went on no more where it
    would otherwise, shows it.
    """

    def __init__(self, record: RecordedRun) -> None:
        self._ends = record.ends
        self._last = {turn.node: turn.number for turn in record.turns}
        self._items = {item for node in (*self._ends, *self._last) for item in _items_of(node)}

    def ended(self, node: str, reason: str) -> bool:
        """Return whether a node ended for this reason."""
        return bool(self._ends.get(node, {}).get("reason") == reason)

    def after_turn(self, node: str, turn: int) -> bool:
        """Return whether a model node ended, without a failure, after this turn."""
        return self._last.get(node) == turn and self._ends.get(node, {}).get("outcome") == "finished"

    def before_tools(self, node: str, turn: int, calls: int) -> bool:
        """Return whether it did, and answered no more calls than those of the turns before."""
        return self.after_turn(node, turn) and self._ends[node].get("usage", {}).get("tool_calls", 0) <= calls

    def before_item(self, node: str, position: int) -> bool:
        """Return whether a map began this item no more: every item that begins leaves lines of its nodes."""
        return f"{node}[{position}]" not in self._items


def _items_of(node: str) -> Iterator[str]:
    """Yield the items, and rounds, that the path of a node is inside of."""
    for found in _ITEM.finditer(node):
        yield node[: found.end()]
