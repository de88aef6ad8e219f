"""The context that engines tell: asked for once, per model, and never guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.engines.base import GenerationRequest, Timeouts, context_of
from codec_agents.engines.context import of_models, of_props
from codec_agents.engines.factory import make_engine
from codec_agents.engines.pool import EnginePool
from codec_agents.exceptions import EngineError
from codec_agents.testing import ScriptedEngine
from codec_agents.vocabularies import bundled_map
from codec_core.vocabulary import vocabulary_of
from tests.agents.engines.imitations import CONTEXT, imitation
from tests.agents.engines.stock_servers import RawServer, head

pytestmark = pytest.mark.anyio

WORDS = vocabulary_of(bundled_map("demo/words"))
REQUEST = GenerationRequest(prompt_ids=[65, 66], vocabulary=WORDS, timeouts=Timeouts(first_id=5.0))


@pytest.mark.parametrize("kind", ["vllm", "sglang", "llamacpp"])
async def test_a_stock_engine_tells_its_context(kind: str) -> None:
    with imitation(kind, WORDS) as url:
        engine = make_engine(kind, url=url)
        found = await context_of(engine, REQUEST)
        if kind == "vllm":
            auto = make_engine("auto", url=url)
            assert await context_of(auto, REQUEST) == found
            await auto.aclose()
        await engine.aclose()
    assert found == (CONTEXT - 16 if kind == "sglang" else CONTEXT)


@pytest.mark.parametrize("kind", ["vllm", "llamacpp"])
async def test_an_answer_without_a_limit_may_fill_what_is_left(kind: str) -> None:
    with imitation(kind, WORDS) as url:
        p = Pipeline("one").input("q").sink("out")
        p.engine("e", kind=kind, url=url)  # type: ignore[arg-type]
        p.model("m", engine="e", map="demo/words", prompt="{q}").connect("q", "m.q").connect("m", "out")
        result = await p.invoke({"q": "say it at length"})
        assert result.finish_reasons["m"] in ("stop", "length")
        assert result.usage["m"].generated_ids


def answer(document: Any, status: int = 200) -> bytes:
    body = json.dumps(document).encode()
    return head(status, {"content-type": "application/json", "content-length": str(len(body))}.items()) + body


@pytest.mark.parametrize(
    "document",
    [{}, [], None, {"data": []}, {"data": [{"id": "m"}]}, {"data": [{"id": "m", "max_model_len": True}]},
     {"data": [{"id": "m", "max_model_len": "9"}]}, {"data": [{"id": "m", "max_model_len": -1}]}],
)  # fmt: skip
async def test_what_is_no_number_is_not_told(document: Any) -> None:
    async with RawServer(answer(document)) as server:
        engine = make_engine("vllm", url=server.url)
        assert await context_of(engine, REQUEST) is None
        await engine.aclose()


async def test_a_server_without_the_call_does_not_tell_and_one_that_is_busy_is_asked_again() -> None:
    async with RawServer(answer({"detail": "Not Found"}, 404)) as server:
        engine = make_engine("vllm", url=server.url)
        assert await context_of(engine, REQUEST) is None
        await engine.aclose()
    async with RawServer(answer({"detail": "busy"}, 503)) as server:
        engine = make_engine("vllm", url=server.url)
        for _ in range(2):
            with pytest.raises(EngineError, match="/v1/models answered 503"):
                await context_of(engine, REQUEST)
        await engine.aclose()


def test_an_adapter_has_the_context_of_the_model_below_it() -> None:
    models = [{"id": "base", "max_model_len": 4096}, {"id": "tuned", "parent": "base", "max_model_len": None}]
    assert of_models({"data": models}, "tuned") == 4096
    assert of_models({"data": models}, None) == 4096
    assert of_props({"default_generation_settings": {"n_ctx": 512}}, None) == 512


class Telling(ScriptedEngine):
    """Tells a context."""

    def __init__(self, name: str, context: int | None) -> None:
        super().__init__(lambda _: "hi", name=name)
        self._told = context

    async def context_length(self, request: GenerationRequest) -> int | None:
        return self._told


@pytest.mark.parametrize(("told", "expected"), [((100, 80), 80), ((100, None), None)])
async def test_a_pool_has_the_smallest_context_of_its_replicas(told: Any, expected: int | None) -> None:
    pool = EnginePool([Telling(f"e{n}", each) for n, each in enumerate(told)], name="pool")
    assert await context_of(pool, REQUEST) == expected
    assert await context_of(ScriptedEngine(lambda _: "hi"), REQUEST) is None
