"""`codec-agents graph`: draw a pipeline."""

from __future__ import annotations

from pathlib import Path

import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.cli.options import as_json, load_declaration, pipeline_file


@click.command("graph")
@pipeline_file
@click.option("--format", "form", type=click.Choice(["mermaid", "svg"]), help="Mermaid if not given.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to a file; its ending chooses the format.",
)
@as_json
@reporting
def command(file: Path, form: str | None, output: Path | None, as_json: bool) -> None:
    """Draw the pipeline in FILE, as Mermaid text or as an SVG picture."""
    from codec_agents.graph.drawing.mermaid import to_mermaid
    from codec_agents.graph.drawing.svg import to_svg

    spec = load_declaration(file).spec
    if form is None:
        form = "svg" if output is not None and output.suffix == ".svg" else "mermaid"
    picture = to_svg(spec) if form == "svg" else to_mermaid(spec)
    if output is not None:
        output.write_text(picture, encoding="utf-8")
        terminal.echo(f"wrote {output}", err=True)
    elif as_json:
        terminal.print_json({"format": form, "picture": picture})
    else:
        terminal.echo_data(picture)
