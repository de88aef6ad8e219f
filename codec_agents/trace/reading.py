"""Records of runs, from files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

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
    runs = [read_run(path) for path in paths]
    names = Counter(run.name for run in runs)
    for number, run in enumerate(runs, 1):
        if names[run.name] > 1:
            run.name = f"{run.name} ({number})"
    return runs
