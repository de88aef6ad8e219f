"""Answers that an engine ends as failed: what had come is kept, and it is asked for again from there."""

from __future__ import annotations

import pytest

from codec_agents.exceptions import EngineStreamError
from codec_agents.graph import Policy, RetryPolicy
from codec_agents.pipeline import Pipeline
from codec_agents.testing import EmbeddedEngine, Say, ScriptedEngine, Stop
from codec_core.tokenizer import pick_tokenizer
from tests.agents.engines.wires import DONE, WIRES, Exchange, FaultyServer, event

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]

SENT = 3

ENDS = {
    "codec": [bytes.fromhex("83a3696473 90 a4646f6e65 c3 ad66696e6973685f726561736f6e a56572726f72")],
    "vllm completions": [
        event({"choices": [{"index": 0, "token_ids": [], "finish_reason": "abort"}]}) + DONE,
        event({"error": {"message": "boom", "type": "InternalServerError", "code": 500}}) + DONE,
    ],
    "vllm generate": [event({"choices": [{"index": 0, "token_ids": [], "finish_reason": "abort"}]}) + DONE],
    "sglang completions": [
        event({"choices": [{"index": 0, "token_ids": [], "finish_reason": "abort"}]}) + DONE
    ],
    "sglang generate": [
        event(
            {
                "output_ids": [],
                "meta_info": {
                    "completion_tokens": SENT,
                    "finish_reason": {"type": "abort", "message": "boom"},
                },
            }
        )
        + DONE
    ],
    "llamacpp": [event({"error": {"code": 500, "message": "boom", "type": "server_error"}})],
    "openai": [event({"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}) + DONE],
}
"""How each engine says, behind ids, that it failed."""


def failing(end: bytes):
    def fault(exchange: Exchange) -> None:
        exchange.send(exchange.head, b"".join(exchange.pieces[:SENT]), end)

    return fault


async def read(engine, request, came: list[int]) -> None:
    async with engine.stream(request) as stream:
        async for frame in stream:
            assert not frame.done, "a failure is no end"
            came += frame.ids


@pytest.fixture
def answer(words):
    return pick_tokenizer(words).encode_ordinary("one two three four five six")


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, ends in ENDS.items() for n in range(len(ends))]
)
async def test_a_failure_keeps_what_came(words, ask, answer, name, number):
    wire = WIRES[name]
    came: list[int] = []
    async with FaultyServer(wire, words, answer, failing(ENDS[name][number])) as server:
        engine = wire.make(server.url, **wire.options)
        with pytest.raises(EngineStreamError, match=r"abort|error|boom") as failed:
            await read(engine, ask(words), came)
        await engine.aclose()
    if name != "openai":  # the last ids of a text wait for what follows it
        assert came == answer[:SENT]
    assert (failed.value.delivered, failed.value.transient) == (len(came), True)


def chain(engine, words) -> Pipeline:
    pipeline = Pipeline("p", policy=Policy(retry=RetryPolicy(attempts=3, initial=0.001)))
    pipeline.input("q")
    limit = {"max_tokens": 1000}
    pipeline.model("m", engine=engine, map="demo/words", prompt="{q}", sampling=limit)
    pipeline.sink("out", text=True)
    pipeline.connect("q", "m.q")
    pipeline.connect("m.answer", "out")
    return pipeline


@pytest.mark.parametrize("name", [name for name in ENDS if name != "openai"])
async def test_it_is_asked_for_again_from_the_exact_prefix(words, answer, name):
    wire = WIRES[name]
    async with FaultyServer(wire, words, answer, failing(ENDS[name][0])) as server:
        engine = wire.make(server.url, **wire.options)
        result = await chain(engine, words).invoke({"q": "hello"})
        await engine.aclose()
    assert list(result.ids["out"]) == answer
    first, second = server.prompts
    assert second == first + answer[:SENT]


@pytest.mark.parametrize("reason", ["error", "abort"])
@pytest.mark.parametrize("kind", [ScriptedEngine, EmbeddedEngine])
async def test_scripted_models_fail_likewise(words, ask, kind, reason):
    engine = kind(lambda _: [Say("half an ans"), Stop(reason)])
    came: list[int] = []
    with pytest.raises(EngineStreamError, match=reason) as failed:
        await read(engine, ask(words), came)
    await engine.aclose()
    assert came[:4] == pick_tokenizer(words).encode_ordinary("half an ans")[:4]
    assert (failed.value.delivered, failed.value.transient) == (len(came), True)
