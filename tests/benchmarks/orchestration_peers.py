"""Runs as each framework does them, for `orchestration_worker.py`: chains of trivial nodes, one that streams.

Each contestant builds once and runs many times: `chain(nodes)` gives a function that runs so many nodes after
each other, `speaker(frames, size, hold)` one that gives the chunks of a streaming node as its caller sees it.
With `hold`, the node waits after its first chunk. A peer knows nothing of ids: each of its chunks is a word.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

Chain = Callable[[], Awaitable[object]]
Speaker = Callable[[], AsyncIterator[object]]
Hold = asyncio.Event | None
WORD = "word "


async def speak(frames: int, hold: Hold) -> AsyncIterator[str]:
    """What a peer's node streams."""
    for number in range(frames):
        if number == 1 and hold is not None:
            await hold.wait()
        yield WORD


class Queues:
    """Tasks and bounded queues, and nothing else: the floor."""

    def chain(self, nodes: int) -> Chain:
        async def node(source: asyncio.Queue[str], target: asyncio.Queue[str]) -> None:
            await target.put(await source.get())

        async def run() -> None:
            queues: list[asyncio.Queue[str]] = [asyncio.Queue(1) for _ in range(nodes + 1)]
            async with asyncio.TaskGroup() as group:
                for source, target in itertools.pairwise(queues):
                    group.create_task(node(source, target))
                await queues[0].put(WORD)
                await queues[-1].get()

        return run

    def speaker(self, frames: int, size: int, hold: Hold) -> Speaker:
        async def node(queue: asyncio.Queue[str | None]) -> None:
            async for word in speak(frames, hold):
                await queue.put(word)
            await queue.put(None)

        async def follow() -> AsyncIterator[str]:
            queue: asyncio.Queue[str | None] = asyncio.Queue(16)
            async with asyncio.TaskGroup() as group:
                group.create_task(node(queue))
                while (word := await queue.get()) is not None:
                    yield word

        return follow


class LangGraph:
    """A graph of async functions over one state; chunks go through the stream writer."""

    def __init__(self) -> None:
        from langgraph.graph import END, START, StateGraph

        self._ends, self._make = (START, END), StateGraph

    def _graph(self, functions: list[Callable[..., Any]]) -> Any:
        names = [self._ends[0], *(f"n{number}" for number in range(len(functions))), self._ends[1]]
        graph = self._make(dict)
        for name, function in zip(names[1:], functions, strict=False):
            graph.add_node(name, function)
        for name, after in itertools.pairwise(names):
            graph.add_edge(name, after)
        return graph.compile()

    def chain(self, nodes: int) -> Chain:
        async def node(state: dict[str, str]) -> dict[str, str]:
            return state

        graph = self._graph([node] * nodes)
        return lambda: graph.ainvoke({"text": WORD})

    def speaker(self, frames: int, size: int, hold: Hold) -> Speaker:
        from langgraph.config import get_stream_writer

        async def node(state: dict[str, str]) -> dict[str, str]:
            write = get_stream_writer()
            async for word in speak(frames, hold):
                write(word)
                await asyncio.sleep(0)
            return state

        graph = self._graph([node])
        return lambda: graph.astream({"text": WORD}, stream_mode="custom")


class Pydantic:
    """Nodes are steps of pydantic-graph; what streams is an agent of pydantic-ai on a function model."""

    def chain(self, nodes: int) -> Chain:
        from pydantic_graph import GraphBuilder

        builder: Any = GraphBuilder(input_type=str, output_type=str)

        async def step(context: Any) -> str:
            return str(context.inputs)

        steps = [builder.step(step, node_id=f"n{number}") for number in range(nodes)]
        path = [builder.start_node, *steps, builder.end_node]
        for source, target in itertools.pairwise(path):
            builder.add(builder.edge_from(source).to(target))
        graph = builder.build()
        return lambda: graph.run(inputs=WORD)

    def speaker(self, frames: int, size: int, hold: Hold) -> Speaker:
        from pydantic_ai import Agent
        from pydantic_ai.models.function import FunctionModel

        async def stream(*_: object) -> AsyncIterator[str]:
            async for word in speak(frames, hold):
                yield word

        agent = Agent(FunctionModel(stream_function=stream))

        async def follow() -> AsyncIterator[str]:
            async with agent.run_stream(WORD) as result:
                async for delta in result.stream_text(delta=True, debounce_by=None):
                    yield delta

        return follow


