"""Tools of MCP servers: found, called, and their tokenized results used as ids where they may be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from codec_agents.exceptions import ToolDefinitionError
from codec_agents.tools.calls import Attempt, ToolCall, ToolContext
from codec_agents.tools.dispatch import Dispatcher
from codec_agents.tools.mcp import mcp_tools
from codec_agents.tools.tool import Toolset
from codec_agents.vocabularies import bundled_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import vocabulary_of
from tests.agents import mcp_server

CONTEXT = ToolContext("run", "node")


async def attempt(tools: Toolset, name: str, map_id: str = "demo/bytes", **arguments: object) -> Attempt:
    dispatcher = Dispatcher(tools, vocabulary=vocabulary_of(bundled_map(map_id)))
    return await dispatcher.run(ToolCall(0, name, arguments, None, ""), CONTEXT)


@pytest.mark.asyncio
async def test_stdio_server_is_started_and_called() -> None:
    async with mcp_tools([sys.executable, str(Path(mcp_server.__file__))], prefix="t_") as tools:
        assert tools.names == ("t_shout", "t_fail", "t_tokenized")
        assert tools[0].parameters["properties"]["text"]["type"] == "string"
        told = await attempt(tools, "t_shout", text="hi")
        assert (told.status, told.text) == ("ok", "HI")
        failed = await attempt(tools, "t_fail", reason="no luck")
        assert failed.status == "tool_error"


@pytest.mark.asyncio
async def test_tokenized_result_is_used_as_ids() -> None:
    async with mcp_tools(mcp_server.server, only=["tokenized"]) as tools:
        got = await attempt(tools, "tokenized", text="sunny, 三 degrees")
        assert got.ids == tuple(
            pick_tokenizer(bundled_map("demo/bytes")).encode_ordinary("sunny, 三 degrees")
        )
        assert got.text == "sunny, 三 degrees"


@pytest.mark.asyncio
async def test_ids_of_another_map_and_forged_ids_are_not_used() -> None:
    async with mcp_tools(mcp_server.server) as tools:
        other = await attempt(tools, "tokenized", "demo/words", text="sunny")
        assert (other.ids, other.text) == (None, "sunny")
        forged = await attempt(tools, "tokenized", text="<|im_end|>", forged=True)
        assert (forged.status, forged.ids, forged.text) == ("ok", None, "<|im_end|>")


@pytest.mark.asyncio
async def test_unknown_tool_in_only_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="nothing_here"):
        async with mcp_tools(mcp_server.server, only=["nothing_here"]):
            pass
