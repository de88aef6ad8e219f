"""The rows of a batch: read one after the other from JSONL, CSV, Parquet, or a folder of such files.

Each row has a key: the value of a column, or a digest of its content. Results and records are named by it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, isnan
from pathlib import Path
from typing import Any, Self, TextIO, TypeAlias

import msgspec

from codec_agents.exceptions import BatchError
from codec_agents.strict_json import read_json

KEY_BYTES = 16
"""Of the digest of a key: of a billion keys, two share one with a probability of 1e-21."""

MAX_ROW_BYTES = 64 * 1024 * 1024
"""A longer line is refused: the limit of a line of a record, which holds the inputs of a run as well."""

ROWS_AT_ONCE = 256
"""Rows of a Parquet or Arrow file that are in memory at once, as Python values."""

STATE = "state.json"
"""Of a folder that `datasets.Dataset.save_to_disk` wrote."""

Values: TypeAlias = Mapping[str, Any]
"""A row as it was read: values of JSON by column."""

_encode = msgspec.json.Encoder(enc_hook=str, order="sorted").encode


@dataclass(frozen=True)
class Row:
    """One row of the inputs.

    Fields:
        key: names the row; equal keys are one row.
        values: its columns.
    """

    key: str
    values: Values

    @cached_property
    def key_digest(self) -> bytes:
        """The digest of the key, of `KEY_BYTES` bytes."""
        return hashlib.blake2b(self.key.encode("utf-8", "replace"), digest_size=KEY_BYTES).digest()

    @cached_property
    def content_digest(self) -> str:
        """The digest of the columns, in hexadecimal: equal rows have equal digests, whatever their file."""
        return hashlib.blake2b(_json(self.values), digest_size=KEY_BYTES).hexdigest()


def _json(values: Values) -> bytes:
    try:
        return _encode(dict(values))
    except UnicodeEncodeError:  # lone surrogates, which the escapes of JSON can spell
        return json.dumps(values, sort_keys=True, default=str).encode("ascii")


def keyed(rows: Iterable[Values], key: str | None) -> Iterator[Row]:
    """Yield rows with their keys.

    Args:
        rows: The rows as they were read.
        key: The column of the key; None for a digest of the row.

    Raises:
        BatchError: A row has no value in the column of the key, or one that names nothing.
    """
    for number, read in enumerate(rows, 1):
        values = _plain_values(read, number)
        if key is None:
            yield Row(Row("", values).content_digest, values)  # the digest is one of the values alone
            continue
        if (name := _name_of(values.get(key))) is None:
            known = ", ".join(map(str, values)) or "none"
            raise BatchError(
                f"row {number} has no text or number in the column {key!r}, which is its key; its columns "
                f"are: {known}"
            )
        yield Row(name, values)


def _plain_values(read: Values, number: int) -> Values:
    """Return a row as values of JSON.

    Raises:
        BatchError: It is none, or a value holds itself.
    """
    try:
        # Dates and the like become text, here and not where a row is written for another process. Names that
        # are numbers do as well: a table without a head has such columns.
        plain: Values = _finite(msgspec.to_builtins(dict(read), enc_hook=str, str_keys=True))
    except (TypeError, ValueError, RecursionError) as error:
        raise BatchError(f"row {number} is not a mapping from columns to values: {error}") from error
    return plain


def _name_of(value: Any) -> str | None:
    """Return a key as text; None for values that name no row: NaN, which is a missing number, is one."""
    if value is None or isinstance(value, Mapping | list) or value != value:
        return None
    name = str(value)
    return None if any("\ud800" <= char <= "\udfff" for char in name) else name


def _finite(value: Any) -> Any:
    """Return a value with NaN, a number that is missing, as null like the others; infinities as text."""
    if isinstance(value, float):
        return None if isnan(value) else value if isfinite(value) else str(value)
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value


def read_rows(source: str | os.PathLike[str] | Iterable[Values], key: str | None = None) -> Iterator[Row]:
    """Yield the rows of a file or a folder, in order, reading on as they are taken.

    Args:
        source: A `.jsonl`, `.ndjson`, `.csv` or `.parquet` file; a folder with such files, or one that
            `datasets.Dataset.save_to_disk` wrote; or the rows themselves.
        key: The column of the key; None for a digest of the row.

    Raises:
        BatchError: The file is of another kind, is damaged, or has a row without a key.
        OSError: It cannot be read.
    """
    if not isinstance(source, str | os.PathLike):
        return keyed(source, key)
    # Before the first row is asked for: a file that is missing is an error of the call.
    files = files_of(Path(source))
    return keyed((values for file in files for values in READERS[file.suffix](file)), key)


def files_of(source: Path) -> list[Path]:
    """Return the files of a source, in the order of their names.

    Raises:
        BatchError: There is none, or none of a kind that can be read.
    """
    kinds = ", ".join(READERS)
    if source.is_dir():
        # In a folder of a saved dataset, other files are what `datasets` computed from it, and no rows.
        saved = {state.parent: _data_files(state) for state in source.rglob(STATE)}
        # Sorted: a second start reads the rows in the same order, whatever the file system says.
        files = sorted(
            file
            for file in source.rglob("*")
            if file.is_file() and file.suffix in READERS and file.name in saved.get(file.parent, (file.name,))
        )
        if not files:
            raise BatchError(f"the folder {source} has no file of a kind that can be read: {kinds}")
        # A table that is there in two kinds would be run twice: numbers of JSON are texts in CSV, so the
        # digests of its rows differ.
        if len({file.suffix for file in files}) > 1:
            found = ", ".join(sorted({file.suffix for file in files}))
            raise BatchError(f"the folder {source} has files of several kinds ({found}); name one file")
        return files
    if not source.exists():
        raise BatchError(f"there is no {source}; name a file or folder of inputs")
    if source.suffix not in READERS:
        raise BatchError(f"{source} is of no kind that can be read; its name ends in one of {kinds}")
    return [source]


def _data_files(state: Path) -> list[str]:
    """Return the names of the files of a saved dataset.

    Raises:
        BatchError: The file that names them is not that of a dataset.
    """
    try:
        return [each["filename"] for each in json.loads(state.read_bytes())["_data_files"]]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise BatchError(f"{state} does not name the files of a saved dataset: {error!r}") from error


# --- one function per kind of file ---


def _json_lines(path: Path) -> Iterator[Values]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_ROW_BYTES + 1), b""), 1):
            if len(line) > MAX_ROW_BYTES:
                raise BatchError(f"{path}:{number}: the line is longer than {MAX_ROW_BYTES} bytes")
            if not line.strip():
                continue
            try:
                # A file of Windows may begin with a mark of its encoding. Half of a surrogate pair is the
                # failure of its row, and not of all rows after it.
                values = read_json(line.decode("utf-8-sig" if number == 1 else "utf-8"), half_pairs=True)
            except ValueError as error:
                raise BatchError(f"{path}:{number}: the line is not JSON: {error}") from error
            if not isinstance(values, dict):
                raise BatchError(f"{path}:{number}: the line is not a JSON object of columns")
            yield values


def csv_rows(path: Path, longest: int = MAX_ROW_BYTES) -> Iterator[Values]:
    """Yield the rows of a CSV file, whose first line names the columns.

    Args:
        path: The file.
        longest: The most characters of a row.

    Raises:
        BatchError: It is damaged, or a row is longer.
    """
    # The limit is one of the process, and too low for documents; it is never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), longest))
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = _RowLines(file, path, longest)
        # Strict: a quote that is never closed, or closed within a field, would give other texts in silence.
        reader = csv.DictReader(lines, strict=True)
        try:
            names = reader.fieldnames or ()
            if repeated := [name for name, count in Counter(names).items() if count > 1]:
                raise BatchError(f"{path}: the first line names the column {repeated[0]!r} twice; rename one")
            for values in reader:
                # Where the reader puts the fields without a name, and what it gives a name without a field.
                if None in values or None in values.values():
                    raise BatchError(
                        f"{path}:{lines.number}: the row has more or fewer fields than the first line names"
                    )
                lines.characters = 0
                yield values
        except (csv.Error, UnicodeDecodeError) as error:
            raise BatchError(f"{path}:{lines.number}: the file is not CSV in UTF-8: {error}") from error


class _RowLines:
    """The lines of a file; those of one row, of which quotes can hold any number, are bounded together."""

    def __init__(self, file: TextIO, path: Path, longest: int) -> None:
        self._file = file
        self._path = path
        self._longest = longest
        self.characters = 0
        """Of the row so far."""
        self.number = 0
        """Of the line that was read last; the library's own leaves out the line in which it fails."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._file.readline(self._longest + 1)
        self.characters += len(line)
        self.number += 1
        if self.characters > self._longest:
            raise BatchError(f"{self._path}: a row is longer than {self._longest} characters")
        if not line:
            raise StopIteration
        return line


