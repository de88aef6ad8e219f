"""Run the pipeline for one row: its result, or its failure, as a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import anyio
from msgspec.structs import asdict

from codec_agents.exceptions import (
    BatchError,
    EngineUnavailableError,
    InputError,
    NodeFailedError,
    RecordBusyError,
    RecordError,
)
from codec_agents.graph.kinds import InputNode
from codec_agents.pipeline import Pipeline
from codec_agents.records.writer import Durability
from codec_agents.runtime.options import RunOptions
from codec_agents.runtime.result import RunResult
from codec_agents.runtime.run import Run
from codec_agents.scale.rows import Row

BUSY_EVERY = 0.5
"""Seconds between two tries at a record that another process writes."""

BUSY_LOOKS = 120
"""Tries: Ray takes up to half a minute to end the actors of a driver that died."""


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """How each row of a batch is run.

    Fields:
        batch: the id of the batch; the runs are named by it and by the digest of their key.
        output: the folder of the results; records are written below it.
        columns: by input: the column of its value; others have the column of their own name.
        records: whether each run is recorded, so that it goes on where it was cut off.
        durability: where each line of a record is before its run continues.
        whole_rows: whether a result holds the row itself, because its key does not tell which it was.
        deps: handed to tools by their context argument.
    """

    batch: str
    output: Path
    columns: Mapping[str, str]
    records: bool = True
    durability: Durability = "os"
    whole_rows: bool = False
    deps: object = None


def record_name(row: Row) -> str:
    """Return the path of a row's record in the folder of the results.

    The records are spread over 256 folders: a folder of a million files is slow on most file systems.
    """
    digest = row.key_digest.hex()
    return f"records/{digest[:2]}/{digest}.jsonl"


class RowRunner:
    """Runs rows on one pipeline or several equal ones, which stay open from row to row."""

    def __init__(self, pipelines: Sequence[Pipeline], options: RowOptions) -> None:
        """Prepare a runner; entering it opens the pipelines.

        Args:
            pipelines: Equal pipelines with other servers.
            options: How each row is run.
        """
        self._pipelines = list(pipelines)
        self._options = options
        self._busy: Counter[int] = Counter()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for pipeline in self._pipelines:
            await self._stack.enter_async_context(pipeline.opened())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def run(self, row: Row) -> dict[str, Any]:
        """Return the result of a row, as values of JSON. A run that fails is a result with an `error`.

        Raises:
            BatchError: The folder takes no record, which is the failure of no row.
        """
        # The digest is what a later start compares the row of this key with.
        line: dict[str, Any] = {"key": row.key, "row": row.content_digest}
        if self._options.whole_rows:
            line["values"] = dict(row.values)
        try:
            result = await self._run(row)
        except Exception as error:
            if _is_of_the_folder(error):
                raise BatchError(
                    f"{error}; the batch goes on with the rows that are missing when it is started again"
                ) from error
            line |= {"error": error_of(error)}
        else:
            line |= _result(result)
        # A run that could not begin, for its inputs, has none.
        if self._options.records and ("error" not in line or self._record_of(row).exists()):
            line["record"] = record_name(row)
        return line

    def _record_of(self, row: Row) -> Path:
        return self._options.output / record_name(row)

    async def _run(self, row: Row) -> RunResult:
        """Run a row on the pipeline with the fewest runs; go on with another one if its server is not there.

        Raises:
            Exception: whatever ended the run.
        """
        order = sorted(range(len(self._pipelines)), key=lambda number: self._busy[number])
        # The failure on the last one is that of the row.
        for number in order[:-1]:
            try:
                return await self._run_on(number, row)
            except NodeFailedError as error:
                # Any other failure comes from a server that answers: its equals would answer the same.
                if not isinstance(error.cause, EngineUnavailableError):
                    raise
        return await self._run_on(order[-1], row)

    async def _run_on(self, number: int, row: Row) -> RunResult:
        self._busy[number] += 1
        try:
            run = await self._begun(self._pipelines[number], row)
            return await run.execute()
        finally:
            self._busy[number] -= 1

    async def _begun(self, pipeline: Pipeline, row: Row) -> Run:
        """Begin a run, or go on with it when nothing else writes its record.

        After a driver or an actor has died, another actor can still be at the same row.
        """
        for _ in range(BUSY_LOOKS):
            try:
                return self._start(pipeline, row)
            except RecordBusyError:
                await anyio.sleep(BUSY_EVERY)
        return self._start(pipeline, row)

    def _start(self, pipeline: Pipeline, row: Row) -> Run:
        options, inputs = self._options, inputs_of(pipeline, row, self._options.columns)
        chosen: RunOptions = {
            # The same in every start, as are the keys of its calls, by which services know a repeated call.
            "run_id": f"{options.batch}-{row.key_digest.hex()}",
            "deps": options.deps,
        }
        if not options.records:
            return pipeline.run(inputs, **chosen)
        path = self._record_of(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen["durability"] = options.durability
        return pipeline.run_or_recover(path, inputs, **chosen)


def inputs_of(pipeline: Pipeline, row: Row, columns: Mapping[str, str]) -> dict[str, Any]:
    """Return the inputs of a run: each the value of its column.

    Raises:
        InputError: The row has no value for an input without a default.
    """
    values: dict[str, Any] = {}
    for name, node in declared_inputs(pipeline).items():
        column = columns.get(name, name)
        value = row.values.get(column)
        if value is not None:  # null is a missing value in every kind of file, and takes the default
            values[name] = value
        elif node.default is None:
            raise InputError(
                f"the row {row.key} has no value in the column {column!r} for the input {name!r}"
            )
    return values


def declared_inputs(pipeline: Pipeline) -> dict[str, InputNode]:
    """Return the inputs that a pipeline declares."""
    return {name: node for name, node in pipeline.spec.nodes.items() if isinstance(node, InputNode)}


def check_columns(pipeline: Pipeline, columns: Mapping[str, str]) -> None:
    """Check that columns are given to inputs that the pipeline has.

    Raises:
        BatchError: There is no such input.
    """
    declared = declared_inputs(pipeline)
    for name in columns:
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            raise BatchError(f"the pipeline has no input {name!r} to fill from a column; its inputs: {known}")


def check_first(pipeline: Pipeline, row: Row, columns: Mapping[str, str]) -> None:
    """Check the first row, before anything runs: a missing column is missing in all rows.

    Raises:
        BatchError: A column is missing.
    """
    for name, node in declared_inputs(pipeline).items():
        column = columns.get(name, name)
        # The column, and not its value: a value that is missing is the failure of its row alone.
        if column not in row.values and node.default is None:
            known = ", ".join(map(str, row.values)) or "none"
            raise BatchError(
                f"the rows have no column {column!r} for the input {name!r}; their columns are: {known}; "
                "give the column of the input by `columns`, or --column INPUT=COLUMN"
            )


def _is_of_the_folder(error: Exception) -> bool:
    """Return whether an error says that records cannot be written: a full disk, no permission, no space."""
    return isinstance(error, OSError) or (
        isinstance(error, RecordError) and isinstance(error.__cause__, OSError)
    )


def _result(result: RunResult) -> dict[str, Any]:
    usage = {name: count for name, count in asdict(result.total).items() if count}
    return {
        "text": result.text,
        "finish_reasons": result.finish_reasons,
        "usage": usage,
        "seconds": round(result.seconds, 6),
    }


def error_of(error: BaseException) -> dict[str, Any]:
    """Return an error as values of JSON: its class, its message, its node, and the class of its cause."""
    found: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if (node := getattr(error, "node", None)) is not None:
        found["node"] = node
    if isinstance(error, NodeFailedError):
        found["cause"] = type(error.cause).__name__
    return found


__all__ = ["RowOptions", "RowRunner", "check_columns", "check_first", "error_of", "record_name"]
