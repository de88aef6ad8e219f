"""A declared pipeline that can be built and run."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.lowlevel import current_token

from codec_agents import graph
from codec_agents.build import build
from codec_agents.built import BuiltPipeline, Value
from codec_agents.record import Recorder
from codec_agents.runtime import Run, RunResult

DEFAULT_BATCH_CONCURRENCY = 8
"""Runs of a batch under way at once: enough to keep an engine's batch busy, few enough for one pool."""


class Pipeline(graph.Pipeline):
    """A pipeline: declare it, then run it.

    The declaration can be changed until the first `build` or run; what was built stays as it was built.
    """

    _built: BuiltPipeline | None = None

    def build(self) -> BuiltPipeline:
        """Check everything that can be known, and load what a run needs; once.

        Raises:
            PipelineError: with every fault, each with its place, what was found and what would do.
        """
        if self._built is None:
            self._built = build(self)
        return self._built

    def run(
        self,
        inputs: Mapping[str, Value] | None = None,
        *,
        record: str | Path | None = None,
        deps: object = None,
        run_id: str | None = None,
    ) -> Run:
        """Return a run, to be used as an async context manager.

        Args:
            inputs: A value for each input: text, or ids of the input's map.
            record: A file to which the run is written as it happens.
            deps: Handed to tools by their context argument.
            run_id: Its name in traces and records; made up when left out.
        """
        built = self.build()
        recorder = None if record is None else Recorder(record, built.header())
        return Run(built, built.checked_inputs(inputs or {}), run_id=run_id, recorder=recorder, deps=deps)

    async def invoke(self, inputs: Mapping[str, Value] | None = None, **options: Any) -> RunResult:
        """Run to the end and return the result.

        Raises:
            RunError: the run failed.
        """
        return await self.run(inputs, **options).execute()

    def invoke_sync(self, inputs: Mapping[str, Value] | None = None, **options: Any) -> RunResult:
        """Run to the end in an event loop of its own, also where one is running already, as in a notebook."""

        async def execute() -> RunResult:
            try:
                return await self.invoke(inputs, **options)
            finally:
                await self.aclose()

        try:
            current_token()
        except RuntimeError:  # no event loop runs in this thread
            return anyio.run(execute)
        return _in_thread(execute)

    async def batch(
        self,
        inputs: Iterable[Mapping[str, Value]],
        *,
        concurrency: int = DEFAULT_BATCH_CONCURRENCY,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[RunResult | Exception]:
        """Run once for each of the inputs; return results in their order, a failed run as its error.

        Args:
            inputs: The inputs of each run.
            concurrency: Runs under way at once.
            progress: Called with the number of finished runs and of all, after each.
        """
        todo = list(inputs)
        results: list[RunResult | Exception | None] = [None] * len(todo)
        limiter = anyio.CapacityLimiter(concurrency)
        finished = 0

        async def run_one(position: int) -> None:
            nonlocal finished
            async with limiter:
                try:
                    results[position] = await self.invoke(todo[position])
                except Exception as error:
                    results[position] = error
            finished += 1
            if progress is not None:
                progress(finished, len(todo))

        async with anyio.create_task_group() as group:
            for position in range(len(todo)):
                group.start_soon(run_one, position)
        return [result for result in results if result is not None]

    async def aclose(self) -> None:
        """Close the connections of the engines that the pipeline opened."""
        if self._built is not None:
            await self._built.aclose()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Pipeline]:
        """Use the pipeline several times, and close its connections at the end."""
        try:
            yield self
        finally:
            await self.aclose()


def _in_thread(execute: Callable[[], Any]) -> RunResult:
    """Run in a thread of its own: the caller's thread has a running loop that cannot be entered again."""
    outcome: list[Any] = []

    def target() -> None:
        try:
            outcome.append(anyio.run(execute))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=target, name="codec invoke_sync")
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    result: RunResult = outcome[0]
    return result
