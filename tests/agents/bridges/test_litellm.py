"""The library litellm in front of the gateway, by the routes of OpenAI and of Anthropic."""

from __future__ import annotations

from typing import Any

import pytest

from tests.agents.bridges.sampled import QUESTION, SAID, gateway, tool_messages

pytest.importorskip("litellm", reason="make test-bridges NAME=litellm has it")

import litellm

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "number"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": SCHEMA}}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", ["openai", "anthropic"])
def test_a_tool_loop(route: str, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    with gateway() as served:
        base = f"{served.url}/v1" if route == "openai" else served.url
        for _ in range(2):
            answer = litellm.completion(
                model=f"{route}/m", api_base=base, api_key="k", messages=messages, tools=TOOLS, stream=stream
            )
            if stream:
                answer = litellm.stream_chunk_builder(list(answer), messages=messages)
            message = answer.choices[0].message
            messages += [message.model_dump(), *tool_messages(message)]
        assert message.content == SAID
        assert served.extended() == [True]
        assert served.lineage == {"new": 1, "extended": 1}
