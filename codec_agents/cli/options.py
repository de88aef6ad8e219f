"""Options and arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline

pipeline_file = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")


def load(path: Path) -> Pipeline:
    """Read a pipeline from its file.

    Raises:
        PipelineError: with every fault of the declaration.
    """
    from codec_agents.pipeline import Pipeline

    return Pipeline.from_yaml(path)
