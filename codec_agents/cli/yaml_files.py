"""YAML files that commands take beside a pipeline: options of the gateway, rules of a scripted model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from codec_agents.cli.exits import message_of
from codec_agents.graph.files.document import read_file


def yaml_of(path: Path) -> Any:
    """Return the data of a YAML or JSON file, read as pipelines are: no tags, and bounded size and depth.

    Raises:
        click.BadParameter: It cannot be opened, or is none.
    """
    try:
        document = read_file(path, str(path))
    except OSError as error:
        raise click.BadParameter(message_of(error)) from error
    for fault in document.faults:
        line = "" if fault.line is None else f":{fault.line}"
        # The first fault alone: an option's error is one line.
        raise click.BadParameter(f"{path}{line}: {fault.found}; {fault.remedy}")
    return document.data
