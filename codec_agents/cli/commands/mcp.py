"""`codec-agents mcp`: pipelines as the tools of an MCP server."""

from __future__ import annotations

from pathlib import Path

import anyio
import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.cli.options import PIPELINE, load


@click.command("mcp", short_help="Serve the pipelines in FILES as tools of an MCP server.")
@click.argument("files", nargs=-1, required=True, type=PIPELINE)
@reporting
def command(files: tuple[Path, ...]) -> None:
    """Serve the pipelines in FILES as tools, over standard input and output.

    Each pipeline is one tool, named as it is: its inputs are the arguments, its text sinks the result.
    Clients see the progress of a run, and may cancel it. Needs pip install "codec-agents[mcp]".

    In a client's configuration: {"command": "codec-agents", "args": ["mcp", "/path/pipeline.yaml"]}
    """
    from codec_agents.bridges.mcp_server import serve_stdio

    # Built before the first client asks: a fault is told here, and not to a client. From here on the
    # standard output is the protocol's.
    pipelines = [load(file) for file in files]
    for pipeline in pipelines:
        pipeline.build()
    terminal.echo(f"serving {', '.join(pipeline.name for pipeline in pipelines)} over stdio", err=True)
    try:
        anyio.run(serve_stdio, pipelines)
    except ModuleNotFoundError as error:
        # Another module that is missing is a fault of a pipeline's own code.
        if (error.name or "").partition(".")[0] != "mcp":
            raise
        raise click.UsageError("install the official library: pip install 'codec-agents[mcp]'") from error
