"""The folder of a batch: what it is a batch of, one result for each key, and the records of the runs.

Rules that hold in this file:

- One process writes: it holds a lock in the folder until it ends, however it ends.
- A result is one line, written whole. A half line, which a crash leaves, is cut off at the next start.
- A key has one line. Another row with the key of a line is refused, and an equal row is passed over.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from codec_agents.exceptions import BatchError, RecordBusyError, RecordError
from codec_agents.records.files import PRIVATE, open_locked, replacing, write_whole
from codec_agents.records.writer import Durability, checked_durability, encoded, write_line
from codec_agents.scale.rows import MAX_ROW_BYTES, Row
from codec_core.exceptions import DECODE_ERRORS

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline

OUTPUT_VERSION = 1
"""Of the files of the folder; another one is refused."""

MAX_RESULT_BYTES = 2 * MAX_ROW_BYTES
"""The longest line of results that is read: a result may hold its whole row, and texts beside it."""

BEGINNING = b'{"key":'
"""Of each result: an unfinished line that does not begin so was not left by a crash, and is not cut off."""

MANIFEST = "batch.json"
RESULTS = "results.jsonl"
LOCK = "lock"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Says what the folder is a batch of; a start with another one is refused.

    Fields:
        version: the version of the files.
        id: names the batch; the runs of its rows are named after it.
        pipeline: the name of the pipeline.
        declaration: the digest of its declaration, without its engines.
        key: the column of the key; None for a digest of the row.
        columns: the columns of the inputs that have another name.
    """

    version: int = OUTPUT_VERSION
    id: str
    pipeline: str
    declaration: str
    key: str | None
    columns: dict[str, str]


class _ResultLine(msgspec.Struct):
    """The fields of a result by which a start knows what is done."""

    key: str
    row: str
    error: dict[str, Any] | None = None


@dataclass(slots=True)
class BatchSummary:
    """The rows of a batch so far.

    Fields:
        done: rows with a result that were run in this start.
        failed: rows of this start whose result is a failure.
        skipped: rows that had a result before, and repeated rows.
        output: the folder.
        began: when the start began, by `time.monotonic()`.
    """

    output: Path
    done: int = 0
    failed: int = 0
    skipped: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def rows(self) -> int:
        """The rows that were read and have a result."""
        return self.done + self.failed + self.skipped

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    @property
    def rows_per_second(self) -> float:
        """The throughput of this start; rows that were skipped do not count."""
        return (self.done + self.failed) / self.seconds if self.seconds > 0 else 0.0


class KeyIndex:
    """The keys that have a result or are at work, with the digest of their rows.

    It lies in a private file of SQLite, which is gone when it is closed: a set in memory would take 200 bytes
    for each key.
    """

    def __init__(self) -> None:
        self._base = sqlite3.connect("")
        self._base.execute("CREATE TABLE keys (key BLOB PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID")

    def add(self, row: Row) -> bool:
        """Add a row; return false if it is there.

        Raises:
            BatchError: Another row has its key.
        """
        return self.add_digests(row.key, row.key_digest, row.content_digest)

    def add_digests(self, key: str, key_digest: bytes, content_digest: str) -> bool:
        """Add a row by its digests; return false if it is there."""
        # One statement for the common case, a new key: a question before it would look the key up twice.
        added = self._base.execute(
            "INSERT OR IGNORE INTO keys VALUES (?, ?)", (key_digest, content_digest)
        ).rowcount
        if added:
            return True
        (known,) = self._base.execute("SELECT row FROM keys WHERE key = ?", (key_digest,)).fetchone()
        if known != content_digest:
            raise BatchError(
                f"two different rows have the key {key!r}, or the row of this key has changed since it was "
                "run; use another column as the key, or another output folder"
            )
        return False

    def close(self) -> None:
        """Drop the index."""
        self._base.close()


