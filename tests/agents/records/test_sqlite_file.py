"""What every SQLite file of the package promises."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from codec_agents.exceptions import StoreError, UnfitStoreError
from codec_agents.records.sqlite_file import Kind, SqliteFile, is_plain

ONE = Kind(
    name="list",
    row="a line",
    version=b"lists 1",
    schema="CREATE TABLE IF NOT EXISTS lines (text TEXT); CREATE INDEX IF NOT EXISTS by_text ON lines (text)",
    one_writer=True,
    wait=0.0,
    facts={"secret": lambda: os.urandom(16)},
)
SEVERAL = replace(ONE, one_writer=False)
INSERT = "INSERT INTO lines VALUES (?)"

each_kind = pytest.mark.parametrize("kind", [ONE, SEVERAL], ids=["one", "several"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "list.db"


def with_sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as base:
        for statement in statements:
            base.execute(statement)


def insert_and(file: SqliteFile, statement: str | None) -> None:
    file.change(INSERT, ("a",))
    if statement is None:
        raise LookupError
    file.change(statement)


@each_kind
def test_what_was_written_is_read_back_and_the_facts_last(path: Path, kind: Kind) -> None:
    with closing(SqliteFile(path, kind)) as file:
        file.change(INSERT, ("a",))
        with file.transaction():
            file.change(INSERT, ("b",))
            assert file.change(INSERT, ("c",)) == 3
    with closing(SqliteFile(path, kind)) as again:
        assert again.rows("SELECT text FROM lines") == [("a",), ("b",), ("c",)]
        assert again.facts == file.facts


@each_kind
def test_a_transaction_that_fails_changes_nothing(path: Path, kind: Kind) -> None:
    with closing(SqliteFile(path, kind)) as file:
        for statement, error in (("INSERT INTO nothing VALUES (1)", StoreError), (None, LookupError)):
            with pytest.raises(error), file.transaction():
                insert_and(file, statement)
        assert file.rows("SELECT text FROM lines") == []


@each_kind
def test_the_file_and_those_beside_it_are_for_their_owner_alone(path: Path, kind: Kind) -> None:
    earlier = os.umask(0)
    try:
        with closing(SqliteFile(path, kind)) as file, file.transaction():
            file.change(INSERT, ("a",))
            beside = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    finally:
        os.umask(earlier)
    beside.pop("list.db.lock", None)  # which is empty
    written = ("", "-wal", "-shm") if kind.one_writer else ("", "-journal")
    assert beside == {f"list.db{end}": 0o600 for end in written}


def test_others_read_while_one_process_writes_and_no_second_one_does(path: Path) -> None:
    file = SqliteFile(path, ONE)
    with file.transaction():
        file.change(INSERT, ("a",))
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
            assert reader.execute("SELECT count(*) FROM lines").fetchone() == (0,)
    with pytest.raises(StoreError, match="another process writes the list"):
        SqliteFile(path, ONE)
    file.close()
    SqliteFile(path, ONE).close()


def test_several_processes_wait_for_each_other_s_transactions(path: Path) -> None:
    with closing(SqliteFile(path, SEVERAL)) as one, closing(SqliteFile(path, SEVERAL)) as other:
        with one.transaction():
            with pytest.raises(StoreError, match="locked") as busy, other.transaction():
                pass
            assert not isinstance(busy.value, UnfitStoreError), "the file is whole"
        with other.transaction():
            other.change(INSERT, ("b",))
        assert one.rows("SELECT text FROM lines") == [("b",)]


class Failing(sqlite3.Connection):
    """Cannot be closed as it should."""

    def close(self) -> None:
        super().close()
        raise sqlite3.OperationalError("disk I/O error")


def test_the_lock_is_given_back_though_the_database_cannot_be_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        connect = sqlite3.connect
        patch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **options, factory=Failing))
        file = SqliteFile(path, ONE)
        with pytest.raises(sqlite3.OperationalError):
            file.close()
    SqliteFile(path, ONE).close()


@each_kind
@pytest.mark.parametrize("fault", ["CREATE TABLE lines (text TEXT)", "DROP TABLE nothing"])
def test_tables_are_made_all_or_none(path: Path, kind: Kind, fault: str) -> None:
    with pytest.raises(StoreError, match=r"list\.db is no list, or cannot be used"):
        SqliteFile(path, replace(kind, schema=f"{kind.schema}; {fault}"))
    with closing(sqlite3.connect(path)) as base:
        assert base.execute("SELECT * FROM sqlite_master").fetchall() == []
    SqliteFile(path, kind).close()


FACTS_TABLE = "CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL)"
SAYS = "INSERT INTO facts VALUES ('version', {})"
OTHERS = [
    ("database of another program", "CREATE TABLE facts (name, value)", ""),
    ("database of another program", "CREATE TABLE theirs (x)", ""),
    (
        "has the version lists 2, and this program reads lists 1",
        FACTS_TABLE,
        SAYS.format("CAST('lists 2' AS BLOB)"),
    ),
    # A number would be so many zeros to `bytes`.
    *(
        ("its version is damaged", FACTS_TABLE, SAYS.format(value))
        for value in ("1000000000", "'lists 1'", "x''", "1.5")
    ),
]


@each_kind
@pytest.mark.parametrize(("message", "table", "row"), OTHERS)
def test_another_file_is_refused_and_left_as_it_is(
    path: Path, kind: Kind, message: str, table: str, row: str
) -> None:
    # The version is looked at before its tables, of which those of this one may not be made.
    with_sql(path, table, row, "CREATE TABLE lines (other)")
    before = path.read_bytes()
    with pytest.raises(UnfitStoreError, match=message):
        SqliteFile(path, kind)
    assert path.read_bytes() == before


@each_kind
@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"x" * 4000])
def test_a_file_that_is_no_database_is_unfit(path: Path, kind: Kind, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UnfitStoreError, match=r"list\.db is no list, or cannot be used"):
        SqliteFile(path, kind)
    assert path.read_bytes() == content


@each_kind
def test_a_damaged_fact_is_refused(path: Path, kind: Kind) -> None:
    """A short secret could be guessed."""
    SqliteFile(path, kind).close()
    for value in ("1000000000", "'text of sixteen!'", "x'00'", "1.5"):
        with_sql(path, f"UPDATE facts SET value = {value} WHERE name = 'secret'")
        with pytest.raises(UnfitStoreError, match="its secret is damaged"):
            SqliteFile(path, kind)


@each_kind
def test_a_place_without_a_folder_or_with_a_device_is_a_typed_error(path: Path, kind: Kind) -> None:
    with pytest.raises(StoreError, match="cannot be opened: No such file"):
        SqliteFile(path / "missing" / "list.db", kind)
    os.mkfifo(path)
    with pytest.raises(StoreError, match="is no regular file"):
        SqliteFile(path, kind)


def test_a_temporary_file_has_no_name() -> None:
    with closing(SqliteFile(None, SEVERAL)) as file:
        file.change(INSERT, ("a",))
        assert file.rows("SELECT text FROM lines") == [("a",)]


def test_links_and_special_files_are_not_plain(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("what nothing may change")
    named = {name: path.with_name(name) for name in ("soft", "hard", "pipe", "folder", "new")}
    named["soft"].symlink_to(path.with_name("nowhere"))
    named["hard"].hardlink_to(other)
    os.mkfifo(named["pipe"])
    named["folder"].mkdir()
    assert {name: is_plain(each) for name, each in named.items()} == {
        **dict.fromkeys(named, False), "new": True
    }  # fmt: skip
    assert is_plain(named["new"]), "it was made, for its owner alone"
    assert named["new"].stat().st_mode & 0o777 == 0o600
    assert not path.with_name("nowhere").exists()
    assert not is_plain(path / "missing" / "x")


@each_kind
def test_a_link_beside_the_file_is_not_followed(path: Path, kind: Kind) -> None:
    """In a folder from others, -wal or -journal could be a link to any file."""
    SqliteFile(path, kind).close()
    other = path.with_name("other")
    other.write_text("what nothing may change")
    for end in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + end).symlink_to(other)
    try:
        with closing(SqliteFile(path, kind)) as file:
            file.change(INSERT, ("a",))
    except StoreError:
        pass  # also right: the file cannot be used so
    assert other.read_text() == "what nothing may change"
