"""Engines of a user's own: each way in which one breaks the contract is a typed error."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import pytest

from codec_agents.engines.base import FAILED_REASONS
from codec_agents.engines.checked import checked
from codec_agents.exceptions import EngineStreamError, NodeFailedError, PipelineError
from codec_agents.pipeline import Pipeline
from codec_core.frames import CodecFrame
from tests.agents.engines.frame_streams import FrameStream

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


class Own:
    name = provider = "own"

    def __init__(self, *frames: Any) -> None:
        self.frames = list(frames)
        self.asked = 0

    @asynccontextmanager
    async def stream(self, request):
        self.asked += 1
        yield FrameStream(self.frames)

    async def aclose(self) -> None:
        """Hold nothing."""


AT_ONCE = {"retry": {"initial": 0.0, "max": 0.0}}


def chain(engine: Any) -> Pipeline:
    pipeline = Pipeline("p")
    pipeline.input("q")
    pipeline.model("m", engine=engine, map="demo/words", prompt="{q}", policy=AT_ONCE)
    pipeline.sink("out", text=True)
    pipeline.connect("q", "m.q")
    pipeline.connect("m.answer", "out")
    return pipeline


FIRST = CodecFrame((21,), done=False)
LAST = CodecFrame((22,), done=True, finish_reason="stop")

BROKEN = {
    "an id outside the map": ([CodecFrame((999_999,), done=True)], "the id 999999 is not in the map"),
    "a negative id": ([CodecFrame((-1,), done=True)], "the id -1 is not in the map"),
    "no id": ([CodecFrame(("a",), done=True)], "an id is a str"),  # type: ignore[arg-type]
    "no ids": ([CodecFrame(5, done=True)], "its ids are 5"),  # type: ignore[arg-type]
    "a float": ([FIRST, CodecFrame((21.0,), done=True)], "an id is a float"),  # type: ignore[arg-type]
    "a truth value": ([CodecFrame((21, True), done=True)], "an id is a bool"),
    "no end": ([FIRST], "ended before it was done"),
    "nothing": ([], "ended before it was done"),
    "a frame after the end": ([LAST, FIRST], "follows the last one"),
    "another thing": ([FIRST, {"ids": [3]}], "a dict where a CodecFrame"),
    "a failure": ([FIRST, CodecFrame((), done=True, finish_reason="error")], "ended the answer with 'error'"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_breaks_the_contract_is_a_typed_error(name):
    frames, message = BROKEN[name]
    engine = Own(*frames)
    with pytest.raises(NodeFailedError, match=message) as failed:
        await chain(engine).invoke({"q": "hi"})
    assert isinstance(failed.value.cause, EngineStreamError)
    if FIRST in frames[:1]:
        assert engine.asked == 1, (
            "an engine that does not say that it continues is not asked behind its first id"
        )


async def test_one_that_keeps_to_it_answers():
    result = await chain(Own(FIRST, LAST)).invoke({"q": "hi"})
    assert list(result.ids["out"]) == [21, 22]


@pytest.mark.parametrize("reason", sorted(FAILED_REASONS))
async def test_ids_that_came_with_a_failure_are_given_on_before_it(reason, words):
    failing = CodecFrame((22, 23), done=True, finish_reason=reason)
    frames = checked(Own(), FrameStream([FIRST, failing, LAST]), words)
    assert await anext(frames) == FIRST
    assert await anext(frames) == CodecFrame((22, 23), done=False), "with `done` it would look complete"
    for _ in range(2):
        with pytest.raises(EngineStreamError, match=f"ended the answer with '{reason}'") as failed:
            await anext(frames)
        assert failed.value.delivered == 3


@pytest.mark.parametrize("missing", ["stream", "aclose", "name", "provider"])
def test_what_is_no_engine_is_a_fault_of_the_build(missing):
    members = {"stream": Own.stream, "aclose": Own.aclose, "name": "own", "provider": "own"}
    del members[missing]
    engine = type("Almost", (), members)()
    with pytest.raises(PipelineError, match=f"not an engine: it has no .*{missing}"):
        chain(engine).build()
