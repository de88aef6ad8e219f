"""Deadlines that expire in one turn of a busy event loop: a caller's own, and the engine's.

Whichever comes first, the caller gets its own time-out, the engine's typed error, or the answer; never a
cancellation that no caller asked for.
"""

from __future__ import annotations

import asyncio
import random
import time

import anyio
import anyio.lowlevel
import pytest

from codec_agents.engines.base import Timeouts
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.exceptions import EngineTimeoutError
from tests.agents.engines.wires import WIRES, FaultyServer, half_open, silent, silent_after_head, whole

ROUNDS = 12
UNIT = 0.004
"""Seconds; deadlines are multiples of it, so that many are the same."""

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

FAULTS = {"no head": silent, "no body": silent_after_head, "no end": half_open, "an answer": whole}


def hold_the_loop(backend: str, until: float) -> None:
    """Have the event loop do something else while deadlines pass, so that they expire together."""
    if backend == "asyncio":
        loop = asyncio.get_running_loop()
        loop.call_later(UNIT / 2, lambda: time.sleep(max(0.0, until - loop.time() + UNIT)))


async def ask_within(how: str, seconds: float, engine: CodecEngine, request) -> str:
    """Return how the call ended."""

    async def read() -> str:
        async with engine.stream(request) as stream:
            async for _ in stream:
                pass
        return "answer"

    try:
        if how == "asyncio.timeout":
            async with asyncio.timeout(seconds):
                return await read()
        if how == "fail_after":
            with anyio.fail_after(seconds):
                return await read()
        with anyio.move_on_after(seconds):
            return await read()
    except TimeoutError:
        return "time-out of the caller"
    except EngineTimeoutError:
        return "time-out of the engine"
    return "moved on"


# httpx leaves sockets and generators to the garbage collector when cancelled while it connects or sends.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_deadlines_of_the_same_moment_end_in_a_typed_error_or_the_answer(
    words, ask, anyio_backend_name, transport, fault
):
    if anyio_backend_name == "trio" and transport == "aiohttp":
        pytest.skip("aiohttp runs under asyncio alone")
    draw = random.Random(f"{transport} {fault}")
    ways = ["move_on_after", "fail_after"]
    ways += ["asyncio.timeout"] if anyio_backend_name == "asyncio" else []
    ended: set[str] = set()
    # httpx alone leaks a connection when it is cancelled while connecting: the server gives those up soon.
    faults = [FAULTS[fault]] * ROUNDS * len(ways)
    server = FaultyServer(WIRES["codec"], words, [5, 6, 7, 8], *faults, seconds=1.0)
    async with server:
        for how in ways * ROUNDS:
            first, idle, mine = (UNIT * draw.randint(2, 4) for _ in range(3))
            timeouts = Timeouts(connect=1.0, first_id=first, idle=idle, whole=draw.choice([None, first]))
            engine = CodecEngine(server.url, settings=HttpSettings(transport=transport))
            if draw.random() < 0.7:
                hold_the_loop(anyio_backend_name, anyio.current_time() + max(first, mine))
            with anyio.fail_after(20):
                ended.add(await ask_within(how, mine, engine, ask(words, timeouts=timeouts)))
                await anyio.lowlevel.checkpoint()  # nothing of any cancellation is left
                await engine.aclose()
    assert ended <= {"answer", "moved on", "time-out of the caller", "time-out of the engine"}
    assert ended


async def test_a_cancellation_of_the_callers_own_is_kept(words, ask, anyio_backend_name):
    """`task.cancel()` in the moment of a time-out: the task ends as cancelled, or with the engine's error."""
    if anyio_backend_name != "asyncio":
        pytest.skip("trio has no such call")
    async with FaultyServer(WIRES["codec"], words, [5], *[silent] * 8) as server:
        for number in range(8):
            engine = CodecEngine(server.url)
            request = ask(words, timeouts=Timeouts(first_id=0.02))
            task = asyncio.ensure_future(ask_within("nothing but the engine's", 60, engine, request))
            loop = asyncio.get_running_loop()
            loop.call_later(0.018 + number / 2000, task.cancel)
            await asyncio.wait([task])
            assert task.cancelled() or task.result() == "time-out of the engine"
            await engine.aclose()
