"""Trajectories in the forms of trainers, one trainer a file, by the names that the command line takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

from codec_agents.records.trajectories import Trajectory

Writer: TypeAlias = Callable[[Sequence[Trajectory], Path], None]
"""Writes rows to a file."""

EXPORTERS: Mapping[str, str] = {
    name: f"codec_agents.records.exporters.{name}"
    for name in ("jsonl", "parquet", "verl", "trl", "verifiers", "skyrl", "slime")
}
"""Modules by format; each has `write(rows, path)`."""


def writer_of(name: str) -> Writer:
    """Return what writes rows in a format.

    Raises:
        KeyError: there is no such format.
    """
    write: Writer = import_module(EXPORTERS[name]).write
    return write