class BatchOutput:
    """The folder of a batch, locked for this process.

    Attributes:
        manifest: what it is a batch of.
        folder: the folder.
        summary: the rows of this start.
    """

    def __init__(
        self,
        folder: str | Path,
        pipeline: Pipeline,
        *,
        key: str | None = None,
        columns: Mapping[str, str] | None = None,
        durability: Durability = "os",
        retry_failed: bool = False,
        max_result_bytes: int = MAX_RESULT_BYTES,
    ) -> None:
        """Open a folder, or begin one. The results are readable by their owner alone.

        Args:
            folder: The folder.
            pipeline: The pipeline of the batch.
            key: The column of the key.
            columns: The columns of the inputs that have another name.
            durability: Where each result is before the next one is written.
            retry_failed: Drop the results that are failures, so that their rows run again.
            max_result_bytes: The longest line of results.

        Raises:
            BatchError: Another process writes it, it is of another batch, or a result is damaged.
            OSError: It cannot be written.
        """
        self._flushes = checked_durability(durability) == "disk"
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.summary = BatchSummary(self.folder)
        self._max_result_bytes = max_result_bytes
        self._index = KeyIndex()
        self._results: int | None = None
        self._lock = -1
        try:
            # The lock comes before the first look at the files: of two starts, one begins the batch.
            self._lock = self._locked()
            self.manifest = self._checked_manifest(pipeline, key, dict(columns or {}))
            self._open_results(retry_failed=retry_failed)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files, which lets another process go on."""
        self._index.close()
        if self._results is not None:
            os.close(self._results)
            self._results = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def pending(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Yield the rows that have no result yet, each key once.

        Raises:
            BatchError: Two different rows have one key.
        """
        for row in rows:
            if self._index.add(row):
                yield row
            else:
                self.summary.skipped += 1

    def write(self, line: dict[str, Any]) -> None:
        """Append the result of a row.

        Raises:
            BatchError: The file takes no more; what was written before is whole.
        """
        assert self._results is not None
        content = encoded(line) + b"\n"
        if len(content) > self._max_result_bytes:
            # The next start would refuse it. Another run would be as long, so it is the failure of its row.
            said = f"the result is longer than {self._max_result_bytes} bytes"
            error = {"type": "BatchError", "message": said}
            kept = ("key", "row", "record")
            line = {name: line[name] for name in kept if name in line} | {"error": error}
            content = encoded(line) + b"\n"
        try:
            write_line(self._results, content, flush=self._flushes)
        except OSError as error:
            raise BatchError(
                f"cannot write {self.folder / RESULTS}: {error.strerror or error}; free some space, and "
                "start the batch again: it goes on with the rows that are missing"
            ) from error
        if "error" in line:
            self.summary.failed += 1
        else:
            self.summary.done += 1

    def _locked(self) -> int:
        try:
            return open_locked(self.folder / LOCK)
        except RecordBusyError as error:
            raise BatchError(
                f"another process writes the batch in {self.folder}; wait for its end, or name another folder"
            ) from error
        except RecordError as error:
            raise BatchError(f"the folder {self.folder} cannot be written; name another one") from error

    def _checked_manifest(self, pipeline: Pipeline, key: str | None, columns: dict[str, str]) -> Manifest:
        path = self.folder / MANIFEST
        made = Manifest(
            id=secrets.token_hex(8),
            pipeline=pipeline.name,
            declaration=declaration_digest(pipeline),
            key=key,
            columns=columns,
        )
        if not path.exists():
            # Results of another program would be taken for those of this batch, and its keys for done.
            if (self.folder / RESULTS).exists():
                raise BatchError(f"{self.folder} has results and no {MANIFEST}; name another folder")
            write_whole(path, msgspec.json.encode(made), private=True)
            return made
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except DECODE_ERRORS as error:
            raise BatchError(f"{path} is damaged: {error}; name another folder") from error
        # Everything that decides which run a key has. The `id` stays that of the first start.
        for name in ("version", "pipeline", "key", "columns"):
            if getattr(found, name) != getattr(made, name):
                raise BatchError(
                    f"{self.folder} holds a batch with another {name} ({getattr(found, name)}, and not "
                    f"{getattr(made, name)}); name another folder, or go on as the batch began"
                )
        if found.declaration != made.declaration:
            raise BatchError(
                f"the pipeline {made.pipeline!r} has changed since the batch in {self.folder} began; name "
                "another folder, or go on with the pipeline as it was (its engines may change)"
            )
        return found

    def _open_results(self, *, retry_failed: bool) -> None:
        path = self.folder / RESULTS
        # A link in a folder of others would have its target rewritten, or cut off, where it is no file of
        # results. Not every system has both flags.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        try:
            self._results = os.open(path, flags, PRIVATE)
            if retry_failed:
                os.close(self._results)
                self._results = None
                self._drop_failed(path)
                self._results = os.open(path, flags, PRIVATE)
        except OSError as error:
            raise BatchError(f"cannot write {path}: {error.strerror}; name another folder") from error
        length = 0
        for line, result in result_lines(path, self._max_result_bytes):
            # A result holds the digest of its row, but the key as text: its digest is computed here.
            if not self._index.add_digests(result.key, Row(result.key, {}).key_digest, result.row):
                raise BatchError(f"{path} has two results of the key {result.key!r}; name another folder")
            length += len(line)
        os.ftruncate(self._results, length)  # half a line would become one with the next result
        os.lseek(self._results, 0, os.SEEK_END)

    def _drop_failed(self, path: Path) -> None:
        # Into a new file, on the disk before it takes the name: a crash loses none of the good results.
        with replacing(path, private=True) as part, part.open("wb") as file:
            for line, result in result_lines(path, self._max_result_bytes):
                if result.error is None:
                    file.write(line)
            file.flush()
            os.fsync(file.fileno())


def result_lines(path: Path, longest: int = MAX_RESULT_BYTES) -> Iterator[tuple[bytes, _ResultLine]]:
    """Yield the whole lines of a file of results, with the fields by which they are known.

    Raises:
        BatchError: A line is damaged or too long.
    """
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(longest), b""), 1):
            if not line.endswith(b"\n"):
                if len(line) < longest and line[: len(BEGINNING)] == BEGINNING[: len(line)]:
                    return  # half a line, which a crash left at the end, or which is being written
                if len(line) < longest:
                    raise BatchError(
                        f"{path}:{number}: the line is no result, nor the beginning of one; name another "
                        "folder"
                    )
                raise BatchError(
                    f"{path}:{number}: the line is longer than {longest} bytes; remove it, and "
                    "start the batch again"
                )
            try:
                yield line, msgspec.json.decode(line, type=_ResultLine)
            except DECODE_ERRORS as error:
                raise BatchError(
                    f"{path}:{number}: the line is no result: {error}; remove it, and start the batch again"
                ) from error


def declaration_digest(pipeline: Pipeline) -> str:
    """Return the digest of a declaration without its engines: a batch may go on with other servers."""
    document = pipeline.spec.model_dump_json(by_alias=True, exclude_defaults=True, exclude={"engines"})
    return "sha256:" + hashlib.sha256(document.encode()).hexdigest()
