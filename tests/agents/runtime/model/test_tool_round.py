"""Tools that only read start while the turn streams, and are cancelled when it does not stand."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from codec_agents import Chat, Pipeline, tool
from codec_agents.exceptions import EngineStreamError, LimitExceededError, NodeFailedError, RecordLostError
from codec_agents.testing import Call, Cut, PromptView, Say, ScriptedEngine, ScriptedModel
from codec_agents.tools.tool import ResultIds
from codec_agents.vocabularies import bundled_map
from codec_core.frames import CodecFrame
from codec_core.tokenizer import pick_tokenizer

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


@dataclass(frozen=True, kw_only=True)
class Gated(ScriptedModel):
    """A scripted model whose turns end when somebody lets them."""

    before_the_end: Callable[[], Any]

    async def frames(self, *arguments: Any) -> AsyncGenerator[CodecFrame, None]:
        async with aclosing(ScriptedModel.frames(self, *arguments)) as frames:
            async for frame in frames:
                if frame.done:
                    await self.before_the_end()
                yield frame


def gated(script: Any, before_the_end: Callable[[], Any]) -> ScriptedEngine:
    return ScriptedEngine(Gated(script=script, before_the_end=before_the_end))


def declare(engine: Any, tools: list[Any], **fields: Any) -> Pipeline:
    p = Pipeline("one")
    p.input("question")
    p.model("model", engine=engine, map="demo/bytes", prompt=Chat(user="{question}"), tools=tools, **fields)
    p.sink("reader")
    p.connect("question", "model.question")
    p.connect("model.answer", "reader")
    return p


def call_then_tell(prompt: PromptView) -> Iterator[Any]:
    if prompt.turn == 1:
        yield Call("look")
        yield Call("change")
    else:
        yield Say(" | ".join(prompt.results))


async def test_a_tool_that_reads_runs_before_the_turn_has_ended_and_one_that_changes_after() -> None:
    looked = anyio.Event()
    order: list[str] = []

    @tool(read_only=True)
    async def look() -> str:
        """Look."""
        order.append("look")
        looked.set()
        return "seen"

    @tool
    async def change() -> str:
        """Change."""
        order.append("change")
        return "changed"

    async def end() -> None:
        await looked.wait()
        order.append("end")

    with anyio.fail_after(5):
        engine = gated(call_then_tell, end)
        result = await declare(engine, [look, change]).invoke({"question": "go"})
    assert result.text["reader"] == "seen | changed"
    assert order[0] == "look"
    assert order.index("end") < order.index("change")
    assert (order.count("look"), order.count("change")) == (1, 1)
    assert result.usage["model"].tool_calls == 2


class Looker:
    """A tool that reads for ever, and says when it was started and cancelled."""

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.cancelled = False

        @tool(read_only=True)
        async def look() -> str:
            """Look."""
            self.started.set()
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                self.cancelled = True
                raise
            return ""

        self.tool = look


async def test_it_is_cancelled_when_the_turn_fails_for_good() -> None:
    looker = Looker()

    async def fail() -> None:
        await looker.started.wait()
        raise EngineStreamError("desk", "cut off", transient=False)

    engine = gated(lambda _: Call("look"), fail)
    with anyio.fail_after(5), pytest.raises(NodeFailedError, match="cut off"):
        await declare(engine, [looker.tool]).invoke({"question": "go"})
    assert looker.cancelled


async def test_it_is_cancelled_when_the_turn_has_more_calls_than_are_allowed() -> None:
    looker = Looker()
    engine = gated(lambda _: [Call("look"), Call("look")], looker.started.wait)
    limits = {"limits": {"tool_calls": 1}}
    with anyio.fail_after(5), pytest.raises(LimitExceededError, match="tool calls"):
        await declare(engine, [looker.tool], policy=limits).invoke({"question": "go"})
    assert looker.cancelled


async def test_it_is_cancelled_when_the_run_is_left() -> None:
    looker = Looker()
    engine = gated(lambda _: Call("look"), anyio.sleep_forever)
    with anyio.fail_after(5):
        async with declare(engine, [looker.tool]).run({"question": "go"}):
            await looker.started.wait()
    assert looker.cancelled


async def test_a_record_that_is_lost_with_its_result_is_the_error_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn is still being generated, and the caller has cancelled nothing."""

    class Disk:
        close, fsync, full = os.close, os.fsync, False

        @classmethod
        def write(cls, descriptor: int, data: bytes) -> int:
            if cls.full:
                raise OSError(errno.ENOSPC, "No space left")
            return os.write(descriptor, data)

    @tool(read_only=True)
    async def look() -> str:
        """Look."""
        Disk.full = True
        return "seen"

    monkeypatch.setattr("codec_agents.records.writer.os", Disk)
    p = declare(gated(lambda _: Call("look"), anyio.sleep_forever), [look])
    with anyio.fail_after(5), pytest.raises(RecordLostError, match="No space left"):
        await p.invoke({"question": "go"}, record=tmp_path / "run.jsonl")


