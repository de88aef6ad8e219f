"""Waiting for the next chunk until a deadline that moves with every chunk.

A cancel scope with a deadline takes longer than reading a chunk of one id. So where asyncio runs there is one
timer a stream, armed anew only when it fires early, and it ends the wait as `asyncio.timeout` does.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio

from codec_agents.concurrency.event_loop import running_loop


class OutOfTimeError(Exception):
    """The deadline passed while nothing came."""


class Patience:
    """Waits for one reader. `instant` says when the wait that runs has to end."""

    __slots__ = ("_expired", "_instant", "_loop", "_task", "_timer")

    def __init__(self, instant: Callable[[], float]) -> None:
        self._instant = instant
        self._loop = running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._expired = False

    async def next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        """Return the next chunk, or None at the end.

        Raises:
            OutOfTimeError: it did not come in time.
        """
        task = None if self._loop is None else asyncio.current_task()
        if task is None:
            return await self._next_in_scope(chunks)
        before = task.cancelling()
        self._arm()
        self._task = task
        try:
            return await anext(chunks, None)
        except asyncio.CancelledError:
            if self._expired and task.uncancel() <= before:  # else somebody outside cancelled as well
                raise OutOfTimeError from None
            raise
        finally:
            self._task = None

    async def _next_in_scope(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        scope = anyio.CancelScope(deadline=self._instant())
        with scope:
            return await anext(chunks, None)
        raise OutOfTimeError

    def _arm(self) -> None:
        """Have a timer that fires at the deadline or before it."""
        instant = self._instant()
        if self._timer is not None:
            if self._timer.when() <= instant:
                return
            self.close()
        if instant != math.inf:
            assert self._loop is not None
            self._timer = self._loop.call_at(instant, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._task is None or self._loop is None:
            return
        if self._loop.time() < self._instant():
            self._arm()
        else:
            self._expired = True
            self._task.cancel()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
