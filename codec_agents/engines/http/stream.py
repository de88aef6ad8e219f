"""One streamed answer: chunks of a body in, frames out, within its time.

Rules:

- A parser gives the bytes their meaning: it takes chunks and returns frames, without any I/O. The stream
  reads for it, keeps the time, checks what every answer has to hold, and counts.
- What came before a fault is given out before the fault is raised, and `delivered` is the number of those
  ids.
- No id leaves that is not in the map, and not many more than were asked for (`OVERRUN`).
- An answer is complete with its `done`, or it is an error. The end of a body alone completes none.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from itertools import chain
from typing import Protocol

import msgspec

from codec_agents.concurrency.deadline import OutOfTimeError, ReadTimeout
from codec_agents.concurrency.event_loop import clock
from codec_agents.engines.base import FAILED_REASONS, GenerationRequest, StreamStats, Timeouts, failed_answer
from codec_agents.engines.http.pool import OF_ANOTHER, HttpPool
from codec_agents.engines.http.responses import HttpResponse, close, read_aborter
from codec_agents.exceptions import EngineError, EngineStreamError, EngineTimeoutError, TimeoutPhase
from codec_core.exceptions import CodecError, TruncatedBodyError, TruncatedStreamError
from codec_core.frames import CodecFrame
from codec_core.frames.values import joined_values, with_values

CUT_OFF = (TruncatedStreamError, TruncatedBodyError)
"""Faults that a second attempt may not meet again; any other fault of the format would come back."""

MOST_MERGED = 4096
"""The most ids that are merged into one frame, where they came in several."""

IDS_A_TOKEN = 128
"""The most ids of the node's map for one token of a text API, which counts its own: the longest tokens of
vocabularies in use are runs of 128 spaces."""

OVERRUN = 64
"""Ids that an answer may have beyond its limit: a stop id that is not counted, or a speculative draft."""

FINAL_EVENT_SECONDS = 0.05
"""How long a stream that is over waits for an event that holds nothing but counts."""


class FrameParser(Protocol):
    """The meaning of a body. Errors are `EngineError`s, or `CodecError`s that get the engine's name here."""

    server_continues: bool
    """Whether the server generates further after the last frame, because it is this side that stops."""

    @property
    def awaits_counts(self) -> bool:
        """True while the answer is complete and only the event with its counts is missing."""
        ...

    @property
    def advanced(self) -> bool:
        """True if the bytes fed last held a part of the answer whose ids come later, or not at all."""
        ...

    @property
    def error(self) -> Exception | None:
        """The error that follows the frames returned last."""
        ...

    def feed(self, data: bytes) -> Sequence[CodecFrame]:
        """Return the frames that these bytes complete."""
        ...

    def close(self) -> Sequence[CodecFrame]:
        """Return what was held back, when the body has ended.

        Raises:
            CodecError, EngineError: the body ended too early.
        """
        ...


