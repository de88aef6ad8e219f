"""A loop of its own ends with a result or a typed error, whatever code inside does to the loop."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from codec_agents.exceptions import RunCancelledError
from codec_agents.graph.chat import Chat
from codec_agents.pipeline import Pipeline
from codec_agents.runtime.own_loop import run_to_the_end
from codec_agents.testing import Call, PromptView, Say
from codec_agents.tools import tool


def cancel_everything() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


def stop_the_loop() -> None:
    asyncio.get_running_loop().stop()


BROKEN = [cancel_everything, stop_the_loop]


def model(prompt: PromptView) -> Call | Say:
    return Call("harm") if prompt.turn == 1 else Say("done")


@pytest.mark.parametrize("harm", BROKEN)
def test_a_tool_that_ends_every_task_gives_a_typed_error(harm) -> None:
    async def call() -> str:
        """Do harm."""
        harm()
        await asyncio.sleep(5)
        return "late"

    pipeline = Pipeline("p").input("q").engine("e", kind="scripted", script=lambda p: [model(p)])
    pipeline.model(
        "m", engine="e", map="demo/bytes", prompt=Chat(user="{q}"), tools=[tool(name="harm")(call)]
    )
    pipeline.sink("o").connect("q", "m.q").connect("m.answer", "o")
    with pytest.raises(RunCancelledError, match="from within"):
        pipeline.invoke_sync({"q": "x"})


@pytest.mark.parametrize("harm", BROKEN)
def test_the_loop_beside_a_running_one_too(harm) -> None:
    async def broken() -> None:
        harm()
        await anyio.sleep(5)

    async def beside() -> None:
        with pytest.raises(RunCancelledError, match="from within"):
            run_to_the_end(broken)

    anyio.run(beside)


def test_values_and_errors_pass() -> None:
    async def value() -> int:
        return 5

    async def fails() -> int:
        raise RuntimeError("its own")

    assert run_to_the_end(value) == 5
    with pytest.raises(RuntimeError, match="its own"):
        run_to_the_end(fails)
