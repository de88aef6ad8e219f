"""Many runs of one pipeline, a bounded number of them at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import anyio

from codec_agents.concurrency.task_group import TaskGroup
from codec_agents.exceptions import InputError

if TYPE_CHECKING:
    from anyio.abc import ObjectSendStream

    from codec_agents.plan.nodes import Value
    from codec_agents.runtime.result import RunResult

Completed: TypeAlias = "tuple[int, RunResult | Exception]"
"""The position of the inputs, and the result of their run, a failed one as its error."""


@asynccontextmanager
async def completing(
    start: Callable[[int], Awaitable[RunResult]], count: int, concurrency: int
) -> AsyncIterator[AsyncIterator[Completed]]:
    """Run a batch while the context is open; yield the results in the order in which they come.

    A run waits with its result until it is taken, so no more than `concurrency` results are held. Leaving
    stops the other runs; an error of the caller's leaves as it is.

    Args:
        start: runs the pipeline for the inputs at a position.
        count: the number of runs.
        concurrency: runs at once.

    Raises:
        ValueError: `concurrency` is less than 1.
    """
    _check(concurrency)
    send, receive = anyio.create_memory_object_stream["Completed"](0)
    left, raised = iter(range(count)), None
    async with TaskGroup() as group, receive:
        async with send:
            for _ in range(min(concurrency, count)):
                group.start_soon(_complete, start, left, send.clone())
        try:
            yield receive
        except Exception as error:  # raised outside the group, which would wrap it into a group
            raised = error
        group.cancel_scope.cancel()
    if raised is not None:
        raise raised


async def _complete(
    start: Callable[[int], Awaitable[RunResult]], left: Iterator[int], send: ObjectSendStream[Completed]
) -> None:
    async with send:
        for position in left:  # all workers share the iterator: each position is taken once
            result: RunResult | Exception
            try:
                result = await start(position)
            except Exception as error:
                result = error
            await send.send((position, result))


def inputs_of(inputs: Iterable[Mapping[str, Value]]) -> list[Mapping[str, Value]]:
    """Return the inputs of each run of a batch.

    Raises:
        InputError: it is the inputs of one run, or no list of mappings at all.
    """
    try:
        if isinstance(inputs, str | bytes | Mapping):
            raise TypeError
        each = iter(inputs)  # also of a sequence that has `__getitem__` alone, as some data sets have
    except TypeError as error:
        raise InputError(
            f"the inputs of a batch are a list of mappings, [{{...}}, ...], not {type(inputs).__name__}"
        ) from error
    return list(each)


def _check(concurrency: object) -> None:
    if not isinstance(concurrency, int) or concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency!r}")


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
        _check(concurrency)
        async with TaskGroup() as group:
            for _ in range(min(concurrency, self._count)):
                group.start_soon(self._work, group)
        if self._error is not None:
            raise self._error
        return [self._results[position] for position in range(self._count)]

    async def _work(self, group: TaskGroup) -> None:
        for position in self._left:  # shared by all workers: each position is taken once
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
