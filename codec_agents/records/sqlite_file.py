"""The SQLite files of the package: how one is opened, and what is held of it.

Rules that hold in this file:

- A file is readable by its owner alone. SQLite gives the files beside it (-wal, -shm, -journal) its mode.
- Tables are made in one transaction with their version. It is undone where a file turns out to be of another
  version or program, so such a file is left as it is.
- With one writer, the file is in WAL mode: a process that is killed loses nothing that was committed, and
  other processes read while this one writes. A machine that loses its power may lose the last transactions,
  and the file stays whole. A lock beside the file, which ends with the process, refuses a second writer.
- With several, each waits for the others' transactions. The file has no WAL, which processes of two machines
  could not share.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from codec_agents.exceptions import RecordBusyError, StoreError, UnfitStoreError
from codec_agents.records.files import PRIVATE, lock

FACTS: Final = "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
"""The table that every file of the package has, and that tells it from other programs' files. A file has its
`version` there, and the facts of its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of file.

    Fields:
        name: of the kind, in errors.
        row: what a row of it is, in errors.
        version: of the tables, and of this kind alone; a file of another one is refused.
        schema: the statements that make its tables where they are missing, separated by `;`.
        one_writer: whether one process alone may write it.
        wait: seconds for which a statement waits for other processes.
        facts: what a file holds from its beginning on, and how it is made.
    """

    name: str
    row: str
    version: bytes
    schema: str
    one_writer: bool
    wait: float
    facts: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)


class SqliteFile:
    """An open file; made where it is missing.

    Outside of `transaction` each statement is committed when it returns. A server in a thread uses the file
    there, and not where it was opened; one thread at a time in either case.

    Args:
        path: the file; None for a temporary one.
        kind: what it has to be.

    Attributes:
        facts: the facts of its kind.
        base: the database.

    Raises:
        UnfitStoreError: it is damaged, or of another version or program.
        StoreError: it cannot be opened, or another process writes it.
    """

    def __init__(self, path: Path | None, kind: Kind) -> None:
        self.path, self.kind = path, kind
        with ExitStack() as opened, self._typed(f"the file {path} is no {kind.name}, or cannot be used"):
            if path is not None:
                _claim(path, kind, opened)
            # SQLite takes no name for a file that is gone when it is closed.
            base = sqlite3.connect(
                path or "", timeout=kind.wait, isolation_level=None, check_same_thread=False
            )
            self.base = opened.enter_context(closing(base))
            self.facts = self._prepared()
            # The lock is given back last, and also where closing the database fails.
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Close the file, and let another process write it."""
        self._opened.close()

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of a query.

        Raises:
            StoreError: they cannot be read.
        """
        with self._typed(f"the {self.kind.name} {self.path} cannot be read"):
            return self.base.execute(query, values).fetchall()

    def change(self, statement: str, values: Sequence[Any] = ()) -> int | None:
        """Run a statement; return the number of the row that it added.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._writing():
            return self.base.execute(statement, values).lastrowid

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes of the block, or none of them if it fails.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._writing(), self.base:
            # At once: a transaction that begins by reading cannot wait for another one that writes.
            self.base.execute("BEGIN IMMEDIATE")
            yield

    def _prepared(self) -> dict[str, bytes]:
        """Make what is missing; return the facts."""
        new = {"version": self.kind.version, **{name: make() for name, make in self.kind.facts.items()}}
        # A file that is refused is left as it is: the transaction is undone.
        with self.base:
            self.base.execute("BEGIN IMMEDIATE")
            tables = {name for (name,) in self.base.execute("SELECT name FROM sqlite_master")}
            if tables and "facts" not in tables:
                raise sqlite3.DatabaseError("it is the database of another program")
            self.base.execute(FACTS)
            said = self.base.execute("SELECT 1 FROM facts WHERE name = 'version'").fetchone()
            if tables and said is None:
                raise sqlite3.DatabaseError("it is the database of another program")
            self.base.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?)", new.items())
            facts = {name: self._fact(name, len(value)) for name, value in new.items()}
            if facts["version"] != self.kind.version:
                said, own = (
                    each.decode("ascii", "replace")[:20] for each in (facts["version"], self.kind.version)
                )
                raise UnfitStoreError(
                    f"the {self.kind.name} {self.path} has the version {said}, and this program reads {own}"
                )
            # Not `executescript`, which would commit first.
            for statement in self.kind.schema.split(";"):
                self.base.execute(statement)
        if self.kind.one_writer:
            self.base.execute("PRAGMA journal_mode = WAL")
            self.base.execute("PRAGMA synchronous = NORMAL")
        return facts

    def _fact(self, name: str, shortest: int) -> bytes:
        (known,) = self.base.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        # SQLite keeps values of any type in any column; a short secret could be guessed.
        if not isinstance(known, bytes) or len(known) < shortest:
            raise sqlite3.DatabaseError(f"its {name} is damaged")
        return known

    def _writing(self) -> AbstractContextManager[None]:
        return self._typed(f"{self.kind.row} could not be written to {self.path}")

    @contextmanager
    def _typed(self, failed: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # it is busy, or the disk is full: the file may be whole
            raise StoreError(f"{failed}: {error}") from error
        except sqlite3.Error as error:
            raise UnfitStoreError(f"{failed}: {error}") from error


def is_plain(path: Path) -> bool:
    """Make a file if there is none; return whether it is one that may be written, and no link.

    In a folder from others, a link of either kind would have any other file written.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE))
    except FileExistsError:
        # Not opened: a pipe would wait for its other end, and closing the file would drop the locks that
        # SQLite holds at it in this process.
        found = path.lstat()
        return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and os.access(path, os.W_OK)
    except OSError:
        return False
    return True


def _claim(path: Path, kind: Kind, opened: ExitStack) -> None:
    """Make a file where it is missing, and take the place of its one writer."""
    try:
        if kind.one_writer:
            # A file of its own: closing a second handle of the database would drop SQLite's own locks. It is
            # never removed: of two processes, one could then lock the old file, and one a new one.
            beside = opened.enter_context(path.with_name(path.name + ".lock").open("ab"))
            # The system gives it back when the process ends, however it does.
            lock(beside.fileno(), path)
        path.touch(mode=PRIVATE)
    except RecordBusyError as error:
        raise StoreError(
            f"another process writes the {kind.name} {path}; end it, or give this one a file of its own"
        ) from error
    except OSError as error:
        raise StoreError(f"the {kind.name} {path} cannot be opened: {error.strerror}") from error
    if not path.is_file():
        raise StoreError(f"the {kind.name} {path} is no regular file")
