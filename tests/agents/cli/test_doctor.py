"""`codec-agents doctor`, on servers that answer as vLLM does, byte by byte."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from click.testing import CliRunner, Result

from codec_agents.cli import exits, main
from codec_agents.testing import scripted_server
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.engines.stock_servers import StockServer, tokenize_route, vllm_completions

pytestmark = pytest.mark.anyio
PIPELINE = """\
pipeline: looked at
engines: {A: {kind: %s, url: "%s"}}
nodes: {m: {engine: A, model: small, map: "%s", prompt: "{q}"}}
edges: [q -> m, m -> out]
policy: {retry: {attempts: 1}}
"""


def version(_: Any) -> Any:
    return 200, {"content-type": "application/json"}, [b'{"version": "0.11.2"}']


def models(_: Any) -> Any:
    listed = b'{"data": [{"id": "m", "max_model_len": 4096}]}'
    return 200, {"content-type": "application/json"}, [listed]


@pytest.fixture
async def server() -> AsyncIterator[StockServer]:
    vocabulary = vocabulary_of(bundled_map("demo/bytes"))
    routes = {
        "/v1/completions": vllm_completions([70, 71, 72, 73, 74]),
        "/tokenize": tokenize_route(pick_tokenizer(vocabulary)),
        "/version": version,
        "/v1/models": models,
    }
    async with StockServer(routes) as running:
        yield running


async def doctor(
    folder: Path, url: str, map_id: str = "demo/bytes", *options: str, kind: str = "vllm"
) -> Result:
    file = folder / "looked_at.yaml"
    file.write_text(PIPELINE % (kind, url, map_id))
    return await anyio.to_thread.run_sync(CliRunner().invoke, main, ["doctor", str(file), *options])


def checks(result: Result) -> dict[str, tuple[str, str]]:
    (engine,) = json.loads(result.output)["engines"]
    return {each["check"]: (each["status"], each["found"]) for each in engine["checks"]}


async def test_a_server_that_does_not_tell_its_context_is_named_with_what_follows(
    tmp_path: Path, server: StockServer
) -> None:
    del server.routes["/v1/models"]
    found = checks(await doctor(tmp_path, server.url, "demo/bytes", "--json"))
    assert found["context"] == ("unknown", "not told: an answer has 1,024 ids without `max_tokens`")


async def test_an_engine_of_kind_auto_is_looked_at_as_what_it_turned_out_to_be(
    tmp_path: Path, server: StockServer
) -> None:
    found = checks(await doctor(tmp_path, server.url, "demo/bytes", "--json", kind="auto"))
    assert found["server"] == ("ok", "vllm 0.11.2")
    assert found["tokenizer"] == ("ok", "equal to the map demo/bytes on the probe texts")


async def test_a_sound_server_passes_every_check(tmp_path: Path, server: StockServer) -> None:
    result = await doctor(tmp_path, server.url, "demo/bytes", "--json")
    assert result.exit_code == exits.DONE, result.output
    found = checks(result)
    assert found["server"] == ("ok", "vllm 0.11.2")
    assert found["tokenizer"] == ("ok", "equal to the map demo/bytes on the probe texts")
    assert found["token ids"][0] == "ok"
    assert found["context"] == ("ok", "4,096 ids for a prompt and its answer")
    assert found["prefix cache"][0] == "ok"
    assert "were cached" in found["prefix cache"][1]


async def test_what_a_server_does_not_report_is_named_with_the_flag_that_makes_it(
    tmp_path: Path, server: StockServer
) -> None:
    shown = (await doctor(tmp_path, server.url)).output
    assert "own times" in shown
    assert "--enable-per-request-metrics" in shown
    assert "--enable-prompt-tokens-details" not in shown, "cached ids are reported"


async def test_another_tokenizer_than_the_map_is_found(tmp_path: Path, server: StockServer) -> None:
    result = await doctor(tmp_path, server.url, "demo/words")
    assert result.exit_code == exits.ENGINE_FAILED
    assert "tokenizer: " in result.output
    assert "set the node's `map` to the files that the server loaded" in result.output


async def test_a_tokenizer_that_could_not_be_compared_is_not_called_equal(
    tmp_path: Path, server: StockServer
) -> None:
    del server.routes["/tokenize"]
    result = await doctor(tmp_path, server.url, "demo/bytes", "--json")
    assert result.exit_code == exits.DONE, result.output
    status, found = checks(result)["tokenizer"]
    assert (status, found.split(":")[0]) == ("unknown", "not compared")


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
async def test_a_codec_server_that_is_declared_as_another_kind_is_told_by_its_map_too(
    tmp_path: Path, kind: str
) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra `server`")
    with scripted_server(bundled_map("demo/bytes"), lambda _: "hello", name="small") as running:
        file = tmp_path / "other.yaml"
        file.write_text(PIPELINE % (kind, running.url, "demo/words"))
        asked = await anyio.to_thread.run_sync(CliRunner().invoke, main, ["doctor", str(file), "--json"])
        assert asked.exit_code == exits.ENGINE_FAILED
        assert checks(asked)["tokenizer"][0] == "failed"


async def test_a_server_that_is_down_is_named_with_a_remedy(tmp_path: Path) -> None:
    result = await doctor(tmp_path, "http://127.0.0.1:1")
    assert result.exit_code == exits.ENGINE_FAILED
    assert "start the server" in result.output
    assert checks(await doctor(tmp_path, "http://127.0.0.1:1", "demo/bytes", "--json")).keys() == {
        "reachable"
    }


async def test_a_server_that_refuses_says_why(tmp_path: Path, server: StockServer) -> None:
    del server.routes["/v1/completions"]
    result = await doctor(tmp_path, server.url)
    assert result.exit_code == exits.ENGINE_FAILED
    assert "404" in result.output


async def test_a_codec_server_is_told_by_its_map(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra `server`")
    with scripted_server(bundled_map("demo/bytes"), lambda _: "hello", name="small") as running:
        file = tmp_path / "codec.yaml"
        file.write_text(PIPELINE % ("codec", running.url, "demo/bytes"))
        asked = await anyio.to_thread.run_sync(CliRunner().invoke, main, ["doctor", str(file), "--json"])
        assert "map by hash" in checks(asked)["tokenizer"][1]
        file.write_text(file.read_text().replace("demo/bytes", "demo/words"))
        asked = await anyio.to_thread.run_sync(CliRunner().invoke, main, ["doctor", str(file), "--json"])
        assert asked.exit_code == exits.ENGINE_FAILED
        assert checks(asked)["tokenizer"][0] == "failed"