class Deadlines:
    """When the time of a request is over, and which phase was too slow."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self._now = clock()
        now = self._now()
        self._whole = math.inf if timeouts.whole is None else now + timeouts.whole
        self._next = math.inf if timeouts.first_id is None else now + timeouts.first_id
        self._phase: TimeoutPhase = "first_id"

    def received(self) -> None:
        """Start the time until the next ids."""
        self._phase = "idle"
        idle = self.timeouts.idle
        self._next = math.inf if idle is None else self._now() + idle

    def wait_for_counts(self) -> None:
        """Bound the wait for an event without ids by `FINAL_EVENT_SECONDS`."""
        self._next = min(self._next, self._now() + FINAL_EVENT_SECONDS)

    def instant(self) -> float:
        """Return the nearer of the two ends, by the clock of the event loop."""
        return min(self._whole, self._next)

    def error(self, engine: str, delivered: int) -> EngineTimeoutError:
        """Return the error for the end that has been reached."""
        phase = "whole" if self._whole <= self._next else self._phase
        return EngineTimeoutError(engine, phase, getattr(self.timeouts, phase), delivered=delivered)


class HttpStream:
    """The frames of one response. To be read once, and closed.

    It ends with the frame that has `done`: no caller waits for the rest of the body. What follows that frame
    in the same chunk is an error; what comes later is read and dropped.
    """

    def __init__(
        self,
        engine: str,
        response: HttpResponse,
        parser: FrameParser,
        stats: StreamStats,
        request: GenerationRequest,
        deadlines: Deadlines,
        pool: HttpPool,
        *,
        text_boundary: bool = False,
    ) -> None:
        self.stats = stats
        self._engine = engine
        self._response = response
        self._parser = parser
        self._size = request.vocabulary.size
        self._max_tokens = request.options.max_tokens
        self._most = self._max_tokens * (IDS_A_TOKEN if text_boundary else 1) + OVERRUN
        self._deadlines = deadlines
        self._pool = pool
        self._timeout = ReadTimeout(deadlines.instant, read_aborter(response))
        self._chunks = aiter(response.stream)
        self._ready: deque[CodecFrame] = deque()
        self._failure: EngineStreamError | None = None
        """The engine's own failure, or a fault of its answer, raised after the frames that came before it."""
        self._done = False
        self._ended = False
        self._read_out = False
        """Whether the body was read to its end, rather than given up."""

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        return self

    async def __anext__(self) -> CodecFrame:
        """Return the next frame.

        Raises:
            EngineError: the stream broke, ran out of time, ended before it was done, or with a failure.
        """
        if self._ready:
            return self._ready.popleft()
        try:
            return await self._next()
        except EngineError as error:
            leaving = self._pool.secrets.seal(error)
        try:
            raise leaving  # outside of the handler: nothing is chained to it
        finally:
            del leaving  # the frame is part of the error's traceback: keeping it would close a circle

    async def _next(self) -> CodecFrame:
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._parser.error is not None:
                self._take(None)  # `close` raises it
            if self._done or self._ended:
                raise StopAsyncIteration
            await self._read()
        return self._ready.popleft()

    async def _read(self) -> None:
        """Read one chunk and take its frames in."""
        try:
            chunk = await self._timeout.next(self._chunks)
        except OutOfTimeError:
            self._ended = True
            if not self._parser.awaits_counts:
                raise self._deadlines.error(self._engine, self.stats.ids) from None
            # Complete but for its counts: an answer like any other, except that its body is not read on.
            self._parser.server_continues = True
            chunk = None
        except Exception as error:
            self._ended = True
            failure = self._pool.failure(error, self._deadlines.timeouts, delivered=self.stats.ids)
            if failure is error:
                raise
            raise failure from None
        if chunk is None:
            self._read_out = not self._ended
            self._ended = True
            self._take(None)
            if not self._done:
                raise self._broken("the answer ended before it was done")
        else:
            # The first chunk alone: later events repeat its id.
            if not self.stats.chunks and self._pool.names_another(chunk, self.stats.request_id):
                raise self._broken(OF_ANOTHER)
            self._take(chunk)
            if self._parser.awaits_counts and not self._done:
                self._deadlines.wait_for_counts()

    def _take(self, chunk: bytes | None) -> None:
        """Take in the frames of a chunk, or of the end."""
        try:
            frames = self._parser.close() if chunk is None else self._parser.feed(chunk)
        except EngineError as error:
            self._ended = True
            error.delivered = self.stats.ids  # parsers count what they read, and some errors have no count
            raise
        except CodecError as error:
            self._ended = True
            raise self._broken(str(error), transient=isinstance(error, CUT_OFF)) from error
        if chunk is not None:
            self.stats.chunks += 1
            self.stats.bytes_received += len(chunk)
            if self._parser.advanced:  # the engine is not idle
                self._deadlines.received()
        for frame in merged(frames):
            try:
                self._count(frame)
            except EngineStreamError as error:
                if not self._ready:
                    raise
                self._failure = error  # raised when the frames before it, which are good, have been read
                return

    def _count(self, frame: CodecFrame) -> None:
        """Make a frame ready; one that is refused is not counted, because its ids are not handed on."""
        stats = self.stats
        is_doubtful = getattr(self._response, "is_doubtful", None)  # aiohttp can tell
        if frame.done and is_doubtful is not None and is_doubtful():
            raise self._broken("it sent two answers to one request, and one of them belongs to another")
        if frame.ids:
            # The largest alone: parsers let no negative id pass, and a lookup of each id would cost more.
            if max(frame.ids) >= self._size:
                raise self._broken(f"the id {max(frame.ids)} is not in the map", transient=False)
            if stats.ids + len(frame.ids) > self._most:  # it would go on, and be paid for, without end
                what = (
                    f"it was asked for at most {self._max_tokens} ids, and sends more: it ignores the limit"
                )
                raise self._broken(what, transient=False)
            stats.last_id = time.perf_counter()
            stats.first_id = stats.first_id or stats.last_id
            stats.ids += len(frame.ids)
            self._deadlines.received()
        if frame.done:
            frame = self._finish(frame)
        if frame.ids or frame.done:  # an empty frame carries nothing
            self._ready.append(frame)

    def _finish(self, frame: CodecFrame) -> CodecFrame:
        """Return the last frame, fit to leave; an engine's own failure follows the ids that came with it."""
        self._done = True
        reason = frame.finish_reason
        if reason is not None and (shown := self._pool.secrets.hide(reason)) != reason:
            frame = msgspec.structs.replace(frame, finish_reason=shown)
        self.stats.finish_reason = frame.finish_reason
        if frame.finish_reason in FAILED_REASONS:
            self._failure = failed_answer(self._engine, frame.finish_reason, self.stats.ids)
            # Without `done`: a caller that saw it would take the answer for complete, and read no further.
            return msgspec.structs.replace(frame, done=False, finish_reason=None)
        return frame

    def _broken(self, what: str, *, transient: bool = True) -> EngineStreamError:
        self._ended = True
        return EngineStreamError(self._engine, what, delivered=self.stats.ids, transient=transient)

    async def aclose(self) -> None:
        """Close the request; an unfinished one ends at the server, too."""
        self._timeout.close()
        # The server has ended too: what is left is an end mark, and behind it the connection is free.
        if self._done and not self._ended and not self._parser.server_continues:
            await self._pool.drainer.add(self._response, self._chunks)
        else:
            await close(self._response, None if self._read_out else self._chunks)


