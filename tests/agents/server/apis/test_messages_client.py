"""The `anthropic` client against our server."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import pytest
import pytest_asyncio

from codec_agents.server import ServerSettings
from codec_agents.testing import Say, Stop
from tests.agents.server.apis.weather import weather

pytestmark = pytest.mark.asyncio

TOOL = {"name": "weather", "description": "d", "input_schema": {"type": "object"}}
ASKED = {"role": "user", "content": "hi"}


def script(prompt: Any) -> list[Any]:
    if prompt.user == "And so?":
        return [Say("So what?")]
    return weather(prompt, ending=" END of it")


@pytest_asyncio.fixture
async def client(serve: Any) -> Any:
    async with (
        serve(script, ids_a_frame=2, settings=ServerSettings(api_keys=("secret",))) as server,
        anthropic.AsyncAnthropic(base_url=server.url, api_key="secret", max_retries=0) as client,
    ):
        yield client


async def both(client: anthropic.AsyncAnthropic, messages: Any = (ASKED,), **body: Any) -> Any:
    """Return the message, after it was read as a stream as well."""
    body = {"model": "model-1", "max_tokens": 100, "messages": list(messages), **body}
    whole = await client.messages.create(**body)
    async with client.messages.stream(**body) as stream:
        streamed = await stream.get_final_message()
    for mine, other in zip(whole.content, streamed.content, strict=True):
        left, right = mine.model_dump(), other.model_dump()
        for name in ("id", "signature", "parsed_output"):
            left.pop(name, None), right.pop(name, None)
        assert left == right
    assert (whole.usage, whole.stop_reason) == (streamed.usage, streamed.stop_reason)
    assert whole.stop_sequence == streamed.stop_sequence
    return whole


@pytest.mark.slow
async def test_text_and_thinking(client: anthropic.AsyncAnthropic) -> None:
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    message = await both(client, system=system, metadata={"user_id": "u"})
    thinking, text = message.content
    assert (thinking.thinking, text.text) == ("Easy.", "Hello ☂ Be brief. END of it")
    assert thinking.signature
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) > 0


@pytest.mark.slow
async def test_thinking_that_is_omitted_has_its_signature_alone(client: anthropic.AsyncAnthropic) -> None:
    thinking, text = (await both(client, thinking={"type": "adaptive", "display": "omitted"})).content
    assert (thinking.thinking, text.text[:5]) == ("", "Hello")
    assert thinking.signature


@pytest.mark.slow
async def test_a_stop_sequence_is_named(client: anthropic.AsyncAnthropic) -> None:
    message = await both(client, stop_sequences=["never", "END"])
    assert message.content[-1].text == "Hello ☂  "
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")


async def test_tools_there_and_back(client: anthropic.AsyncAnthropic) -> None:
    message = await both(client, tools=[TOOL])
    _, *calls = message.content
    assert [(call.type, call.name, call.input) for call in calls] == [
        ("tool_use", "weather", {"city": "Oslo", "days": 1.5}),
        ("tool_use", "weather", {"city": "Zürich"}),
    ]
    assert message.stop_reason == "tool_use"
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": said}]}
        for call, said in zip(reversed(calls), ["warm", "cold"], strict=True)
    ]
    turns = [ASKED, {"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    after = await both(client, turns, tools=[TOOL])
    assert after.content[-1].text == "It is cold, warm."
    results.append({"type": "text", "text": "And so?"})
    after = await both(client, turns, tools=[TOOL])
    assert after.content[-1].text == "So what?"


@pytest.mark.slow
async def test_an_answer_that_was_cut(client: anthropic.AsyncAnthropic) -> None:
    message = await both(client, [{"role": "user", "content": "cut"}])
    assert message.stop_reason == "max_tokens"


@pytest.mark.slow
async def test_a_lost_generation_raises(serve: Any) -> None:
    async with (
        serve(lambda _: [Say("It"), Stop("error")]) as server,
        anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as client,
    ):
        body: Any = {"model": "model-1", "max_tokens": 9, "messages": [ASKED]}
        with pytest.raises(anthropic.APIStatusError, match="did not finish"):
            async for _ in await client.messages.create(**body, stream=True):
                pass
        with pytest.raises(anthropic.InternalServerError):
            await client.messages.create(**body)


@pytest.mark.slow
async def test_ids_are_counted_and_models_listed(client: anthropic.AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model="model-1", messages=[ASKED], system="Be brief.")
    message = await both(client, system="Be brief.")
    cached = message.usage.cache_read_input_tokens or 0
    assert counted.input_tokens == message.usage.input_tokens + cached
    assert [model.id async for model in client.models.list()] == ["model-1"]


@pytest.mark.slow
async def test_errors_have_the_apis_own_form(client: anthropic.AsyncAnthropic) -> None:
    body: Any = {"model": "model-1", "max_tokens": 9, "messages": [ASKED]}
    with pytest.raises(anthropic.NotFoundError, match="no model 'other'"):
        await client.messages.create(**{**body, "model": "other"})
    begun = [ASKED, {"role": "assistant", "content": "It"}]
    with pytest.raises(anthropic.BadRequestError, match="messages: the last message") as refused:
        await client.messages.create(**{**body, "messages": begun})
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(anthropic.AuthenticationError):
        await client.with_options(api_key="wrong").messages.create(**body)


async def test_every_event_is_named(serve: Any) -> None:
    async with serve(script, ids_a_frame=3) as server, httpx.AsyncClient(base_url=server.url) as client:
        body = {"max_tokens": 50, "messages": [ASKED], "tools": [TOOL], "stream": True}
        text = (await client.post("/v1/messages", json=body)).text
    names = [event.partition("\n")[0].removeprefix("event: ") for event in text.split("\n\n")[:-1]]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    merged = [name for place, name in enumerate(names) if name != names[place - 1] or not place]
    assert merged == ["message_start", *3 * block, "message_delta", "message_stop"]
    assert text.rindex("signature_delta") > text.rindex("thinking_delta")
