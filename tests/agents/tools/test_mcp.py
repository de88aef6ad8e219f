"""Tools of MCP servers: found, called, and their tokenized results used as ids where they may be."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from mcp.types import CallToolResult
from mcp.types import Tool as ServerTool

from codec_agents.exceptions import ToolDefinitionError, ToolServerError
from codec_agents.graph.servers import McpSpec
from codec_agents.tools.calls import Attempt, ToolCall, ToolContext
from codec_agents.tools.dispatch import Dispatcher
from codec_agents.tools.mcp import legal_names, list_tools, make_tools, mcp_tools, read_result
from codec_agents.tools.mcp_servers import OpenServers, ToolServer
from codec_agents.tools.sibling_leaf import fold_siblings
from codec_agents.tools.tool import NAME_PATTERN, Toolset
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


OLDER = """
import json, sys
info = {"name": "old", "version": "1"}
server = {"protocolVersion": "2025-03-26", "capabilities": {"tools": {}}, "serverInfo": info}
tools = {"tools": [{"name": "clock", "inputSchema": {"type": "object"}}]}
answers = {"initialize": server, "tools/list": tools, "tools/call": json.loads(sys.argv[1])}
for line in sys.stdin:
    asked = json.loads(line)
    result = answers.get(asked["method"])
    told = {"error": {"code": -32601, "message": "unknown"}} if result is None else {"result": result}
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **told}), flush=True)
"""
"""A server that puts ids into a block of their own."""

IDS = tuple(pick_tokenizer(bundled_map("demo/bytes")).encode_ordinary("sunny"))
BESIDE = {"type": "_codec_meta", "map_id": bundled_map("demo/bytes").hash, "ids": list(IDS)}
SUNNY = {"type": "text", "text": "sunny"}


async def of_older_server(*blocks: object) -> Attempt:
    result = json.dumps({"content": blocks, "isError": False})
    async with mcp_tools([sys.executable, "-c", OLDER, result]) as tools:
        return await attempt(tools, "clock")


@pytest.mark.slow
@pytest.mark.asyncio
async def test_ids_in_a_block_beside_the_text_are_used() -> None:
    """As servers sent them before blocks had a `_meta`."""
    got = await of_older_server(SUNNY, BESIDE)
    assert (got.text, got.ids) == ("sunny", IDS)
    other = await of_older_server(SUNNY, {**BESIDE, "map_id": "sha256:" + "0" * 64})
    assert (other.text, other.ids) == ("sunny", None)


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "blocks", [[{"type": "text", "text": ""}, BESIDE], [BESIDE], [SUNNY, BESIDE, BESIDE]]
)
async def test_ids_without_their_text_are_a_failure(blocks: list[object]) -> None:
    got = await of_older_server(*blocks)
    assert (got.status, "without the text" in got.text) == ("tool_error", True)


def test_results_are_rewritten_block_by_block() -> None:
    other = {**BESIDE, "ids": [1]}
    newer = {**SUNNY, "_meta": {"ai.codec/leaf-tokenization": 1, "more": 2}}
    image = {"type": "image", "data": "", "mimeType": "image/png"}
    folded = fold_siblings({"content": [SUNNY, BESIDE, image, SUNNY, other, newer], "isError": False})
    leaf = {key: BESIDE[key] for key in ("map_id", "ids")}
    assert folded == {
        "content": [
            {**SUNNY, "_meta": {"ai.codec/leaf-tokenization": leaf}},
            image,
            {**SUNNY, "_meta": {"ai.codec/leaf-tokenization": {**leaf, "ids": [1]}}},
            newer,
        ],
        "isError": False,
    }
    for result in ({"content": [SUNNY]}, {"tools": []}, {"content": "none"}):
        assert fold_siblings(result) == result


@pytest.mark.parametrize("meta", [5, [1], "ai.codec"])
def test_blocks_with_meta_of_other_types_are_left_to_the_library(meta: object) -> None:
    """An error here would end the connection, and with it all other calls."""
    odd = {**SUNNY, "_meta": meta}
    assert fold_siblings({"content": [odd, BESIDE]})["content"][0] == odd


@pytest.mark.asyncio
async def test_a_list_of_tools_that_does_not_end_is_refused() -> None:
    class Endless:
        async def list_tools(self, cursor: str | None) -> Any:
            return SimpleNamespace(tools=[], next_cursor="more")

    with pytest.raises(ToolDefinitionError, match="more than 100 pages"):
        await list_tools(Endless())  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_unknown_tool_in_only_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="nothing_here"):
        async with mcp_tools(mcp_server.server, only=["nothing_here"]):
            pass


@pytest.mark.slow
@pytest.mark.asyncio
async def test_python_is_the_interpreter_that_runs() -> None:
    async with mcp_tools(["python", str(Path(mcp_server.__file__))], only=["shout"]) as tools:
        assert (await attempt(tools, "shout", text="hi")).text == "HI"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["python", "-c", "import nothing_of_this_name"], r"exited with 1: ModuleNotFoundError: No module"),
        # Of a line that is not kept whole nothing is shown: it may begin within a secret.
        (["python", "-c", "raise SystemExit('x' * 70000)"], r"exited with 1$"),
        (["no-program-of-this-name"], "cannot be started: there is no program 'no-program"),
    ],
)
async def test_a_program_that_ends_tells_why(command: list[str], told: str) -> None:
    with pytest.raises(ToolServerError, match=told):
        async with mcp_tools(command):
            pass


def declared(*names: str) -> list[ServerTool]:
    return [ServerTool(name=name, input_schema={"type": "object"}) for name in names]


def test_names_that_no_model_can_call_are_mapped() -> None:
    asked: list[str] = []
    offered = declared("fares/search", "fares search", "fares_search", "\u2192", "n" * 70)
    tools = make_tools(offered, lambda name: asked.append(name), prefix="x_")
    assert tools.names == ("x_fares_search_2", "x_fares_search_3", "x_fares_search", "x__", "x_" + "n" * 62)
    assert asked == [tool.name for tool in offered]
    assert make_tools(offered, str, only=["fares/search"]).names == ("fares_search_2",)
    assert make_tools(offered, str, only=["fares_search"]).names == ("fares_search",)
    assert legal_names(["a b", "a_b"], "my server/") == {"a b": "my_server_a_b_2", "a_b": "my_server_a_b"}


def test_two_tools_of_one_name_are_refused_unless_others_are_taken() -> None:
    offered = declared("a", "b", "a")
    with pytest.raises(ToolDefinitionError, match=r"the server has 2 tools named 'a'.*`only`"):
        make_tools(offered, str)
    assert make_tools(offered, str, only=["b"]).names == ("b",)


@given(st.lists(st.text(max_size=70), unique=True), st.sampled_from(["", "files_"]))
def test_any_names_become_different_legal_names(names: list[str], prefix: str) -> None:
    found = legal_names(names, prefix)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert all(re.fullmatch(NAME_PATTERN, name) for name in found.values())
    legal = [name for name in names if re.fullmatch(NAME_PATTERN, prefix + name)]
    assert all(found[name] == prefix + name for name in legal)


def result(**fields: object) -> CallToolResult:
    return CallToolResult.model_validate({"content": [], **fields})


def test_structured_content_alone_reaches_the_model() -> None:
    text = {"type": "text", "text": "forty-two"}
    assert read_result(result(structuredContent={"answer": 42})) == '{"answer": 42}'
    assert read_result(result(content=[text], structuredContent={"answer": 42})) == "forty-two"
    assert read_result(result()) == ""


@pytest.mark.asyncio
async def test_the_standard_error_of_a_server_cannot_control_the_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "s3cret\x1bvalue\n")  # it is found only before it is escaped
    script = (
        "import os, sys; key = os.environ['KEY']; "
        r"sys.stderr.write(f'\x1b[2J{key}\r\ngone {key}'); raise SystemExit(3)"
    )
    spec = McpSpec(command=["python", "-c", script], env={"KEY": "${OUR_KEY}"})
    server = ToolServer("old", spec, spec.command, None)
    with pytest.raises(ToolServerError, match=r"exited with 3: gone \[secret\]$"):
        await server.ask()  # as a build does
    shown = "old: \\x1b[2J[secret]\nold: \nold: gone [secret]\n"
    assert capfd.readouterr().err == shown
    failures: list[ToolServerError] = []
    async with OpenServers([server], failures.append) as opened:  # as a run does
        with pytest.raises(ToolServerError, match=r"exited with 3: gone \[secret\]$"):
            await opened.all_there()
    assert capfd.readouterr().err == shown
