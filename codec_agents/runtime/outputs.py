"""The output of one sink: kept for the result, and followed by any readers while the run goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Self, TypeVar

from codec_agents.concurrency.signal import Signal

READ_AHEAD = 256
"""Batches a sink may be ahead of all its readers before the stream waits."""
CAUGHT_UP = READ_AHEAD // 2
"""Unread batches at which a waiting stream continues: at each one, both sides would only take turns."""


Item = TypeVar("Item", bound=Sequence[object])


class SinkOutput:
    """The ids and text that reached one sink. The stream waits for the reader that is furthest ahead.

    Not for the others: all of the output is kept in any case, and a reader that a variable holds may never
    read on.
    """

    __slots__ = (
        "_changed",
        "_closed",
        "_ends",
        "_error",
        "_readers",
        "ids",
        "pieces",
    )

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.pieces: list[str] = []
        self._ends: list[int] = []
        """Where each batch ends among the ids."""
        self._closed = False
        self._error: BaseException | None = None
        self._readers: list[Place] = []
        """The places of those that have begun to read."""
        self._changed = Signal()
        """One for both sides: a reader waits when there is nothing to read, a writer when there is much."""

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self.pieces)

    def add(self, ids: Sequence[int], text: str | None) -> bool:
        """Add ids and, at a text sink, the text they complete; return whether all readers lag now."""
        self.ids += ids
        self._ends.append(len(self.ids))
        self.pieces.append(text or "")
        self._changed.give()
        return bool(self._readers) and self.lags

    @property
    def lags(self) -> bool:
        """True if all readers are so far behind that the stream has to wait for `room`."""
        if self._closed or not self._readers:
            return False
        return len(self._ends) - max(place.position for place in self._readers) >= READ_AHEAD

    async def room(self) -> None:
        """Wait until a reader has read more, or left."""
        await self._changed.wait()

    def close(self, error: BaseException | None = None) -> None:
        """Expect no more batches; after the last one the reader raises the error, if there is one."""
        self._closed = True
        self._error = error
        self._changed.give()

    def read_text(self) -> SinkReader[str]:
        """Follow the text from the first piece on."""
        return SinkReader(self, self.pieces.__getitem__)

    def read_ids(self) -> SinkReader[list[int]]:
        """Follow the ids, batch by batch, from the first on."""
        return SinkReader(self, self._batch)

    def _batch(self, position: int) -> list[int]:
        return self.ids[self._ends[position - 1] if position else 0 : self._ends[position]]

    def advance(self, place: Place) -> int | None:
        """Return where a reader reads next; None if there is nothing to read now."""
        if not place.begun:  # only now: no producer waits for a reader that is never asked
            place.begun = True
            self._readers.append(place)
        position = place.position
        if position == len(self._ends):
            return None
        place.position = position + 1
        if len(self._ends) - place.position <= CAUGHT_UP:
            self._changed.give()
        return position

    async def more(self) -> bool:
        """Wait until there may be more to read; return whether there can be.

        Raises:
            BaseException: what the sink was closed with.
        """
        if self._error is not None:
            raise self._error
        if self._closed:
            return False
        await self._changed.wait()
        return True

    def detach(self, place: Place) -> None:
        """Remove a reader; the stream no longer waits for it."""
        if place.begun:
            self._readers.remove(place)
            self._changed.give()


class Place:
    """How far one reader of a sink has come. The sink refers to it, and not to the reader, which may go."""

    __slots__ = ("begun", "position")

    def __init__(self) -> None:
        self.position = 0
        self.begun = False


class SinkReader(Generic[Item]):
    """Follows one sink from its first batch on. Dropping the reader, as `break` does, removes it."""

    def __init__(self, output: SinkOutput, item: Callable[[int], Item]) -> None:
        self._output = output
        self._item = item
        self._place = Place()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while True:
            if (position := self._output.advance(self._place)) is None:
                if not await self._output.more():
                    raise StopAsyncIteration
            elif item := self._item(position):  # a batch may complete no character, and have no text
                return item

    def __del__(self) -> None:
        self._output.detach(self._place)
