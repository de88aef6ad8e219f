"""Pipelines as tools of an MCP server, asked by the official client."""

from __future__ import annotations

import sys
from typing import Any

import anyio
import pytest

from codec_agents.bridges.mcp_server import mcp_server
from codec_agents.exceptions import PipelineError
from codec_agents.pipeline import Pipeline
from codec_agents.testing import Refuse, ScriptedEngine, ScriptedModel

mcp = pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

pytestmark = pytest.mark.asyncio


def desk(script: Any, name: str = "desk") -> Pipeline:
    pipeline = Pipeline(name, description="Plans a journey.")
    pipeline.input("question").input("style", default="short")
    engine = script if isinstance(script, ScriptedEngine) else ScriptedEngine(script)
    pipeline.model("planner", engine=engine, map="demo/bytes", prompt="{style}: {question}")
    pipeline.sink("reader")
    pipeline.connect("question", "planner.question").connect("style", "planner.style")
    return pipeline.connect("planner.answer", "reader")


def text_of(result: Any) -> str:
    return "".join(block.text for block in result.content)


async def test_a_pipeline_is_a_tool() -> None:
    told: list[str] = []

    async def progress(done: float, _total: float | None, message: str | None) -> None:
        told.append(f"{done:g} {message}")

    async with mcp.Client(
        mcp_server([desk(lambda prompt: f"[{prompt.user}]"), desk("x", "other")])
    ) as client:
        tools = (await client.list_tools()).tools
        assert [(tool.name, tool.description) for tool in tools] == [
            ("desk", "Plans a journey."), ("other", "Plans a journey."),
        ]  # fmt: skip
        assert tools[0].input_schema["required"] == ["question"]
        result = await client.call_tool("desk", {"question": "to Oslo"}, progress_callback=progress)
        assert (text_of(result), result.is_error) == ("[short: to Oslo]", False)
        wrong = await client.call_tool("desk", {"question": "x", "tone": "y"})
        assert wrong.is_error
        assert "no input 'tone'" in text_of(wrong)
    assert told == ["1 planner begins", "2 planner: finished"]


async def test_a_failed_run_is_a_result() -> None:
    async with mcp.Client(mcp_server([desk(lambda _: Refuse(400, "too warm"))])) as client:
        result = await client.call_tool("desk", {"question": "x"})
    assert result.is_error
    assert "planner" in text_of(result)


async def test_a_cancelled_request_ends_the_run() -> None:
    engine = ScriptedEngine(ScriptedModel(script=lambda _: "x" * 10_000, ids_a_second=50))
    async with mcp.Client(mcp_server([desk(engine)])) as client:
        begun = anyio.Event()

        async def progress(*_: Any) -> None:
            begun.set()

        async def call() -> None:
            await client.call_tool("desk", {"question": "x"}, progress_callback=progress)

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await begun.wait()
            group.cancel_scope.cancel()
        assert (await client.list_tools()).tools  # the server goes on
    assert engine.open_streams == 0


async def test_a_pipeline_without_text_is_refused() -> None:
    pipeline = desk("x")
    with pytest.raises(PipelineError, match="another pipeline has this name"):
        mcp_server([pipeline, pipeline])


@pytest.mark.slow
async def test_the_command_serves_over_stdio(tmp_path: Any) -> None:
    from mcp.client.stdio import StdioServerParameters, stdio_client

    file = tmp_path / "echo.yaml"
    file.write_text(
        "pipeline: echo\n"
        'engines: {e: {kind: embedded, script: "You said {user}."}}\n'
        'nodes: {echo: {engine: e, map: demo/bytes, prompt: "{question}"}}\n'
        "edges: [question -> echo.question, echo.answer -> reader]\n"
    )
    started = StdioServerParameters(command=sys.executable, args=["-m", "codec_agents.cli", "mcp", str(file)])
    async with mcp.Client(stdio_client(started)) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["echo"]
