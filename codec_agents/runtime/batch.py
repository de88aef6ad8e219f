"""Many runs of one pipeline, a bounded number of them at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from codec_agents.runtime.result import RunResult

DEFAULT_CONCURRENCY = 8
"""Runs at once: enough to keep an engine's batch busy, few enough for one connection pool."""


class BatchRun:
    """The runs of one batch: those that are left, and the results of the others."""

    def __init__(
        self,
        start: Callable[[int], Awaitable[RunResult]],
        count: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Prepare a batch.

        Args:
            start: runs the pipeline for the inputs at a position.
            count: the number of runs.
            progress: called with the number of finished runs and of all, after each.
        """
        self._start = start
        self._count = count
        self._progress = progress
        self._left: Iterator[int] = iter(range(count))
        self._results: dict[int, RunResult | Exception] = {}
        self._error: Exception | None = None

    async def run(self, concurrency: int) -> list[RunResult | Exception]:
        """Run all; return the results in the order of the inputs, a failed run as its error.

        Raises:
            ValueError: `concurrency` is less than 1.
            Exception: what `progress` raised; the other runs are stopped.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        async with anyio.create_task_group() as group:
            for _ in range(min(concurrency, self._count)):
                group.start_soon(self._work, group)
        if self._error is not None:
            raise self._error
        return [self._results[position] for position in range(self._count)]

    async def _work(self, group: TaskGroup) -> None:
        for position in self._left:
            try:
                self._results[position] = await self._start(position)
            except Exception as error:
                self._results[position] = error
            try:
                if self._progress is not None:
                    self._progress(len(self._results), self._count)
            except Exception as error:  # raised outside the group, which would wrap it into a group
                self._error = self._error or error
                group.cancel_scope.cancel()
