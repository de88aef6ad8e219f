"""Bounded channels of batches: what an edge is while a run goes.

A channel is read in one of two ways. A task takes what has been queued: the bound is on ids, not on batches,
so that memory does not depend on how an engine cuts its frames; sending never waits while there is room, and
all that is ready is taken at once. Or a receiver is given each batch as it is sent, in the producer's task,
and nothing is queued: no task, no wake-up. Everything here runs in one event loop and needs no lock.
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
    """Takes what is sent as it is sent, without a task of its own."""

    async def take(self, batch: Taken_contra, /) -> None:
        """Take one batch; a receiver that has no room waits for it by `Channel.wait_for_room`."""
        ...

    async def flush(self) -> None:
        """Give on what was held back: the producer has come to its end."""
        ...

    def end(self, *, skipped: bool) -> None:
        """Take note that no more will come; `skipped` if the producer never ran."""
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
        """Made when the producer first has to wait: most never do."""
        self.ready = ready or Signal()
        """Given whenever there is something to take; several channels may share one."""
        self.abandoned = False
        """Whether the consumer wants no more."""
        self.on_abandoned: Callable[[], None] | None = None
        """Called once when the consumer wants no more: a producer that nobody listens to can stop."""
        self.closed = False
        self.skipped = False
        """Whether the channel was closed because its producer never ran: a branch not taken."""
        self.held = 0
        """Items queued now."""
        self.taken = 0
        """Items taken so far, or dropped because nobody will take them."""
        self.waited = 0
        """How often the producer had to wait for room."""
        self.blocked_seconds = 0.0
        """How long it waited, a wait that goes on left out."""
        self.blocked_since: float | None = None
        """When the wait that goes on began, by `time.perf_counter()`."""

    def send(self, batch: Batch) -> Awaitable[None]:
        """Give a batch to the receiver, or queue it and wait while the channel is full; await it at once.

        A batch larger than the bound is taken when the channel is empty: nothing is ever cut or lost.
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
            return
        if self._receiver is not None:  # it came while the batch waited
            await self.send(batch)
            return
        self._batches.append(batch)
        self.held += len(batch)
        self.ready.give()

    async def wait_for_room(self, room: Callable[[], Awaitable[None]]) -> None:
        """Wait for room, as a wait of the producer's that is seen from outside."""
        self.waited += 1
        self.blocked_since = began = time.perf_counter()
        try:
            await room()
        finally:
            self.blocked_since = None
            self.blocked_seconds += time.perf_counter() - began

    async def deliver_to(self, receiver: Receiver[Batch]) -> None:
        """Give a receiver what is queued, and from now on whatever is sent."""
        while batches := self.take():
            for batch in batches:
                await receiver.take(batch)
        self._receiver = receiver
        if self.closed:
            receiver.end(skipped=self.skipped)

    async def flush(self) -> None:
        """Let a receiver give on what it held back; for a producer that came to its end."""
        if self._receiver is not None:
            await self._receiver.flush()

    def remove_bound(self) -> None:
        """Take whatever comes: the consumer does not run now, and the producer is to come to its end."""
        self.bind(sys.maxsize)

    def bind(self, bound: int) -> None:
        """Hold so much from now on; what is queued beyond it stays."""
        self._bound = bound
        self._give_room()

    def close(self, *, skipped: bool = False) -> None:
        """Say that no more will come; what is queued can still be taken."""
        if self.closed:
            return
        self.closed = True
        self.skipped = skipped
        if self._receiver is not None:
            self._receiver.end(skipped=skipped)
        else:
            self.ready.give()

    def abandon(self) -> None:
        """Say that nobody will take more: what is queued is dropped, and the producer never waits again."""
        if self.abandoned:
            return
        self.abandoned = True
        self._batches.clear()
        self.taken += self.held
        self.held = 0
        self._give_room()
        if self.on_abandoned is not None and not self.closed:
            self.on_abandoned()

    def detach(self) -> None:
        """Drop both ends: nothing will be sent or taken any more, and the counts stay."""
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
        """Whether the producer closed the channel and everything was taken."""
        return self.closed and not self._batches

    def __aiter__(self) -> AsyncIterator[list[Batch]]:
        """Yield all that is ready, again and again, until the producer is done."""
        return _Batches(self)


class _Batches(Generic[Batch]):
    """Iterate over one channel."""

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
    """Yield `(index, batches)` from whichever channel has something, and `(index, [])` when one ends.

    Reading channels together is what keeps a node with two inputs from one producer from waiting for ever:
    no input is left full while another is awaited.

    A class and not an async generator: one that is left early would be closed at some later time.
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
                    self._open.remove(index)
                    return index, []
            await self._ready.wait()
        raise StopAsyncIteration
