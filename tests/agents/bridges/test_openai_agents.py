"""Runs of OpenAI's Agents SDK in front of the gateway, with a handoff between agents."""

from __future__ import annotations

from typing import Any

import anyio
import openai
import pytest

from tests.agents.bridges.sampled import QUESTION, SAID, gateway, get_weather

pytest.importorskip("agents", reason="make test-bridges NAME=openai-agents has it")

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    handoff,
    set_tracing_disabled,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", [OpenAIChatCompletionsModel, OpenAIResponsesModel])
def test_a_run_with_a_handoff(kind: Any, stream: bool) -> None:
    set_tracing_disabled(True)

    async def converse(url: str) -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k") as client:
            model = kind("m", client)
            forecaster = Agent(
                "forecaster", instructions="Forecast.", model=model, tools=[function_tool(get_weather)]
            )
            triage = Agent("triage", instructions="Hand over.", model=model, handoffs=[handoff(forecaster)])
            if stream:
                run = Runner.run_streamed(triage, QUESTION)
                async for _ in run.stream_events():
                    pass
            else:
                run = await Runner.run(triage, QUESTION)
            more = [*run.to_input_list(), {"role": "user", "content": "Thanks"}]
            after = await Runner.run(run.last_agent, more)
            return run.final_output, after.final_output

    with gateway() as served:
        said, thanked = anyio.run(converse, served.url)
        assert said == SAID
        assert thanked.strip() == "You are  welcome. ☂"
        # The other agent has another system text and other tools: a conversation of its own.
        assert served.extended()[:2] == [False, True]
        assert served.lineage["new"] == 2
