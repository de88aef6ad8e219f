"""A signal between tasks of one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import anyio

from codec_agents.concurrency.event_loop import running_loop


class Signal:
    """Wakes the tasks that wait; a signal that is given while no task waits is kept for the next wait.

    A task waits in a loop that checks its own condition first. So a superfluous wake-up does no harm, and
    none is lost.
    """

    __slots__ = ("_event", "_given", "_waiting")

    def __init__(self) -> None:
        self._waiting: Sequence[asyncio.Future[None]] = ()
        """A future for each task that waits on asyncio: an event for them would take a kilobyte."""
        self._event: anyio.Event | None = None
        """What tasks wait for on another event loop."""
        self._given = False

    def give(self) -> None:
        """Wake the waiting tasks, or let the next wait return at once."""
        if self._waiting:
            for each in self._waiting:
                if not each.done():
                    each.set_result(None)
            self._waiting = ()
        elif self._event is not None:
            self._event.set()
            self._event = None
        else:
            self._given = True

    async def wait(self) -> None:
        """Return once the signal was given since the last wait."""
        if self._given:
            self._given = False
        elif (loop := running_loop()) is not None:
            # Cancelling a task cancels what it waits for, so no two tasks may wait for one future.
            woken = loop.create_future()
            others = [each for each in self._waiting if not each.done()]  # without waits that were cancelled
            self._waiting = [*others, woken]
            await woken
        else:
            if self._event is None:
                self._event = anyio.Event()
            await self._event.wait()
