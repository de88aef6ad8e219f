"""Tools of MCP servers, through the official client library (the extra `mcp`).

A server is reached by a command (stdio) or a URL (streamable HTTP). Text that it sends with its own
tokenization is used as ids where the map's hash agrees, and as text everywhere else.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from codec_agents.exceptions import ToolDefinitionError
from codec_agents.tools.tool import ResultIds, Tool, ToolFailure, Toolset
from codec_core.exceptions import LeafTokenizationError
from codec_core.leaf import LeafTokenization, read_leaf

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult, ContentBlock
    from mcp.types import Tool as ServerTool

MAX_PAGES = 100
"""Pages of a server's list of tools: a list that goes on is a server that does not end it."""


CONNECT_TIMEOUT = 30.0
"""Seconds until a connection to a URL stands, as the library has it."""

READ_TIMEOUT = 300.0
"""Seconds between two pieces of an answer: a server may hold a stream open. Calls have their own limits."""


@asynccontextmanager
async def mcp_tools(
    server: str | Sequence[str] | Any,
    *,
    prefix: str = "",
    only: Iterable[str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
) -> AsyncIterator[Toolset]:
    """Open a connection to an MCP server; give its tools, which work until the context is left.

    Enter and leave it in one task. The connection, and a server started by a command, end with it.

    Args:
        server: a URL, a command with its arguments, or anything else that the library's `Client` takes.
        prefix: what stands before each tool's name, so that the tools of several servers differ.
        only: the tools to take; None for all.
        env: the environment of a server started by a command; the library's safe default where None.
        cwd: the directory in which the command starts.
        timeout: seconds for one call; None for what the policy says.

    Raises:
        ToolDefinitionError: the extra is not installed, or a tool in `only` is not there.
    """
    async with connected(server, env=env, cwd=cwd) as client:
        tools = Toolset(
            make_server_tool(declared, _caller(client, declared.name), timeout=timeout)
            for declared in await list_tools(client)
        )
        if only is not None:
            tools = tools.only(*only)
        yield tools.prefixed(prefix) if prefix else tools


@asynccontextmanager
async def connected(
    server: str | Sequence[str] | Any,
    *,
    headers: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> AsyncIterator[Client]:
    """Open a connection to an MCP server; an error comes out by itself, not in a group of one.

    Raises:
        ToolDefinitionError: the extra is not installed.
    """
    try:
        async with AsyncExitStack() as stack:
            if headers:
                server = await stack.enter_async_context(_with_headers(server, headers))
            yield await stack.enter_async_context(_client(server, env, cwd))
    except BaseExceptionGroup as group:
        raise _only_error(group) from None


@asynccontextmanager
async def _with_headers(url: Any, headers: Mapping[str, str]) -> AsyncIterator[Any]:
    """Give a transport to a URL that sends headers of its own."""
    _library()
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    timeouts = httpx2.Timeout(CONNECT_TIMEOUT, read=READ_TIMEOUT)
    async with httpx2.AsyncClient(headers=dict(headers), timeout=timeouts) as http:
        yield streamable_http_client(url, http_client=http)


def _library() -> Any:
    try:
        import mcp
    except ImportError as error:
        raise ToolDefinitionError(
            "tools of MCP servers need the official library; install it with: pip install 'codec-agents[mcp]'"
        ) from error
    return mcp


def _client(server: Any, env: Mapping[str, str] | None, cwd: str | os.PathLike[str] | None) -> Client:
    library = _library()
    if isinstance(server, Sequence) and not isinstance(server, str):
        command, *arguments = server
        environment = None if env is None else dict(env)
        server = library.StdioServerParameters(
            command=command,
            args=list(arguments),
            env=environment,
            cwd=None if cwd is None else os.fspath(cwd),
        )
    client: Client = library.Client(server)
    return client


def _only_error(error: BaseException) -> BaseException:
    """Take an error out of the groups that the library's tasks wrap around it, where it is the only one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def list_tools(client: Client) -> list[ServerTool]:
    """Return what a server offers."""
    found: list[ServerTool] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if not cursor:
            break
    return found


def _caller(client: Client, name: str) -> Callable[..., Any]:
    async def call(**arguments: Any) -> str | ResultIds:
        return read_result(await client.call_tool(name, arguments))

    return call


def make_server_tool(
    declared: ServerTool, call: Callable[..., Any], *, timeout: float | None = None, **options: Any
) -> Tool:
    """Return a tool whose calls go to a server, which checks its own arguments.

    Args:
        declared: what the server says of it.
        call: sends the arguments, given by name; returns the result.
        timeout: seconds for one call; None for what the policy says.
        options: other fields of the `Tool`.
    """
    hints = declared.annotations
    return Tool(
        name=declared.name,
        description=declared.description or "",
        parameters=declared.input_schema,
        call=call,
        is_async=True,
        validate=dict,
        read_only=bool(hints and hints.read_only_hint),
        timeout=timeout,
        **options,
    )


def connection_closed(error: Exception) -> bool:
    """Whether a call failed because the server is not there any more."""
    from mcp import MCPError
    from mcp.types import CONNECTION_CLOSED

    return isinstance(error, MCPError) and error.code == CONNECTION_CLOSED


def read_result(result: CallToolResult) -> str | ResultIds:
    """Return what a server answered, as text, or with the ids that it sent along.

    Raises:
        ToolFailure: the server says that the call failed.
    """
    blocks = [_block(block) for block in result.content]
    text = "\n".join(spelled for spelled, _ in blocks)
    if result.is_error:
        raise ToolFailure(text or "the tool failed and did not say why")
    map_hash = next((leaf.map_id for _, leaf in blocks if leaf is not None), None)
    if map_hash is None:
        return text
    parts: list[str | tuple[int, ...]] = []
    for number, (spelled, leaf) in enumerate(blocks):
        if number:
            parts.append("\n")
        parts.append(leaf.ids if leaf is not None and leaf.map_id == map_hash else spelled)
    return ResultIds(tuple(parts), map_hash, text)


def _block(block: ContentBlock) -> tuple[str, LeafTokenization | None]:
    """Return a block as text; what is no text is named, as a model that reads ids cannot see it."""
    if block.type == "text":
        return block.text, _leaf(block.meta)
    if block.type == "resource" and hasattr(block.resource, "text"):
        return block.resource.text, None
    if block.type == "resource_link":
        return f"[{block.name}: {block.uri}]", None
    return f"[{block.type}]", None


def _leaf(meta: Mapping[str, Any] | None) -> LeafTokenization | None:
    """Return the tokenization of a block; one that is malformed is as good as none, the text is there."""
    try:
        return read_leaf(meta)
    except LeafTokenizationError:
        return None
