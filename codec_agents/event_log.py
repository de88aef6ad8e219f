"""The stream of a run's events, bounded at both ends."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator

from codec_agents.channel import Signal
from codec_agents.events import Event

EVENT_BOUND = 256
"""Events that may wait for a reader before the run waits for it."""

EVENT_BACKLOG = 1024
"""Events kept while nobody reads: enough for what happens between starting a run and iterating over it."""


class EventLog:
    """Carry events from the nodes to one reader; without a reader keep only the last few."""

    __slots__ = ("_attached", "_closed", "_events", "_ready", "_room")

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=EVENT_BACKLOG)
        self._attached = False
        self._closed = False
        self._ready = Signal()
        self._room = Signal()

    @property
    def wanted(self) -> bool:
        """Whether somebody reads."""
        return self._attached

    async def write(self, event: Event) -> None:
        """Add an event, waiting for the reader where there is one that lags."""
        while self._attached and not self._closed and len(self._events) >= EVENT_BOUND:
            await self._room.wait()
        self._events.append(event)
        self._ready.give()

    def close(self) -> None:
        """Say that no more will come."""
        self._closed = True
        self._ready.give()
        self._room.give()

    async def read(self) -> AsyncIterator[Event]:
        """Yield what is kept and what comes, until the log is closed."""
        self._attached = True
        try:
            while True:
                while self._events:
                    event = self._events.popleft()
                    self._room.give()
                    yield event
                if self._closed:
                    return
                await self._ready.wait()
        finally:
            self._attached = False
            self._room.give()
