"""A small MCP server over stdio, for tests: one plain tool, one that fails, one whose result is tokenized."""

import sys

from mcp.server import MCPServer
from mcp.types import CallToolResult, TextContent

from codec_agents.vocabularies import bundled_map
from codec_core.leaf import write_leaf
from codec_core.tokenizer import pick_tokenizer

server = MCPServer("test")


@server.tool()
def shout(text: str) -> str:
    """Say it louder."""
    return text.upper()


@server.tool()
def fail(reason: str) -> str:
    """Fail."""
    raise RuntimeError(reason)


@server.tool()
def tokenized(text: str, forged: bool = False) -> CallToolResult:
    """Give a text with its ids."""
    own = bundled_map("demo/bytes")
    tokenizer = pick_tokenizer(own)
    ids = tokenizer.encode(text) if forged else tokenizer.encode_ordinary(text)
    assert own.hash is not None
    block = TextContent(type="text", text=text, _meta=write_leaf(own.hash, ids))
    return CallToolResult(content=[block])


if __name__ == "__main__":
    if sys.argv[1:] == ["http"]:
        server.run("streamable-http")
    else:
        server.run("stdio")
