"""Tools that have to be called, or once at most, and answers of a form: what the engine gets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from codec_agents.engines.vllm import VllmEngine
from codec_agents.records.reader import read_record
from codec_agents.records.trajectories import trajectories_of
from codec_agents.server import EmbeddedServer, ScriptedBackend
from codec_agents.server.gateway.server import Gateway
from codec_agents.server.recording import RecordingExchanges
from codec_agents.testing import Call, Raw, Say
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents.dialects.families import small_map_of
from tests.agents.engines.stock_servers import StockServer, vllm_completions
from tests.agents.server.gateway.test_gateway import SCHEMA, TOOL, Serving, extends

pytestmark = pytest.mark.asyncio

CLOCK = {"type": "function", "function": {"name": "clock", "description": "d", "parameters": SCHEMA}}
USER = {"role": "user", "content": "weather?"}
NAMED = {"type": "function", "function": {"name": "weather"}}
REST = ' {"city": "Oslo"}}\n</tool_call>'
"""The rest of a call, behind what the gateway inserts."""


def script(prompt: Any) -> Iterator[Any]:
    if prompt.all_results:
        yield Say("It is " + ", ".join(prompt.all_results))
    elif "two" in prompt.user:
        yield Say("Both.")
        yield Call("weather", city="Oslo")
        yield Call("clock", city="Oslo")
        yield Say("never seen")
    elif "nothing" in prompt.user:
        yield Say("no call")
    elif "any" in prompt.user:
        yield Raw('weather", "arguments":' + REST)
    else:
        yield Raw(REST)


@asynccontextmanager
async def serving(family: str = "qwen3", **options: Any) -> AsyncIterator[Serving]:
    backend = ScriptedBackend.of(small_map_of(family), script, "m", ids_a_frame=3)
    gateway = Gateway(backend, exchanges=RecordingExchanges(), **options)
    async with EmbeddedServer(gateway) as server, httpx.AsyncClient(base_url=server.url) as client:
        yield Serving(server, client)


async def test_a_named_tool_is_called_and_the_conversation_goes_on_exactly(tmp_path: Any) -> None:
    async with serving(record=tmp_path) as gateway:
        first = (await gateway.ask(messages=[USER], tools=[TOOL, CLOCK], tool_choice=NAMED)).json()
        [choice] = first["choices"]
        [call] = choice["message"]["tool_calls"]
        assert (call["function"]["name"], choice["finish_reason"]) == ("weather", "tool_calls")
        assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
        result = {"role": "tool", "tool_call_id": call["id"], "content": "sun"}
        second = await gateway.ask(messages=[USER, choice["message"], result], tools=[TOOL, CLOCK])
        one, two = gateway.generations
        assert second.headers["x-codec-lineage"] == f"extended {len(one.prompt_ids) + len(one.ids)}"
        assert extends(one, two)
        [path] = gateway.gateway.records.folder.glob("*.jsonl")
        record = read_record(path)
        assert record.turns[0].regions[0][:2] == ("tool_calls", 0)
        [row] = trajectories_of(record)
        assert sum(row.sampled) == len(one.ids) + len(two.ids)


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [USER], "tools": [TOOL], "tool_choice": "required"}),
        (
            "/v1/responses",
            {
                "input": "weather?",
                "tools": [{"type": "function", **TOOL["function"]}],  # type: ignore[dict-item]
                "tool_choice": {"type": "function", "name": "weather"},
            },
        ),
        (
            "/v1/messages",
            {
                "messages": [USER],
                "max_tokens": 90,
                "tools": [{"name": "weather", "input_schema": SCHEMA}],
                "tool_choice": {"type": "tool", "name": "weather"},
            },
        ),
    ],
)
async def test_each_api_makes_the_model_call(path: str, body: dict[str, Any], streamed: bool) -> None:
    async with serving() as gateway:
        answer = await gateway.ask(path, **body, stream=streamed)
        assert answer.status_code == 200, answer.text
        assert "weather" in answer.text
        assert "Oslo" in answer.text


@pytest.mark.slow
async def test_the_model_chooses_among_several_tools() -> None:
    async with serving() as gateway:
        asked = [{"role": "user", "content": "any"}]
        answer = await gateway.ask(messages=asked, tools=[TOOL, CLOCK], tool_choice="required")
        [call] = answer.json()["choices"][0]["message"]["tool_calls"]
        assert call["function"]["name"] == "weather"


async def test_a_turn_that_was_to_call_and_does_not_is_no_answer() -> None:
    async with serving() as gateway:
        body = {"messages": [{"role": "user", "content": "nothing"}], "tools": [TOOL], "tool_choice": NAMED}
        with pytest.raises(httpx.RemoteProtocolError):
            await gateway.ask(**body, stream=True)
        assert (await gateway.ask(**body)).status_code == 500
        assert gateway.gateway.conversations.counts.stored == 0


async def test_a_turn_of_one_call_ends_behind_it() -> None:
    async with serving() as gateway:
        body = {"messages": [{"role": "user", "content": "two"}], "tools": [TOOL, CLOCK]}
        whole = (await gateway.ask(**body)).json()["choices"][0]
        assert [call["function"]["name"] for call in whole["message"]["tool_calls"]] == ["weather", "clock"]
        single = await gateway.ask(**body, parallel_tool_calls=False, return_token_ids=True)
        [choice] = single.json()["choices"]
        assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["weather"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("Both.", "tool_calls")
        one, two = gateway.generations
        assert choice["token_ids"] == list(one.ids[: len(two.ids)])
        result = {"role": "tool", "tool_call_id": choice["message"]["tool_calls"][0]["id"], "content": "sun"}
        more = [*body["messages"], choice["message"], result]
        again = await gateway.ask(**{**body, "messages": more})
        assert again.headers["x-codec-lineage"].startswith("extended")
        assert extends(*gateway.generations[1:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "body", "field"),
    [
        ("qwen3", {"tool_choice": "required"}, "tool_choice"),
        ("qwen3", {"tools": [CLOCK], "tool_choice": NAMED}, "tool_choice"),
        ("llama4", {"tools": [TOOL], "tool_choice": NAMED}, "tool_choice"),
        ("mistral-v3", {"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ("qwen3", {"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
async def test_what_cannot_be_had_is_refused_by_name(family: str, body: dict[str, Any], field: str) -> None:
    async with serving(family) as gateway:
        refused = await gateway.ask(messages=[USER], **body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3", "qwq"])
async def test_the_engine_enforces_the_form_of_an_answer(family: str) -> None:
    source = vocabulary_of(small_map_of(family))
    turn = [*pick_tokenizer(source).encode_ordinary('{"city": "Oslo"}'), source.special_tokens["<|im_end|>"]]
    form = {"type": "json_schema", "json_schema": {"name": "c", "schema": SCHEMA}}
    async with StockServer({"/v1/completions": vllm_completions(turn)}) as upstream:
        engine = VllmEngine(upstream.url, api="completions", handshake=False)
        gateway = Gateway(engine, source, "m", dialect=family)
        async with EmbeddedServer(gateway) as server, httpx.AsyncClient(base_url=server.url) as client:
            body = {"messages": [USER], "response_format": form}
            answer = await client.post("/v1/chat/completions", json=body)
            refused = await client.post("/v1/chat/completions", json={**body, "tools": [TOOL]})
    assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {"city": "Oslo"}
    assert refused.json()["error"]["param"] == "response_format"
    [(_, _, sent)] = upstream.seen
    assert sent["structured_outputs"] == {"json": SCHEMA}
    closed = source.special_tokens["</think>"] in sent["prompt"][-4:]
    assert closed == (family == "qwq")  # whose prompts open the reasoning
