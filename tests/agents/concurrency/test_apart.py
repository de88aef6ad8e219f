"""Code of others in a task or thread of its own: whatever it does, the caller goes on and the loop ends."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from codec_agents.concurrency.apart import run_apart, run_in_thread
from codec_agents.concurrency.event_loop import run_in_own_loop

NOW = -1.0
"""A deadline that has passed."""

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_value_and_an_error_are_ends() -> None:
    async def add() -> int:
        await checkpoint()
        return 3

    async def fail() -> int:
        raise KeyError("no")

    ended = await run_apart(add)
    assert ended is not None
    assert (ended.value, ended.error) == (3, None)
    failed = await run_apart(fail)
    assert failed is not None
    assert isinstance(failed.error, KeyError)


@pytest.mark.anyio
@pytest.mark.both_backends
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
async def test_exceptions_that_are_no_errors_are_ends(kind: type[BaseException]) -> None:
    async def leave() -> None:
        await checkpoint()
        raise kind

    ended = await run_apart(leave)
    assert ended is not None
    assert type(ended.error) is kind


@pytest.mark.asyncio
async def test_a_task_that_cancels_itself_ends_alone() -> None:
    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    ended = await run_apart(cancel_itself)
    assert ended is not None
    assert isinstance(ended.error, asyncio.CancelledError)
    await asyncio.sleep(0)  # the caller is not cancelled


def swallowing(caught: type[BaseException]) -> Callable[[], Awaitable[None]]:
    async def swallow() -> None:
        while True:
            try:
                await anyio.sleep_forever()
            except caught:
                continue

    return swallow


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_coroutine_that_swallows_cancellation_is_abandoned(backend: str) -> None:
    async def main() -> object:
        swallowed = asyncio.CancelledError if backend == "asyncio" else anyio.get_cancelled_exc_class()
        return await run_apart(swallowing(swallowed), deadline=NOW, grace=0)

    assert anyio.run(main, backend=backend) is None  # and the event loop ends


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_coroutine_that_swallows_everything_is_abandoned() -> None:
    async def main() -> object:
        return await run_apart(swallowing(BaseException), deadline=NOW, grace=0)

    assert asyncio.run(main()) is None


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_cancellation_of_the_caller_reaches_the_task_and_is_kept() -> None:
    seen: list[str] = []

    async def wait() -> None:
        scope.cancel()
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("left")

    with anyio.CancelScope() as scope:
        await run_apart(wait)
        seen.append("never")
    assert scope.cancelled_caught
    assert seen == ["left"]


@pytest.mark.asyncio
async def test_cleanup_has_the_grace_time() -> None:
    seen: list[str] = []

    async def clean_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    assert await run_apart(clean_up, deadline=NOW) is None
    assert seen == ["cleaned up"]


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_context_variables_are_seen_and_stay_as_they_were() -> None:
    variable.set("outside")

    async def change() -> str:
        found = variable.get()
        variable.set("inside")
        return found

    ended = await run_apart(change)
    assert ended is not None
    assert (ended.value, variable.get()) == ("outside", "outside")
    assert await run_in_thread(variable.get) == "outside"


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_threads_give_values_and_errors() -> None:
    def stop() -> None:
        raise StopIteration

    def leave() -> None:
        raise SystemExit(3)

    assert await run_in_thread(lambda: 3) == 3
    with pytest.raises(RuntimeError, match="StopIteration"):
        await run_in_thread(stop)
    with pytest.raises(SystemExit):
        await run_in_thread(leave)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_that_never_returns_is_left_to_itself(backend: str) -> None:
    released, seen = threading.Event(), list[threading.Thread]()

    def hang() -> None:
        seen.append(threading.current_thread())
        released.wait(60)

    async def main() -> object:
        async def work() -> Any:
            await run_in_thread(hang, limiter=anyio.CapacityLimiter(1))

        return await run_apart(work, deadline=anyio.current_time() + 0.01)

    assert anyio.run(main, backend=backend) is None
    assert seen[0].daemon
    released.set()
    seen[0].join(10)
    assert not seen[0].is_alive()


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_thread_may_run_an_event_loop_of_its_own() -> None:
    async def add() -> int:
        await checkpoint()
        return 3

    assert await run_in_thread(lambda: anyio.run(add)) == 3


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_loop_of_its_own_keeps_context_variables() -> None:
    variable.set("outside")

    async def read() -> str:
        await checkpoint()
        return variable.get()

    assert run_in_own_loop(read) == "outside"
