"""Models for tests in which others do something while they speak."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from codec_agents.engines.base import FrameStream, GenerationRequest
from codec_agents.testing import ScriptedEngine, ScriptedModel
from codec_core.frames import CodecFrame


class Patient(ScriptedEngine):
    """Waits before each frame until all others wait too, so that the same happens in between each time."""

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:  # type: ignore[override]
        async def wait(_: int) -> None:
            await anyio.wait_all_tasks_blocked()

        async with super().stream(request) as frames:
            yield WaitingFrames(frames, wait)


class Continuing(ScriptedEngine):
    """Goes on behind its first frame when an event has happened."""

    def __init__(self, model: ScriptedModel, event: anyio.Event) -> None:
        super().__init__(model)
        self._event = event

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:  # type: ignore[override]
        async def wait(given: int) -> None:
            if given:
                await self._event.wait()

        async with super().stream(request) as frames:
            yield WaitingFrames(frames, wait)


class WaitingFrames:
    """The frames of a stream; `wait` is called before each, with the number of frames that were given."""

    def __init__(self, frames: FrameStream, wait: Callable[[int], Awaitable[None]]) -> None:
        self._frames, self._wait, self._given = frames, wait, 0
        self.stats = frames.stats

    def __aiter__(self) -> WaitingFrames:
        return self

    async def __anext__(self) -> CodecFrame:
        await self._wait(self._given)
        self._given += 1
        return await anext(self._frames)
