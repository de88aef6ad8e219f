"""Batches on Ray Data: one opened pipeline per actor, many rows at once in each, the files of any batch.

The driver alone writes results, so a key has one however often Ray repeats a batch of rows. The actors write
the records, into a folder that all machines share; a row that an actor was running when it died goes on from
its record.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from codec_agents.exceptions import BatchError
from codec_agents.pipeline import Pipeline
from codec_agents.records.writer import Durability, encoded
from codec_agents.scale.batch import Progress, opened_batch
from codec_agents.scale.output import BatchSummary
from codec_agents.scale.ray_serve import resolved
from codec_agents.scale.replicas import replicas
from codec_agents.scale.rows import Row, Values, keyed
from codec_agents.scale.runner import RowOptions, RowRunner, check_columns, error_of

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

STOPS = "stops"
"""The field of a result that is that of no row: the reason for which the batch cannot go on."""

BATCHES_PER_ACTOR = 2
"""Batches of rows in an actor: while the last rows of one still run, those of the next have begun."""

Factory: TypeAlias = Callable[[], Pipeline | Sequence[Pipeline]]
"""Makes the pipeline in an actor; Ray sends it there by cloudpickle."""

Columns: TypeAlias = Mapping[str, Any]
"""A batch of rows as Ray Data gives it: an array by column."""


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
    options = RowOptions(
        batch=batch,
        output=Path(records or ".").absolute(),  # without `records` nothing is written there
        columns=dict(columns or {}),
        records=records is not None,
        durability=durability,
    )
    rows = partial(_rows_of, key=key)
    return _mapped(dataset, _factory(pipeline), options, rows, actors, concurrency, sinks=True, **resources)


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
        engines: URLs by engine, as for `replicas`.
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
        ValueError: `concurrency` is less than 1.
        BatchError: as for `run_batch`; Ray is not installed.
    """
    _check_concurrency(concurrency)
    # Resolved here and not in the actors: by default a dashboard listens on its own machine alone.
    urls = {name: resolved(given) for name, given in (engines or {}).items()}
    make = make or partial(replicas, str(Path(file).absolute()), urls)
    made = make()
    pipeline = made if isinstance(made, Pipeline) else made[0]
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
        for left in out.folder.glob(f"{PENDING}*"):  # by a driver that was killed
            rmtree(left, ignore_errors=True)
        lines = _results_of(ray, rows, address, make, options, actors, concurrency, resources)
        with closing(lines):  # its files are removed now, and not with the object
            for line in lines:
                out.write(line)
                if progress is not None:
                    progress(out.summary, line)
        return out.summary


def _results_of(
    ray: Any,
    rows: Iterator[Row],
    address: str | None,
    make: Factory,
    options: RowOptions,
    actors: int | tuple[int, int],
    concurrency: int,
    resources: Mapping[str, Any],
) -> Generator[dict[str, Any]]:
    """Run rows on a cluster; yield their results.

    Raises:
        BatchError: No cluster can be reached, or the batch cannot go on.
    """
    # Ray is handed paths of files on the shared disk: the rows themselves would all be objects in its memory.
    with TemporaryDirectory(prefix=PENDING, dir=options.output) as folder:
        files = _written(rows, Path(folder), max(FILE_ROUNDS * concurrency, FEWEST_ROWS))
        if not files:
            return  # without a cluster, which takes seconds to start
        _connect(ray, address)
        # The actors read the files: tasks that read them would each start a process of Ray. A block for each
        # file, because Ray divides the work by blocks, and yields results when all of a block are there.
        dataset = ray.data.from_items([{"file": file} for file in files], override_num_blocks=len(files))
        mapped = _mapped(
            dataset, make, options, _rows_of_files, actors, concurrency, batch_size=1, **resources
        )
        yield from _results(ray, mapped)


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


def _written(rows: Iterator[Row], folder: Path, count: int) -> list[str]:
    """Write the rows that are to be run into files for Ray; return their paths."""
    files: list[str] = []
    while part := list(islice(rows, count)):
        path = folder / f"{len(files):06}.jsonl"
        # In ASCII, which has a form for lone surrogates; UTF-8 has none.
        lines = [json.dumps({"key": row.key, "values": dict(row.values)}) + "\n" for row in part]
        path.write_text("".join(lines), encoding="ascii")
        files.append(str(path.absolute()))
    return files


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


def _check_concurrency(concurrency: int) -> None:
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")


