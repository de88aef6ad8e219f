"""An actor of Ray Data: pipelines that stay open, and batches of rows that it runs on them.

Rows come to an actor as columns of a user's dataset, or as the paths of files that the driver wrote.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from codec_agents.exceptions import BatchError
from codec_agents.pipeline import Pipeline
from codec_agents.records.writer import encoded
from codec_agents.scale.replicas import pipelines_of
from codec_agents.scale.rows import Row, keyed
from codec_agents.scale.runner import RowOptions, RowRunner, error_of

STOPS = "stops"
"""The field of a result that is that of no row: the reason for which the batch cannot go on."""

Factory: TypeAlias = Callable[[], Pipeline | Sequence[Pipeline]]
"""Makes the pipeline in an actor; Ray sends it there by cloudpickle."""

Columns: TypeAlias = Mapping[str, Any]
"""A batch of rows as Ray Data gives it: an array by column."""


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
        # In the actor: an open pipeline, with its connections, cannot be sent to one.
        pipelines = pipelines_of(make())
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


def rows_of(batch: Columns, key: str | None) -> Iterable[Row]:
    """Read a batch of a user's dataset: values of NumPy become those of Python."""
    names = list(batch)
    count = len(batch[names[0]]) if names else 0
    return keyed(({name: _plain(batch[name][at]) for name in names} for at in range(count)), key)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def rows_of_files(batch: Columns) -> Iterable[Row]:
    """Read the files that `write_rows` wrote."""
    for path in batch["file"]:
        for line in Path(path).read_bytes().splitlines():
            document = json.loads(line)
            yield Row(document["key"], document["values"])


def write_rows(rows: Iterator[Row], folder: Path, count: int) -> list[str]:
    """Write the rows that are to be run into files for `rows_of_files`; return their paths."""
    files: list[str] = []
    while part := list(islice(rows, count)):
        path = folder / f"{len(files):06}.jsonl"
        # In ASCII, which has a form for lone surrogates; UTF-8 has none.
        lines = [json.dumps({"key": row.key, "values": dict(row.values)}) + "\n" for row in part]
        path.write_text("".join(lines), encoding="ascii")
        files.append(str(path.absolute()))
    return files
