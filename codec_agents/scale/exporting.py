"""The results of a batch as CSV, as Parquet, or as a folder that the library `datasets` loads."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from codec_agents.exceptions import BatchError
from codec_agents.records.files import replacing
from codec_agents.records.lines import ErrorFields
from codec_agents.scale.output import RESULTS, result_lines
from codec_agents.scale.rows import arrow

FORMS: Final = {"csv": "results.csv", "parquet": "results.parquet", "dataset": "dataset/results.parquet"}
"""By form: the file below the folder of the batch. `datasets.load_dataset` reads folders of Parquet."""

ROWS_AT_ONCE: Final = 1024
"""Rows of one group of a Parquet file, which are in memory at once."""

COLUMNS: Final = ("key", "error", "record", "values")
"""The columns besides those of the texts, which are named `text.SINK`. `values` is JSON."""


class _Exported(msgspec.Struct):
    """The fields of a result that are exported."""

    key: str
    error: ErrorFields | None = None
    record: str | None = None
    values: Any = None
    text: dict[str, str] = {}


def export(folder: str | Path, form: str) -> Path:
    """Write the results of a batch in another form, whole or not at all; return the file.

    Raises:
        BatchError: There is no such form, there are no results, one is damaged, or pyarrow is not installed.
    """
    check_form(form)
    results, target = Path(folder, RESULTS), Path(folder, FORMS[form])
    if not results.exists():
        raise BatchError(f"there are no results in {folder}; run the batch first")
    target.parent.mkdir(exist_ok=True)
    # Read twice: the columns come before the first row, and all results together may not fit in memory.
    sinks = sorted({sink for line in _lines(results) for sink in line.text})
    names = [*COLUMNS, *(f"text.{sink}" for sink in sinks)]
    with replacing(target, private=True) as part:  # for their owner alone, as the results are
        (_write_csv if form == "csv" else _write_parquet)(part, names, _rows(results, sinks))
    return target


def check_form(form: str) -> None:
    """Check that results can be written in a form.

    Raises:
        BatchError: There is no such form, or pyarrow, which it needs, is not installed.
    """
    if form not in FORMS:
        raise BatchError(f"there is no form {form!r}; the forms are {', '.join(FORMS)}")
    if form != "csv":
        arrow("parquet")


def _lines(results: Path) -> Iterator[_Exported]:
    for number, (line, _) in enumerate(result_lines(results), 1):
        try:
            yield msgspec.json.decode(line, type=_Exported)
        except msgspec.ValidationError as error:
            raise BatchError(f"{results}:{number}: the line is no result: {error}; remove it") from error


def _rows(results: Path, sinks: list[str]) -> Iterator[dict[str, str | None]]:
    for line in _lines(results):
        row: dict[str, str | None] = {
            "key": line.key,
            "error": None if line.error is None else f"{line.error.type}: {line.error.message}",
            "record": line.record,
            "values": None if line.values is None else msgspec.json.encode(line.values).decode(),
        }
        yield row | {f"text.{sink}": line.text.get(sink) for sink in sinks}


def _write_csv(path: Path, names: list[str], rows: Iterator[dict[str, str | None]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(path: Path, names: list[str], rows: Iterator[dict[str, str | None]]) -> None:
    pyarrow, parquet = arrow("lib"), arrow("parquet")  # `pyarrow` itself takes its names from `lib`
    schema = pyarrow.schema([(name, pyarrow.string()) for name in names])
    with parquet.ParquetWriter(path, schema) as writer:
        while part := list(islice(rows, ROWS_AT_ONCE)):
            writer.write_table(pyarrow.Table.from_pylist(part, schema=schema))
