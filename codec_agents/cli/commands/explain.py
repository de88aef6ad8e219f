"""`codec-agents explain`: the effect of each edge of a pipeline on token ids."""

from __future__ import annotations

from pathlib import Path

import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.cli.options import as_json, load, pipeline_file


@click.command("explain", short_help="Explain what each edge does to ids, and where text appears.")
@pipeline_file
@as_json
@reporting
def command(file: Path, as_json: bool) -> None:
    """Explain the pipeline in FILE: what each edge does to token ids, what it holds back, where text appears.

    The pipeline is built for this, so the explanation is of what would run. No engine is asked.
    """
    from codec_agents.graph.explain import render_text
    from codec_agents.plan.explanation import explain

    explanation = explain(load(file).build())
    if as_json:
        terminal.print_json(explanation.to_data())
    else:
        console = terminal.new_console()
        console.print(render_text(explanation), end="", soft_wrap=True)
