"""Ask a folder of records: an index in SQLite beside the files, which is made from them alone.

Rules that hold in this file:

- The records are the truth. The index may be deleted at any time; one with damaged pages or of another
  version is made anew. A file in its place that is none is left as it is, and the index is a temporary one.
- A record is read again when its size or its time of change differs from the index.
- A file that is no record is remembered as such, and one that is damaged is listed as far as it can be read.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

from codec_agents.exceptions import RecordDamagedError, RecordError, UnfitStoreError
from codec_agents.plan.nodes import declared_path
from codec_agents.records.files import is_being_written
from codec_agents.records.reader import read_record
from codec_agents.records.recorded import RecordedRun
from codec_agents.records.sqlite_file import Kind, SqliteFile, is_plain

_log = logging.getLogger("codec_agents")

INDEX = ".runs.sqlite"
"""The file of the index in the folder."""

MAX_TEXT = 100_000
"""Characters of a run that can be searched: its inputs, texts, tool calls and errors, in this order."""

RECORDS_AT_ONCE = 200
"""Records of one transaction."""

RunState: TypeAlias = Literal["done", "failed", "waiting", "running", "cut", "damaged"]
"""`waiting` for a decision; `running`: a process writes the record; `cut`: it ends in the middle of a run."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, is_run INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    path TEXT PRIMARY KEY, run_id TEXT, pipeline TEXT, state TEXT, seconds REAL, changed INTEGER,
    turns INTEGER, ids INTEGER, error TEXT, text TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS nodes (path TEXT, node TEXT, outcome TEXT, error TEXT);
CREATE TABLE IF NOT EXISTS tools (path TEXT, node TEXT, name TEXT, status TEXT);
CREATE INDEX IF NOT EXISTS runs_by_id ON runs (run_id);
CREATE INDEX IF NOT EXISTS nodes_by_path ON nodes (path);
CREATE INDEX IF NOT EXISTS tools_by_path ON tools (path);
"""

TABLES = ("files", "runs", "nodes", "tools")

RUNS = Kind(
    name="index of runs",
    row="a run",
    version=b"runs 3",
    schema=SCHEMA,
    one_writer=False,
    wait=30.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Chooses runs; a field that is None chooses all.

    Fields:
        pipeline: the name of the pipeline.
        state: the state of the run.
        node: the path of a node that ran, its own or its declared one.
        failure: a part of the class or the message of an error, of a node or of the run.
        tool: the name of a tool that was called.
        tool_status: with `tool`: how a call of it ended.
        slower_than: seconds that the run took at least.
        text: words that its inputs, texts, tool calls or errors hold, in any case.
    """

    pipeline: str | None = None
    state: RunState | None = None
    node: str | None = None
    failure: str | None = None
    tool: str | None = None
    tool_status: str | None = None
    slower_than: float | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class IndexedRun:
    """One run.

    Fields:
        path: its record, relative to the folder.
        run_id: the run.
        pipeline: the name of its pipeline.
        state: how it ended, or that it has not.
        seconds: the instant of its last line, in seconds since it started.
        turns: turns of its models.
        ids: ids that they generated.
        error: the first error of a node, where one failed.
        text: its searchable text.
    """

    path: str
    run_id: str
    pipeline: str
    state: RunState
    seconds: float
    turns: int
    ids: int
    error: str | None
    text: str = field(repr=False)


