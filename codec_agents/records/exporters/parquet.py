"""Parquet, by pyarrow (the extra `parquet`): the columns of the JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from codec_agents.records.exporters.jsonl import document
from codec_agents.records.files import replacing
from codec_agents.records.trajectories import Trajectory


class MissingParquetError(ImportError):
    """pyarrow is not installed."""

    def __init__(self) -> None:
        super().__init__('Parquet needs pyarrow: pip install "codec-agents[parquet]"')


def write(rows: Sequence[Trajectory], path: Path) -> None:
    """Write a file of one row a trajectory.

    Raises:
        MissingParquetError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingParquetError from error
    # One table in memory, as the rows are: the command has read all of them.
    table = pa.Table.from_pylist([_row(row) for row in rows], schema=schema(pa))
    with replacing(path) as part:
        parquet.write_table(table, part)


def _row(row: Trajectory) -> dict[str, Any]:
    versions = [span._asdict() for span in row.weight_versions]
    return {
        **document(row),
        "weight_versions": versions,
        "sampling": msgspec.json.encode(row.sampling).decode(),
        "metadata": msgspec.json.encode(row.metadata).decode(),
    }


def schema(pa: Any) -> Any:
    """Return the columns; free forms (`sampling`, `metadata`) are JSON in text."""
    # Declared, not taken from the rows: files of runs that lack a value have the same columns as others.
    text, ids, spans = pa.string(), pa.list_(pa.uint32()), pa.list_(pa.int32())
    version = pa.struct([("version", text), ("start", pa.int32()), ("end", pa.int32())])
    return pa.schema(
        [
            ("run_id", text), ("node", text), ("part", pa.int32()), ("model", text), ("map", text),
            ("map_hash", text), ("ids", ids), ("sampled", pa.list_(pa.bool_())),
            ("turn_starts", spans), ("turn_ends", spans), ("finish_reasons", pa.list_(text)),
            ("complete", pa.bool_()), ("logprobs", pa.list_(pa.float64())),
            ("logprob_mode", text), ("sampling", text), ("weight_versions", pa.list_(version)),
            ("routed_experts", pa.list_(text)), ("tool_calls", pa.int32()),
            ("reward", pa.float64()), ("metadata", text),
        ]
    )  # fmt: skip
