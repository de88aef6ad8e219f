"""Records of runs, from files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from codec_agents.exceptions import RecordDamagedError, RecordError
from codec_agents.records.reader import read_record
from codec_agents.trace.timeline import TracedRun, traced


def read_run(path: str | Path) -> TracedRun:
    """Return the run that a file records.

    Raises:
        RecordError: the file is missing, is no record, or is damaged.
    """
    return traced(read_record(path), Path(path).stem)


def read_runs(paths: Iterable[str | Path]) -> list[TracedRun]:
    """Return the runs that files record, each with a name of its own.

    Raises:
        RecordError: a file is missing, is no record, or is damaged.
    """
    return _named([read_run(path) for path in paths])


def read_up_to_damage(paths: Iterable[str | Path]) -> tuple[list[TracedRun], RecordError | None]:
    """Return the runs that files record, damaged ones as far as they can be read, and the first damage.

    Raises:
        RecordError: a file is missing, is no record, or nothing of it can be read.
    """
    runs: list[TracedRun] = []
    damage: RecordError | None = None
    for path in paths:
        try:
            runs.append(read_run(path))
        except RecordDamagedError as error:
            if error.record is None:
                raise
            damage = damage or error
            runs.append(traced(error.record, Path(path).stem))
    return _named(runs), damage


def _named(runs: list[TracedRun]) -> list[TracedRun]:
    names = Counter(run.name for run in runs)
    for number, run in enumerate(runs, 1):
        if names[run.name] > 1:
            run.name = f"{run.name} ({number})"
    return runs
