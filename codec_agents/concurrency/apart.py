"""Code of others, run in a task or a thread of its own that can be abandoned.

A coroutine may raise anything, cancel its own task or refuse to be cancelled, and a thread may never return.
Neither keeps the caller, the event loop or the process from ending.
"""

from __future__ import annotations

import contextvars
import math
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio

from codec_agents.concurrency.event_loop import context_for_thread, running_loop

T = TypeVar("T")

DEFAULT_GRACE = 1.0
"""Seconds for the clean-up of a coroutine that was cancelled: enough to close a connection."""


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    """The end of a call: its value, or its exception, of whatever class."""

    value: T | None = None
    error: BaseException | None = None


async def run_apart(
    work: Callable[[], Awaitable[T]], *, deadline: float | None = None, grace: float = DEFAULT_GRACE
) -> Ended[T] | None:
    """Run a coroutine in a task of its own; return its end, or None when the deadline passed first.

    At the deadline, and when the caller is cancelled, the task is cancelled as well. One that has not ended
    after the grace time is abandoned: its coroutine is closed where it next gives control back.

    Args:
        work: starts the coroutine; it runs in a copy of the caller's context.
        deadline: on the event loop's clock; None for no limit.
        grace: seconds for the coroutine to end after it was cancelled.
    """
    task = _Task(work)
    task.start()
    try:
        with anyio.CancelScope(deadline=math.inf if deadline is None else deadline):
            await task.ended.wait()
            return task.result
    finally:
        await task.stop(grace)
    return None  # the deadline: the scope has swallowed its own cancellation


class _Task(Generic[T]):
    """A coroutine in a task that belongs to the event loop and to no task group."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._abandoned = False
        self._cancel: Callable[[], object]
        self.result: Ended[T] = Ended()
        self.ended = anyio.Event()

    def start(self) -> None:
        loop = running_loop()
        if loop is not None:
            # Asyncio's own cancellation comes once, which leaves the coroutine the grace time to clean up in.
            task = loop.create_task(self._run())
            # A task that is cancelled before its first step runs no line of its coroutine.
            task.add_done_callback(lambda _: self.ended.set())
            self._cancel = task.cancel
            return
        import trio

        scope = trio.CancelScope()
        self._cancel = scope.cancel
        # A system task would otherwise run in the context in which the event loop began.
        trio.lowlevel.spawn_system_task(self._run, scope, context=contextvars.copy_context())

    async def stop(self, grace: float) -> None:
        """Cancel the task unless it has ended; abandon it after the grace time."""
        if self.ended.is_set():
            return
        self._cancel()
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + grace):
            await self.ended.wait()
            return
        self._abandoned = True
        self._cancel()  # wakes the coroutine, which `_steps` closes at that step

    async def _run(self, scope: Any = None) -> None:
        with scope or nullcontext():
            try:
                self.result = Ended(await self._steps(_coroutine(self._work)))
            # Any class: one that left this task would end trio's whole run, a `SystemExit` that of asyncio.
            except BaseException as error:
                self.result = Ended(error=error)
        self.ended.set()

    @types.coroutine
    def _steps(self, coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Advance the coroutine as `await` would, until it ends or is abandoned.

        A coroutine that catches its cancellation cannot be ended by its task, which only sends it another.
        Between two steps this is the one place where it can be closed.
        """
        step: Callable[[Any], Any] = coroutine.send
        given: Any = None
        while True:
            try:
                awaited = step(given)
            except StopIteration as end:
                value: T = end.value
                return value
            try:
                given, step = (yield awaited), coroutine.send
            except BaseException as error:
                given, step = error, coroutine.throw
            if self._abandoned:
                # It may raise anything, and may refuse to end here as well.
                with suppress(BaseException):
                    coroutine.close()
                raise TimeoutError("abandoned")


async def _coroutine(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


async def run_in_thread(function: Callable[[], T], *, limiter: anyio.CapacityLimiter | None = None) -> T:
    """Run a function in a thread, in a copy of the caller's context; return what it returns.

    A caller that is cancelled leaves the thread to itself and its result is dropped. The thread is a daemon:
    one that never returns does not keep the process from ending, as a pool's threads would.

    Raises:
        BaseException: what the function raised; `StopIteration` as a `RuntimeError`.
    """
    if limiter is None:
        return await _in_thread(function)
    async with limiter:
        return await _in_thread(function)


async def _in_thread(function: Callable[[], T]) -> T:
    call_soon = _from_other_threads()
    context = context_for_thread()
    ended = anyio.Event()
    result: Ended[T] = Ended()

    def run() -> None:
        nonlocal result
        try:
            result = Ended(context.run(function))
        except BaseException as error:
            result = Ended(error=error)
        with suppress(RuntimeError):  # the event loop has ended, and nothing waits
            call_soon(ended.set)

    threading.Thread(target=run, name="codec worker", daemon=True).start()
    await ended.wait()
    # Raised in a coroutine as it is, it would look like the end of this one.
    if isinstance(result.error, StopIteration):
        raise RuntimeError("the function raised StopIteration") from result.error
    if result.error is not None:
        raise result.error
    value: Any = result.value
    return value  # type: ignore[no-any-return] # without an error there is one


def _from_other_threads() -> Callable[[Callable[[], object]], object]:
    """Return a function by which other threads have the event loop call something; it does not wait."""
    loop = running_loop()
    if loop is not None:
        return loop.call_soon_threadsafe
    import trio

    return trio.lowlevel.current_trio_token().run_sync_soon
