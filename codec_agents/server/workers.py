"""Run long steps away from the event loop.

Rules that hold in this file:

- A step of at most `LOOP_BYTES` bytes runs where it is; a longer one runs in a worker thread. So no request
  holds the event loop for longer than a short one does, whatever it carries.
- What may wait for a disk, or for another thread, runs in a thread however short it is.
- Threads are few and are given out in the order of asking, a piece at a time. A request of many pieces waits
  for pieces of others in between, so a long text does not keep short ones waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import to_thread

T = TypeVar("T")

LOOP_BYTES = 16 * 1024
"""Bytes (characters, or ids) that one step on the event loop may handle: about a millisecond of encoding."""

THREADS = 2
"""Long steps at once. They hold Python's lock in turns, so more would only slow the event loop down."""


class Workers:
    """The worker threads of one server."""

    def __init__(self, threads: int = THREADS) -> None:
        self._threads = threads
        self._limiter: anyio.CapacityLimiter | None = None
        self.longest_on_loop = 0
        """The largest step that has run on the event loop, in bytes."""
        self.off_loop = 0
        """Steps that have run in a thread."""

    async def run(self, step: Callable[[], T], size: int) -> T:
        """Return what a step over `size` bytes returns."""
        if size <= LOOP_BYTES:
            self.longest_on_loop = max(self.longest_on_loop, size)
            return step()
        return await self.run_beside(step)

    async def run_beside(self, step: Callable[[], T]) -> T:
        """Return what a step returns that runs in a thread."""
        if self._limiter is None:  # belongs to an event loop, and there is one only now
            self._limiter = anyio.CapacityLimiter(self._threads)
        self.off_loop += 1
        return await to_thread.run_sync(step, limiter=self._limiter)
