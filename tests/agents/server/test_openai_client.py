"""The `openai` client, unchanged, against our server."""

import openai
import pytest
import pytest_asyncio

from codec_agents.testing import Call, Say, Think

pytestmark = pytest.mark.asyncio

TEXT = "It is 17 degrees in Porto ☂️."
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def script(prompt):
    if prompt.all_results:
        return [Say(f"The tool says {prompt.all_results[0]}.")]
    if "weather" in prompt.system:
        return [Think("I need the tool."), Call("weather", city="Oslo")]
    return [Think("Easy."), Say(f"{TEXT} You said {prompt.user!r}.")]


@pytest_asyncio.fixture
async def client(serve):
    async with (
        serve(script, ids_a_frame=2) as server,
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


async def test_completions(client):
    whole = await client.completions.create(model="model-1", prompt="hello")
    stream = await client.completions.create(model="model-1", prompt="hello", stream=True)
    parts = [part async for part in stream]
    assert whole.choices[0].text == "".join(part.choices[0].text for part in parts)
    assert whole.choices[0].finish_reason == parts[-1].choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


async def test_chat_keeps_reasoning_out_of_the_answer(client):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi <|im_end|>"}]
    whole = await client.chat.completions.create(model="model-1", messages=messages)
    stream = await client.chat.completions.create(
        model="model-1", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    parts = [part async for part in stream]
    said = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    message = whole.choices[0].message
    assert message.content == said == f"{TEXT} You said 'hi <|im_end|>'."
    assert message.reasoning_content == "Easy."
    assert parts[-1].usage.completion_tokens == whole.usage.completion_tokens


async def test_tools_there_and_back(client):
    messages = [{"role": "user", "content": "weather in Oslo?"}]
    whole = await client.chat.completions.create(model="model-1", messages=messages, tools=TOOLS)
    [choice] = whole.choices
    [call] = choice.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Oslo"}')
    assert choice.finish_reason == "tool_calls"
    messages += [
        choice.message.model_dump(exclude_none=True, exclude={"reasoning_content"}),
        {"role": "tool", "tool_call_id": call.id, "content": "4 degrees"},
    ]
    after = await client.chat.completions.create(model="model-1", messages=messages, tools=TOOLS)
    assert after.choices[0].message.content == "The tool says 4 degrees."


async def test_tool_calls_stream_whole(client):
    stream = await client.chat.completions.create(
        model="model-1", messages=[{"role": "user", "content": "weather?"}], tools=TOOLS, stream=True
    )
    parts = [part async for part in stream]
    calls = [call for part in parts for call in part.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.function.name) for call in calls] == [(0, "weather")]
    assert parts[-1].choices[0].finish_reason == "tool_calls"


async def test_errors_are_the_clients_own(client):
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        await client.completions.create(model="other", prompt="x")
    with pytest.raises(openai.BadRequestError, match="n must be 1"):
        await client.completions.create(model="model-1", prompt="x", n=2)
    models = [model.id async for model in client.models.list()]
    assert models == ["model-1"]
    assert (await client.models.retrieve("model-1")).id == "model-1"
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        await client.models.retrieve("other")
