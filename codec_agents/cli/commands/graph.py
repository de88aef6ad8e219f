"""`codec-agents graph`: draw a pipeline."""

from __future__ import annotations

from pathlib import Path

import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.cli.options import as_json, load, pipeline_file
from codec_agents.records.files import write_whole

SUFFIXES = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid", ".md": "mermaid", ".txt": "mermaid"}
"""The format of a picture by the ending of its file."""


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

    if as_json and output is not None:
        raise click.UsageError("--json and --output exclude each other")
    form = form or _form_of(output)
    pipeline = load(file)
    pipeline.build()  # a picture of a pipeline that cannot be built would look sound
    spec = pipeline.spec
    picture = to_svg(spec) if form == "svg" else to_mermaid(spec)
    if output is not None:
        write_whole(output, picture.encode())
        terminal.echo(f"wrote {output}", err=True)
    elif as_json:
        terminal.print_json({"format": form, "picture": picture})
    else:
        terminal.echo_data(picture)


def _form_of(output: Path | None) -> str:
    """Return the format of a file by its ending; Mermaid without a file."""
    if output is None:
        return "mermaid"
    if output.suffix not in SUFFIXES:
        raise click.BadParameter(
            f"no format is known by the ending of {output.name!r}; end it in {', '.join(SUFFIXES)}, or add "
            "--format",
            param_hint="--output",
        )
    return SUFFIXES[output.suffix]
