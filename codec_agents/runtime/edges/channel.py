"""Bounded channels of batches: an edge while a run goes.

Rules:

- A channel has one producer and one consumer, in one event loop; it needs no lock.
- A consuming task takes everything that is queued at once. The bound counts ids, not batches, so memory
  does not depend on how an engine divides its frames. Sending waits only while the channel is full.
- A receiver instead gets each batch as it is sent, in the producer's task: nothing is queued, no task wakes
  up.
- Batches are never divided, reordered or lost.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, Protocol, Self, TypeVar

from codec_agents.concurrency.signal import Signal
from codec_agents.graph.edges import DEFAULT_BUFFER

Batch = TypeVar("Batch", bound=Sequence[object])
Taken_contra = TypeVar("Taken_contra", contravariant=True)


class Receiver(Protocol[Taken_contra]):
    """Takes batches as they are sent, without a task of its own."""

    async def take(self, batch: Taken_contra, /) -> None:
        """Take one batch; a receiver without room waits with `Channel.wait_for_room`."""
        ...

    async def flush(self) -> None:
        """Pass on what was held back: the producer has finished."""
        ...

    def end(self, *, skipped: bool) -> None:
        """Expect no more batches; `skipped` says that the producer never ran."""
        ...


class Channel(Generic[Batch]):
    """Carry batches from one producer to one consumer, in order, with a bound on what is held."""

    __slots__ = (
        "_batches",
        "_bound",
        "_receiver",
        "_room",
        "abandoned",
        "blocked_seconds",
        "blocked_since",
        "closed",
        "held",
        "on_abandoned",
        "ready",
        "skipped",
        "taken",
        "waited",
    )

    def __init__(self, bound: int = DEFAULT_BUFFER, ready: Signal | None = None) -> None:
        self._batches: list[Batch] = []
        self._bound = bound
        self._receiver: Receiver[Batch] | None = None
        self._room: Signal | None = None
        """Created when the producer first has to wait: most never do."""
        self.ready = ready or Signal()
        """Given whenever there is something to take; several channels may share one."""
        self.abandoned = False
        """Whether the consumer wants no more."""
        self.on_abandoned: Callable[[], None] | None = None
        """Called once when the consumer wants no more: a producer without consumers can stop."""
        self.closed = False
        self.skipped = False
        """Whether the channel was closed because its producer never ran: a branch not taken."""
        self.held = 0
        """Items queued now."""
        self.taken = 0
        """Items taken so far, and items dropped after the consumer left."""
        self.waited = 0
        """How often the producer had to wait for room."""
        self.blocked_seconds = 0.0
        """How long it waited, without a wait that still goes on."""
        self.blocked_since: float | None = None
        """When the current wait began, by `time.perf_counter()`."""

    def send(self, batch: Batch) -> Awaitable[None]:
        """Give a batch to the receiver, or queue it and wait while the channel is full.

        The result has to be awaited at once. It is not always a coroutine of this class: where a receiver
        takes the batch, its own awaitable is returned, which saves a frame of the interpreter per batch.

        A batch larger than the bound is queued when the channel is empty: batches are never divided.
        """
        if self._receiver is None or self.abandoned:
            return self._queue(batch)
        self.taken += len(batch)
        return self._receiver.take(batch)

    async def _queue(self, batch: Batch) -> None:
        while self.held and self.held + len(batch) > self._bound and not self.abandoned:
            self._room = self._room or Signal()
            await self.wait_for_room(self._room.wait)
        if self.abandoned:
            self.taken += len(batch)  # what is dropped counts as sent, as what `abandon` drops does
            return
        if self._receiver is not None:  # it came while the batch waited
            await self.send(batch)
            return
        self._batches.append(batch)
        self.held += len(batch)
        self.ready.give()

    async def wait_for_room(self, room: Callable[[], Awaitable[None]]) -> None:
        """Wait until `room` returns, and count it as a wait of the producer."""
        self.waited += 1
        self.blocked_since = began = time.perf_counter()
        try:
            await room()
        finally:
            self.blocked_since = None
            self.blocked_seconds += time.perf_counter() - began

    async def deliver_to(self, receiver: Receiver[Batch]) -> None:
        """Give a receiver everything that is queued, and from now on every batch as it is sent."""
        while batches := self.take():  # more may be queued while the receiver waits
            for batch in batches:
                await receiver.take(batch)
        self._receiver = receiver
        if self.closed:
            receiver.end(skipped=self.skipped)

    async def flush(self) -> None:
        """Let a receiver pass on what it held back; the producer has finished."""
        if self._receiver is not None:
            await self._receiver.flush()

    def remove_bound(self) -> None:
        """Take any amount: the consumer does not run yet, and the producer must be able to finish."""
        self.bind(sys.maxsize)

    def bind(self, bound: int) -> None:
        """Set the bound; what is queued beyond it stays."""
        self._bound = bound
        self._give_room()

    def close(self, *, skipped: bool = False) -> None:
        """Expect no more batches; what is queued can still be taken."""
        if self.closed:
            return
        self.closed = True
        self.skipped = skipped
        if self._receiver is not None:
            self._receiver.end(skipped=skipped)
        else:
            self.ready.give()

    def abandon(self) -> None:
        """Take no more: what is queued is dropped, and the producer never waits again."""
        if self.abandoned:
            return
        self.abandoned = True
        self._batches.clear()
        self.taken += self.held
        self.held = 0
        self._give_room()
        if self.on_abandoned is not None and not self.closed:  # a producer that has closed does not run
            self.on_abandoned()

    def detach(self) -> None:
        """Drop the references to both ends; the counts stay."""
        self._receiver = None
        self.on_abandoned = None

    def take(self) -> list[Batch]:
        """Return all that is queued, without waiting."""
        batches = self._batches
        if batches:
            self._batches = []
            self.taken += self.held
            self.held = 0
            self._give_room()
        return batches

    def _give_room(self) -> None:
        if self._room is not None:
            self._room.give()

    @property
    def finished(self) -> bool:
        """True if the producer closed the channel and everything was taken."""
        return self.closed and not self._batches

    def __aiter__(self) -> AsyncIterator[list[Batch]]:
        """Yield everything that is queued, whenever there is something, until the producer has finished."""
        return _Batches(self)


class _Batches(Generic[Batch]):
    """Iterates over one channel."""

    def __init__(self, channel: Channel[Batch]) -> None:
        self._channel = channel

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Batch]:
        while not self._channel.finished:
            if batches := self._channel.take():
                return batches
            await self._channel.ready.wait()
        raise StopAsyncIteration


class Arrivals(Generic[Batch]):
    """Yields `(index, batches)` from any channel that has batches, and `(index, [])` when one ends.

    Channels are read together because a node may have two inputs from one producer: if it awaited one input
    while the other is full, both nodes would wait for ever.

    A class and not an async generator: the event loop closes an abandoned generator at some later time.
    """

    def __init__(self, channels: Sequence[Channel[Batch]], ready: Signal) -> None:
        """Read channels that all share one signal."""
        self._channels = channels
        self._ready = ready
        self._open = list(range(len(channels)))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, list[Batch]]:
        while self._open:
            for index in self._open:
                channel = self._channels[index]
                if batches := channel.take():
                    return index, batches
                if channel.closed:
                    self._open.remove(index)  # of the list that is iterated over, which ends with the return
                    return index, []
            await self._ready.wait()
        raise StopAsyncIteration