async def test_a_run_that_is_stopped_while_its_tools_run_asks_no_further_turn() -> None:
    prompts: list[PromptView] = []

    @tool
    async def change() -> str:
        """Change."""
        run.cancel(after="turn")
        return "changed"

    def script(prompt: PromptView) -> Any:
        prompts.append(prompt)
        return Call("change") if len(prompts) == 1 else "Yes."

    p = declare(ScriptedEngine(script), [change])
    async with p.run({"question": "go"}) as run:
        result = await run.wait()
    assert len(prompts) == 1
    assert (result.usage["model"].tool_calls, result.outcomes["model"]) == (1, "finished")
    # Unanswered, the call would be made again: with a tool that changes something, twice.
    history = result.histories["model"]
    assert history.unread
    assert [(each.stop, each.calls) for each in history.told] == [(len(history.prompt), (("change", None),))]
    await p.invoke({"question": "and?"}, after=result)
    again = prompts[-1]
    assert list(again.ids[: len(history.prompt)]) == history.prompt
    told, asked = again.messages[-2:]
    assert ("changed" in told.text, asked.text) == (True, "and?")


async def test_a_retry_withdraws_nothing_and_runs_nothing_twice() -> None:
    runs: list[str] = []

    @tool(read_only=True)
    async def look() -> str:
        """Look."""
        runs.append("look")
        return "seen"

    requests: list[PromptView] = []

    def script(prompt: PromptView) -> Iterator[Any]:
        requests.append(prompt)
        if len(requests) == 1:
            yield Call("look")
            yield Cut()
        elif len(requests) > 2:
            yield Say(prompt.results[0])

    retry = {"retry": {"attempts": 2, "initial": 0.0, "max": 0.0}}
    result = await declare(ScriptedEngine(script), [look], policy=retry).invoke({"question": "go"})
    assert result.text["reader"] == "seen"
    assert runs == ["look"]
    assert result.usage["model"].retries == 1


async def test_ids_made_beforehand_stand_in_the_next_prompt_as_they_are() -> None:
    """A result's own ids are used for the node's map, though its text would be encoded otherwise."""
    own = bundled_map("demo/bytes")
    letters = tuple(pick_tokenizer(own).encode_ordinary(letter)[0] for letter in "sunny")
    assert list(letters) != pick_tokenizer(own).encode_ordinary("sunny")

    @tool
    def look() -> ResultIds:
        """Look."""
        assert own.hash is not None
        return ResultIds((letters, " today"), own.hash, "sunny today")

    def script(prompt: PromptView) -> Any:
        return Call("look") if prompt.turn == 1 else prompt.results[0]

    engine = ScriptedEngine(script)
    result = await declare(engine, [look]).invoke({"question": "go"})
    assert result.text["reader"] == "sunny today"
    prompt = list(engine.requests[1].prompt_ids)
    assert any(tuple(prompt[at : at + len(letters)]) == letters for at in range(len(prompt)))
