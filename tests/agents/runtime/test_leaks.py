"""Runs that are left behind nothing: no task, no socket, no memory."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from codec_agents import Chat, Pipeline
from codec_agents.concurrency.deadline import Deadline
from codec_agents.engines.codec import CodecEngine
from codec_agents.testing import Say, ScriptedEngine, ScriptedModel, Wait, scripted_server
from codec_agents.vocabularies import bundled_map

RUNS = 1000
AT_ONCE = 100


def waiting(_: Any) -> list[Any]:
    """Speak, then stall for longer than a test may last."""
    return [Say("some words first"), Wait(60), Say("never")]


def pipeline(engine: Any) -> Pipeline:
    """Two models, so that one run waits both in a stream and at an edge."""
    p = Pipeline("left").input("q").sink("out").sink("late")
    for name in "ab":
        p.model(name, engine=engine, map="demo/bytes", prompt=Chat(user="{text}"), model="scripted")
    return p.connect("q", "a").connect("a", "b").connect("a", "out").connect("b", "late")


async def leave(p: Pipeline, number: int) -> None:
    """Start a run, hear its first text, and leave it in one of the ways in which runs are left."""
    async with p.run({"q": "q"}) as run:
        async for _ in run.text("out"):
            break
        if number % 3 == 1:
            run.cancel()
        elif number % 3 == 2:
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            await asyncio.sleep(60)


async def leave_many(p: Pipeline, runs: int) -> None:
    """Leave so many runs, some at a time."""
    for first in range(0, runs, AT_ONCE):
        tasks = [asyncio.create_task(leave(p, number)) for number in range(first, first + AT_ONCE)]
        left = await asyncio.gather(*tasks, return_exceptions=True)
        unexpected = [each for each in left if isinstance(each, Exception)]
        assert unexpected == []


def open_files() -> int:
    """Return how many files and sockets the process holds."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def until(reached: Callable[[], bool]) -> None:
    """Let the event loop go on until a condition holds."""
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - what the system closes gives no event
            await asyncio.sleep(0.01)


async def memory_after(work: Callable[[], Awaitable[None]]) -> int:
    """Return the bytes that are held when work is done."""
    await work()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.asyncio
@pytest.mark.slow
async def test_a_thousand_cancelled_runs_leave_no_task_and_no_memory() -> None:
    engine = ScriptedEngine(ScriptedModel(script=waiting))
    p = pipeline(engine)
    tasks = asyncio.all_tasks()

    async def work() -> None:
        await leave_many(p, RUNS // 2)
        engine.requests.clear()

    tracemalloc.start()
    try:
        before = await memory_after(work)
        after = await memory_after(work)
    finally:
        tracemalloc.stop()
    assert asyncio.all_tasks() == tasks
    assert engine.open_streams == 0
    assert after - before < 64 * 1024, "128 bytes a run is less than the smallest thing that a run holds"


@pytest.mark.asyncio
@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open sockets are counted in /proc")  # noqa: PTH112
async def test_a_thousand_cancelled_runs_close_their_sockets() -> None:
    source = bundled_map("demo/bytes")
    with scripted_server(source, waiting) as server:
        before, tasks = open_files(), asyncio.all_tasks()
        engine = CodecEngine(server.url)
        try:
            await leave_many(pipeline(engine), RUNS)
        finally:
            await engine.aclose()
        await until(lambda: open_files() <= before)
        assert asyncio.all_tasks() == tasks


def test_an_event_loop_is_freed_although_a_node_had_longer_than_it_lived() -> None:
    async def bounded() -> weakref.ref[asyncio.AbstractEventLoop]:
        with Deadline(3600):
            return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(bounded())
    gc.collect()
    assert loop() is None
