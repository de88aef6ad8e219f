"""Functions whose answers are recorded."""

from __future__ import annotations

from collections import deque
from typing import Any

import anyio

from codec_agents.exceptions import NodeFailedError, ReplayError
from codec_agents.records.recorded import RecordedRun
from codec_agents.tools.functions import Function, digest_of


class RecordedFunctions:
    """What the functions of a run gave, and what is to be done where the record says nothing."""

    def __init__(self, record: RecordedRun, *, run_others: bool) -> None:
        """Begin.

        Args:
            record: What happened.
            run_others: Whether a function is called where its answer to these arguments is not recorded.
        """
        self.run_others = run_others
        self._record = record
        self._left = {node: deque(lines) for node, lines in record.functions.items()}

    def take(self, node: str, given: str) -> dict[str, Any] | None:
        """Return the next line of a node, if it is of a call with the same arguments."""
        lines = self._left.get(node)
        return lines.popleft() if lines and lines[0]["given"] == given else None

    async def refuse(self, node: str) -> None:
        """End a call as it ended, or say that the record has none like it.

        Raises:
            NodeFailedError: the function failed when it was recorded.
            ReplayError: it was not called, or not with these arguments.
        """
        if self._left.get(node):
            found = "its function is given something else than when it was recorded"
            raise ReplayError(node, f"{found}; replay with the pipeline and maps of the record")
        end = self._record.ends.get(node)
        if end is not None and "error" in end:
            raise NodeFailedError(
                node, RuntimeError(f"failed here when it was recorded: {end['error']['message']}")
            )
        if self._record.complete and end is None:  # nobody listened to it any more
            await anyio.sleep_forever()
        raise ReplayError(node, "the record does not say what its function gave")


class RecordedFunction(Function):
    """Gives the recorded answers of one node's function."""

    def __init__(self, recorded: RecordedFunctions, behind: Function) -> None:
        self._recorded = recorded
        self._behind = behind

    async def ask(self, node: str, *args: Any, **kwargs: Any) -> Any:
        """Return what the function gave when it was called with the same arguments."""
        line = self._recorded.take(node, digest_of(args, kwargs))
        if line is not None:
            return line["gave"]
        if not self._recorded.run_others:
            await self._recorded.refuse(node)
        return await self._behind.ask(node, *args, **kwargs)
