"""Waiting for what other threads do, and never for an amount of time."""

from __future__ import annotations

import threading
from typing import Any

import anyio

from codec_agents.engines.http.draining import BodyDrainer

LONG = 20.0
"""Seconds: what waits this long where it should not fails its test, on a busy machine too."""


def reuse_connections(engine: Any) -> None:
    """Let each request wait for the connection of the one before, however late that is free."""
    engine.pool.drainer = BodyDrainer(limit=LONG, moment=LONG)


async def happens(event: threading.Event, *, within: float = 10.0) -> None:
    """Wait for what another thread tells; fail where it does not.

    The bound is the thread's own: a wait in a thread cannot be cancelled from outside.
    """
    assert await anyio.to_thread.run_sync(event.wait, within), f"it has not happened within {within} seconds"