def merged(frames: Sequence[CodecFrame]) -> Sequence[CodecFrame]:
    """Return frames that arrived together as one: every frame costs more than the ids in it.

    Not more than `MOST_MERGED` ids become one, because what waits for a slow reader is counted in frames.
    """
    if len(frames) <= 1:
        return frames
    first = next((frame for frame in frames if frame.ids), frames[0])
    if first.values is not None or frames[-1].values is not None:
        return valued(frames)
    ids = tuple(chain.from_iterable([frame.ids for frame in frames]))
    # The last part has an id where there are any, so that no frame for the end alone follows.
    last = max(0, len(ids) - 1) // MOST_MERGED * MOST_MERGED
    parts = [CodecFrame(ids[at : at + MOST_MERGED], done=False) for at in range(0, last, MOST_MERGED)]
    return [*parts, CodecFrame(ids[last:], done=frames[-1].done, finish_reason=frames[-1].finish_reason)]


def valued(frames: Sequence[CodecFrame]) -> Sequence[CodecFrame]:
    """Return frames with values as one: an answer has them on each frame with ids, or on the last."""
    ids = tuple(chain.from_iterable([frame.ids for frame in frames]))
    values = joined_values([frame.values for frame in frames if frame.values is not None])
    return [with_values(CodecFrame(ids, frames[-1].done, frames[-1].finish_reason), values)]
