"""A stream of frames that are there already, as an engine of a user's own would give."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from codec_agents.engines.base import StreamStats


class FrameStream:
    def __init__(self, frames: Iterable[Any]) -> None:
        self.stats = StreamStats()
        self._frames = iter(frames)

    def __aiter__(self):
        return self

    async def __anext__(self):
        for frame in self._frames:
            return frame
        raise StopAsyncIteration
