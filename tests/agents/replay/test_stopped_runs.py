"""The replay of a run that was stopped by `cancel(after="turn")` ends where the run ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from codec_agents import Chat, Pipeline, tool
from codec_agents.exceptions import ReplayError
from codec_agents.records.reader import read_record
from codec_agents.runtime.result import RunResult
from codec_agents.testing import Call, PromptView, Say
from tests.agents.stopping import LATER, engine_of, with_second

pytestmark = pytest.mark.anyio

BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


def told(result: RunResult) -> dict[str, Any]:
    """Return what a result says, without its times."""
    return {
        "text": result.text,
        "ids": result.ids,
        "outcomes": result.outcomes,
        "reasons": result.finish_reasons,
        "usage": result.usage,
        "histories": result.histories,
    }


async def stopped(p: Pipeline, path: Path) -> RunResult:
    """Run a pipeline, and stop it behind the turn that writes the first words."""
    async with p.run({"q": "go"}, record=path) as run:
        await anext(run.text("out"))
        run.cancel(after="turn")
        with anyio.fail_after(5):
            return await run.wait()


def one(script: Any, tools: list[Any], **fields: Any) -> Pipeline:
    p = Pipeline("one").input("q").sink("out")
    p.model("m", engine=engine_of(script), map="demo/bytes", prompt=Chat(user="{x}"), tools=tools, **fields)
    return p.connect("q", "m").connect("m", "out")


@BACKENDS
@pytest.mark.parametrize("tools", ["recorded", "run"])
@pytest.mark.parametrize("early", [False, True])
async def test_calls_that_were_open_stay_open(tmp_path: Path, tools: Any, early: bool) -> None:
    """Also where a tool that only reads had answered before the run was stopped."""
    ran: list[str] = []

    @tool(read_only=early)
    def look() -> str:
        """Look."""
        ran.append("look")
        return "seen"

    calls = [Call("look"), LATER, Call("look")] if early else [LATER, Call("look")]
    p, path = one(lambda _: [Say("looking "), *calls], [look]), tmp_path / "run.jsonl"
    result = await stopped(p, path)
    assert (result.usage["m"].turns, result.usage["m"].tool_calls) == (1, 0)
    before = len(ran)
    with anyio.fail_after(5):
        replayed = await p.replay(path, tools=tools).execute()
    assert told(replayed) == told(result)
    if not early:
        assert len(ran) == before == 0


@BACKENDS
async def test_results_that_no_turn_has_read_stay_unread(tmp_path: Path) -> None:
    prompts: list[PromptView] = []

    @tool
    async def change() -> str:
        """Change."""
        run.cancel(after="turn")
        return "changed"

    def script(prompt: PromptView) -> Any:
        prompts.append(prompt)
        return Call("change")

    p, path = one(script, [change]), tmp_path / "run.jsonl"
    async with p.run({"q": "go"}, record=path) as run:
        result = await run.wait()
    assert (len(prompts), result.usage["m"].tool_calls) == (1, 1)
    replayed = await p.replay(path).execute()
    assert told(replayed) == told(result)
    assert replayed.histories["m"].unread


@BACKENDS
@pytest.mark.parametrize("kind", ["model", "router", "loop", "map"])
async def test_what_was_not_begun_is_not_begun(tmp_path: Path, kind: str) -> None:
    def script(_: PromptView) -> Any:
        return [Say("one\n"), LATER, Say("two\nthree")]

    p, path = with_second(kind, script), tmp_path / "run.jsonl"
    result = await stopped(p, path)
    with anyio.fail_after(5):
        assert told(await p.replay(path).execute()) == told(result)


def stopping_third(asked: list[str], stop: Callable[[], None]) -> Callable[[PromptView], str]:
    """Return a script that notes what it is asked, and calls `stop` when it is asked for the third time."""

    def script(prompt: PromptView) -> str:
        asked.append(prompt.user)
        if len(asked) == 3:
            stop()
        return "one\ntwo\nthree\nfour"

    return script


@BACKENDS
@pytest.mark.parametrize("kind", ["loop", "map"])
async def test_rounds_and_items_that_had_begun_end(tmp_path: Path, kind: str) -> None:
    asked: list[str] = []
    script = stopping_third(asked, lambda: run.cancel(after="turn"))
    p, path = with_second(kind, script), tmp_path / "run.jsonl"
    async with p.run({"q": "go"}, record=path) as run:
        with anyio.fail_after(5):
            result = await run.wait()
    assert len(asked) == 3
    with anyio.fail_after(5):
        assert told(await p.replay(path).execute()) == told(result)
    assert len(asked) == 3


@BACKENDS
async def test_items_that_leave_no_lines_are_begun_again(tmp_path: Path) -> None:
    """Nothing but inputs and sinks is in the body, and a record has no lines of these."""
    body = Pipeline("body").input("x").sink("y").connect("x", "y")
    p, path = Pipeline("map").input("q").map("each", body).sink("out"), tmp_path / "run.jsonl"
    p.connect("q", "each").connect("each", "out")
    result = await p.invoke({"q": "one\ntwo"}, record=path)
    assert result.text == {"out": "one\ntwo"}
    with anyio.fail_after(5):
        assert told(await p.replay(path).execute()) == told(result)


@BACKENDS
async def test_the_place_is_named_where_the_declaration_is_another(tmp_path: Path) -> None:
    """The record does not tell whether the run was stopped, or the other declaration goes further."""
    path = tmp_path / "run.jsonl"

    def look() -> str:
        """Look."""
        return "seen"

    script = [Say("looking "), LATER, Call("look")]
    await stopped(one(lambda _: script, [look]), path)
    other = one(lambda _: script, [look], sampling={"max_tokens": 99})
    with pytest.raises(ReplayError, match="another declaration"):
        await other.replay(path).execute()


@BACKENDS
async def test_a_run_that_goes_on_behind_its_end_has_another_end(tmp_path: Path) -> None:
    """Of the run, and of the node, whose counts are those of all its turns."""
    prompts: list[PromptView] = []

    def look() -> str:
        """Look."""
        return "seen"

    def script(prompt: PromptView) -> Any:
        prompts.append(prompt)
        return [Say("looking "), LATER, Call("look")] if len(prompts) == 1 else "done."

    p, path = one(script, [look]), tmp_path / "run.jsonl"
    async with p.run_or_recover(path, {"q": "go"}) as run:
        await anext(run.text("out"))
        run.cancel(after="turn")
        await run.wait()
    assert read_record(path).complete
    result = await p.run_or_recover(path, {"q": "go"}).execute()
    assert result.text["out"] == "looking done."
    record = read_record(path)
    assert record.complete
    usage = record.ends["m"]["usage"]
    assert (usage["turns"], usage["tool_calls"]) == (2, 1)
    before = path.read_text(encoding="utf-8").count('"kind":"end"')
    again = await p.run_or_recover(path, {"q": "go"}).execute()
    assert (again.text, len(prompts)) == (result.text, 2)
    assert path.read_text(encoding="utf-8").count('"kind":"end"') == before
    assert told(await p.replay(path).execute())["text"] == result.text


@BACKENDS
@pytest.mark.parametrize("kind", ["loop", "map"])
async def test_rounds_and_items_behind_the_end_are_replayed(tmp_path: Path, kind: str) -> None:
    """The end of the loop, or of the map, is that of all rounds and items."""
    asked: list[str] = []
    script = stopping_third(asked, lambda: run.cancel(after="turn"))
    p, path = with_second(kind, script), tmp_path / "run.jsonl"
    async with p.run_or_recover(path, {"q": "go"}) as run:
        await run.wait()
    with anyio.fail_after(5):
        result = await p.run_or_recover(path, {"q": "go"}).execute()
        assert len(asked) > 3
        assert told(await p.replay(path).execute()) == told(result)
