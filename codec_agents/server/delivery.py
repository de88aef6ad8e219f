"""Deliver a generation to the socket.

Rules that hold in this file:

- A generation is pulled at the pace of the client: it is ahead of a slow reader by a bounded number of ids.
- When the client leaves, the generation stops at once, also before its first id.
- Ids that are ready together go out in one frame where the back end allows it, because a frame costs more
  than the ids in it. No id waits for another.
- Nothing in proportion to a long answer happens on the event loop: a long frame, a long call and the end of
  a long answer are written in a thread.
- An answer that is not complete never looks complete: it is cut off, or ends with the reason `error`.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable
from functools import partial

import anyio

from codec_agents.concurrency.task_group import TaskGroup
from codec_agents.server.answers import FAILURES, Answer
from codec_agents.server.backends.backend import Backend, BrokenOffError, Job, Recorder
from codec_agents.server.exchanges import Exchange
from codec_agents.server.http import HttpError, Receive, Send, answer, begin, send_part
from codec_agents.server.settings import ServerSettings
from codec_agents.server.stops import StopWatcher
from codec_agents.server.workers import Workers
from codec_core.frames import CodecFrame, SampledValues
from codec_core.frames.values import joined_values, with_values

ENDED = CodecFrame((), done=True, finish_reason="error")
"""The last frame of an answer that the server ends: out of time, or about to stop."""


class AnswerCutError(Exception):
    """Raised into the ASGI server, which then closes the connection: the client sees a body cut off."""


async def deliver(
    backend: Backend,
    job: Job,
    form: Answer,
    exchange: Exchange,
    settings: ServerSettings,
    workers: Workers,
    receive: Receive,
    send: Send,
    running: set[anyio.CancelScope],
) -> None:
    """Run a generation and send it in the requested form.

    Cancelling the scope that it puts into `running` ends the answer, as running out of time does: the last
    frame has the reason `error`, and the body is complete.

    Raises:
        HttpError: the back end refuses the job, or it was ended; nothing has been sent.
        AnswerCutError: the generation was lost half-way.
    """
    delivery = _Delivery(form, job.recorder, exchange, settings, workers, send, running)
    failure: Exception | None = None
    async with TaskGroup() as group:
        # From the beginning on: a client may leave before there is a first id.
        group.start_soon(delivery.watch, receive, group.cancel_scope)
        group.start_soon(delivery.drop_if_stalled, group.cancel_scope)
        # Raised below: a task group would wrap it in an exception group.
        try:
            gather = backend.gathers and settings.gather
            failure = await _run(backend, job, delivery, workers, gather=gather)
        except HttpError as error:
            failure = error
        group.cancel_scope.cancel()
    if isinstance(failure, BrokenOffError):
        raise AnswerCutError(str(failure)) from failure
    if failure is not None:
        raise failure


async def _run(
    backend: Backend, job: Job, delivery: _Delivery, workers: Workers, *, gather: bool
) -> BrokenOffError | HttpError | None:
    """Run the generation; return what broke it off, caught before it meets a back end's own task groups."""
    # The group inside: `fill` must have ended before the back end closes the frames that it reads.
    async with backend.generate(job) as frames, TaskGroup() as group:
        source = frames if backend.stops_itself else _until_stop(frames, job, workers)
        if gather:
            gathering = Gathering()
            group.start_soon(gathering.fill, source)
            source = gathering
        broken: BrokenOffError | HttpError | None = None
        try:
            await delivery.send_all(source)
        except (BrokenOffError, HttpError) as error:
            broken = error
        group.cancel_scope.cancel()
    return broken


def _until_stop(frames: AsyncIterator[CodecFrame], job: Job, workers: Workers) -> AsyncIterator[CodecFrame]:
    if not job.options.stop:
        return frames
    return StopWatcher(job.model.vocabulary, job.options.stop).watch(frames, workers)


