"""A stock engine behind the bridge is a Codec server."""

import importlib.util
import sys
from pathlib import Path

import httpx
import pytest

from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.pool import EnginePool
from codec_agents.engines.scripted.engine import ScriptedEngine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineStatusError, EngineStreamError
from codec_agents.server import BridgeBackend, EmbeddedServer, create_app
from codec_agents.testing import Cut, Say, turns
from codec_core.tokenizer import pick_tokenizer

pytestmark = pytest.mark.asyncio


def load_stock_servers():
    path = Path(__file__).parents[2] / "engines" / "stock_servers.py"
    name = "engine_tests_stock_servers"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


stock = load_stock_servers()


@pytest.fixture
def answer(words):
    return [*pick_tokenizer(words).encode_ordinary("It is 17 degrees."), words.special_tokens["<|im_end|>"]]


def bridged(words, upstream):
    engine = VllmEngine(upstream.url, api="completions", handshake=False)
    return EmbeddedServer(create_app(BridgeBackend(engine, words, "m", model="upstream-model")))


def ask(words, **options):
    prompt = pick_tokenizer(words).encode("<|im_start|>user\nhi<|im_end|>\n")
    return GenerationRequest(
        prompt_ids=prompt, vocabulary=words, model="m", options=SamplingOptions(**options)
    )


async def read(url, request):
    engine = CodecEngine(url)
    try:
        async with engine.stream(request) as stream:
            return [frame async for frame in stream]
    finally:
        await engine.aclose()


async def test_ids_pass_and_no_text_is_made(words, answer, monkeypatch):
    routes = {"/v1/completions": stock.vllm_completions(answer)}

    def tripwire(*_args, **_kwargs):
        raise AssertionError("text was made")

    monkeypatch.setattr("codec_core.detokenizer.Detokenizer.feed", tripwire)
    async with stock.StockServer(routes) as upstream, bridged(words, upstream) as server:
        frames = await read(server.url, ask(words, temperature=0.5, stop=("END",), stop_token_ids=(9,)))
    assert [token for frame in frames for token in frame.ids] == answer
    assert frames[-1].finish_reason == "stop"
    [(_, _, body)] = upstream.seen
    assert (body["model"], body["stop"], body["stop_token_ids"]) == ("upstream-model", ["END"], [9])


async def test_refusals_pass_and_failures_are_the_bridges(words):
    for status, expected in ((400, 400), (429, 429), (500, 502)):
        routes = {"/v1/completions": stock.refusing(status)}
        async with stock.StockServer(routes) as upstream, bridged(words, upstream) as server:
            with pytest.raises(EngineStatusError) as refused:
                await read(server.url, ask(words))
        assert refused.value.status == expected


async def test_an_engine_that_breaks_off_breaks_the_answer_off(words, answer):
    pieces = [stock.event(stock.vllm_event(answer[:2]))]
    routes = {"/v1/completions": lambda _: (200, stock.SSE, pieces)}
    async with stock.StockServer(routes) as upstream, bridged(words, upstream) as server:
        with pytest.raises(EngineStreamError) as broken:
            await read(server.url, ask(words))
    assert broken.value.delivered == 2


async def test_an_engine_that_is_down_is_a_503(words):
    async with stock.StockServer({}) as upstream:
        url = upstream.url
    engine = VllmEngine(url, api="completions", handshake=False)
    async with EmbeddedServer(create_app(BridgeBackend(engine, words))) as server:
        async with httpx.AsyncClient(base_url=server.url) as client:
            answer = await client.post("/v1/completions", json={"prompt": "x", "stream_format": "msgpack"})
        await engine.aclose()
    assert answer.status_code == 503


async def test_a_pool_behind_the_bridge_knows_of_a_replica_that_broke_off(words, answer):
    broken, well = (
        ScriptedEngine(lambda _: [Say("half"), Cut()], name="a"),
        ScriptedEngine(turns("whole"), name="b"),
    )
    pool = EnginePool([broken, well], name="p")
    async with EmbeddedServer(create_app(BridgeBackend(pool, words, "m"))) as server:
        with pytest.raises(EngineStreamError):
            await read(server.url, ask(words))
        assert pool.state["a"].startswith("resting")
        assert (await read(server.url, ask(words)))[-1].done
    assert [len(engine.requests) for engine in (broken, well)] == [1, 1]
