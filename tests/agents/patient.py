"""Models for tests in which others do something while they speak."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from codec_agents.engines.base import FrameStream, GenerationRequest
from codec_agents.testing import ScriptedEngine, ScriptedModel
from codec_core.frames import CodecFrame


class Patient(ScriptedEngine):
    """Waits before each frame until all others wait too, so that the same happens in between each time."""

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:  # type: ignore[override]
        async with super().stream(request) as frames:
            yield PatientFrames(frames)


class PatientFrames:
    def __init__(self, frames: FrameStream) -> None:
        self._frames = frames
        self.stats = frames.stats

    def __aiter__(self) -> PatientFrames:
        return self

    async def __anext__(self) -> CodecFrame:
        await anyio.wait_all_tasks_blocked()
        return await anext(self._frames)


class Continuing(ScriptedEngine):
    """Goes on behind its first frame when an event has happened."""

    def __init__(self, model: ScriptedModel, event: anyio.Event) -> None:
        super().__init__(model)
        self._event = event

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:  # type: ignore[override]
        async with super().stream(request) as frames:
            yield ContinuingFrames(frames, self._event)


class ContinuingFrames:
    def __init__(self, frames: FrameStream, event: anyio.Event) -> None:
        self._frames, self._event, self._begun = frames, event, False
        self.stats = frames.stats

    def __aiter__(self) -> ContinuingFrames:
        return self

    async def __anext__(self) -> CodecFrame:
        if self._begun:
            await self._event.wait()
        self._begun = True
        return await anext(self._frames)