class _Delivery:
    def __init__(
        self,
        form: Answer,
        recorder: Recorder | None,
        exchange: Exchange,
        settings: ServerSettings,
        workers: Workers,
        send: Send,
        running: set[anyio.CancelScope],
    ) -> None:
        self._form = form
        self._recorder = recorder
        self._exchange = exchange
        self._settings = settings
        self._workers = workers
        self._ids = 0
        self._send = send
        self._running = running
        self._sending_since: float | None = None
        self._complete = False

    async def send_all(self, frames: AsyncIterator[CodecFrame]) -> None:
        """Send the whole answer."""
        # `generate` was entered, so the back end has taken the job: from here on no status is needed.
        if self._form.streamed:
            await self._begin()
        if not await self._send_frames(frames):
            self._exchange.failed = True
            if not self._form.streamed:
                raise HttpError(503, "the generation ran out of time, or the server is shutting down")
            await self._send_part(await self._written(ENDED))
        # A stream has told it by the reason of its last frame.
        elif self._exchange.failed and not self._form.streamed:
            raise HttpError(502, "the model did not finish its answer", code="generation_failed")
        await self._finish(await self._workers.run(self._form.close, self._ids))

    async def _send_frames(self, frames: AsyncIterator[CodecFrame]) -> bool:
        """Send the frames; return False if they were ended before they were all there."""
        limit = self._settings.generation_within
        with anyio.CancelScope(deadline=math.inf if limit is None else anyio.current_time() + limit) as scope:
            self._running.add(scope)
            try:
                async for frame in frames:
                    body = await self._written(frame)
                    self._exchange.count(frame)
                    if body:
                        await self._send_part(body)
                    # By the frame, not by the end of the frames: nothing is sent behind the last one.
                    if frame.done:
                        self._exchange.failed = frame.finish_reason in FAILURES
                        break
            finally:
                self._running.discard(scope)
        return not scope.cancelled_caught

    async def _written(self, frame: CodecFrame) -> bytes:
        self._ids += len(frame.ids)
        # With the last frame some forms write all of the answer once more.
        size = self._ids if frame.done else len(frame.ids) + self._form.held
        body = await self._workers.run(partial(self._form.write, frame), size)
        # Before the end is sent: what a client has whole, it may continue at once.
        if frame.done and self._recorder is not None:
            await self._recorder.ending()
        return body

    async def _begin(self) -> None:
        self._exchange.status = 200
        await self._watched(begin(self._send, 200, self._form.headers))

    async def _finish(self, body: bytes) -> None:
        # Before the end is sent: a client that leaves when it has the end does not leave early.
        self._complete = True
        if self._form.streamed:
            await self._watched(send_part(self._send, body, last=True))
        else:
            self._exchange.status = 200
            await self._watched(answer(self._send, 200, body, headers=self._form.headers))

    async def _send_part(self, body: bytes) -> None:
        await self._watched(send_part(self._send, body))

    async def _watched(self, sending: Awaitable[None]) -> None:
        """Send something; `drop_if_stalled` ends it where the client does not read."""
        self._sending_since = time.perf_counter()
        await sending
        self._sending_since = None

    async def watch(self, receive: Receive, scope: anyio.CancelScope) -> None:
        """Stop everything when the client leaves."""
        while (await receive())["type"] != "http.disconnect":
            pass
        if not self._complete:
            self._exchange.closed_by_client = time.perf_counter()
            scope.cancel()

    async def drop_if_stalled(self, scope: anyio.CancelScope) -> None:
        """Stop everything when the client has not read for too long."""
        limit = self._settings.stalled_after
        while True:
            # So it is dropped at most a quarter too late.
            await anyio.sleep(limit / 4)
            since = self._sending_since
            if since is not None and time.perf_counter() - since > limit:
                scope.cancel()
                return


MOST_WAITING = 4096
"""Ids that may wait for a slow reader; then the generation waits with them."""


class Gathering:
    """The same ids in fewer frames: whatever has come while the last frame went out is the next one.

    An id waits only while the frame before it is being sent. `fill` runs in a task of its own.
    """

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._values: list[SampledValues] = []
        self._end: CodecFrame | None = None
        self._error: Exception | None = None
        self._arrived = anyio.Event()
        self._taken = anyio.Event()

    async def fill(self, frames: AsyncIterator[CodecFrame]) -> None:
        """Take frames in until they end; an error is kept for the reader."""
        try:
            async for frame in frames:
                self._ids += frame.ids
                if frame.values is not None:
                    self._values.append(frame.values)
                if frame.done:
                    self._end = frame
                self._arrived.set()
                if frame.done:
                    return
                if len(self._ids) >= MOST_WAITING:
                    # A new event: the last one is set already if an earlier frame was taken.
                    self._taken = anyio.Event()
                    await self._taken.wait()
            # Without this the reader would wait for good.
            raise BrokenOffError("the back end's frames ended without a last one")
        except Exception as error:
            self._error = error
            self._arrived.set()

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        return self

    async def __anext__(self) -> CodecFrame:
        """Return all ids that wait as one frame, as soon as there are any."""
        await self._arrived.wait()
        ids, self._ids = tuple(self._ids), []
        values, self._values = joined_values(self._values), []
        self._taken.set()
        if self._end is not None:
            return with_values(CodecFrame(ids, True, self._end.finish_reason), values)
        # The ids before an error go out first. The event stays set, so the next call raises the error.
        if self._error is not None and not ids:
            raise self._error
        if self._error is None:
            self._arrived = anyio.Event()
        return with_values(CodecFrame(ids, False), values)
