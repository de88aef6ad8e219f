"""Ask a folder of records: an index in SQLite beside the files, which is made from them alone.

Rules that hold in this file:

- The records are the truth. The index may be deleted at any time; one that is damaged or of another version
  is made anew.
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
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, get_args

from codec_agents.exceptions import RecordDamagedError, RecordError
from codec_agents.records.files import PRIVATE, is_being_written
from codec_agents.records.reader import read_record
from codec_agents.records.recorded import RecordedRun

_log = logging.getLogger("codec_agents")

INDEX = ".runs.sqlite"
"""The file of the index in the folder."""

VERSION = 1
"""Of the tables."""

MAX_TEXT = 100_000
"""Characters of a run that can be searched: its inputs, texts, tool calls and errors, in this order."""

RECORDS_AT_ONCE = 200
"""Records of one transaction."""

BUSY_SECONDS = 30.0
"""How long one process waits for another that is writing the index."""

RunState: TypeAlias = Literal["done", "failed", "waiting", "running", "cut", "damaged"]
"""`waiting` for a decision; `running`: a process writes the record; `cut`: it ends in the middle of a run."""

SCHEMA = """
CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, is_run INTEGER) WITHOUT ROWID;
CREATE TABLE runs (
    path TEXT PRIMARY KEY, run_id TEXT, pipeline TEXT, state TEXT, seconds REAL, changed INTEGER,
    turns INTEGER, ids INTEGER, error TEXT, text TEXT
) WITHOUT ROWID;
CREATE TABLE nodes (path TEXT, node TEXT, outcome TEXT, error TEXT);
CREATE TABLE tools (path TEXT, node TEXT, name TEXT, status TEXT);
CREATE INDEX runs_by_id ON runs (run_id);
CREATE INDEX nodes_by_path ON nodes (path);
CREATE INDEX tools_by_path ON tools (path);
"""


TABLES = ("files", "runs", "nodes", "tools")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Chooses runs; a field that is None chooses all.

    Fields:
        pipeline: the name of the pipeline.
        state: the state of the run.
        node: the path of a node that ran.
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

    def __init__(self, folder: str | Path) -> None:
        """Open the index, or begin one.

        Raises:
            RecordError: There is no such folder.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise RecordError(f"there is no folder {folder}; name a folder of records")
        self._base = _opened(self.folder / INDEX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the index."""
        self._base.close()

    def refresh(self, progress: Callable[[int], None] | None = None) -> int:
        """Read the records that are new or changed, forget those that are gone; return how many were read.

        Args:
            progress: called with the number of files read so far, after each transaction.
        """
        try:
            return self._refresh(progress)
        # Also a `DatabaseError`, but the index is whole: it is busy, or the disk is full.
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self._base.close()
            self._base = _anew(self.folder / INDEX)
            return self._refresh(progress)

    def _refresh(self, progress: Callable[[int], None] | None) -> int:
        # Size and time of change show that a file has changed; reading a million files would take long.
        known = {row[0]: row[1:] for row in self._base.execute("SELECT path, size, changed FROM files")}
        seen: set[str] = set()
        read = 0
        for path in sorted(self.folder.rglob("*.jsonl")):
            name = path.relative_to(self.folder).as_posix()
            if (found := _stat(path, name)) is None:
                continue
            seen.add(name)
            # By the state before the read: a record that grows meanwhile differs at the next refresh.
            if known.get(name) != (found.st_size, found.st_mtime_ns):
                self._add(name, path, found)
                read += 1
                if read % RECORDS_AT_ONCE == 0:
                    self._base.commit()
                    if progress is not None:
                        progress(read)
        for name in known.keys() - seen:
            self._remove(name)
        self._base.commit()
        return read

    def runs(self, wanted: RunFilter | None = None, *, limit: int | None = None) -> list[IndexedRun]:
        """Return the runs that fit, the record that changed last first."""
        conditions, values = _conditions(wanted or RunFilter())
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        query = (
            "SELECT path, run_id, pipeline, state, seconds, turns, ids, error, text FROM runs"  # noqa: S608
            f"{where} ORDER BY changed DESC, path LIMIT ?"
        )
        rows = self._base.execute(query, (*values, -1 if limit is None else limit))  # below 0: all
        return [IndexedRun(*row) for row in rows]

    def find(self, run: str) -> Path:
        """Return the record of a run, by its id, the beginning of its id, or its path in the folder.

        Raises:
            RecordError: There is none, or there are several.
        """
        # Whole names come first: an id may be the beginning of another one. `LIKE` would read `_` and `%` of
        # an id as patterns.
        rows = self._base.execute(
            "SELECT path, CASE ? WHEN path THEN 0 WHEN run_id THEN 1 ELSE 2 END AS rank FROM runs"
            " WHERE path = ? OR run_id = ? OR substr(run_id, 1, ?) = ? ORDER BY rank LIMIT 2",
            (run, run, run, len(run), run),
        ).fetchall()
        if not rows or (len(rows) > 1 and rows[0][1] == rows[1][1]):
            many = "several runs begin" if rows else "no run begins"
            raise RecordError(f"{many} with {run!r} in {self.folder}; `codec-agents runs list` shows all")
        name: str = rows[0][0]
        return self.folder / name

    def _add(self, name: str, path: Path, found: os.stat_result) -> None:
        self._remove(name)
        record, state = _read(path)
        # A file that is no record has a row as well, so that it is not read again each time.
        self._base.execute(
            "INSERT INTO files VALUES (?, ?, ?, ?)",
            (name, found.st_size, found.st_mtime_ns, record is not None),
        )
        if record is None:
            return
        ends = record.ends
        errors = {  # of nodes: a run has no error of its own in its record
            node: f"{end['error']['type']}: {end['error']['message']}"
            for node, end in ends.items()
            if "error" in end
        }
        self._base.execute(
            "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                name,
                record.header.get("run_id") or "",  # files of other programs may lack it
                record.header.get("pipeline") or "",
                state or _state(path, record, failed=bool(errors)),
                record.seconds,
                found.st_mtime_ns,
                len(record.turns),
                sum(len(turn.generated) for turn in record.turns),
                next(iter(errors.values()), None),
                "\n".join(_texts(record, errors.values()))[:MAX_TEXT],
            ),
        )
        nodes = dict.fromkeys([*record.nodes, *ends])  # one that was stopped has turns and no end
        self._base.executemany(
            "INSERT INTO nodes VALUES (?, ?, ?, ?)",
            [(name, node, ends.get(node, {}).get("outcome"), errors.get(node)) for node in nodes],
        )
        self._base.executemany(
            "INSERT INTO tools VALUES (?, ?, ?, ?)",
            [(name, turn.node, tool["name"], tool["status"]) for turn in record.turns for tool in turn.tools],
        )

    def _remove(self, name: str) -> None:
        for table in TABLES:
            self._base.execute(f"DELETE FROM {table} WHERE path = ?", (name,))  # noqa: S608 - of constants


def _opened(path: Path) -> sqlite3.Connection:
    """Open an index; make one anew that is damaged or of another version.

    Where the folder cannot be written, or something else has the name of the index, it is a temporary one.
    """
    if not _is_own(path):
        return _made(sqlite3.connect(""))
    base = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        (version,) = base.execute("PRAGMA user_version").fetchone()
        # The version alone would not tell: its tables may be missing from a file of another program.
        if version == VERSION:
            for table in TABLES:
                base.execute(f"SELECT * FROM {table} LIMIT 0")  # noqa: S608 - of constants
            return _with_functions(base)
    except sqlite3.DatabaseError:  # damaged: the records have all that it had
        pass
    base.close()
    return _anew(path)


def _anew(path: Path) -> sqlite3.Connection:
    # Emptied and not removed: a new file would be made with the rights of the process, and not private.
    os.truncate(path, 0)
    return _made(sqlite3.connect(path, timeout=BUSY_SECONDS))


def _is_own(path: Path) -> bool:
    """Make the file of an index if there is none; return whether it is one that may be written.

    A folder of records may be from others. A link in it would have the index written to any file.
    """
    try:
        # Without waiting: a pipe of this name would be opened when a process reads it, which may be never.
        flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)  # which Windows has not
        opened = os.open(path, os.O_RDWR | os.O_CREAT | flags, PRIVATE)
    except OSError:
        return False
    found = os.fstat(opened)
    os.close(opened)
    # A second name of the file is a link of the other kind.
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


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


def _folded(text: str | None) -> str:
    """Return a text for a comparison in which case does not count; SQLite's `lower` knows ASCII alone."""
    return "" if text is None else text.casefold()


def _made(base: sqlite3.Connection) -> sqlite3.Connection:
    base.executescript(f"{SCHEMA}PRAGMA user_version = {VERSION};")
    return _with_functions(base)


def _with_functions(base: sqlite3.Connection) -> sqlite3.Connection:
    base.create_function("folded", 1, _folded, deterministic=True)
    return base


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
