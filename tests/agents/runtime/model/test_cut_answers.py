"""An answer that is cut at `max_tokens`: accepted, refused, or continued from its exact ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.engines.base import GenerationRequest
from codec_agents.exceptions import AnswerCutError, LimitExceededError
from codec_agents.testing import ScriptedEngine

pytestmark = pytest.mark.anyio

ANSWER = "one two three four five six seven eight nine ten eleven twelve"


class Noting(ScriptedEngine):
    """Keeps the number of ids that each request asked for."""

    def __init__(self) -> None:
        super().__init__(lambda prompt: ANSWER)
        self.asked: list[int] = []

    def stream(self, request: GenerationRequest) -> Any:
        self.asked.append(request.options.max_tokens)
        return super().stream(request)


def cut(engine: ScriptedEngine, max_tokens: int, **policy: Any) -> Pipeline:
    p = Pipeline("cut").input("q").sink("out")
    sampling = {"max_tokens": max_tokens}
    p.model("m", engine=engine, map="demo/words", prompt="{q}", sampling=sampling, policy=policy)
    return p.connect("q", "m.q").connect("m.answer", "out")


async def test_an_accepted_cut_is_visible_in_the_result() -> None:
    result = await cut(Noting(), 4).invoke({"q": "count"})
    assert result.finish_reasons == {"m": "length"}
    assert len(result.ids["out"]) == 4


async def test_a_refused_cut_is_a_typed_error_that_names_the_node() -> None:
    with pytest.raises(AnswerCutError, match="node 'm' was cut after 4 ids") as raised:
        await cut(Noting(), 4, on_length="fail").invoke({"q": "count"})
    assert (raised.value.node, raised.value.delivered) == ("m", 4)


@pytest.mark.parametrize("max_tokens", [1, 3, 5, 1000])
async def test_a_continued_answer_equals_one_that_was_never_cut(max_tokens: int) -> None:
    whole = await cut(Noting(), 1000).invoke({"q": "count"})
    engine = Noting()
    result = await cut(engine, max_tokens, on_length="continue").invoke({"q": "count"})
    assert result.text == whole.text == {"out": ANSWER}
    assert result.ids == whole.ids
    assert result.finish_reasons == {"m": "stop"}
    assert set(engine.asked) == {max_tokens}


async def test_a_continued_answer_ends_at_the_limit_of_the_node() -> None:
    limited = cut(Noting(), 4, on_length="continue", limits={"max_ids": 6})
    with pytest.raises(LimitExceededError, match="6 ids"):
        await limited.invoke({"q": "count"})


async def test_a_continued_answer_is_recorded_and_replayed_as_one_turn(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    p = cut(Noting(), 4, on_length="continue")
    first = await p.invoke({"q": "count"}, record=file)
    replayed = await p.replay(file).execute()
    assert replayed.ids == first.ids
    assert replayed.finish_reasons == {"m": "stop"}


async def test_an_engine_that_cannot_continue_fails_instead() -> None:
    engine = Noting()
    engine.continues = False
    with pytest.raises(AnswerCutError):
        await cut(engine, 4, on_length="continue").invoke({"q": "count"})
