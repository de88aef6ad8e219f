"""Which nodes work when, and in which tasks: one after the other in one, side by side in several."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import pytest

from codec_agents import Chat, Pipeline
from codec_agents.engines.base import GenerationRequest, StreamStats
from codec_agents.engines.codec import CodecEngine
from codec_agents.exceptions import NodeFailedError, RunCancelledError
from codec_agents.records.reader import read_record
from codec_agents.runtime.run import Run
from codec_agents.testing import ScriptedEngine, Wait
from codec_core.frames import CodecFrame

pytestmark = pytest.mark.anyio
BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


def of_functions(**functions: Any) -> Pipeline:
    """Declare functions on text, each to be connected by the test."""
    p = Pipeline("functions").input("q").sink("out")
    for name, function in functions.items():
        p.function(name, function, wants="text")
    return p


@BACKENDS
async def test_a_chain_is_run_by_the_task_that_runs_it() -> None:
    tasks = []

    async def note(value: str) -> str:
        tasks.append(anyio.get_current_task().id)
        await anyio.lowlevel.checkpoint()
        return value + "."

    p = of_functions(a=note, b=note, c=note)
    p.connect("q", "a").connect("a", "b").connect("b", "c").connect("c", "out")
    result = await p.invoke({"q": "q"})
    assert result.text["out"] == "q..."
    assert set(tasks) == {anyio.get_current_task().id}


@BACKENDS
async def test_branches_work_side_by_side() -> None:
    """Each waits until the other one works: one after the other they would wait for ever."""
    at_work = {"left": anyio.Event(), "right": anyio.Event()}

    async def left(value: str) -> str:
        at_work["left"].set()
        await at_work["right"].wait()
        return f"left {value}"

    async def right(value: str) -> str:
        at_work["right"].set()
        await at_work["left"].wait()
        return f"right {value}"

    async def both(first: str, second: str) -> str:
        return f"{first} {second}"

    p = of_functions(left=left, right=right, both=both)
    p.connect("q", "left").connect("q", "right")
    p.connect("left", "both.first").connect("right", "both.second").connect("both", "out")
    with anyio.fail_after(10):
        assert (await p.invoke({"q": "q"})).text["out"] == "left q right q"


@BACKENDS
async def test_a_chain_that_is_cancelled_ends_where_it_was_and_its_caller_goes_on() -> None:
    started = anyio.Event()

    async def wait(value: str) -> str:
        started.set()
        await anyio.sleep_forever()
        return value

    async def never(value: str) -> str:
        pytest.fail("the chain went on")

    p = of_functions(a=wait, b=never).connect("q", "a").connect("a", "b").connect("b", "out")
    with anyio.fail_after(10):
        async with p.run({"q": "q"}) as run:
            await started.wait()
            run.cancel()
            with pytest.raises(RunCancelledError, match="was cancelled"):
                await run.wait()
            await anyio.lowlevel.checkpoint()
            with pytest.raises(RunCancelledError, match="was cancelled"):
                [text async for text in run.text("out")]


@BACKENDS
async def test_a_chain_ends_with_the_node_that_fails() -> None:
    def fail(value: str) -> str:
        raise LookupError(value)

    async def never(value: str) -> str:
        pytest.fail("the chain went on")

    p = of_functions(a=fail, b=never).connect("q", "a").connect("a", "b").connect("b", "out")
    with pytest.raises(NodeFailedError, match="LookupError"):
        await p.invoke({"q": "q"})


@BACKENDS
async def test_a_chain_that_is_left_stops_what_it_waits_for() -> None:
    stopped = []

    async def wait(value: str) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.append(value)
        return value

    p = of_functions(a=wait).connect("q", "a").connect("a", "out")
    with anyio.move_on_after(0.05):
        await p.invoke({"q": "q"})
    assert stopped == ["q"]


def identity(value: Sequence[int]) -> list[int]:
    return list(value)


def chain(engine: Any) -> Pipeline:
    p = Pipeline("chain").input("q").sink("out")
    for name in "ab":
        p.model(name, engine=engine, model="m", map="demo/bytes", prompt=Chat(user="{text}"))
    return p.connect("q", "a").connect("a", "b").connect("b", "out")


def fork(engine: Any) -> Pipeline:
    return chain(engine).function("f", identity).sink("ids", text=False).connect("a", "f").connect("f", "ids")


def test_which_pipelines_work_one_node_at_a_time() -> None:
    """Only those: whatever may be at work beside a node needs a task of its own."""
    here = ScriptedEngine(lambda _: "word")
    remote = CodecEngine("http://127.0.0.1:9")
    cases = {
        "a chain": (chain(here), True),
        "a chain read at two places": (chain(here).sink("early").connect("a", "early"), True),
        "models whose engine can be prepared": (chain(remote), False),
        "a fork": (fork(here), False),
        "a sink that calls": (chain(here).sink("told", call=print).connect("b", "told"), False),
        "a node that may be skipped": (
            Pipeline("p", policy={"on_failure": "skip"})
            .input("q")
            .sink("out")
            .function("f", str, wants="text")
            .connect("q", "f")
            .connect("f", "out"),
            False,
        ),
        "prefill ahead": (
            Pipeline("p")
            .input("q")
            .sink("out")
            .model("a", engine=here, model="m", map="demo/bytes", prompt=Chat(user="{text}"))
            .connect("q", "a", prefill="ahead")
            .connect("a", "out"),
            False,
        ),
    }
    assert {name: p.build().is_sequential for name, (p, _) in cases.items()} == {
        name: expected for name, (_, expected) in cases.items()
    }


class CancellingEngine(ScriptedEngine):
    """Says one id, and then cancels the run."""

    run: Run

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[Any]:
        """Answer a request."""
        yield self
        del request

    stats = StreamStats(format="ids")
    _said = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CodecFrame:
        if not self._said:
            self._said = True
            return CodecFrame((65,), done=False)
        self.run.cancel()
        await anyio.sleep_forever()
        raise AssertionError


@BACKENDS
async def test_what_is_stopped_with_the_run_is_not_taken_for_an_end(tmp_path: Path) -> None:
    """The join has something to read when the run is cancelled, and may run once more after the racer."""
    path = tmp_path / "run.jsonl"
    for _ in range(20):  # which of the two runs first is chance on trio
        engine = CancellingEngine(lambda _: "")
        p = Pipeline("race").input("q").sink("out").join("first", first=1, map="demo/bytes")
        p.model("a", engine=engine, map="demo/bytes", prompt=Chat(user="{x}"))
        p.model("b", engine=ScriptedEngine(lambda _: [Wait(60)]), map="demo/bytes", prompt=Chat(user="{x}"))
        for racer in "ab":
            p.connect("q", racer).connect(racer, "first")
        engine.run = run = p.connect("first", "out").run({"q": "go"}, record=path)
        with anyio.fail_after(5):
            async with run:
                with pytest.raises(RunCancelledError):
                    await run.wait()
        assert read_record(path).decided == {}
        assert run.partial_result().ids == {"out": []}
