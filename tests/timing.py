"""Waiting for what other threads do, and never for an amount of time."""

from __future__ import annotations

import threading

import anyio


async def happens(event: threading.Event, *, within: float = 10.0) -> None:
    """Wait for what another thread tells; fail where it does not.

    The bound is the thread's own: a wait in a thread cannot be cancelled from outside.
    """
    assert await anyio.to_thread.run_sync(event.wait, within), f"it has not happened within {within} seconds"