class RunStore:
    """The records of a folder and of the folders in it."""

    def __init__(self, folder: str | Path, *, wait: float = RUNS.wait) -> None:
        """Open the index, or begin one.

        Args:
            folder: The folder.
            wait: Seconds to wait for another process that writes the index.

        Raises:
            RecordError: There is no such folder.
            StoreError: Another process writes the index, and does not end.
        """
        self.folder = Path(folder)
        self._kind = replace(RUNS, wait=wait)
        if not self.folder.is_dir():
            raise RecordError(f"there is no folder {folder}; name a folder of records")
        self._file = self._opened()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the index."""
        self._file.close()

    def refresh(self, progress: Callable[[int], None] | None = None) -> int:
        """Read the records that are new or changed, forget those that are gone; return how many were read.

        Args:
            progress: called with the number of files read so far, after each transaction but the last.

        Raises:
            StoreError: The index cannot be written: another process does not end, or the disk is full.
        """
        try:
            return self._refresh(progress)
        except UnfitStoreError:  # damaged pages are only found when they are read
            self._file.close()
            if self._file.path is None:  # a temporary one: what has the name of the index is left alone
                raise
            os.truncate(self._file.path, 0)
            self._file = self._opened()
            return self._refresh(progress)

    def _refresh(self, progress: Callable[[int], None] | None) -> int:
        # Size and time of change show that a file has changed; reading a million files would take long.
        known = {row[0]: row[1:] for row in self._file.rows("SELECT path, size, changed FROM files")}
        # By the state before the read: a record that grows meanwhile differs at the next refresh.
        found = dict(self._found())
        changed = [name for name, state in found.items() if known.get(name) != _mark(state)]
        for read in range(0, len(changed), RECORDS_AT_ONCE):
            if progress is not None and read:
                progress(read)
            with self._file.transaction():
                for name in changed[read : read + RECORDS_AT_ONCE]:
                    self._add(name, found[name])
        if gone := known.keys() - found.keys():
            with self._file.transaction():
                for name in gone:
                    self._remove(name)
        return len(changed)

    def _found(self) -> Iterator[tuple[str, os.stat_result]]:
        for path in sorted(self.folder.rglob("*.jsonl")):
            name = path.relative_to(self.folder).as_posix()
            if (state := _stat(path, name)) is not None:
                yield name, state

    def runs(self, wanted: RunFilter | None = None, *, limit: int | None = None) -> list[IndexedRun]:
        """Return the runs that fit, the record that changed last first."""
        conditions, values = _conditions(wanted or RunFilter())
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        query = (
            "SELECT path, run_id, pipeline, state, seconds, turns, ids, error, text FROM runs"  # noqa: S608
            f"{where} ORDER BY changed DESC, path LIMIT ?"
        )
        rows = self._file.rows(query, (*values, -1 if limit is None else limit))  # below 0: all
        return [IndexedRun(*row) for row in rows]

    def find(self, run: str) -> Path:
        """Return the record of a run, by its id, the beginning of its id, or its path in the folder.

        Raises:
            RecordError: There is none, or there are several.
        """
        # Whole names come first: an id may be the beginning of another one. `LIKE` would read `_` and `%` of
        # an id as patterns.
        rows = self._file.rows(
            "SELECT path, CASE ? WHEN path THEN 0 WHEN run_id THEN 1 ELSE 2 END AS rank FROM runs"
            " WHERE path = ? OR run_id = ? OR substr(run_id, 1, ?) = ? ORDER BY rank LIMIT 2",
            (run, run, run, len(run), run),
        )
        if not rows or (len(rows) > 1 and rows[0][1] == rows[1][1]):
            many = "several runs begin" if rows else "no run begins"
            raise RecordError(f"{many} with {run!r} in {self.folder}; `codec-agents runs list` shows all")
        name: str = rows[0][0]
        return self.folder / name

    def _opened(self) -> SqliteFile:
        """Open the index; make one of another version anew.

        Where the folder cannot be written, or something else has its name, it is a temporary one.
        """
        path = self.folder / INDEX
        try:
            file = SqliteFile(path if is_plain(path) else None, self._kind)
        except UnfitStoreError as error:
            if _is_index(path, self._kind.wait):
                # The records have all that it had. Emptied and not removed: another process may have it open.
                os.truncate(path, 0)
                file = SqliteFile(path, self._kind)
            else:
                _log.warning("%s; it is left as it is, and all records are read: move it away", error)
                file = SqliteFile(None, self._kind)
        file.base.create_function("folded", 1, _folded, deterministic=True)
        return file

    def _add(self, name: str, found: os.stat_result) -> None:
        self._remove(name)
        path = self.folder / name
        record, state = _read(path)
        # A file that is no record has a row as well, so that it is not read again each time.
        mark = (name, *_mark(found), record is not None)
        self._file.change("INSERT INTO files VALUES (?, ?, ?, ?)", mark)
        if record is None:
            return
        ends = record.ends
        errors = {  # of nodes: a run has no error of its own in its record
            node: f"{end['error']['type']}: {end['error']['message']}"
            for node, end in ends.items()
            if "error" in end
        }
        state = state or _state(path, record, failed=bool(errors))
        run = (name, *_run_row(record, state, found.st_mtime_ns, list(errors.values())))
        self._file.change("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", run)
        nodes = dict.fromkeys([*record.nodes, *ends])  # one that was stopped has turns and no end
        for node in nodes:
            outcome = ends.get(node, {}).get("outcome")
            if outcome == "skipped":
                continue
            # By its declared path as well, which names all items of a map and all rounds of a loop.
            for each in {node, declared_path(node)}:
                end = (name, each, outcome, errors.get(node))
                self._file.change("INSERT INTO nodes VALUES (?, ?, ?, ?)", end)
        for turn in record.turns:
            for tool in turn.tools:
                call = (name, turn.node, tool["name"], tool["status"])
                self._file.change("INSERT INTO tools VALUES (?, ?, ?, ?)", call)

    def _remove(self, name: str) -> None:
        for table in TABLES:
            self._file.change(f"DELETE FROM {table} WHERE path = ?", (name,))  # noqa: S608 - of constants


def _run_row(record: RecordedRun, state: RunState, changed: int, errors: list[str]) -> tuple[Any, ...]:
    """Return the row of a run behind the name of its file."""
    return (
        record.header.get("run_id") or "",  # files of other programs may lack it
        record.header.get("pipeline") or "",
        state,
        record.seconds,
        changed,
        len(record.turns),
        sum(len(turn.generated) for turn in record.turns),
        next(iter(errors), None),
        "\n".join(_texts(record, errors))[:MAX_TEXT],
    )


def _is_index(path: Path, wait: float) -> bool:
    """Return whether a file is an index of runs, of any version."""
    try:
        with closing(sqlite3.connect(path, timeout=wait)) as base:
            tables = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "facts" in tables:
                ((version,),) = base.execute("SELECT value FROM facts WHERE name = 'version'").fetchall()
                return isinstance(version, bytes) and version.startswith(b"runs ")
            ((version,),) = base.execute("PRAGMA user_version").fetchall()
            # The first version had no facts.
            return version == 1 and "files" in tables and tables <= set(TABLES)
    except (sqlite3.DatabaseError, ValueError):  # damaged, or without a version: it may be anything
        return False


def _stat(path: Path, name: str) -> os.stat_result | None:
    """Return the state of a file; None where it is gone, is no file, or cannot be named in the index."""
    try:
        name.encode()
        found = path.stat()
    except (OSError, UnicodeEncodeError) as error:
        _log.warning("%r is not in the index of runs: %s", name, error)
        return None
    # To open a pipe waits for a process that writes into it, and a device may have no end.
    return found if stat.S_ISREG(found.st_mode) else None


def _mark(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns


def _folded(text: str | None) -> str:
    """Return a text for a comparison in which case does not count; SQLite's `lower` knows ASCII alone."""
    return "" if text is None else text.casefold()


