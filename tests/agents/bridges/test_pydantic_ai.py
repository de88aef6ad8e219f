"""Agents of pydantic-ai in front of the gateway."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.agents.bridges.sampled import QUESTION, SAID, gateway, get_weather

pytest.importorskip("pydantic_ai", reason="make test-bridges NAME=pydantic-ai has it")

from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def model_of(kind: str, url: str) -> Any:
    if kind == "messages":
        return AnthropicModel("m", provider=AnthropicProvider(base_url=url, api_key="k"))
    provider = OpenAIProvider(base_url=f"{url}/v1", api_key="k")
    return (OpenAIChatModel if kind == "chat" else OpenAIResponsesModel)("m", provider=provider)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["chat", "responses", "messages"])
def test_an_agent(kind: str, stream: bool) -> None:
    async def converse(agent: Any) -> tuple[str, str]:
        if not stream:
            first = await agent.run(QUESTION)
            second = await agent.run("Thanks", message_history=first.all_messages())
            return first.output, second.output
        async with agent.run_stream(QUESTION) as run:
            said = await run.get_output()
        async with agent.run_stream("Thanks", message_history=run.all_messages()) as run:
            return said, await run.get_output()

    with gateway() as served:
        agent = Agent(model_of(kind, served.url), instructions="Be brief.", tools=[get_weather])
        said, thanked = anyio.run(converse, agent)
        assert said == SAID
        assert thanked.strip() == "You are  welcome. ☂"
        assert served.extended()[0]
        assert {kind for kind, count in served.lineage.items() if count} == {"new", "extended", "rendered"}
