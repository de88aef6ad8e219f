"""Which event loop runs here: some things cost less, or are possible at all, where it is asyncio's.

Another loop may be a guest of asyncio's: then asyncio has a loop that runs, and no task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return asyncio's loop, where it is what runs."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def running_task() -> asyncio.Task[Any] | None:
    """Return asyncio's running task; None on another event loop."""
    loop = running_loop()
    return None if loop is None else asyncio.current_task(loop)


def clock() -> Callable[[], float]:
    """Return what tells the time of the event loop that runs, without asking every time which one that is."""
    loop = running_loop()
    return anyio.current_time if loop is None else loop.time
