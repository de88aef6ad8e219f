"""The names of models at SGLang: they go to its router, and one of an adapter reaches the adapter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from codec_agents.engines.context import MAX_DOCUMENT
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.stock.adapters import meaning_of
from codec_agents.exceptions import EngineStatusError, EngineStreamError

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
    ("model", "meaning"),
    [
        ("s3://models/qwen", (None, True)),
        ("s3://models/qwen:sql", ("sql", True)),
        ("s3://models/qwen:later", ("later", True)),  # refused by the server until it is loaded
        ("sql", ("sql", True)),
        ("qwen:sql", ("sql", True)),
        ("any name", (None, False)),
        ("qwen2.5:7b", (None, False)),
        ("s3://models/llama", (None, False)),
    ],
)
def test_a_name_stands_for_the_adapter_that_the_server_takes_it_for(
    model: str, meaning: tuple[str | None, bool]
) -> None:
    assert meaning_of(LISTED, model) == meaning


def listing(document: object, status: int = 200) -> Any:
    return lambda _: (status, {"content-type": "application/json"}, [json.dumps(document).encode()])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "document"), [(401, {}), (404, {}), (200, []), (200, {"data": []}), (200, {"data": [1]})]
)
async def test_without_a_list_the_name_tells_until_there_is_one(
    words: Any, ask: Any, stock: Any, status: int, document: object
) -> None:
    routes = {
        "/v1/models": listing(document, status),
        "/generate": stock.sglang_generate([21, 22, 23, 24, 25]),
    }
    named = ["qwen:sql", "s3://models/qwen", "s3://models/qwen:sql", "sql"]
    async with stock.StockServer(routes) as server:
        engine = SglangEngine(server.url, api="generate", handshake=False)
        for model in named:
            await read(engine, ask(words, model=model))
        server.routes["/v1/models"] = listing(LISTED)
        await read(engine, ask(words, model="sql"))
        await engine.aclose()
    assert [body.get("lora_path") for _, _, body in server.seen if body] == ["sql", None, "sql", None, "sql"]


@pytest.mark.anyio
@pytest.mark.parametrize("missing", [1, 40])
async def test_a_list_that_breaks_off_is_not_taken_for_one_without_the_adapter(
    words: Any, ask: Any, stock: Any, missing: int
) -> None:
    whole = json.dumps(LISTED).encode()

    def broken(_: object) -> tuple[int, dict[str, str], list[bytes]]:
        return 200, {"content-length": str(len(whole))}, [whole[:-missing]]

    routes = {"/v1/models": broken, "/generate": stock.sglang_generate([21, 22, 23, 24, 25])}
    async with stock.StockServer(routes) as server:
        engine = SglangEngine(server.url, api="generate", handshake=False)
        with pytest.raises(EngineStreamError, match="broke"):
            await read(engine, ask(words, model="sql"))
        server.routes["/v1/models"] = listing(LISTED)
        await read(engine, ask(words, model="sql"))
        await engine.aclose()
    assert [body["lora_path"] for path, _, body in server.seen if path == "/generate"] == ["sql"]


@pytest.mark.anyio
async def test_a_list_that_is_too_long_to_be_read_is_an_error(words: Any, ask: Any, stock: Any) -> None:
    long = listing({"data": [{"id": "x" * MAX_DOCUMENT}]})
    async with stock.StockServer({"/v1/models": long}) as server:
        engine = SglangEngine(server.url, api="generate", handshake=False)
        with pytest.raises(EngineStreamError, match=f"more than {MAX_DOCUMENT} bytes") as raised:
            await read(engine, ask(words, model="sql"))
        await engine.aclose()
    assert not raised.value.transient


@pytest.mark.anyio
async def test_an_adapter_that_is_loaded_later_answers_from_then_on(words: Any, ask: Any, stock: Any) -> None:
    routes = {
        "/v1/models": listing({"data": LISTED["data"][:1]}),
        "/generate": stock.sglang_generate([21, 22, 23, 24, 25]),
    }
    async with stock.StockServer(routes) as server:
        engine = SglangEngine(server.url, api="generate", handshake=False)
        await read(engine, ask(words, model="sql"))
        server.routes["/v1/models"] = listing(LISTED)
        for _ in range(2):
            await read(engine, ask(words, model="sql"))
        await engine.aclose()
    assert [body.get("lora_path") for _, _, body in server.seen if body] == [None, "sql", "sql"]
    assert server.paths().count("/v1/models") == 2


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
