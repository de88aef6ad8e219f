"""The stream of a run's events, bounded at both ends."""

from __future__ import annotations

from collections import deque
from typing import Self

from codec_agents.concurrency.signal import Signal
from codec_agents.events import Event
from codec_agents.exceptions import RunError

EVENT_BOUND = 256
"""Events that may wait for a reader before the run waits for it."""

EVENT_BACKLOG = 1024
"""Events kept without a reader: enough for what happens between starting a run and iterating over it."""


class EventLog:
    """Carries events from the nodes to one reader; without a reader it keeps only the last ones."""

    __slots__ = ("_changed", "_closed", "_error", "_events", "wanted")

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=EVENT_BACKLOG)
        self._closed = False
        self._error: BaseException | None = None
        self._changed = Signal()
        """One for both sides: no task waits to read a full log, or to write to an empty one."""
        self.wanted = False
        """Whether there is a reader."""

    async def write(self, event: Event) -> None:
        """Add an event; wait while a reader lags."""
        while self.wanted and not self._closed and len(self._events) >= EVENT_BOUND:
            await self._changed.wait()
        self.keep(event)

    def keep(self, event: Event) -> None:
        """Add an event without waiting; for a log without a reader."""
        self._events.append(event)
        self._changed.give()

    def close(self, error: BaseException | None = None) -> None:
        """Expect no more events; after the last one the reader raises the error, if there is one."""
        self._closed = True
        self._error = error
        self._changed.give()

    def read(self) -> EventReader:
        """Read what is kept and what comes, until the log is closed.

        Raises:
            RunError: the log has a reader: each of two would get the events that the other does not.
        """
        if self.wanted and not self._over:
            raise RunError(
                "the events of this run are being read already; read them in one place, and hand them on"
            )
        self.wanted = True
        return EventReader(self)

    @property
    def _over(self) -> bool:
        """True if nothing is left to read: one more reader takes nothing from the other."""
        return self._closed and not self._events

    async def take(self) -> Event | None:
        """Return the next event, or None at the end.

        Raises:
            BaseException: what the log was closed with.
        """
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._closed:
                return None
            await self._changed.wait()
        event = self._events.popleft()
        self._changed.give()
        return event

    def detach(self) -> None:
        """Remove the reader; the writers no longer wait for it."""
        self.wanted = False
        self._changed.give()


class EventReader:
    """Iterates over a log. Dropping the reader, as `break` does, removes it from the run.

    A class and not an async generator: the event loop closes an abandoned generator at some later time, and
    until then the writers would wait for it.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._log.take()
        if event is None:
            raise StopAsyncIteration
        return event

    def __del__(self) -> None:
        self._log.detach()
