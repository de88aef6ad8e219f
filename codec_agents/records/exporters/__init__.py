"""Trajectories in the forms of trainers, one trainer a file, by the names that the command line takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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


PLAIN = ("jsonl", "parquet")
"""Those that hold log probabilities of any mode, and name it."""


def writer_of(name: str, *, any_mode: bool = False) -> Writer:
    """Return what writes rows in a format.

    Args:
        name: the format.
        any_mode: take log probabilities whatever they were computed from.

    Raises:
        KeyError: there is no such format.
    """
    module = import_module(EXPORTERS[name])
    write: Writer = partial(module.write, any_mode=True) if any_mode and name not in PLAIN else module.write
    return write
