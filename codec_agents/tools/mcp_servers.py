"""The MCP servers of a declaration.

The tools of a server are listed once, when the pipeline is built: prompts hold them, so they are fixed from
then on. Each run starts the server again, concurrently with its first requests, and ends it;
`Pipeline.opened` starts it once for all runs inside. A run ends with an error when a server then offers other
tools, because the prompt describes the former ones.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from codec_agents.exceptions import CodecAgentsError, ToolServerError
from codec_agents.graph.servers import McpSpec
from codec_agents.references.environment import expand, values_of
from codec_agents.references.unreachable import unreachable
from codec_agents.tools.calls import ToolContext
from codec_agents.tools.mcp import connected, list_tools, make_tools, read_result
from codec_agents.tools.server_start import connection_closed, start_failure
from codec_agents.tools.tool import ResultIds, ToolFailure, Toolset

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import Tool as ServerTool

CONTEXT = " context"
"""The parameter for the context of a call. No argument of a model has a name that begins with a space."""


@dataclass(frozen=True, slots=True, eq=False)  # a key of dictionaries, by its identity
class ToolServer:
    """An MCP server of a declaration, and the tools that it offered when the pipeline was built."""

    name: str
    spec: McpSpec
    command: Sequence[str] | None
    """The program and its arguments, with references to variables; None for a URL."""
    directory: Path | None
    offered: list[ServerTool] = field(default_factory=list)

    async def ask(self) -> None:
        """Start the server, keep the list of its tools, and end it.

        Raises:
            ToolServerError: it cannot be reached, or did not answer in time.
        """
        self.offered[:] = await self._asked()

    async def _asked(self) -> list[ServerTool]:
        try:
            with anyio.fail_after(self.spec.start_timeout):
                async with self.connected() as client:
                    return await list_tools(client)
        except Exception as error:
            raise await self.failure(error) from error

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        """Connect, as `mcp.connected`. Values of variables are looked up here, and not kept."""
        spec = self.spec
        # The declaration has one of both.
        target = self._expanded_command() if self.command else expand(spec.url or "")
        async with connected(
            target,
            headers={name: expand(value) for name, value in spec.headers.items()},
            env=self._expanded_env(),
            cwd=self.directory,
            name=self.name,
            secrets=self._secrets(),
        ) as client:
            yield client

    def _expanded_command(self) -> list[str]:
        return [expand(word) for word in self.command or ()]

    def _expanded_env(self) -> dict[str, str]:
        return {name: expand(value) for name, value in self.spec.env.items()}

    async def failure(self, error: Exception) -> ToolServerError:
        """Return the error of a server that did not start. Values of variables are hidden in its text."""
        if isinstance(error, ToolServerError):
            return error
        if isinstance(error, CodecAgentsError):  # which names variables, and repeats no value
            return ToolServerError(self.name, str(error))
        reached = self.spec.reached
        if self.command is None:
            # The library's own message may hold the URL with its secrets.
            return ToolServerError(self.name, unreachable(error, reached))
        reason = await start_failure(
            error,
            self._expanded_command(),
            env=self._expanded_env(),
            cwd=self.directory,
            secrets=self._secrets(),
        )
        return ToolServerError(self.name, f"{reached!r} {reason}")

    def _secrets(self) -> list[str]:
        """Return the values of variables that a program is given."""
        texts = (*(self.command or ()), *self.spec.env.values())
        return [value for text in texts for value in values_of(text)]

    def check(self, offered: Sequence[ServerTool]) -> None:
        """Check that the server offers the tools that it offered when the pipeline was built.

        Raises:
            ToolServerError: a tool is gone, takes other arguments, or is there several times.
        """
        # Not the descriptions, nor tools that are new: calls that follow the prompt are right all the same.
        then, now = _schemas(self.offered), _schemas(offered)
        for tool in self.offered:
            if (found := now.get(tool.name)) != then[tool.name]:
                what = "is gone" if found is None else "takes other arguments, or is there several times,"
                raise ToolServerError(
                    self.name, f"its tool {tool.name!r} {what} since the pipeline was built; build it again"
                )

    def tools(self) -> Toolset:
        """Return the tools that the declaration uses, under the names that models call.

        Raises:
            ToolDefinitionError: the server has no tool that the declaration names.
        """
        spec = self.spec
        return make_tools(
            self.offered,
            self._caller,
            prefix=spec.prefix,
            only=spec.only,
            timeout=spec.timeout,
            context_parameter=CONTEXT,
            approval=spec.approval,
        )

    def _caller(self, tool: str) -> Callable[..., Any]:
        async def call(**arguments: Any) -> Any:
            context: ToolContext = arguments.pop(CONTEXT)
            assert context.servers is not None
            return await context.servers.call(self, tool, arguments)

        return call


def _schemas(offered: Sequence[ServerTool]) -> dict[str, list[object]]:
    """Return the schemas of tools by name; a server may have several tools of one name."""
    found: dict[str, list[object]] = {}
    for tool in offered:
        found.setdefault(tool.name, []).append(tool.input_schema)
    return found


class _Opened:
    """One server while it is open, held by a task of its own: one task must enter and leave."""

    def __init__(self, server: ToolServer) -> None:
        self._server = server
        self._client: Client | None = None
        self.failure: ToolServerError | None = None
        """The reason why the server did not start, or that it has ended."""
        self._known = anyio.Event()
        """Set when the server has started, or failed to."""

    async def hold(self, failed: Callable[[ToolServerError], None]) -> None:
        """Keep the server open until this is cancelled."""
        await anyio.lowlevel.checkpoint()  # the opener must have begun the work that a failure ends
        try:
            # Around the connection, although the limit is of its start: cancel scopes end in reverse order.
            with anyio.fail_after(self._server.spec.start_timeout) as starting:
                async with self._server.connected() as client:
                    self._server.check(await list_tools(client))
                    starting.deadline = math.inf
                    self._client = client
                    self._known.set()
                    try:
                        await anyio.sleep_forever()
                    finally:
                        self.lose()  # before the program has ended: later runs start one of their own
        except Exception as error:
            self.failure = await self._server.failure(error)
            if self._client is None:  # one that started before is told to the calls alone, as their failure
                failed(self.failure)
        except anyio.get_cancelled_exc_class():
            # By a tool that ended every task, and not by the group, which would cancel what runs inside it.
            if anyio.current_effective_deadline() == -math.inf:
                raise
            self.lose()
        finally:
            self._known.set()  # calls that wait have to end, also when this was cancelled

    async def client(self) -> Client:
        """Return the connection, once the server has started.

        Raises:
            ToolServerError: the server failed to start.
            ToolFailure: the server has ended.
        """
        await self._known.wait()
        if self.failure is not None and self._client is not None:
            raise ToolFailure(f"the server of this tool, {self._server.name}, has ended")
        if self._client is None:
            raise self.failure or ToolServerError(self._server.name, "is not open")
        return self._client

    def lose(self) -> None:
        """Note that the server has ended."""
        self.failure = ToolServerError(self._server.name, "has ended")


class OpenServers:
    """The servers of a pipeline while they are open: an async context manager that starts and ends them."""

    def __init__(self, servers: Iterable[ToolServer], failed: Callable[[ToolServerError], None]) -> None:
        """Begin.

        Args:
            servers: the servers to open.
            failed: called with the error of a server that fails to start.
        """
        self._opened: dict[object, _Opened] = {server: _Opened(server) for server in servers}
        self._failed = failed
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        for opened in self._opened.values():
            self._group.start_soon(opened.hold, self._failed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(None, None, None)

    @property
    def sound(self) -> bool:
        """True if no server has failed or ended."""
        return all(opened.failure is None for opened in self._opened.values())

    async def call(self, server: object, tool: str, arguments: Mapping[str, Any]) -> str | ResultIds:
        """Call a tool of a server, once the server has started; return its result.

        Raises:
            ToolServerError: the server never started.
            ToolFailure: the call failed, or the server has ended.
        """
        opened = self._opened[server]
        client = await opened.client()
        try:
            return read_result(await client.call_tool(tool, dict(arguments)))
        except Exception as error:
            # Later calls end at once, and later runs start a server of their own.
            if connection_closed(error):
                opened.lose()
            raise

    async def all_there(self) -> None:
        """Wait until every server has started.

        Raises:
            ToolServerError: one cannot be had.
        """
        for opened in self._opened.values():
            await opened.client()


class ServerLease:
    """The lifetime of a pipeline's servers: one run, or as long as the pipeline is opened."""

    __slots__ = ("_shared", "servers")

    def __init__(self, servers: Sequence[ToolServer]) -> None:
        self.servers = servers
        self._shared: OpenServers | None = None

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Open the servers for all runs that begin inside the context.

        Raises:
            ToolServerError: one cannot be had.
        """
        # In `opened` inside `opened`, the outer one holds them.
        if not self.servers or self._shared is not None:
            yield
            return
        async with OpenServers(self.servers, failed=_raised_later) as opened:
            await opened.all_there()
            self._shared = opened
            try:
                yield
            finally:
                self._shared = None

    @asynccontextmanager
    async def for_run(self, failed: Callable[[ToolServerError], None]) -> AsyncIterator[OpenServers]:
        """Yield the servers of one run: the shared ones, or its own if one of the shared ones has ended.

        Args:
            failed: called with the error of a server that fails to start.
        """
        if self._shared is not None and self._shared.sound:
            yield self._shared
            return
        async with OpenServers(self.servers, failed) as opened:
            yield opened


def _raised_later(_error: ToolServerError) -> None:
    """Do nothing: `all_there` raises the error."""
