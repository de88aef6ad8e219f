"""Every field that OpenAI's client can send: read, taken where it asks nothing, or refused by its name."""

import inspect
import json

import httpx
import openai
import pytest
import pytest_asyncio
from openai.resources.chat.completions import AsyncCompletions as Chat
from openai.resources.completions import AsyncCompletions as Completions

from codec_agents.server.apis import chat
from codec_agents.server.bodies import FIELDS
from codec_agents.server.fields import ASKING_NOTHING, HINTS

pytestmark = pytest.mark.asyncio

OF_THE_CLIENT = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
MESSAGES = [{"role": "user", "content": "hi"}]

REFUSED = {
    "audio": {"format": "wav", "voice": "alloy"},
    "best_of": 2,
    "echo": True,
    "frequency_penalty": 0.5,
    "function_call": {"name": "f"},
    "functions": [{"name": "f"}],
    "logit_bias": {"50256": -100},
    "logprobs": 21,
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest"},
    "n": 2,
    "parallel_tool_calls": False,
    "presence_penalty": -0.5,
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "suffix": " the end",
    "tool_choice": "required",
    "top_logprobs": 3,
    "verbosity": "low",
    "web_search_options": {},
}

TAKEN = {
    "best_of": 1,
    "echo": False,
    "frequency_penalty": 0.0,
    "function_call": "none",
    "functions": [],
    "logit_bias": {},
    "logprobs": False,
    "max_completion_tokens": 9,
    "max_tokens": 9,
    "metadata": {"run": "7"},
    "modalities": ["text"],
    "n": 1,
    "no_stop_trim": False,
    "parallel_tool_calls": True,
    "return_hidden_states": False,
    "prediction": {"type": "content", "content": "fine"},
    "presence_penalty": 0,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "explicit"},
    "prompt_cache_retention": "24h",
    "response_format": {"type": "text"},
    "safety_identifier": "u",
    "seed": 7,
    "service_tier": "flex",
    "stop": ["never"],
    "store": True,
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "suffix": "",
    "temperature": 0.5,
    "tool_choice": "auto",
    "tools": [{"type": "function", "function": {"name": "f", "strict": True}}],
    "top_logprobs": 0,
    "top_p": 0.9,
    "user": "u",
    "verbosity": "medium",
}

CALLS = {
    "/v1/completions": (Completions, FIELDS, {"prompt": "hi"}),
    "/v1/chat/completions": (Chat, chat.FIELDS, {"messages": MESSAGES}),
}


def sendable(path):
    """Return the fields that the client can send to a path."""
    return inspect.signature(CALLS[path][0].create).parameters.keys() - OF_THE_CLIENT


@pytest_asyncio.fixture
async def server(serve):
    async with serve(lambda _: "fine") as server:
        yield server


@pytest.mark.parametrize("path", CALLS)
async def test_no_field_is_dropped_without_having_been_thought_of(path):
    _, fields, _ = CALLS[path]
    known = {*fields.read, *HINTS, *ASKING_NOTHING}
    assert sendable(path) - known == set()
    assert sendable(path) - {*REFUSED, *TAKEN} == {"model", *CALLS[path][2]}


@pytest.mark.parametrize("path", CALLS)
async def test_what_would_change_the_answer_is_refused_by_its_name(server, path):
    async with httpx.AsyncClient(base_url=server.url) as client:
        for name in sorted(sendable(path) & REFUSED.keys()):
            for stream in (False, True):
                body = {**CALLS[path][2], "stream": stream, name: REFUSED[name]}
                answer = await client.post(path, json=body)
                error = answer.json()["error"]
                assert (answer.status_code, error["param"]) == (400, name)
                assert error["type"] == "invalid_request_error"
                assert name in error["message"]
    assert all(not exchange.ids for exchange in server.app.exchanges.generations)


@pytest.mark.parametrize("path", CALLS)
async def test_hints_and_values_that_ask_for_nothing_are_taken(server, path):
    async with httpx.AsyncClient(base_url=server.url) as client:
        for name in sorted(sendable(path) - {"prompt", "messages", "model"}):
            for value in [TAKEN[name], None] if name in TAKEN else [None]:
                answer = await client.post(path, json={**CALLS[path][2], name: value})
                assert answer.status_code == 200, (name, value, answer.text)


