"""Tools of MCP servers, through the official client library (the extra `mcp`).

A server is reached by a command (stdio) or a URL (streamable HTTP). Text that it sends with its own
tokenization is used as ids where the map's hash agrees, and as text everywhere else.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from codec_agents.exceptions import ToolDefinitionError, ToolServerError
from codec_agents.tools.library_log import discreet
from codec_agents.tools.message_lines import ENCODING, MAX_MESSAGE, bounding
from codec_agents.tools.schema_check import schema_fault
from codec_agents.tools.server_errors import shown_errors
from codec_agents.tools.server_start import start_failure, with_interpreter
from codec_agents.tools.sibling_leaf import folding
from codec_agents.tools.texts import result_text, well_formed, well_formed_json
from codec_agents.tools.tool import ResultIds, Tool, ToolFailure, Toolset
from codec_core.exceptions import LeafTokenizationError
from codec_core.leaf import LeafTokenization, read_leaf

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult, ContentBlock
    from mcp.types import Tool as ServerTool

MAX_PAGES = 100
"""Pages of a server's list of tools. A longer list comes from a server that never ends it."""

MAX_NAME = 64
"""Characters of a tool's name, see `NAME_PATTERN`."""

_ILLEGAL = re.compile(r"[^A-Za-z0-9_.-]")

CONNECT_TIMEOUT = 30.0
"""Seconds to connect to a URL, as in the library."""

READ_TIMEOUT = 300.0
"""Seconds between two chunks of an answer: a server may hold a stream open. Calls have own limits."""


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
        prefix: a prefix of each tool's name, so that the tools of several servers differ.
        only: the tools to take; None for all.
        env: the environment of a server started by a command; the library's safe default where None.
        cwd: the directory in which the command starts.
        timeout: seconds for one call; None for the policy's.

    Raises:
        ToolDefinitionError: the extra is not installed, or a tool in `only` is unknown.
        ToolServerError: the command cannot be started, or ended before it answered.
    """
    command = tuple(server) if _is_command(server) else None
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(connected(server, env=env, cwd=cwd))
            offered = await list_tools(client)
        except Exception as error:
            if command is None or isinstance(error, ToolDefinitionError):
                raise
            # The library says what went wrong with a URL, and of a program only that the connection closed.
            raise ToolServerError(
                " ".join(command), await start_failure(error, command, env=env, cwd=cwd)
            ) from error
        yield make_tools(offered, partial(_caller, client), prefix=prefix, only=only, timeout=timeout)


@asynccontextmanager
async def connected(
    server: str | Sequence[str] | Any,
    *,
    headers: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    name: str | None = None,
    secrets: Sequence[str] = (),
) -> AsyncIterator[Client]:
    """Open a connection to an MCP server; a single error is raised by itself, not in a group.

    Args:
        server: as for `mcp_tools`.
        headers: further headers of a URL.
        env: as for `mcp_tools`.
        cwd: as for `mcp_tools`.
        name: the name before each line of a program's standard error; that of the program where None.
        secrets: values that are not shown there, nor in the library's log.

    Raises:
        ToolDefinitionError: the extra is not installed.
    """
    try:
        async with AsyncExitStack() as stack:
            stack.enter_context(discreet(secrets))
            if headers or isinstance(server, str):
                server = await stack.enter_async_context(_transport(server, headers or {}))
            errors = None
            if _is_command(server):
                shown = shown_errors(name or Path(server[0]).name, secrets)
                errors = await stack.enter_async_context(shown)
            yield await stack.enter_async_context(_client(server, env, cwd, errors))
    except BaseExceptionGroup as group:
        raise only_error(group) from None


def _is_command(server: object) -> bool:
    return isinstance(server, Sequence) and not isinstance(server, str)


@asynccontextmanager
async def _transport(url: Any, headers: Mapping[str, str]) -> AsyncIterator[Any]:
    """Yield a transport to a URL that sends additional headers, and reads bounded answers."""
    _library()
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    timeouts = httpx2.Timeout(CONNECT_TIMEOUT, read=READ_TIMEOUT)
    sent, hooks = {"accept-encoding": "identity", **headers}, {"response": [bounding()]}
    async with httpx2.AsyncClient(headers=sent, timeout=timeouts, event_hooks=hooks) as http:
        # The library's own limit, 1 MiB, is less than results with an image have.
        yield folding(streamable_http_client(url, http_client=http, max_sse_event_size=MAX_MESSAGE))


NEEDS_LIBRARY = "tools of MCP servers need the official library"
LIBRARY_REMEDY = "install it with: pip install 'codec-agents[mcp]'"


def _library() -> Any:
    try:
        import mcp
    except ImportError as error:
        raise ToolDefinitionError(f"{NEEDS_LIBRARY}; {LIBRARY_REMEDY}") from error
    return mcp


def _client(
    server: Any, env: Mapping[str, str] | None, cwd: str | os.PathLike[str] | None, errors: TextIO | None
) -> Client:
    library = _library()
    if errors is not None:
        command, *arguments = with_interpreter(server)
        environment = None if env is None else dict(env)
        parameters = library.StdioServerParameters(
            command=command,
            args=list(arguments),
            env=environment,
            cwd=None if cwd is None else os.fspath(cwd),
            encoding=ENCODING,
            # A line that is not UTF-8 is no message, or has one bad character: strictly read, it would end
            # the reader, and every call would wait for its time limit.
            encoding_error_handler="replace",
        )
        server = folding(library.stdio_client(parameters, errlog=errors))
    # Anything else is left to the library: a server in this process, or a transport.
    client: Client = library.Client(server)
    return client


def only_error(error: BaseException) -> BaseException:
    """Return the only error in the groups that the library's tasks wrap around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def list_tools(client: Client) -> list[ServerTool]:
    """Return the tools that a server offers.

    Raises:
        ToolDefinitionError: the list does not end.
    """
    found: list[ServerTool] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if not cursor:
            return found
    raise ToolDefinitionError(
        f"the server's list of tools has more than {MAX_PAGES} pages; a list has to end"
    )


