"""A batch in this process: a bounded number of runs at once, and each result written as it comes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import anyio

from codec_agents.concurrency.task_group import TaskGroup
from codec_agents.exceptions import BatchError
from codec_agents.pipeline import Pipeline
from codec_agents.records.writer import Durability
from codec_agents.runtime.options import DEFAULT_CONCURRENCY
from codec_agents.scale.output import BatchOutput, BatchSummary
from codec_agents.scale.replicas import pipelines_of
from codec_agents.scale.rows import Row, Values, read_rows
from codec_agents.scale.runner import RowOptions, RowRunner, check_columns, check_first

Progress: TypeAlias = Callable[[BatchSummary, Mapping[str, Any]], None]
"""Called with the rows so far and the result that was just written."""


async def run_batch(
    pipeline: Pipeline | Sequence[Pipeline],
    inputs: str | os.PathLike[str] | Iterable[Values],
    output: str | Path,
    *,
    key: str | None = None,
    columns: Mapping[str, str] | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    durability: Durability = "os",
    records: bool = True,
    retry_failed: bool = False,
    progress: Progress | None = None,
    deps: object = None,
) -> BatchSummary:
    """Run a pipeline once for each row of a file; go on with the rows that are missing.

    The results are lines of `results.jsonl` in the folder, one for each key, in the order in which they end.
    The failure of a row is its result. Rows are read as they are run, so the memory does not grow with the
    file.

    Args:
        pipeline: the pipeline, or several equal ones with other servers (see `replicas`).
        inputs: a file or folder (see `read_rows`), or the rows themselves.
        output: the folder of the results and records.
        key: the column that names a row; without it a row is named by a digest of its content, and a result
            holds the row.
        columns: by input: the column of its value, where the names differ.
        concurrency: runs at once.
        durability: where each result, and each line of a record, is before the batch goes on.
        records: whether runs are recorded, below `records/`; a run that was cut off goes on from its record.
        retry_failed: run the rows again whose result is a failure; a recorded run goes on where it failed.
        progress: called after each row.
        deps: handed to tools by their context argument.

    Raises:
        ValueError: `concurrency` is less than 1.
        BatchError: the inputs cannot be read, the folder is of another batch, or its file takes no more.
        PipelineError: the pipeline cannot be built.
        Exception: what `progress` raised.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")
    pipelines = pipelines_of(pipeline)
    columns = dict(columns or {})
    check_columns(pipelines[0], columns)
    pipelines[0].build()  # before the folder is made: faults of the declaration leave none behind
    with opened_batch(
        output,
        pipelines[0],
        inputs,
        key=key,
        columns=columns,
        durability=durability,
        records=records,
        retry_failed=retry_failed,
        deps=deps,
    ) as (out, options, rows):
        async with RowRunner(pipelines, options) as runner:
            await _Workers(runner, rows, out, progress).run(concurrency)
        return out.summary


@contextmanager
def opened_batch(
    output: str | Path,
    pipeline: Pipeline,
    inputs: str | os.PathLike[str] | Iterable[Values],
    *,
    key: str | None,
    columns: Mapping[str, str],
    durability: Durability,
    records: bool,
    retry_failed: bool,
    deps: object = None,
) -> Iterator[tuple[BatchOutput, RowOptions, Iterator[Row]]]:
    """Open a batch's folder; yield it, how its rows are run, and the rows that have no result yet.

    The arguments are those of `run_batch`.

    Raises:
        BatchError: as for `run_batch`.
    """
    _refuse_output_among_inputs(inputs, output)
    with BatchOutput(
        output, pipeline, key=key, columns=columns, durability=durability, retry_failed=retry_failed
    ) as out:
        options = RowOptions(
            batch=out.manifest.id,
            output=out.folder.absolute(),  # actors of Ray work in folders of their own
            columns=columns,
            records=records,
            durability=durability,
            whole_rows=key is None,
            deps=deps,
        )
        # The first row is checked even if it has a result: `pending` comes after the check.
        yield out, options, out.pending(checked_rows(pipeline, read_rows(inputs, key), columns))


def _refuse_output_among_inputs(
    inputs: str | os.PathLike[str] | Iterable[Values], output: str | Path
) -> None:
    """Check that a second start would not read the results as rows.

    Raises:
        BatchError: The output folder lies in the folder of the inputs.
    """
    if not isinstance(inputs, str | os.PathLike):
        return
    # Resolved: a link or `..` is another name of the same folder.
    source, folder = Path(inputs).resolve(), Path(output).resolve()
    if source == folder or source in folder.parents:
        raise BatchError(
            f"the output folder {output} lies in the folder of the inputs, {inputs}, whose files are all "
            "read; name a folder beside it"
        )


def checked_rows(pipeline: Pipeline, rows: Iterator[Row], columns: Mapping[str, str]) -> Iterator[Row]:
    """Yield rows; check that the first one has the columns of the inputs.

    Raises:
        BatchError: It lacks one.
    """
    for number, row in enumerate(rows):
        if not number:
            check_first(pipeline, row, columns)
        yield row


class _Workers:
    """Take rows from one iterator; so no more are read than are run."""

    def __init__(
        self, runner: RowRunner, rows: Iterator[Row], output: BatchOutput, progress: Progress | None
    ) -> None:
        self._runner = runner
        self._rows = rows
        self._output = output
        self._progress = progress
        self._error: Exception | None = None

    async def run(self, concurrency: int) -> None:
        async with TaskGroup() as group:
            for _ in range(concurrency):
                group.start_soon(self._work, group.cancel_scope)
        if self._error is not None:
            raise self._error

    async def _work(self, scope: anyio.CancelScope) -> None:
        try:
            # All workers share the iterator without a lock: it is advanced between two awaits.
            for row in self._rows:
                line = await self._runner.run(row)
                self._output.write(line)
                if self._progress is not None:
                    self._progress(self._output.summary, line)
        except Exception as error:  # raised outside the group, which would wrap it into a group
            self._error = self._error or error
            scope.cancel()
