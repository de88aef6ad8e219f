"""The `openai` client's Responses against our server."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from codec_agents.testing import Say, Stop
from tests.agents.server.apis.weather import weather

pytestmark = pytest.mark.asyncio

TOOL = {"type": "function", "name": "weather", "description": "d", "parameters": {"type": "object"}}


@pytest_asyncio.fixture
async def client(serve: Any) -> Any:
    async with (
        serve(weather, ids_a_frame=2) as server,
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


async def both(client: openai.AsyncOpenAI, **body: Any) -> Any:
    """Return the response, after it was read as a stream as well."""
    whole = await client.responses.create(model="model-1", **body)
    stream = await client.responses.create(model="model-1", stream=True, **body)
    streamed = [event async for event in stream][-1].response
    for mine, other in zip(whole.output, streamed.output, strict=True):
        left, right = mine.model_dump(), other.model_dump()
        for name in ("id", "call_id", "encrypted_content", "parsed_arguments"):
            left.pop(name, None), right.pop(name, None)
        assert left == right
    assert whole.usage == streamed.usage
    assert whole.status == streamed.status
    return whole


@pytest.mark.slow
async def test_text_and_reasoning(client: openai.AsyncOpenAI) -> None:
    response = await both(client, input="hi", instructions="Be brief.", metadata={"run": "7"})
    async with client.responses.stream(model="model-1", input="hi", instructions="Be brief.") as stream:
        assert (await stream.get_final_response()).output_text == response.output_text
    assert response.output_text == "Hello ☂ Be brief."
    reasoning, message = response.output
    assert [part.text for part in reasoning.content] == ["Easy."]
    assert (message.role, message.status, response.status) == ("assistant", "completed", "completed")
    assert (response.instructions, response.metadata) == ("Be brief.", {"run": "7"})
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert 0 < response.usage.output_tokens_details.reasoning_tokens < response.usage.output_tokens


@pytest.mark.slow
async def test_reasoning_as_a_summary_and_by_a_token(client: openai.AsyncOpenAI) -> None:
    response = await both(
        client, input="hi", reasoning={"summary": "auto"}, include=["reasoning.encrypted_content"]
    )
    [reasoning, _] = response.output
    assert [part.text for part in reasoning.summary] == ["Easy."]
    assert not reasoning.content
    assert reasoning.encrypted_content


async def test_tools_there_and_back(client: openai.AsyncOpenAI) -> None:
    asked = {"role": "user", "content": "weather?"}
    response = await both(client, input=[asked], tools=[TOOL])
    _, *calls = response.output
    assert [(call.type, call.name, call.arguments) for call in calls] == [
        ("function_call", "weather", '{"city": "Oslo", "days": 1.5}'),
        ("function_call", "weather", '{"city": "Zürich"}'),
    ]
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": said}
        for call, said in zip(reversed(calls), ["warm", "cold"], strict=True)
    ]
    after = await both(client, input=[asked, *response.output, *results], tools=[TOOL])
    assert after.output_text == "It is cold, warm."


@pytest.mark.slow
async def test_an_answer_that_was_cut_is_incomplete(client: openai.AsyncOpenAI) -> None:
    response = await both(client, input="cut")
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert [item.status for item in response.output] == ["completed", "incomplete"]


@pytest.mark.slow
async def test_a_lost_generation_fails(serve: Any) -> None:
    async with (
        serve(lambda _: [Say("It"), Stop("error")]) as server,
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        stream = await client.responses.create(model="model-1", input="hi", stream=True)
        last = [event async for event in stream][-1]
        assert (last.type, last.response.error.code) == ("response.failed", "server_error")
        with pytest.raises(openai.InternalServerError):
            await client.responses.create(model="model-1", input="hi")


@pytest.mark.slow
async def test_errors_name_the_field(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.responses.create(model="model-1", input="x", previous_response_id="resp_1")
    assert (unknown.value.param, unknown.value.code) == (
        "previous_response_id",
        "previous_response_not_found",
    )
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="model-1", input="x", background=True)
    assert refused.value.param == "background"


async def test_every_event_is_named_and_numbered(serve: Any) -> None:
    async with serve(weather, ids_a_frame=3) as server, httpx.AsyncClient(base_url=server.url) as client:
        body = {"input": "weather", "tools": [TOOL], "stream": True}
        text = (await client.post("/v1/responses", json=body)).text
    events = [event.split("\n") for event in text.split("\n\n")[:-1]]
    documents = [json.loads(data.removeprefix("data: ")) for _, data in events]
    assert [document["sequence_number"] for document in documents] == list(range(len(events)))
    kinds = [name.removeprefix("event: response.") for name, _ in events]
    assert [document["type"] for document in documents] == [f"response.{kind}" for kind in kinds]
    assert kinds[:2] == ["created", "in_progress"]
    assert kinds[-1] == "completed"
    without_deltas = [kind for kind in kinds[2:-1] if not kind.endswith("delta")]
    assert without_deltas == [
        "output_item.added", "content_part.added",
        "reasoning_text.done", "content_part.done", "output_item.done",
        *2 * ["output_item.added", "function_call_arguments.done", "output_item.done"],
    ]  # fmt: skip