async def test_nothing_is_asked_for_by_a_value_of_the_very_kind_alone(server):
    """`logprobs: 0` asks completions for the log probability of each id, and false for none."""
    async with httpx.AsyncClient(base_url=server.url) as client:
        for value, given in [(0, True), (False, False)]:
            answer = await client.post("/v1/completions", json={"prompt": "hi", "logprobs": value})
            assert (answer.json()["choices"][0]["logprobs"] is not None) == given
        for name, value in {"top_logprobs": False, "best_of": True}.items():
            answer = await client.post("/v1/completions", json={"prompt": "hi", name: value})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_every_api_looks_at_the_range_of_numbers(server, path):
    said = {"prompt": "hi", "messages": MESSAGES, "input": "hi"}
    name = {"/v1/completions": "prompt", "/v1/responses": "input"}.get(path, "messages")
    limit = {"max_tokens": 5} if path == "/v1/messages" else {}
    async with httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post(path, json={name: said[name], "top_p": 1.5, **limit})
    assert answer.status_code == 400
    assert "top_p must be 0 to 1, not 1.5" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", CALLS)
async def test_unknown_fields_and_values_that_are_none_are_named(server, path):
    wrong = {"temperature": "hot", "max_tokens": 1.5, "seed": [], "stop": 7, "stream": "yes"}
    unknown = {"guided_json": {}, "min_p": 0.1, "x" * 200: 1}
    async with httpx.AsyncClient(base_url=server.url) as client:
        for name, value in {**wrong, **unknown}.items():
            answer = await client.post(path, json={**CALLS[path][2], name: value})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, name[:80])
        body = {**CALLS[path][2], "stream_options": {"include_usages": True}}
        answer = await client.post(path, json=body)
        assert answer.json()["error"]["param"] == "stream_options.include_usages"


async def test_parts_of_messages_and_tools_that_are_not_served_are_refused(server):
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    for said, param in [
        ({"role": "user", "content": [image]}, "messages"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, "messages.function_call"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages.audio"),
        ({"role": "assistant", "refusal": "no"}, "messages.refusal"),
        ({"role": "assistant", "content": "It", "prefix": True}, "messages.prefix"),
        ({"role": "assistant", "content": "It", "partial": True}, "messages.partial"),
        ({"role": "wizard", "content": "x"}, "messages"),
    ]:
        async with httpx.AsyncClient(base_url=server.url) as client:
            answer = await client.post("/v1/chat/completions", json={"messages": [*MESSAGES, said]})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    tool = {"type": "custom", "custom": {"name": "f"}}
    async with httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post("/v1/chat/completions", json={"messages": MESSAGES, "tools": [tool]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tools")


async def test_the_client_raises_its_own_error_with_the_name(server):
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model="model-1", messages=MESSAGES, logprobs=True)
        assert refused.value.param == "logprobs"
        assert refused.value.code == "unsupported_parameter"


async def test_tools_that_are_not_to_be_called_are_not_offered(serve):
    prompts = []

    def script(prompt):
        prompts.append(prompt.system)
        return "fine"

    tools = [{"type": "function", "function": {"name": "weather"}}]
    async with serve(script) as server, httpx.AsyncClient(base_url=server.url) as client:
        for choice in ("auto", "none"):
            body = {"messages": MESSAGES, "tools": tools, "tool_choice": choice}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    assert ["weather" in prompt for prompt in prompts] == [True, False]


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("ids_a_frame", [1, 3])
@pytest.mark.parametrize(
    ("stop", "text"),
    [("three", "one two "), (["four", "two th"], "one "), ("ree fo", "one two th"), ("nine", None)],
)
async def test_text_ends_before_a_stop_text(serve, path, ids_a_frame, stop, text):
    whole = "one two three four, thr"
    async with (
        serve(lambda _: whole, ids_a_frame=ids_a_frame) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        body = {**CALLS[path][2], "stop": stop}
        [choice] = (await client.post(path, json=body)).json()["choices"]
        streamed = (await client.post(path, json={**body, "stream": True})).text
    events = [json.loads(line[6:])["choices"][0] for line in streamed.split("\n\n")[:-2]]
    said = [event["text"] if "text" in event else event["delta"].get("content") for event in events]
    assert "".join(filter(None, said)) == (whole if text is None else text)
    assert (choice["text"] if "text" in choice else choice["message"]["content"]) == "".join(
        filter(None, said)
    )
    assert choice["finish_reason"] == events[-1]["finish_reason"] == "stop"
