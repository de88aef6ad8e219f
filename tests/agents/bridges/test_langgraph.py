"""LangChain and LangGraph: a pipeline as a runnable and a node, and agents in front of the gateway."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from codec_agents.exceptions import InputError
from codec_agents.pipeline import Pipeline
from codec_agents.testing import ScriptedEngine
from tests.agents.bridges.sampled import QUESTION, SAID, gateway, get_weather

pytest.importorskip("langgraph", reason="make test-bridges NAME=langgraph has it")

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import create_react_agent

from codec_agents.bridges.langchain import as_runnable
from codec_agents.bridges.langgraph import as_node

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def desk(prompts: list[Any] | None = None) -> Pipeline:
    def planner(prompt: Any) -> str:
        if prompts is not None:
            prompts.append(prompt)
        return f"[{prompt.user}]"

    pipeline = Pipeline("desk")
    pipeline.input("question").input("style", default="short")
    pipeline.model("planner", engine=ScriptedEngine(planner), map="demo/bytes", prompt="{style}: {question}")
    pipeline.model(
        "writer",
        engine=ScriptedEngine(lambda prompt: f"Dear{prompt.user}"),
        map="demo/words",
        prompt="{draft}",
    )
    pipeline.sink("reader")
    pipeline.connect("question", "planner.question").connect("style", "planner.style")
    return pipeline.connect("planner.answer", "writer.draft").connect("writer.answer", "reader")


def test_a_runnable_in_a_chain() -> None:
    runnable = as_runnable(desk())
    chain = runnable | (lambda text: text.upper())
    assert chain.invoke("to Oslo") == "DEAR [SHORT: TO OSLO]"
    assert runnable.invoke({"question": "x", "style": "long"}) == "Dear [long: x]"
    assert runnable.batch(["a", "b"]) == ["Dear [short: a]", "Dear [short: b]"]

    async def streamed() -> list[str]:
        assert await runnable.ainvoke("x") == "Dear [short: x]"
        return [piece async for piece in runnable.astream("to Oslo")]

    pieces = anyio.run(streamed)
    assert len(pieces) > 1
    assert "".join(pieces) == "Dear [short: to Oslo]"


def test_a_node_whose_memory_is_in_the_graphs_state() -> None:
    prompts: list[Any] = []
    builder = StateGraph(MessagesState)
    builder.add_node("desk", as_node(desk(prompts)))
    builder.add_edge(START, "desk")
    graph = builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"messages": [HumanMessage("to Oslo")]}, config)
    state = anyio.run(graph.ainvoke, {"messages": [HumanMessage("and back")]}, config)
    assert [message.text for message in state["messages"]] == [
        "to Oslo", "Dear [short: to Oslo]", "and back", "Dear [short: and back]",
    ]  # fmt: skip
    first, second = prompts
    assert second.ids[: len(first.ids)] == first.ids
    assert [message.text for message in second.messages if message.role == "assistant"] == [
        "[short: to Oslo]"
    ]
    changed = [
        *state["messages"][:-1],
        AIMessage("Dear me", additional_kwargs=state["messages"][-1].additional_kwargs),
    ]
    for messages in (changed, [AIMessage("hi")]):
        with pytest.raises(InputError, match="not an answer of this node"):
            as_node(desk()).invoke({"messages": [*messages, HumanMessage("x")]})


def models(url: str) -> dict[str, Any]:
    return {
        "chat": ChatOpenAI(model="m", base_url=f"{url}/v1", api_key="k"),
        "chat_stream": ChatOpenAI(model="m", base_url=f"{url}/v1", api_key="k", streaming=True),
        "responses": ChatOpenAI(model="m", base_url=f"{url}/v1", api_key="k", use_responses_api=True),
        "responses_stream": ChatOpenAI(
            model="m", base_url=f"{url}/v1", api_key="k", use_responses_api=True, streaming=True
        ),
        "messages": ChatAnthropic(model_name="m", base_url=url, api_key="k", max_tokens=500),
        "messages_stream": ChatAnthropic(
            model_name="m", base_url=url, api_key="k", max_tokens=500, streaming=True
        ),
    }


@pytest.mark.parametrize(
    "kind", ["chat", "chat_stream", "responses", "responses_stream", "messages", "messages_stream"]
)
def test_a_react_agent(kind: str) -> None:
    with gateway() as served:
        agent = create_react_agent(models(served.url)[kind], [get_weather], prompt="Be brief.")
        state = agent.invoke({"messages": [("user", QUESTION)]})
        assert state["messages"][-1].text == SAID
        again = agent.invoke({"messages": [*state["messages"], ("user", "Thanks")]})
        assert again["messages"][-1].text.strip() == "You are  welcome. ☂"
        assert served.extended()[0]
        assert {kind for kind, count in served.lineage.items() if count} == {"new", "extended", "rendered"}
