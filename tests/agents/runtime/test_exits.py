"""The exit of a program, which the handler of a signal raises in whatever node runs, ends the program."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from codec_agents import Chat, Pipeline
from codec_agents.concurrency.task_group import EXITS, TaskGroup
from codec_agents.testing import ScriptedEngine

BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


def exits(value: str) -> str:
    raise SystemExit(3)


async def exits_while_it_awaits(value: str) -> str:
    raise SystemExit(3)


def is_interrupted(value: str) -> str:
    raise KeyboardInterrupt


class Exiting(ScriptedEngine):
    @asynccontextmanager
    async def stream(self, request: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        raise SystemExit(3)
        yield


def function(ends: Callable[..., Any] = exits, **options: Any) -> Pipeline:
    p = Pipeline("exits").input("q").function("f", ends, wants="text", **options).connect("q", "f")
    return p.sink("out").connect("f", "out")


def beside_another(**options: Any) -> Pipeline:
    """The other node runs in the caller's task, and waits for good."""

    async def waits(value: str) -> str:
        await anyio.sleep_forever()
        return value

    p = Pipeline("exits").input("q").function("other", waits, wants="text").connect("q", "other")
    p.function("f", exits, wants="text", **options).connect("q", "f")
    return p.sink("told").connect("other", "told").sink("out").connect("f", "out")


def model() -> Pipeline:
    p = Pipeline("exits").input("q").sink("out")
    p.model("m", engine=Exiting(lambda _: "said"), map="demo/bytes", prompt=Chat(user="{q}"))
    return p.connect("q", "m.q").connect("m", "out")


def looped() -> Pipeline:
    p = Pipeline("outer").input("q").loop("l", function(), turns=2, feedback={"out": "q"})
    return p.connect("q", "l.q").sink("out").connect("l.out", "out")


def mapped() -> Pipeline:
    p = Pipeline("outer").input("q").map("each", function(), parallel=2)
    return p.connect("q", "each").sink("out").connect("each", "out")


SKIP = {"policy": {"on_failure": "skip"}}
PLACES: dict[str, Callable[[], Pipeline]] = {
    "a function": function,
    "an async function": lambda: function(exits_while_it_awaits),
    "Ctrl-C": lambda: function(is_interrupted),
    "a policy that skips": lambda: function(**SKIP),
    "beside another node": beside_another,
    "beside another node, skipped": lambda: beside_another(**SKIP),
    "an engine": model,
    "a loop": looped,
    "a map": mapped,
    "a map in a loop": lambda: (
        Pipeline("outermost")
        .input("q")
        .loop("l", mapped(), turns=1)
        .connect("q", "l.q")
        .sink("out")
        .connect("l.out", "out")
    ),
}


async def invoked(p: Pipeline) -> None:
    await p.invoke({"q": "go"})


async def waited_for(p: Pipeline) -> None:
    async with p.run({"q": "go"}) as run:
        await run.wait()


async def left_alone(p: Pipeline) -> None:
    async with p.run({"q": "go"}):
        await anyio.sleep_forever()


async def read(p: Pipeline) -> None:
    async with p.run({"q": "go"}) as run:
        async for _ in run:
            pass


async def in_a_batch(p: Pipeline) -> None:
    await p.batch([{"q": "a"}, {"q": "b"}, {"q": "c"}])


async def one_by_one(p: Pipeline) -> None:
    async with p.batch_as_completed([{"q": "a"}, {"q": "b"}]) as results:
        async for _ in results:
            pass


WAYS = [invoked, waited_for, left_alone, read, in_a_batch, one_by_one]


@BACKENDS
@pytest.mark.parametrize("place", PLACES)
async def test_an_exit_in_a_node_goes_through_to_the_caller(anyio_backend: str, place: str) -> None:
    """It was the failure of the node: the exit code was lost, and a batch went on."""
    for way in WAYS:
        with pytest.raises(EXITS) as ended:
            await way(PLACES[place]())
        assert isinstance(ended.value, KeyboardInterrupt) or ended.value.code == 3


@BACKENDS
async def test_a_reader_does_not_take_the_output_for_complete(anyio_backend: str) -> None:
    looked_complete = False

    async def read_on() -> None:
        nonlocal looked_complete
        async with beside_another().run({"q": "go"}) as run:
            async for _ in run.text("told"):
                pass
            looked_complete = True

    with pytest.raises(SystemExit):
        await read_on()
    assert not looked_complete


def test_the_exit_of_invoke_sync_is_the_same() -> None:
    with pytest.raises(SystemExit, match="3"):
        function().invoke_sync({"q": "go"})


@pytest.fixture
def exits_on_sigterm() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process that is sent SIGTERM")
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
def test_a_signal_ends_a_batch(exits_on_sigterm: None, anyio_backend: str) -> None:
    done: list[str] = []

    async def is_told_to_end(value: str) -> str:
        done.append(value)
        os.kill(os.getpid(), signal.SIGTERM)
        return value

    async def one_at_a_time() -> None:
        await function(is_told_to_end).batch([{"q": "a"}, {"q": "b"}], concurrency=1)

    with pytest.raises(SystemExit, match="3"):
        anyio.run(one_at_a_time, backend=anyio_backend)
    assert done == ["a"]


@BACKENDS
async def test_a_group_ends_its_tasks_before_the_exit_leaves(anyio_backend: str) -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("waits")

    async def fails_late() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("while it ends")

    async def leaves() -> None:
        raise SystemExit(3)

    async def group_of(*tasks: Callable[[], Awaitable[None]]) -> None:
        async with TaskGroup() as group:
            for each in tasks[:-1]:
                group.start_soon(each)
            await tasks[-1]()

    for tasks in ([waits, leaves], [leaves, waits], [waits, fails_late, leaves], [leaves, fails_late, waits]):
        ended.clear()
        with pytest.raises(SystemExit, match="3"):
            await group_of(*tasks)
        assert ended == ["waits"]
