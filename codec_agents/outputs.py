"""What reached a sink, for the result and for whoever reads along."""

from __future__ import annotations

from collections.abc import AsyncIterator

from codec_agents.channel import Signal

READ_AHEAD = 256
"""Batches a sink may be ahead of the one who reads along before the stream stalls."""


class SinkOutput:
    """Keep what reached one sink; let one reader follow it, and stall the stream when it lags."""

    __slots__ = (
        "_closed",
        "_position",
        "_reading",
        "_ready",
        "_room",
        "batches",
        "has_text",
        "ids",
        "pieces",
    )

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.pieces: list[str] = []
        self.batches: list[list[int]] = []
        self.has_text = False
        self._closed = False
        self._reading = False
        self._position = 0
        self._ready = Signal()
        self._room = Signal()

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self.pieces)

    async def write(self, ids: list[int], text: str | None) -> None:
        """Add ids and, at a text sink, the text they complete; wait for a reader that lags."""
        self.ids += ids
        self.batches.append(ids)
        self.pieces.append(text or "")
        self.has_text = self.has_text or text is not None
        self._ready.give()
        while self._reading and not self._closed and len(self.batches) - self._position > READ_AHEAD:
            await self._room.wait()

    def close(self) -> None:
        """Say that no more will come."""
        self._closed = True
        self._ready.give()
        self._room.give()

    async def read_text(self) -> AsyncIterator[str]:
        """Yield the text from the first piece on."""
        async for position in self._read():
            if self.pieces[position]:
                yield self.pieces[position]

    async def read_ids(self) -> AsyncIterator[list[int]]:
        """Yield the ids, batch by batch, from the first on."""
        async for position in self._read():
            if self.batches[position]:
                yield self.batches[position]

    async def _read(self) -> AsyncIterator[int]:
        self._reading = True
        try:
            while True:
                while self._position < len(self.batches):
                    position = self._position
                    self._position += 1
                    self._room.give()
                    yield position
                if self._closed:
                    return
                await self._ready.wait()
        finally:
            self._reading = False
            self._room.give()
