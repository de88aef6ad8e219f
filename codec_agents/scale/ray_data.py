"""Batches on Ray Data: one opened pipeline per actor, many rows at once in each, the files of any batch.

The driver alone writes results, so a key has one however often Ray repeats a batch of rows. The actors write
the records, into a folder that all machines share; a row that an actor was running when it died goes on from
its record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

from codec_agents.exceptions import BatchError
from codec_agents.records.writer import Durability
from codec_agents.scale.batch import Progress, opened_batch
from codec_agents.scale.output import BatchSummary
from codec_agents.scale.ray_actor import (
    STOPS,
    Columns,
    Factory,
    RowActor,
    rows_of,
    rows_of_files,
    write_rows,
)
from codec_agents.scale.ray_serve import resolved
from codec_agents.scale.replicas import pipelines_of, replicas
from codec_agents.scale.rows import Row, Values
from codec_agents.scale.runner import RowOptions, check_columns

ROWS_PER_ACTOR = 16
"""Runs at once in one actor: enough to keep the batch of an engine busy, little work to repeat if it dies."""

FILE_ROUNDS = 4
"""A file that the driver hands to Ray has so many times the rows that an actor runs at once. Results come
back when those of a file are complete; the task of Ray for a file costs as much as a short run."""

FEWEST_ROWS = 16
"""Rows of a file, at least."""

ACTOR_CPUS = 0.9
"""The share of a processor that an actor asks for, unless `num_cpus` says otherwise. Where actors had all
processors, they would wait without end for the tasks of a dataset that read the rows."""

PENDING = "pending-"
"""The beginning of the name of the folder in which the driver hands rows to Ray."""

BATCHES_PER_ACTOR = 2
"""Batches of rows in an actor: while the last rows of one still run, those of the next have begun."""


@dataclass(frozen=True)
class _ActorPool:
    """The actors of a batch.

    Fields:
        make: makes the pipelines of each.
        actors: how many, or the fewest and the most.
        concurrency: runs at once in each.
        resources: what each needs, as Ray Data names it.
    """

    make: Factory
    actors: int | tuple[int, int]
    concurrency: int
    resources: Mapping[str, Any]

    def mapped(
        self,
        dataset: Any,
        options: RowOptions,
        rows: Callable[[Columns], Iterable[Row]],
        *,
        batch_size: int | None = None,
        sinks: bool = False,
    ) -> Any:
        """Return the dataset of the results of a dataset of rows.

        Args:
            dataset: the rows, or the files that hold them.
            options: how each row is run.
            rows: reads a batch of the dataset.
            batch_size: rows of the dataset in a batch; as many as an actor runs at once if left out.
            sinks: whether the results have a column for each text sink.

        Raises:
            BatchError: Ray is not installed.
        """
        ray, actors = _ray(), self.actors
        size = {"size": actors} if isinstance(actors, int) else {"min_size": actors[0], "max_size": actors[1]}
        return dataset.map_batches(
            RowActor,
            fn_constructor_args=(self.make, options, rows, self.concurrency, sinks),
            # A batch of a user's rows fills the places of an actor.
            batch_size=batch_size or self.concurrency,
            compute=ray.data.ActorPoolStrategy(
                **size,
                # Twice as many as run, which is Ray's own factor: the next ones wait in the actor.
                max_tasks_in_flight_per_actor=2 * BATCHES_PER_ACTOR,
                max_concurrent_calls_per_actor=BATCHES_PER_ACTOR,
            ),
            **{"num_cpus": ACTOR_CPUS, **self.resources},
        )


def map_batches(
    dataset: Any,
    pipeline: str | Path | Factory,
    *,
    key: str | None = None,
    columns: Mapping[str, str] | None = None,
    actors: int | tuple[int, int] = 1,
    concurrency: int = ROWS_PER_ACTOR,
    records: str | Path | None = None,
    durability: Durability = "os",
    batch: str = "rows",
    **resources: Any,
) -> Any:
    """Return a dataset of the results of a pipeline, one row for each row of a dataset.

    Its columns are `key`, `error` (empty where the run did not fail), `result` (a JSON document, see
    `docs/batches.md`), and the text of each text sink by the sink's name.

    Args:
        dataset: a `ray.data.Dataset`.
        pipeline: the file of the pipeline, by a path that every actor can read, or a function that makes it.
        key: the column that names a row; None for a digest of its content.
        columns: by input: the column of its value, where the names differ.
        actors: how many actors, or the fewest and the most.
        concurrency: runs at once in each actor.
        records: a folder, shared by all machines, for the records of the runs; None records nothing.
        durability: where each line of a record is before its run goes on.
        batch: names the runs in records and in the keys of their calls.
        **resources: what an actor needs, as Ray Data names it: `num_cpus`, `num_gpus`, ...

    Raises:
        ValueError: `concurrency` is less than 1.
        BatchError: Ray is not installed.
    """
    _check_concurrency(concurrency)
    pool = _ActorPool(_factory(pipeline), actors, concurrency, resources)
    options = RowOptions(
        batch=batch,
        output=Path(records or ".").absolute(),  # without `records` nothing is written there
        columns=dict(columns or {}),
        records=records is not None,
        durability=durability,
    )
    return pool.mapped(dataset, options, partial(rows_of, key=key), sinks=True)


def run_on_ray(
    file: str | Path,
    inputs: str | Path | Iterable[Values],
    output: str | Path,
    *,
    address: str | None = None,
    engines: Mapping[str, Sequence[str]] | None = None,
    key: str | None = None,
    columns: Mapping[str, str] | None = None,
    actors: int | tuple[int, int] = 1,
    concurrency: int = ROWS_PER_ACTOR,
    durability: Durability = "os",
    records: bool = True,
    retry_failed: bool = False,
    progress: Progress | None = None,
    make: Factory | None = None,
    **resources: Any,
) -> BatchSummary:
    """Do what `run_batch` does on a Ray cluster, with the same files.

    There are no `deps`: the actors are other processes, where `make` can give a pipeline what its tools need.

    Args:
        file: the file of the pipeline, by a path that every machine can read.
        inputs: as for `run_batch`.
        output: as for `run_batch`; a folder that all machines share.
        address: the cluster; None for the one of this program or the environment, or else one that is started
            on this machine.
        engines: URLs by engine of the file, as for `replicas`.
        key: as for `run_batch`.
        columns: as for `run_batch`.
        actors: how many actors, or the fewest and the most.
        concurrency: runs at once in each actor.
        durability: as for `run_batch`.
        records: as for `run_batch`.
        retry_failed: as for `run_batch`.
        progress: as for `run_batch`.
        make: makes the pipeline in an actor, in place of `file`.
        **resources: what an actor needs, as Ray Data names it.

    Raises:
        ValueError: `concurrency` is less than 1, or there are `engines` beside `make`, which names its own.
        BatchError: as for `run_batch`; Ray is not installed.
    """
    _check_concurrency(concurrency)
    if make is not None and engines:
        raise ValueError("`engines` are those of a file; with `make`, give them to its pipeline")
    pool = _ActorPool(_factory(make or file, engines), actors, concurrency, resources)
    pipeline = pipelines_of(pool.make())[0]
    columns = dict(columns or {})
    check_columns(pipeline, columns)
    pipeline.build()  # here as well: its faults are errors of the call, and not of an actor
    ray = _ray()
    with opened_batch(
        output,
        pipeline,
        inputs,
        key=key,
        columns=columns,
        durability=durability,
        records=records,
        retry_failed=retry_failed,
    ) as (out, options, rows):
        _remove_left(out.folder)
        # Closed, so that its files are removed now, and not with the object.
        with closing(_results_of(ray, rows, address, pool, options)) as lines:
            for line in lines:
                out.write(line)
                if progress is not None:
                    progress(out.summary, line)
        return out.summary


def _check_concurrency(concurrency: int) -> None:
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")


def _results_of(
    ray: Any, rows: Iterator[Row], address: str | None, pool: _ActorPool, options: RowOptions
) -> Generator[dict[str, Any]]:
    """Run rows on a cluster; yield their results.

    Raises:
        BatchError: No cluster can be reached, or the batch cannot go on.
    """
    # Ray is handed paths of files on the shared disk: the rows themselves would all be objects in its memory.
    with TemporaryDirectory(prefix=PENDING, dir=options.output) as folder:
        files = write_rows(rows, Path(folder), max(FILE_ROUNDS * pool.concurrency, FEWEST_ROWS))
        if not files:
            return  # without a cluster, which takes seconds to start
        _connect(ray, address)
        # The actors read the files: tasks that read them would each start a process of Ray. A block for each
        # file, because Ray divides the work by blocks, and yields results when all of a block are there.
        dataset = ray.data.from_items([{"file": file} for file in files], override_num_blocks=len(files))
        yield from _results(ray, pool.mapped(dataset, options, rows_of_files, batch_size=1))


def _results(ray: Any, mapped: Any) -> Iterator[dict[str, Any]]:
    """Yield the results of a dataset.

    Raises:
        BatchError: Ray gives up, for example because the pipeline cannot be made in an actor, or the folder
            takes no more records.
    """
    try:
        for result in mapped.iter_rows():
            line = json.loads(result["result"])
            if (reason := line.get(STOPS)) is not None:
                raise BatchError(reason)
            yield line
    except ray.exceptions.RayError as error:
        # The lines before the last one are a traceback of another process.
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise BatchError(
            f"Ray ended the batch: {reason[0]}; the batch goes on with the rows that are missing when it is "
            "started again"
        ) from error


def _connect(ray: Any, address: str | None) -> None:
    if not ray.is_initialized():
        try:
            # A cluster that this call starts ends with this program, and what it prints is no result.
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray raises bare exceptions where its processes do not start
            raise BatchError(
                f"no Ray cluster could be reached or started: {error}; see `ray status`, or leave out --ray"
            ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # they count files; `progress` counts rows


def _factory(pipeline: str | Path | Factory, engines: Mapping[str, Sequence[str]] | None = None) -> Factory:
    """Return what makes the pipelines in an actor, with the servers of some engines."""
    if not isinstance(pipeline, str | Path):
        return pipeline
    # Resolved here and not in the actors: by default a dashboard listens on its own machine alone.
    urls = {name: resolved(given) for name, given in (engines or {}).items()}
    return partial(replicas, str(Path(pipeline).absolute()), urls)


def _remove_left(folder: Path) -> None:
    """Remove the rows that a driver which was killed has left in the folder of the results."""
    for left in folder.glob(f"{PENDING}*"):
        rmtree(left, ignore_errors=True)


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BatchError(
            "this needs Ray; install the extra `ray`: pip install 'codec-agents[ray]', or leave out --ray"
        ) from error
    return ray
