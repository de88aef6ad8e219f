"""The event loop that runs: some things cost less, or are possible at all, where it is asyncio's.

Another loop may be a guest of asyncio's: then asyncio has a running loop and no task. All of this is asked
from within tasks.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import anyio
import anyio.lowlevel


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return asyncio's loop, or None where another loop runs."""
    return None if (task := running_task()) is None else task.get_loop()


def running_task() -> asyncio.Task[Any] | None:
    """Return asyncio's running task; None on another event loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def is_being_cancelled() -> bool:
    """Return whether asyncio's running task is being cancelled: any code may raise its error as well."""
    task = running_task()
    return task is not None and task.cancelling() > 0


def clock() -> Callable[[], float]:
    """Return the clock of the running event loop, to be read without looking the loop up again."""
    loop = running_loop()
    return anyio.current_time if loop is None else loop.time


async def checkpoint() -> None:
    """Let other tasks run once, and notice a cancellation.

    `anyio.lowlevel.checkpoint` does the same, after it has found out which loop runs, which takes longer.
    """
    if running_task() is None:
        await anyio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)


def this_loop() -> object:
    """Return an object that identifies the running event loop."""
    return running_loop() or anyio.lowlevel.current_token()


def may_run_yet(loop: object) -> bool:
    """Return whether a result of `this_loop` may still run; trio does not tell, and counts as ended."""
    return isinstance(loop, asyncio.AbstractEventLoop) and not loop.is_closed()


def start_in_background(work: Callable[[], Coroutine[Any, Any, None]], loop: object) -> object:
    """Start a task that no task waits for, and that ends with its event loop at the latest.

    Args:
        work: a coroutine function that raises nothing but its cancellation.
        loop: the result of `this_loop`; with asyncio's, this can be called from outside of any task.

    Returns:
        The task. The caller keeps it, because event loops hold their tasks weakly.
    """
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.create_task(work())
    import trio

    # A task without a nursery: the caller may end before it.
    return trio.lowlevel.spawn_system_task(work)


Result = TypeVar("Result")


def context_for_thread() -> contextvars.Context:
    """Return a copy of the caller's context for a function in another thread, where no event loop runs."""
    context = contextvars.copy_context()
    # Newer versions of anyio do not import it, and without it no context has its variable.
    if (sniffio := sys.modules.get("sniffio")) is not None:
        # The variable names the caller's library; `anyio.run` would refuse to start beside it.
        context.run(sniffio.current_async_library_cvar.set, None)
    return context


def run_in_own_loop(function: Callable[[], Awaitable[Result]]) -> Result:
    """Run a function in an event loop and a thread of its own: a running loop cannot be entered again.

    The function sees the caller's context variables: the current span, and baggage.

    Raises:
        BaseException: what the function raised.
    """
    context = context_for_thread()

    def run() -> Result:
        return anyio.run(function)

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="codec") as pool:
        return pool.submit(context.run, run).result()
