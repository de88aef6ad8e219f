"""The names of models at SGLang: they go to its router, and one of an adapter reaches the adapter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.stock.adapters import adapter_of
from codec_agents.exceptions import EngineStatusError

LISTED: dict[str, Any] = {
    "data": [
        {"id": "s3://models/qwen", "parent": None},
        {"id": "sql", "parent": "s3://models/qwen", "root": "/adapters/sql"},
    ]
}


async def read(engine: SglangEngine, request: Any) -> list[int]:
    async with engine.stream(request) as stream:
        return [token async for frame in stream for token in frame.ids]


@pytest.mark.parametrize(
    ("model", "adapter"),
    [
        ("s3://models/qwen", None),
        ("s3://models/qwen:sql", "sql"),
        ("sql", "sql"),
        ("qwen:sql", "sql"),
        ("any name", None),
    ],
)
def test_a_name_stands_for_the_adapter_that_the_server_takes_it_for(model: str, adapter: str | None) -> None:
    assert adapter_of(LISTED, model) == adapter


@pytest.mark.anyio
@pytest.mark.parametrize("api", ["generate", "completions"])
@pytest.mark.parametrize(
    ("model", "lora"), [("sql", {"lora_path": "sql"}), ("s3://models/qwen", {}), (None, {})]
)
async def test_requests_name_the_model_and_its_adapter(
    words: Any, ask: Any, stock: Any, api: Any, model: str | None, lora: dict[str, str]
) -> None:
    answer = [21, 22, 23, 24, 25]
    routes = {
        "/v1/models": lambda _: (200, {"content-type": "application/json"}, [json.dumps(LISTED).encode()]),
        "/generate": stock.sglang_generate(answer),
        "/v1/completions": stock.vllm_completions(answer),
    }
    async with stock.StockServer(routes) as server:
        engine = SglangEngine(server.url, api=api, handshake=False)
        for _ in range(2):
            assert await read(engine, ask(words, model=model)) == answer
        await engine.aclose()
    bodies = [body for _, _, body in server.seen if body]
    named = {} if model is None else {"model": model}
    assert [{k: v for k, v in body.items() if k in ("model", "lora_path")} for body in bodies] == [
        {**named, **lora}
    ] * 2
    assert server.paths().count("/v1/models") == (0 if model is None else 1)


@pytest.mark.anyio
async def test_a_server_in_trouble_is_no_server_without_adapters(words: Any, ask: Any, stock: Any) -> None:
    routes = {"/v1/models": stock.refusing(503), "/generate": stock.sglang_generate([21, 22, 23, 24, 25])}
    async with stock.StockServer(routes) as server:
        engine = SglangEngine(server.url, api="generate", handshake=False)
        with pytest.raises(EngineStatusError, match="503"):
            await read(engine, ask(words, model="sql"))
        await engine.aclose()
    assert "/generate" not in server.paths()
