"""A run in an event loop of its own, which code inside may break: its end is typed all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from anyio.lowlevel import current_token

from codec_agents.concurrency.event_loop import run_in_own_loop
from codec_agents.exceptions import RunCancelledError

T = TypeVar("T")


def run_to_the_end(function: Callable[[], Awaitable[T]]) -> T:
    """Run a function in an event loop of its own, also where a loop is running, as in a notebook.

    Raises:
        RunCancelledError: a tool or a function cancelled every task of the loop, or stopped the loop. Outside
            of it nothing could: an interrupt is a `KeyboardInterrupt`.
        BaseException: what the function raised.
    """
    ended = False  # by itself: what it raised is its own, and not the loop's

    async def observed() -> T:
        nonlocal ended
        try:
            value = await function()
        except asyncio.CancelledError:
            raise
        except BaseException:
            ended = True
            raise
        ended = True
        return value

    try:
        return run_in_own_loop(observed) if _is_in_loop() else anyio.run(observed)
    except (asyncio.CancelledError, RuntimeError) as error:
        if ended:
            raise
        raise RunCancelledError(
            "the run was cancelled from within: a tool or a function cancelled every task of the event loop, "
            "or stopped the loop; find the one that calls `asyncio.all_tasks()` or `stop()`"
        ) from error


def _is_in_loop() -> bool:
    try:
        current_token()
    except RuntimeError:  # no event loop is running in this thread
        return False
    return True
