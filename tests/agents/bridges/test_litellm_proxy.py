"""litellm's proxy between the official clients and the gateway: chat, Responses and Messages, unchanged."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import anthropic
import anyio
import openai
import pytest

from tests.agents.bridges.sampled import QUESTION, SAID, Served, gateway, get_weather, tool_messages
from tests.benchmarks.gateway_streams import litellm, litellm_proxy, ready
from tests.real_engines.servers import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(litellm() is None, reason="make test-bridges NAME=litellm has it"),
]

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "number"}}}
FUNCTION = {"name": "get_weather", "description": "d", "parameters": SCHEMA}


@pytest.fixture(scope="module")
def proxied() -> Iterator[tuple[Served, str]]:
    """A gateway, and the address of a proxy in front of it."""
    command = litellm()
    assert command is not None
    os.environ.setdefault("LITELLM_SALT_KEY", "sk-tests")  # without one, its Responses fail
    with gateway() as served, litellm_proxy(command, served.url, free_port()) as (_, port):
        url = f"http://127.0.0.1:{port}"
        anyio.run(ready, url)
        yield served, url


def assert_exact(served: Served, known: int) -> None:
    """Check that a tool loop of two requests began behind those that are known, and went on exactly."""
    one, two = served.generations[known:]
    assert [*one.prompt_ids, *one.ids] == list(two.prompt_ids[: len(one.prompt_ids) + len(one.ids)])


@pytest.mark.parametrize("stream", [False, True])
def test_chat(proxied: tuple[Served, str], stream: bool) -> None:
    served, url = proxied
    known = len(served.generations)
    tools: Any = [{"type": "function", "function": FUNCTION}]
    messages: list[Any] = [{"role": "user", "content": f"{QUESTION} {stream}"}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        for _ in range(2):
            if stream:
                with client.chat.completions.stream(model="m", messages=messages, tools=tools) as events:
                    message: Any = events.get_final_completion().choices[0].message
            else:
                answer = client.chat.completions.create(model="m", messages=messages, tools=tools)
                message = answer.choices[0].message
            messages += [message.model_dump(), *tool_messages(message)]
    assert message.content == SAID
    assert_exact(served, known)


def test_responses(proxied: tuple[Served, str]) -> None:
    served, url = proxied
    known = len(served.generations)
    tools: Any = [{"type": "function", **FUNCTION, "strict": False}]
    items: list[Any] = [{"role": "user", "content": f"{QUESTION} responses"}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        for _ in range(2):
            response = client.responses.create(model="m", input=items, tools=tools)
            items += [item.model_dump() for item in response.output]
            items += [
                {
                    "type": "function_call_output",
                    "call_id": call.call_id,
                    "output": get_weather(**json.loads(call.arguments)),
                }
                for call in response.output
                if call.type == "function_call"
            ]
    assert response.output_text == SAID
    assert_exact(served, known)


def test_messages(proxied: tuple[Served, str]) -> None:
    served, url = proxied
    known = len(served.generations)
    tools: Any = [{"name": "get_weather", "description": "d", "input_schema": SCHEMA}]
    messages: list[Any] = [{"role": "user", "content": f"{QUESTION} messages"}]
    with anthropic.Anthropic(base_url=url, api_key="k") as client:
        for _ in range(2):
            answer = client.messages.create(model="m", max_tokens=900, messages=messages, tools=tools)
            messages.append({"role": "assistant", "content": [each.model_dump() for each in answer.content]})
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": get_weather(**dict(block.input))}
                for block in answer.content
                if block.type == "tool_use"
            ]
            messages += [{"role": "user", "content": results}] if results else []
    assert [block.text for block in answer.content if block.type == "text"] == [SAID]
    assert_exact(served, known)