def _caller(client: Client, name: str) -> Callable[..., Any]:
    async def call(**arguments: Any) -> str | ResultIds:
        return read_result(await client.call_tool(name, arguments))

    return call


def make_tools(
    offered: Iterable[ServerTool],
    caller: Callable[[str], Callable[..., Any]],
    *,
    prefix: str = "",
    only: Iterable[str] | None = None,
    **options: Any,
) -> Toolset:
    """Return the tools of a server, whose calls go to the server, which checks its own arguments.

    Args:
        offered: the tools as the server declares them.
        caller: given the server's name of a tool, returns a function that sends arguments, given by name.
        prefix: a prefix of each tool's name.
        only: the tools to take, by the server's names or by those that models call, without the prefix.
        options: other fields of each `Tool`.

    Raises:
        ToolDefinitionError: the server has no tool that `only` names, it has two of one name, or the schema
            of one is malformed.
    """
    offered = list(offered)
    declared = {tool.name: tool for tool in offered}
    names = legal_names(declared, prefix)
    if only is not None:
        chosen = tuple(only)
        models = {name.removeprefix(prefix): own for own, name in names.items()}
        # The server's own names win: a changed name of one tool may be the name of another.
        owns = [asked if asked in names else models.get(asked) for asked in chosen]
        if unknown := [asked for asked, own in zip(chosen, owns, strict=True) if own is None]:
            raise ToolDefinitionError(f"unknown tools {unknown}; the server has {list(declared)}")
        names = {own: names[own] for own in owns if own is not None}
    # A call reaches one of them, and the prompt describes another.
    counts = Counter(tool.name for tool in offered)
    if several := [own for own in names if counts[own] > 1]:
        raise ToolDefinitionError(
            f"the server has {counts[several[0]]} tools named {several[0]!r}; correct it, or take others "
            "with `only`"
        )
    return Toolset(_server_tool(declared[own], name, caller(own), options) for own, name in names.items())


def legal_names(names: Iterable[str], prefix: str = "") -> dict[str, str]:
    """Return a name for models to call for each of the server's names: distinct, and valid in all families.

    Other characters than letters, digits, `_`, `-` and `.` become `_`. A name that is taken gets a number.
    """
    wished = {name: _ILLEGAL.sub("_", prefix + name)[:MAX_NAME] or "_" for name in names}
    # Names that are legal come first: they keep theirs, whatever else maps to it.
    before = _ILLEGAL.sub("_", prefix)
    order = sorted(wished, key=lambda name: wished[name] != before + name)
    taken: dict[str, str] = {}
    # Kept from name to name: with a count from 2 for each, names that all map to one would take the square.
    numbers: dict[str, int] = {}
    for name in order:
        candidate = wished[name]
        while candidate in taken:
            number = numbers[wished[name]] = numbers.get(wished[name], 1) + 1
            ending = f"_{number}"
            candidate = wished[name][: MAX_NAME - len(ending)] + ending
        taken[candidate] = name
    found = {name: candidate for candidate, name in taken.items()}
    return {name: found[name] for name in wished}


def _server_tool(
    declared: ServerTool, name: str, call: Callable[..., Any], options: Mapping[str, Any]
) -> Tool:
    hints = declared.annotations
    parameters = well_formed_json(declared.input_schema)  # prompts hold it, and are written in UTF-8
    if (fault := schema_fault(parameters)) is not None:
        raise ToolDefinitionError(
            f"the schema of the server's tool {declared.name!r} is no JSON schema: {fault}; "
            "correct it, or take other tools with `only`"
        )
    return Tool(
        name=name,
        description=well_formed(declared.description or ""),
        parameters=parameters,
        call=call,
        is_async=True,
        validate=dict,
        read_only=bool(hints and hints.read_only_hint),  # the server's word, which counts for its own tools
        **options,
    )


def read_result(result: CallToolResult) -> str | ResultIds:
    """Return the result of a call, as text or with the ids that the server sent.

    Raises:
        ToolFailure: the server reports that the call failed, or sent ids without their text.
    """
    blocks = [_block(block) for block in result.content]
    if any(leaf is not None and leaf.ids and not spelled for spelled, leaf in blocks):
        raise ToolFailure("the server sent token ids without the text that they spell, which is needed too")
    text = "\n".join(spelled for spelled, _ in blocks)
    if result.is_error:  # whatever else it holds: the model reads why its call failed
        raise ToolFailure(text or "the tool failed without a message")
    if not blocks and result.structured_content is not None:
        return result_text(result.structured_content)
    # Ids of one map: the first that is named. Blocks of another one are used by their texts.
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
    """Return a block as text. Other content is only named, because a model that reads ids cannot see it."""
    if block.type == "text":
        return block.text, _leaf(block.meta)
    if block.type == "resource" and hasattr(block.resource, "text"):
        return block.resource.text, None
    if block.type == "resource_link":
        return f"[{block.name}: {block.uri}]", None
    return f"[{block.type}]", None


def _leaf(meta: Mapping[str, Any] | None) -> LeafTokenization | None:
    """Return the tokenization of a block; None for a malformed one, because the text is enough."""
    try:
        return read_leaf(meta)
    except LeafTokenizationError:
        return None
