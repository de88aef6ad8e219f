"""Many runs of one pipeline, so many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from codec_agents.pipeline import Pipeline
    from codec_agents.plan.nodes import Value
    from codec_agents.runtime.run import RunResult

DEFAULT_CONCURRENCY = 8
"""Runs of a batch under way at once: enough to keep an engine's batch busy, few enough for one pool."""


class Batch:
    """One batch: what is left to run, and what has come of the rest."""

    def __init__(
        self,
        pipeline: Pipeline,
        inputs: Sequence[Mapping[str, Value]],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._pipeline = pipeline
        self._inputs = inputs
        self._progress = progress
        self._left: Iterator[int] = iter(range(len(inputs)))
        self._results: dict[int, RunResult | Exception] = {}
        self._error: Exception | None = None

    async def run(self, concurrency: int) -> list[RunResult | Exception]:
        """Run all; return results in the order of the inputs, a failed run as its error.

        Raises:
            ValueError: `concurrency` is less than 1.
            Exception: what the caller's `progress` raised; the other runs are stopped.
        """
        if concurrency < 1:
            raise ValueError(f"a batch has at least one run under way at once; concurrency is {concurrency}")
        async with self._pipeline.opened(), anyio.create_task_group() as group:
            for _ in range(min(concurrency, len(self._inputs))):
                group.start_soon(self._work, group)
        if self._error is not None:
            raise self._error
        return [self._results[position] for position in range(len(self._inputs))]

    async def _work(self, group: TaskGroup) -> None:
        for position in self._left:
            try:
                self._results[position] = await self._pipeline.invoke(self._inputs[position])
            except Exception as error:
                self._results[position] = error
            try:
                if self._progress is not None:
                    self._progress(len(self._results), len(self._inputs))
            except Exception as error:  # raised outside the group, which would wrap it into a group
                self._error = self._error or error
                group.cancel_scope.cancel()
