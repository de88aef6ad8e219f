"""The answer of a run: the ids that reach one sink, as the frames of one generation."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from codec_agents.concurrency.task_group import TaskGroup
from codec_agents.exceptions import ApprovalRequiredError, RunError
from codec_agents.server.backends.backend import BrokenOffError, Job
from codec_agents.server.backends.pipeline_failures import failure
from codec_agents.server.backends.pipeline_progress import part_of
from codec_agents.server.parts import Part
from codec_agents.tools.calls import ToolCall
from codec_core.frames import CodecFrame

if TYPE_CHECKING:
    from codec_agents.runtime.outputs import SinkReader
    from codec_agents.runtime.pause import Pause
    from codec_agents.runtime.run import Run

MOST_WAITING: Final = 256
"""Batches and events that wait for a slow client; then the run waits with them."""

_Item = list[int] | RunError | None
"""A batch of ids (none where something else happened), how the run failed, or its end."""


class RunAnswer:
    """Yields the frames of a run's answer.

    Attributes:
        ids: those of the answer so far.
        ended: called before the last frame of a run that ended.
        suspended: called with the pause of a run that waits; returns whether its calls are the answer.
    """

    def __init__(self, run: Run, sink: str, job: Job, *, skipped: int = 0) -> None:
        self.ids: list[int] = []
        self.ended: Callable[[], None] = _nothing
        self.suspended: Callable[[Pause], bool] = _refuse
        self._run = run
        self._job = job
        self._batches: SinkReader[list[int]] = run.ids(sink)
        self._queue: MemoryObjectReceiveStream[_Item] | None = None
        self._ready: deque[CodecFrame] = deque()
        self._skipped = skipped
        self._left = job.options.max_tokens
        self._stops = frozenset(job.options.stop_token_ids)

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[None]:
        """Wait for the first ids: until then a failure can still be reported by a status.

        Raises:
            HttpError: the run failed.
        """
        async with TaskGroup() as group:
            if self._job.progress is not None:
                self._queue = self._watch(group)
            refused = None
            try:
                self._ready.append(await self._next())
            except RunError as error:
                refused = failure(error)
            # Raised after the task group, which would wrap it in an exception group.
            if refused is None:
                yield
            group.cancel_scope.cancel()
            if self._queue is not None:
                self._queue.close()
        if refused is not None:
            raise refused

    def tell_calls(self, pause: Pause) -> None:
        """Add the calls that wait for the client."""
        assert self._job.told is not None
        # Without the models' ids, so the API gives some: results find their calls by their places.
        for number, call in enumerate(pause.pending):
            waiting = ToolCall(number, call.name, call.arguments, None, "")
            self._job.told.append(Part("tool_calls", call=waiting))

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        return self

    async def __anext__(self) -> CodecFrame:
        if self._ready:
            return self._ready.popleft()
        try:
            return await self._next()
        except RunError as error:
            raise BrokenOffError(str(error)) from error

    async def _next(self) -> CodecFrame:
        """Return the next ids: the last ones at the end of the run, at a stop id, or where the limit cuts."""
        try:
            ids = await self._batch()
        except ApprovalRequiredError as error:
            if not self.suspended(error.pause):
                raise
            return CodecFrame((), done=True, finish_reason="stop")
        if ids is None:
            self.ended()
            return CodecFrame((), done=True, finish_reason="stop")
        # At the limit nothing is cut yet: the run may end with just as many.
        is_cut = len(ids) > self._left
        ids = ids[: self._left]
        stop = next((place for place, token in enumerate(ids, 1) if token in self._stops), None)
        # Neither this nor the limit calls `ended`: the models said more than the client got, so what it sends
        # next is not the conversation that they had.
        ids = ids[:stop]
        self.ids += ids
        self._left -= len(ids)
        if stop is not None:
            return CodecFrame(tuple(ids), done=True, finish_reason="stop")
        return CodecFrame(tuple(ids), done=is_cut, finish_reason="length" if is_cut else None)

    async def _batch(self) -> list[int] | None:
        """Return the next ids that did not go out before the run was suspended; None at the end."""
        while True:
            if self._queue is None:
                item: _Item = await anext(self._batches, None)
            else:
                item = await self._queue.receive()
            if isinstance(item, RunError):
                raise item
            # A resumed run repeats the answer's ids from before it was suspended; the client has those.
            if not item or not self._skipped:
                return item
            skipped = min(self._skipped, len(item))
            self._skipped -= skipped
            if rest := item[skipped:]:
                return rest

    def _watch(self, group: TaskGroup) -> MemoryObjectReceiveStream[_Item]:
        """Follow the sink and the events at once."""
        send, receive = anyio.create_memory_object_stream[_Item](MOST_WAITING)
        told = self._job.told
        assert told is not None
        progress = self._job.progress
        assert progress is not None

        async def follow_events() -> None:
            # An error is for the reader of the sink.
            with suppress(RunError), send.clone() as told_to:
                async for event in self._run:
                    if (part := part_of(event, progress)) is not None:
                        told.append(part)
                        await told_to.send([])

        async def follow_sink() -> None:
            with send:
                try:
                    async for ids in self._batches:
                        await send.send(ids)
                except RunError as error:
                    await send.send(error)
                else:
                    await send.send(None)

        group.start_soon(follow_events)
        group.start_soon(follow_sink)
        return receive


def _nothing() -> None:
    pass


def _refuse(_pause: Pause) -> bool:
    return False
