"""`codec-agents schema`: the JSON Schema of pipeline files."""

from __future__ import annotations

from pathlib import Path

import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.records.files import write_whole


@click.command("schema", short_help="Print the JSON Schema of pipeline files, for editors.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
@click.option("--json", "_json", is_flag=True, help="No effect: the schema is JSON.")
@reporting
def command(output: Path | None, _json: bool) -> None:
    """Print the JSON Schema of pipeline files, with which editors complete and check them.

    A file that begins with `# yaml-language-server: $schema=PATH` is checked as it is written.
    """
    from codec_agents.graph.files.schema import schema_text

    if output is None:
        terminal.echo_data(schema_text(), nl=False)
    else:
        write_whole(output, schema_text().encode())
        terminal.echo(f"wrote {output}", err=True)