class Haystack:
    """A pipeline of components; chunks go through a streaming callback."""

    def __init__(self) -> None:
        from haystack import Pipeline, component

        @component
        class Node:
            @component.output_types(text=str)
            def run(self, text: str) -> dict[str, str]:
                return {"text": text}

            @component.output_types(text=str)
            async def run_async(self, text: str) -> dict[str, str]:
                return {"text": text}

        self._pipeline, self._component, self._node = Pipeline, component, Node

    def chain(self, nodes: int) -> Chain:
        pipeline = self._pipeline()
        for number in range(nodes):
            pipeline.add_component(f"n{number}", self._node())
            if number:
                pipeline.connect(f"n{number - 1}.text", f"n{number}.text")
        return lambda: pipeline.run_async({"n0": {"text": WORD}})

    def speaker(self, frames: int, size: int, hold: Hold) -> Speaker:
        from haystack.dataclasses import StreamingChunk

        component = self._component

        @component
        class Speaker:
            @component.output_types(text=str)
            def run(self, queue: Any) -> dict[str, str]:
                return {"text": WORD}

            @component.output_types(text=str)
            async def run_async(self, queue: Any) -> dict[str, str]:
                async for word in speak(frames, hold):
                    await queue.put(StreamingChunk(word))
                await queue.put(None)
                return {"text": WORD}

        pipeline = self._pipeline()
        pipeline.add_component("speaker", Speaker())

        async def follow() -> AsyncIterator[StreamingChunk]:
            queue: asyncio.Queue[StreamingChunk | None] = asyncio.Queue(16)
            async with asyncio.TaskGroup() as group:
                group.create_task(pipeline.run_async({"speaker": {"queue": queue}}))
                while (chunk := await queue.get()) is not None:
                    yield chunk

        return follow


class OpenAIAgents:
    """An agent on a model of our own; it has no graph, so a chain is runs after each other."""

    def __init__(self) -> None:
        import agents
        from agents.items import ModelResponse
        from agents.usage import Usage
        from openai.types import responses

        agents.set_tracing_disabled(True)
        text = responses.ResponseOutputText(text=WORD, type="output_text", annotations=[])
        message = responses.ResponseOutputMessage(
            id="m", content=[text], role="assistant", status="completed", type="message"
        )

        class Speaker(agents.Model):
            def __init__(self, frames: int, hold: Hold) -> None:
                self._frames, self._hold = frames, hold

            async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
                return ModelResponse(output=[message], usage=Usage(), response_id=None)

            async def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
                number = 0
                async for word in speak(self._frames, self._hold):
                    number += 1
                    yield responses.ResponseTextDeltaEvent(
                        content_index=0,
                        delta=word,
                        item_id="m",
                        output_index=0,
                        type="response.output_text.delta",
                        sequence_number=number,
                        logprobs=[],
                    )
                whole = responses.Response(
                    id="r",
                    created_at=0,
                    model="m",
                    object="response",
                    output=[message],
                    tool_choice="none",
                    tools=[],
                    parallel_tool_calls=False,
                )
                yield responses.ResponseCompletedEvent(
                    response=whole, sequence_number=number + 1, type="response.completed"
                )

        self._agents, self._speaker = agents, Speaker

    def _agent(self, frames: int, hold: Hold) -> Any:
        return self._agents.Agent(name="node", model=self._speaker(frames, hold))

    def chain(self, nodes: int) -> Chain:
        chain = [self._agent(1, None) for _ in range(nodes)]

        async def run() -> None:
            said = WORD
            for agent in chain:
                said = (await self._agents.Runner.run(agent, said)).final_output

        return run

    def speaker(self, frames: int, size: int, hold: Hold) -> Speaker:
        agent = self._agent(frames, hold)

        async def follow() -> AsyncIterator[str]:
            async for event in self._agents.Runner.run_streamed(agent, WORD).stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    yield event.data.delta

        return follow


PEERS: dict[str, Callable[[], Any]] = {
    "queues": Queues,
    "pydantic": Pydantic,
    "haystack": Haystack,
    "langgraph": LangGraph,
    "openai-agents": OpenAIAgents,
}
PEER_MODULES = {
    "pydantic": "pydantic_ai",
    "haystack": "haystack",
    "langgraph": "langgraph.graph",
    "openai-agents": "agents",
}
"""What a user of the peer imports."""

# Neither tracing nor usage reports belong to what is measured.
os.environ.update(
    HAYSTACK_TELEMETRY_ENABLED="false", OPENAI_AGENTS_DISABLE_TRACING="1", LANGSMITH_TRACING="false"
)