def _mapped(
    dataset: Any,
    make: Factory,
    options: RowOptions,
    rows: Callable[[Columns], Iterable[Row]],
    actors: int | tuple[int, int],
    concurrency: int,
    *,
    batch_size: int | None = None,
    sinks: bool = False,
    **resources: Any,
) -> Any:
    ray = _ray()
    size = {"size": actors} if isinstance(actors, int) else {"min_size": actors[0], "max_size": actors[1]}
    return dataset.map_batches(
        RowActor,
        fn_constructor_args=(make, options, rows, concurrency, sinks),
        batch_size=batch_size or concurrency,  # a batch of a user's rows fills the places of an actor
        compute=ray.data.ActorPoolStrategy(
            **size,
            # Twice as many as run, which is Ray's own factor: the next ones wait in the actor.
            max_tasks_in_flight_per_actor=2 * BATCHES_PER_ACTOR,
            max_concurrent_calls_per_actor=BATCHES_PER_ACTOR,
        ),
        **{"num_cpus": ACTOR_CPUS, **resources},
    )


class RowActor:
    """Runs batches of rows in an actor of Ray Data, on pipelines that stay open."""

    def __init__(
        self,
        make: Factory,
        options: RowOptions,
        rows: Callable[[Columns], Iterable[Row]],
        concurrency: int,
        sinks: bool,
    ) -> None:
        """Make the pipelines.

        Args:
            make: makes them.
            options: how each row is run.
            rows: reads a batch of rows.
            concurrency: runs at once.
            sinks: whether the results have a column for each text sink.
        """
        made = make()  # in the actor: an open pipeline, with its connections, cannot be sent to one
        pipelines = [made] if isinstance(made, Pipeline) else list(made)
        self._sinks = _text_sinks(pipelines[0]) if sinks else None
        self._runner = RowRunner(pipelines, options)
        self._rows = rows
        self._places = asyncio.Semaphore(concurrency)
        self._opening = asyncio.Lock()
        self._open = False

    async def __call__(self, batch: Columns) -> AsyncIterator[dict[str, list[str]]]:
        """Yield the results of the rows, together: Ray holds them until all are there anyway."""
        async with self._opening:
            if not self._open:  # Ray makes the actor outside the event loop in which it is called
                await self._runner.__aenter__()  # and never left: Ray ends an actor with its process
                self._open = True
        yield self._columns(await asyncio.gather(*map(self._run, self._rows(batch))))

    async def _run(self, row: Row) -> dict[str, Any]:
        async with self._places:
            try:
                return await self._runner.run(row)
            except BatchError as error:  # a value as well: Ray would repeat the rows, and fail at the end
                return {"key": row.key, "error": error_of(error), STOPS: str(error)}

    def _columns(self, lines: list[dict[str, Any]]) -> dict[str, list[str]]:
        # As JSON: a column has one type, and the fields of results differ.
        found = {"result": [encoded(line).decode() for line in lines]}
        if self._sinks is None:
            return found
        errors = [line.get("error") for line in lines]
        texts = [line.get("text", {}) for line in lines]
        # A row of a column has a value: empty for no error, and for a sink that the run did not reach.
        return {
            "key": [line["key"] for line in lines],
            "error": ["" if error is None else f"{error['type']}: {error['message']}" for error in errors],
            **found,
            **{sink: [text.get(sink, "") for text in texts] for sink in self._sinks},
        }


def _text_sinks(pipeline: Pipeline) -> list[str]:
    """Return the text sinks.

    Raises:
        BatchError: One is named like a column that the results have anyway.
    """
    sinks = [name for name, sink in pipeline.build().sinks.items() if sink.text]
    if taken := {"key", "error", "result"} & set(sinks):
        raise BatchError(f"the sink {min(taken)!r} is named like a column of the results; rename the sink")
    return sinks


def _factory(pipeline: str | Path | Factory) -> Factory:
    return partial(replicas, str(Path(pipeline).absolute())) if isinstance(pipeline, str | Path) else pipeline


def _rows_of(batch: Columns, key: str | None) -> Iterable[Row]:
    """Read a batch of a user's dataset: values of NumPy become those of Python."""
    names = list(batch)
    count = len(batch[names[0]]) if names else 0
    return keyed(({name: _plain(batch[name][at]) for name in names} for at in range(count)), key)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _rows_of_files(batch: Columns) -> Iterable[Row]:
    """Read the files that `_written` wrote."""
    for path in batch["file"]:
        for line in Path(path).read_bytes().splitlines():
            document = json.loads(line)
            yield Row(document["key"], document["values"])


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BatchError(
            "this needs Ray; install the extra `ray`: pip install 'codec-agents[ray]', or leave out --ray"
        ) from error
    return ray
