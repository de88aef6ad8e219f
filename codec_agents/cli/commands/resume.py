"""`codec-agents resume`: continue a run that was suspended for approval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from codec_agents.cli.approval import decisions
from codec_agents.cli.commands.run import show_run, with_options
from codec_agents.cli.exits import reporting
from codec_agents.cli.options import ExistingPath, load, pipeline_file
from codec_agents.exceptions import PauseError
from codec_agents.runtime.pause import Pause


@click.command("resume", short_help="Continue a run that waits for approval.")
@pipeline_file
@click.argument("waiting", type=ExistingPath())
@click.option(
    "-d",
    "--decision",
    "given",
    multiple=True,
    help="yes, no, or words for the model; once for each call that waits. Left out, a terminal is asked.",
)
@with_options
@reporting
def command(file: Path, waiting: Path, given: tuple[str, ...], **options: Any) -> None:
    """Continue a run of the pipeline in FILE that was suspended into WAITING.

    Finished nodes do not run again: the models continue from exactly their own ids. A run with a record is
    resumed once.
    """
    pipeline = load(file)
    try:
        pause = Pause.from_json(waiting.read_bytes())
    except PauseError as error:
        raise PauseError(f"{waiting}: {error}") from error
    pause.check(pipeline.build())
    decided = decisions(pause, given)
    show_run(file, pipeline, lambda **chosen: pipeline.resume(pause, decided, **chosen), **options)
