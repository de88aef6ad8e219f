"""A signal between tasks of one event loop."""

from __future__ import annotations

import anyio


class Signal:
    """Wakes the tasks that wait; a signal that is given while no task waits is kept for the next wait.

    A task waits in a loop that checks its own condition first. So a superfluous wake-up does no harm, and
    none is lost.
    """

    __slots__ = ("_event", "_given")

    def __init__(self) -> None:
        self._event: anyio.Event | None = None
        self._given = False

    def give(self) -> None:
        """Wake the waiting tasks, or let the next wait return at once."""
        if self._event is None:
            self._given = True
        else:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Return once the signal was given since the last wait."""
        if self._given:
            self._given = False
            return
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()
