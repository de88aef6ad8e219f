"""Ids that are ready together go out together."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio

from codec_core.frames import CodecFrame

MOST_WAITING = 4096
"""Ids that may wait for a slow reader; then the generation waits with them."""


class Gathering:
    """The same ids in fewer frames: whatever has come while the last frame went out is the next one.

    An id waits only while the frame before it is being sent. `fill` runs in a task of its own.
    """

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._end: CodecFrame | None = None
        self._error: Exception | None = None
        self._arrived = anyio.Event()
        self._taken = anyio.Event()

    async def fill(self, frames: AsyncIterator[CodecFrame]) -> None:
        """Take frames in until they end; an error is kept for the reader."""
        try:
            async for frame in frames:
                self._ids += frame.ids
                if frame.done:
                    self._end = frame
                self._arrived.set()
                if frame.done:
                    return
                if len(self._ids) >= MOST_WAITING:
                    self._taken = anyio.Event()
                    await self._taken.wait()
        except Exception as error:
            self._error = error
            self._arrived.set()

    def __aiter__(self) -> AsyncIterator[CodecFrame]:
        return self

    async def __anext__(self) -> CodecFrame:
        """Return all ids that wait as one frame, as soon as there are any."""
        await self._arrived.wait()
        ids, self._ids = tuple(self._ids), []
        self._taken.set()
        if self._end is not None:
            return CodecFrame(ids, done=True, finish_reason=self._end.finish_reason)
        if self._error is not None and not ids:
            raise self._error
        if self._error is None:
            self._arrived = anyio.Event()
        return CodecFrame(ids, done=False)