def _read(path: Path) -> tuple[RecordedRun | None, RunState | None]:
    """Return what can be read of a record, and that it is damaged if it is; None for a file that is none."""
    try:
        return read_record(path), None
    except RecordDamagedError as error:
        return error.record, "damaged"
    except RecordError:
        return None, None


def _state(path: Path, record: RecordedRun, *, failed: bool) -> RunState:
    if record.complete:
        return "done"
    if record.waiting is not None:
        return "waiting"
    # After what the record itself tells; before the last, because a policy may yet handle a failure.
    if is_being_written(path):
        return "running"
    return "failed" if failed else "cut"


def _texts(record: RecordedRun, errors: Any) -> Iterator[str]:
    yield from (value for value in record.inputs.values() if isinstance(value, str))
    yield from record.texts().values()
    for turn in record.turns:
        for tool in turn.tools:
            yield f"{tool['name']} {json.dumps(tool['arguments'], ensure_ascii=False)} {tool['told']}"
    yield from errors


def _conditions(wanted: RunFilter) -> tuple[list[str], list[Any]]:
    if wanted.state is not None and wanted.state not in get_args(RunState):
        raise ValueError(f"there is no state {wanted.state!r}; there are: {', '.join(get_args(RunState))}")
    # `instr` and not `LIKE`, which would read `_` and `%` of the words as patterns.
    known: tuple[tuple[Any, str], ...] = (
        (wanted.pipeline, "pipeline = ?"),
        (wanted.state, "state = ?"),
        (wanted.slower_than, "seconds >= ?"),
        (wanted.text, "instr(folded(text), folded(?)) > 0"),
        (wanted.node, "path IN (SELECT path FROM nodes WHERE node = ?)"),
        (wanted.failure, "path IN (SELECT path FROM nodes WHERE instr(folded(error), folded(?)) > 0)"),
        (wanted.tool, "path IN (SELECT path FROM tools WHERE name = ?)"),
    )
    conditions = [condition for value, condition in known if value is not None]
    values = [value for value, _ in known if value is not None]
    if wanted.tool is not None and wanted.tool_status is not None:
        # Beside the condition on the name: both have to be those of one call.
        conditions.append("path IN (SELECT path FROM tools WHERE name = ? AND status = ?)")
        values += [wanted.tool, wanted.tool_status]
    return conditions, values
