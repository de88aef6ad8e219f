"""The official clients, unchanged, through the gateway: every request after the first continues exact ids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from codec_agents.server import EmbeddedServer, ReasoningRules, ScriptedBackend
from codec_agents.server.gateway.server import Gateway
from codec_agents.server.recording import RecordedExchange, RecordingExchanges
from codec_agents.testing import Call, Say, Think
from tests.agents.dialects.families import small_map_of

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "number"}}}
FUNCTION = {"name": "weather", "description": "Say it.", "parameters": SCHEMA}


def script(prompt: Any) -> list[Any]:
    """Think, call two tools at once, then one more, answer; and answer the next question without any."""
    said = len(prompt.all_results)
    if "again" in prompt.user:
        return [Think("Again."), Say("\n\nStill sunny. ")]
    if said == 0:
        calls = [Call("weather", city="Zürich", days=3.0), Call("weather", city="東京", days=1)]
        return [Think("\nTwo calls: "), Say("\n\nI will  check. "), *calls]
    if said == 2:
        return [Think("One more."), Call("weather", city="Oslo", days=100)]
    return [Think("Done."), Say("\n\nIt is  sunny.\n")]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[EmbeddedServer[Gateway]]:
    backend = ScriptedBackend.of(small_map_of("qwen3"), script, "m", ids_a_frame=3)
    gateway = Gateway(backend, rules=ReasoningRules(kept="all"), exchanges=RecordingExchanges())
    async with EmbeddedServer(gateway) as server:
        yield server


def assert_exact(server: EmbeddedServer[Gateway], requests: int) -> None:
    """Check that each prompt begins with the one before and its answer."""
    exchanges = server.app.exchanges
    assert isinstance(exchanges, RecordingExchanges)
    found: list[RecordedExchange] = exchanges.generations
    assert len(found) == requests
    for before, after in pairwise(found):
        known = [*before.prompt_ids, *before.ids]
        assert list(after.prompt_ids[: len(known)]) == known
    counts = server.app.conversations.counts.requests
    assert (counts["new"], counts["extended"]) == (1, requests - 1)


@pytest.mark.parametrize("streamed", [False, True])
async def test_openai_chats(server: EmbeddedServer[Gateway], streamed: bool) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        messages: list[Any] = [
            {"role": "system", "content": "Be  brief.\n"},
            {"role": "user", "content": "Hi"},
        ]
        tools: Any = [{"type": "function", "function": FUNCTION}]
        for _ in range(4):
            if streamed:
                async with client.chat.completions.stream(
                    model="m", messages=messages, tools=tools
                ) as stream:
                    message = (await stream.get_final_completion()).choices[0].message
            else:
                answer = await client.chat.completions.create(model="m", messages=messages, tools=tools)
                message = answer.choices[0].message
            messages.append(message if not streamed else message.model_dump(exclude_none=True))
            messages += [
                {"role": "tool", "tool_call_id": call.id, "content": '{"t": 3.0}\n'}
                for call in message.tool_calls or ()
            ] or [{"role": "user", "content": "again"}]
    assert_exact(server, 4)


@pytest.mark.parametrize("by_id", [False, True])
async def test_openai_responses(server: EmbeddedServer[Gateway], by_id: bool) -> None:
    tools: Any = [{"type": "function", "strict": False, **FUNCTION}]
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        items: list[Any] = [{"role": "user", "content": "Hi"}]
        earlier: Any = openai.omit
        for _ in range(4):
            stream = await client.responses.create(
                model="m",
                input=items,
                tools=tools,
                stream=True,
                instructions="Be.",
                previous_response_id=earlier,
            )
            response = [event async for event in stream][-1].response  # type: ignore[union-attr]
            if by_id:
                items, earlier = [], response.id
            else:
                items += response.output
            calls = [item for item in response.output if item.type == "function_call"]
            items += [
                {"type": "function_call_output", "call_id": call.call_id, "output": "sun"} for call in calls
            ] or [{"role": "user", "content": "again"}]
    assert_exact(server, 4)


async def test_anthropic_messages(server: EmbeddedServer[Gateway]) -> None:
    tools: Any = [{"name": "weather", "description": "Say it.", "input_schema": SCHEMA}]
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="k") as client:
        messages: list[Any] = [{"role": "user", "content": "Hi"}]
        for _ in range(4):
            async with client.messages.stream(
                model="m", max_tokens=500, system="Be brief.", messages=messages, tools=tools
            ) as stream:
                message = await stream.get_final_message()
            messages.append({"role": "assistant", "content": message.content})
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": "sun"}
                for block in message.content
                if block.type == "tool_use"
            ]
            messages.append({"role": "user", "content": results or "again"})
    assert_exact(server, 4)
