"""`codec-agents init`: write a small commented pipeline, its tools, and a test."""

from __future__ import annotations

import shlex
from importlib import resources
from pathlib import Path

import click

from codec_agents.cli import terminal
from codec_agents.cli.exits import reporting
from codec_agents.records.files import write_whole


@click.command("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@reporting
def command(folder: Path) -> None:
    """Write a pipeline to start from into FOLDER, or into this folder.

    It runs at once, with scripted models; its comments say how to use your own servers. Nothing that exists
    is overwritten.
    """
    # The programs have another ending in the package, where they are data and not modules.
    parts = {
        part.name.removesuffix(".txt"): part.read_text("utf-8")
        for part in (resources.files("codec_agents") / "cli" / "starter").iterdir()
        if part.is_file()
    }
    for name in parts:
        if (folder / name).exists():
            raise click.UsageError(f"{folder / name} exists; name another folder: codec-agents init FOLDER")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sorted(parts.items()):
        write_whole(folder / name, text.encode())
        terminal.echo(f"wrote {folder / name}")
    file = shlex.quote(str(folder / "pipeline.yaml"))
    terminal.echo(f'run it with: codec-agents run {file} --input question="How long?"')
    terminal.echo(f"test it with: python -m pytest {shlex.quote(str(folder))} (needs: pip install pytest)")