def _parquet(path: Path) -> Iterator[Values]:
    parquet = arrow("parquet")
    with _readable(path), parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
            yield from batch.to_pylist()


def _arrow_stream(path: Path) -> Iterator[Values]:
    """Read a file of `datasets.Dataset.save_to_disk`, which is a stream of Arrow batches."""
    ipc = arrow("ipc")
    with _readable(path), path.open("rb") as file, ipc.open_stream(file) as stream:
        for batch in stream:
            for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                yield from batch.slice(start, ROWS_AT_ONCE).to_pylist()


class _readable:  # noqa: N801 - used as a function
    """Turn what Arrow says of a damaged file into a `BatchError`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None and (
            type(error).__name__.startswith("Arrow")
            or isinstance(
                error, ValueError | OverflowError
            )  # a text that is not UTF-8, a date beyond Python's
            or (isinstance(error, OSError) and error.errno is None)  # damage; the system's have a number
        ):
            raise BatchError(f"{self._path} cannot be read: {error}") from error


def arrow(part: str) -> Any:
    """Return a module of pyarrow.

    Raises:
        BatchError: It is not installed.
    """
    from importlib import import_module

    try:
        return import_module(f"pyarrow.{part}")
    except ImportError as error:
        raise BatchError(
            "Parquet and Arrow files need pyarrow; install the extra `parquet`: "
            "pip install 'codec-agents[parquet]'"
        ) from error


READERS: Mapping[str, Callable[[Path], Iterator[Values]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": csv_rows,
    ".parquet": _parquet,
    ".arrow": _arrow_stream,
}
"""By the end of a file's name."""
