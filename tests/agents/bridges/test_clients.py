"""The official clients as agents in front of the gateway: chat, Responses and Messages, streamed and not."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from tests.agents.bridges.sampled import QUESTION, SAID, gateway, get_weather, tool_messages

pytestmark = pytest.mark.slow

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "number"}}}
ASKED = {"role": "user", "content": QUESTION}


@pytest.mark.parametrize("stream", [False, True])
def test_openai_chat(stream: bool) -> None:
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
    messages: list[Any] = [ASKED]
    with gateway() as served, openai.OpenAI(base_url=f"{served.url}/v1", api_key="k") as client:
        for _ in range(2):
            if stream:
                with client.chat.completions.stream(model="m", messages=messages, tools=tools) as events:
                    message = events.get_final_completion().choices[0].message
            else:
                message = (
                    client.chat.completions.create(model="m", messages=messages, tools=tools)
                    .choices[0]
                    .message
                )
            messages += [message.model_dump(), *tool_messages(message)]
        assert message.content == SAID
        assert served.extended() == [True]
        assert served.lineage == {"new": 1, "extended": 1}


@pytest.mark.parametrize("previous", [False, True])
def test_openai_responses(previous: bool) -> None:
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}]
    items: list[Any] = [ASKED]
    with gateway() as served, openai.OpenAI(base_url=f"{served.url}/v1", api_key="k") as client:
        response = client.responses.create(model="m", input=items, tools=tools)
        results = [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": get_weather(**json.loads(call.arguments)),
            }
            for call in response.output
            if call.type == "function_call"
        ]
        more = {"previous_response_id": response.id} if previous else {}
        items = results if previous else [ASKED, *response.output, *results]
        after = client.responses.create(model="m", input=items, tools=tools, **more)
        assert after.output_text == SAID
        assert served.extended() == [True]


@pytest.mark.parametrize("stream", [False, True])
def test_anthropic(stream: bool) -> None:
    turns: list[Any] = [ASKED]
    body: Any = {
        "model": "m",
        "max_tokens": 500,
        "tools": [{"name": "get_weather", "input_schema": SCHEMA}],
    }
    with gateway() as served, anthropic.Anthropic(base_url=served.url, api_key="k") as client:
        for _ in range(2):
            if stream:
                with client.messages.stream(**body, messages=turns) as events:
                    message = events.get_final_message()
            else:
                message = client.messages.create(**body, messages=turns)
            turns.append({"role": "assistant", "content": message.content})
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": get_weather(**block.input)}
                for block in message.content
                if block.type == "tool_use"
            ]
            turns.append({"role": "user", "content": results})
        assert message.content[-1].text == SAID
        assert served.extended() == [True]
