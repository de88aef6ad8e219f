"""A server of the Model Context Protocol whose tools are pipelines (the extra `mcp`).

Each pipeline is one tool: its inputs are the arguments, its text sinks the result. A client that sends a
progress token is told which nodes begin and end and which tools are called; one that cancels its request ends
the run, and every request that the run has open.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TextIO, cast

import anyio

from codec_agents.exceptions import PipelineError, RunError
from codec_agents.faults import Fault
from codec_agents.server.backends.pipeline_progress import part_of
from codec_agents.tools.mcp import only_error
from codec_agents.tools.message_lines import LineReader
from codec_agents.tools.tool import checked_name

if TYPE_CHECKING:
    from mcp.server import Server
    from mcp.server.context import ServerRequestContext
    from mcp.types import CallToolRequestParams, CallToolResult, ListToolsResult, Tool

    from codec_agents.pipeline import Pipeline
    from codec_agents.plan.nodes import BuiltInput


STDIN: Final = 0
"""The file descriptor of standard input."""


class PipelineTools:
    """Answers for the tools of a server.

    Args:
        pipelines: the pipelines; each is built here, and its name is the tool's.

    Raises:
        PipelineError: a pipeline has faults, gives no text, or has the name of another one.
        ToolDefinitionError: a name cannot be that of a tool.
    """

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self.pipelines: dict[str, Pipeline] = {}
        for pipeline in pipelines:
            name = checked_name(pipeline.name)
            if name in self.pipelines:
                raise _fault(name, "pipeline", "another pipeline has this name", "rename one of them")
            if not any(sink.text for sink in pipeline.build().sinks.values()):
                raise _fault(name, "nodes", "no sink gives text", "add a sink with `text: true`")
            self.pipelines[name] = pipeline

    async def listed(self, _context: ServerRequestContext[Any], _params: object) -> ListToolsResult:
        """Return the tools."""
        from mcp.types import ListToolsResult

        return ListToolsResult(tools=[self._tool(name) for name in self.pipelines])

    def _tool(self, name: str) -> Tool:
        from mcp.types import Tool

        built = self.pipelines[name].build()  # kept since the first time: a list costs no build
        schema = {
            "type": "object",
            "properties": {node.name: _schema(node) for node in built.inputs.values()},
            "required": [node.name for node in built.inputs.values() if node.default is None],
            "additionalProperties": False,  # a run refuses them
        }
        description = built.spec.description or f"Runs the pipeline {name}."
        return Tool(name=name, description=description, input_schema=schema)

    async def called(
        self, context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        """Run a pipeline; its failure is a result that the model can act on."""
        if (pipeline := self.pipelines.get(params.name)) is None:
            return _result(f"no tool {params.name!r}; there are: {', '.join(self.pipelines)}", failed=True)
        try:
            texts = await _run(pipeline, params.arguments or {}, context)
        except RunError as error:  # wrong arguments, an `InputError`, among them
            return _result(str(error), failed=True)
        if len(texts) == 1:  # the name of an only sink would be no part of the answer
            return _result(*texts.values())
        return _result(*[f"{sink}: {text}" for sink, text in texts.items()])


async def _run(
    pipeline: Pipeline, arguments: Mapping[str, Any], context: ServerRequestContext[Any]
) -> Mapping[str, str]:
    """Run to the end and report progress; leaving, as a cancelled request does, ends the run."""
    async with pipeline.run(arguments) as run:
        steps = 0
        async for event in run:
            # In the form of a line, which clients of chats are sent as reasoning.
            if (part := part_of(event, "reasoning")) is not None:
                steps += 1  # the protocol wants numbers that grow; how many there will be is not known
                await context.session.report_progress(steps, message=part.text.strip())
        return run.result.text


def mcp_server(pipelines: Sequence[Pipeline], name: str = "codec-agents") -> Server[Any]:
    """Return a server of the official library, to be run on any of its transports.

    The engines and MCP servers of the pipelines are open as long as it runs.

    Raises:
        PipelineError: a pipeline has faults, gives no text, or has the name of another one.
        ToolDefinitionError: a name cannot be that of a tool.
    """
    from mcp.server import Server

    tools = PipelineTools(pipelines)  # here: faults are errors of this call, and not of the first client

    @asynccontextmanager
    async def opened(_server: Server[Any]) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            for pipeline in tools.pipelines.values():
                await stack.enter_async_context(pipeline.opened())
            yield {}

    return Server(
        name,
        version=version("codec-agents"),
        lifespan=opened,
        on_list_tools=tools.listed,
        on_call_tool=tools.called,
    )


async def serve_stdio(pipelines: Sequence[Pipeline]) -> None:
    """Serve on standard input and output, until the client closes them.

    Raises:
        MessageTooLongError: the client has sent a line that no message has.
    """
    from mcp.server.stdio import stdio_server

    server = mcp_server(pipelines)
    try:
        with _standard_input() as messages:
            lines = anyio.wrap_file(cast("TextIO", LineReader(messages)))
            async with stdio_server(stdin=lines) as (read, write):
                await server.run(read, write, server.create_initialization_options())
    except BaseExceptionGroup as group:
        raise only_error(group) from None


@contextmanager
def _standard_input() -> Iterator[BinaryIO]:
    """Yield standard input; whatever else reads it meanwhile, as a program of a tool, finds it empty."""
    own, nothing = os.dup(STDIN), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, STDIN)
    os.close(nothing)
    try:
        # Left open: a thread may wait for a line until the process ends.
        yield os.fdopen(own, "rb", closefd=False)
    finally:
        os.dup2(own, STDIN)


def _schema(node: BuiltInput) -> Mapping[str, Any]:
    if node.vocabulary is None:
        return {"type": "string"}
    description = f"token ids of the map {node.vocabulary.id}"
    return {"type": "array", "items": {"type": "integer"}, "description": description}


def _result(*texts: str, failed: bool = False) -> CallToolResult:
    from mcp.types import CallToolResult, TextContent

    return CallToolResult(content=[TextContent(type="text", text=text) for text in texts], is_error=failed)


def _fault(name: str, place: str, found: str, remedy: str) -> PipelineError:
    return PipelineError([Fault(place, found, remedy)], name)
