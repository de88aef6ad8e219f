"""A model for tests in which others do something while it speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from codec_agents.engines.base import FrameStream, GenerationRequest
from codec_agents.testing import ScriptedEngine
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
