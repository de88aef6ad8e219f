"""Functions whose results are recorded."""

from __future__ import annotations

from collections import deque
from typing import Any

import anyio

from codec_agents.exceptions import NodeFailedError, ReplayError
from codec_agents.records.recorded import RecordedRun
from codec_agents.tools.functions import Function, digest_of


class RecordedFunctions:
    """The recorded results of the functions of a run."""

    def __init__(self, record: RecordedRun, *, run_others: bool) -> None:
        """Queue the recorded calls of each node.

        Args:
            record: The recorded run.
            run_others: True to call a function whose result for its arguments is not recorded; false to end
                the run with an error.
        """
        self.run_others = run_others
        self._record = record
        self._left = {node: deque(lines) for node, lines in record.functions.items()}

    def take(self, node: str, given: str) -> dict[str, Any] | None:
        """Return the next recorded call of a node, if it had the same arguments."""
        lines = self._left.get(node)
        return lines.popleft() if lines and lines[0]["given"] == given else None

    async def refuse(self, node: str) -> None:
        """End a call that has no recorded result.

        Raises:
            NodeFailedError: The function failed when it was recorded.
            ReplayError: It was not called, or not with these arguments.
        """
        if self._left.get(node):
            found = "its function has other arguments than when it was recorded"
            raise ReplayError(node, f"{found}; replay with the pipeline and maps of the record")
        end = self._record.ends.get(node)
        if end is not None and "error" in end:
            raise NodeFailedError(
                node, RuntimeError(f"failed here when it was recorded: {end['error']['message']}")
            )
        if self._record.complete and end is None:  # it was stopped: nothing read its output any more
            await anyio.sleep_forever()
        raise ReplayError(node, "the record has no result of its function")


class RecordedFunction(Function):
    """Returns the recorded results of one node's function."""

    def __init__(self, recorded: RecordedFunctions, behind: Function) -> None:
        self._recorded = recorded
        self._behind = behind

    async def ask(self, node: str, /, *args: Any, **kwargs: Any) -> Any:
        """Return the recorded result for the same arguments."""
        line = self._recorded.take(node, digest_of(args, kwargs))
        if line is not None:
            return line["gave"]
        if not self._recorded.run_others:
            await self._recorded.refuse(node)
        return await self._behind.ask(node, *args, **kwargs)
