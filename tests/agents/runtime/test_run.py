"""A run as its caller sees it."""

from __future__ import annotations

import anyio
import pytest

from codec_agents import Pipeline
from codec_agents.exceptions import RunError
from codec_agents.runtime.run import Run
from codec_agents.testing import ScriptedEngine

pytestmark = pytest.mark.anyio

PUBLIC = {
    "cancel",
    "edges",
    "execute",
    "ids",
    "outcomes",
    "partial_result",
    "result",
    "reward",
    "run_id",
    "seconds",
    "text",
    "usage",
    "wait",
}
"""The attributes that a caller needs, and all that there are."""


def echo() -> Pipeline:
    p = Pipeline("echo").input("q").sink("out")
    p.model("m", engine=ScriptedEngine(lambda prompt: "hello"), map="demo/words", prompt="{q}")
    return p.connect("q", "m.q").connect("m.answer", "out")


async def test_a_run_shows_its_caller_no_more_than_a_caller_needs() -> None:
    assert {name for name in dir(Run) if not name.startswith("_")} == PUBLIC
    run = echo().run({"q": "hi"})
    async with run:
        await run.wait()
    assert {name for name in vars(run) if not name.startswith("_")} == set()


def test_an_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="unknown run option 'recrod'; the options are record, "):
        echo().run({"q": "hi"}, recrod="file")  # type: ignore[call-arg]


async def test_a_run_that_was_never_entered_is_not_waited_for() -> None:
    run = echo().run({"q": "hi"})
    for use in (run.__aiter__, lambda: run.text("out"), lambda: run.ids("out")):
        with pytest.raises(RunError, match="the run has not begun; use `async with"):
            use()
    with pytest.raises(RunError, match="the run has not begun"):
        await run.wait()
    async with run:
        assert (await run.wait()).text == {"out": "hello"}
    assert "".join([piece async for piece in run.text("out")]) == "hello"


async def test_a_batch_takes_the_options_of_a_run(tmp_path) -> None:
    results = await echo().batch([{"q": "a"}, {"q": "b"}], record=tmp_path / "records", run_id="night")
    assert [result.run_id for result in results] == ["night-0", "night-1"]
    assert sorted(path.name for path in (tmp_path / "records").iterdir()) == ["000000.jsonl", "000001.jsonl"]


class Rows:
    """A data set that is read by position, as many are: it has no `__iter__`."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, position: int) -> dict[str, str]:
        return [{"q": "a"}, {"q": "b"}][position]


async def test_any_path_and_any_sequence_is_taken(tmp_path) -> None:
    path = anyio.Path(tmp_path / "run.jsonl")
    await echo().invoke({"q": "hi"}, record=path)
    assert await path.exists()
    results = await echo().batch(Rows(), record=anyio.Path(tmp_path / "records"))  # type: ignore[arg-type]
    assert [result.text["out"] for result in results] == ["hello", "hello"]
    assert await anyio.Path(tmp_path / "records" / "000001.jsonl").exists()


async def test_the_result_says_why_each_answer_ended() -> None:
    p = Pipeline("cut").input("q").sink("out")
    p.model(
        "m",
        engine=ScriptedEngine(lambda prompt: "hello there"),
        map="demo/words",
        prompt="{q}",
        sampling={"max_tokens": 2},
    )
    p.connect("q", "m.q").connect("m.answer", "out")
    assert (await p.invoke({"q": "hi"})).finish_reasons == {"m": "length"}
    assert (await echo().invoke({"q": "hi"})).finish_reasons == {"m": "stop"}


def test_a_pipeline_explains_and_draws_itself() -> None:
    p = echo()
    assert "m.answer" in str(p.explain())
    assert p.explain().text_boundaries == ("q.value -> m.q", "m.answer -> out")
    assert p.to_mermaid().startswith("flowchart")
    assert p.to_svg().startswith("<svg")
