"""What a SQLite store promises about its file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from codec_agents.dialects import Message, MessageCall
from codec_agents.exceptions import StoreError
from codec_agents.server import Gateway, ScriptedBackend
from codec_agents.server.backends.conversation_file import ConversationFile
from codec_agents.server.gateway.mint import Mint, new_nonce
from codec_agents.server.gateway.sqlite_store import SqliteStore
from codec_agents.server.gateway.store import MOST_SIBLINGS, MemoryStore
from codec_agents.server.gateway.tree import Node, as_array
from tests.agents.dialects.families import small_map_of


def node(parent: Node | None = None, *, private: bool = False, partial: bool = False) -> Node:
    nonce = new_nonce()
    call = MessageCall("f", {"a": 1.5}, None, '{"a": 1.50}')
    return Node(
        parent=parent,
        tenant=b"t",
        origin=b"o" if parent is None else parent.key,
        key=b"k" + nonce,
        kept=0 if parent is None else parent.length,
        inserted=as_array([1, 2, 2**32 - 1]),
        sampled=as_array([4]),
        messages=(Message(role="user", content="三 \ufffd"),),
        turn=Message(role="assistant", content="a", reasoning="r", calls=(call,)),
        nonce=nonce,
        begin=3,
        finish_reason="stop",
        partial=partial,
        private=private,
        call_ids=("call_1",),
        spans=(("answer", 0, 1),),
        created=1.5,
    )


def stored(path: Path) -> tuple[SqliteStore, Node, Node]:
    """Store a turn and the one behind it; return the store, which is closed, and both."""
    store = SqliteStore(path)
    first = node()
    second = node(first)
    store.add(first)
    store.add(second)
    store.close()
    return store, first, second


def test_what_was_stored_is_read_back_equal_and_whole(tmp_path: Path) -> None:
    store, first, second = stored(tmp_path / "kept.db")
    again = SqliteStore(tmp_path / "kept.db", MemoryStore(max_bytes=0))
    [found] = again.find([b"unknown", second.key])
    assert found.ids() == second.ids() == as_array([1, 2, 2**32 - 1, 4, 1, 2, 2**32 - 1, 4])
    for name in Node.__dataclass_fields__:
        if name != "parent":
            assert getattr(found, name) == getattr(second, name), name
    assert found.parent is not None
    assert found.parent.nonce == first.nonce
    assert again.secret == store.secret, "ids that clients hold are known after a restart"
    assert [each.nonce for each in again.children(b"o")] == [first.nonce]
    assert again.by_nonce(b"other", first.nonce) is None
    again.close()


def test_few_of_the_turns_that_are_too_old_are_dropped_at_once() -> None:
    now = [0.0]
    store = MemoryStore(max_age=10, clock=lambda: now[0], most_aged=3)
    for _ in range(8):
        store.add(node())
    now[0] = 20
    counts = []
    for _ in range(4):
        store.add(node())
        counts.append(len(store))
    assert counts == [6, 4, 3, 4]


def test_a_store_keeps_its_bounds_though_nothing_is_in_it_yet(tmp_path: Path) -> None:
    bounded = MemoryStore(max_bytes=0)
    store = SqliteStore(tmp_path / "kept.db", bounded)
    first = node()
    store.add(first)
    assert len(bounded) == 0
    [found] = store.find([first.key])
    assert (found is first, found.ids()) == (False, first.ids())
    store.close()
    backend = ScriptedBackend.of(small_map_of("qwen3"), lambda _: "Hi.")
    assert Gateway(backend, store=bounded).store is bounded


def test_broken_turns_are_children_and_no_history_and_private_ones_are_in_memory_alone(
    tmp_path: Path,
) -> None:
    store = SqliteStore(tmp_path / "kept.db")
    broken, private = node(partial=True), node(private=True)
    child = node(private)
    for each in (broken, private, child):
        store.add(each)
    assert store.find([broken.key]) == []
    assert store.children(b"o") == [broken, private]
    assert store.find([child.key]) == [child]
    # The client asked to keep the child, which is in memory because its parent is in no file.
    assert store.by_nonce(b"t", child.nonce) is child
    assert (private.private, child.private) == (True, False)
    store.close()
    again = SqliteStore(tmp_path / "kept.db")
    assert again.find([private.key, child.key]) == []
    assert [each.nonce for each in again.children(b"o")] == [broken.nonce]
    again.close()


def test_a_file_of_an_earlier_version_of_this_package_is_opened_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    _, first, _ = stored(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        assert file.execute("SELECT value FROM facts WHERE name = 'version'").fetchone() == (b"1",)
        file.execute("DROP TABLE served")  # which came later, in the same version
    again = SqliteStore(path)
    assert again.find([first.key])[0].ids() == first.ids()
    again.close()
    ConversationFile(path).close()


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    SqliteStore(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("UPDATE facts SET value = x'00' WHERE name = 'secret'")
    with pytest.raises(StoreError, match="its secret is damaged"):
        SqliteStore(path)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("inserted", b"123"),
        ("turn", b"{"),
        ("turn", b"[" * 10_000),
        ("messages", b'{"a": 1}'),
        ("spans", b'[["answer"]]'),
        ("spans", b'[["answer",0,9999]]'),
        ("spans", b'[["answer",-1,1]]'),
        ("call_ids", b'["one","two"]'),
        ("kept", "x"),
        ("kept", -1),
        ("kept", 10**15),
        ("begin", b"x"),
        ("begin", 10**15),
        ("finish_reason", b"stop"),
        ("system", b"be brief"),
        ("created", "yesterday"),
        ("sampled", None),
        ("parent", 2),
        ("parent", 77),
    ],
)
def test_a_damaged_turn_is_a_typed_error(column: str, value: object, tmp_path: Path) -> None:
    _, _, second = stored(tmp_path / "kept.db")
    with sqlite3.connect(tmp_path / "kept.db") as file:
        file.execute("PRAGMA ignore_check_constraints = 1")
        changed = b"" if value is None else value
        number = 1 if value == 2 else 2  # a circle of two, one of one, and an unknown one
        file.execute(f"UPDATE turns SET {column} = ? WHERE number = ?", (changed, number))
        if value is None:  # without ids there are no lanes of them
            file.execute("UPDATE turns SET spans = ? WHERE number = 2", (b"[]",))
    file.close()
    again = SqliteStore(tmp_path / "kept.db")
    if value is None:
        assert not again.find([second.key])[0].sampled  # an empty turn is one
    else:
        with pytest.raises(StoreError, match="is damaged"):
            again.find([second.key])
    again.close()


def test_a_node_counts_about_what_it_takes() -> None:
    """Small JSON makes large objects, and a character that is not of ASCII takes up to four bytes."""

    def size(text: str, arguments: str) -> int:
        call = MessageCall("f", {}, None, arguments)
        turn = Message(role="assistant", content=text, calls=(call,))
        return replace(node(), turn=turn).size - replace(node(), turn=Message(role="assistant")).size

    assert size("", '{"a": [' + "{}," * 99_999 + "{}]}") > 64 * 100_000
    assert 100_000 < size("x" * 100_000, "{}") < 110_000
    assert size("三" * 100_000, "{}") > 2 * 100_000


def test_a_conversation_may_have_more_turns_than_python_has_calls(tmp_path: Path) -> None:
    memory = MemoryStore(max_bytes=2**30)
    last = None
    for _ in range(1_200):
        last = node(last)
    assert last is not None
    memory.add(last)  # those before it were evicted while it was generated
    assert len(memory) == 1_200
    assert memory.size == last.whole_size == sum(each.size for each in last.path())


@pytest.mark.parametrize("in_file", [False, True])
def test_of_many_equal_turns_the_newest_are_looked_at(tmp_path: Path, in_file: bool) -> None:
    store = SqliteStore(tmp_path / "kept.db", MemoryStore(max_bytes=0)) if in_file else MemoryStore()
    nodes = [replace(node(), key=b"same") for _ in range(MOST_SIBLINGS + 5)]
    for each in nodes:
        store.add(each)
    newest = [each.nonce for each in nodes[5:]]
    assert [each.nonce for each in store.find([b"same"])] == newest
    assert [each.nonce for each in store.children(b"o")] == newest
    store.close()


def test_a_node_takes_out_of_the_budget_what_it_brought(tmp_path: Path) -> None:
    memory = MemoryStore(max_bytes=100_000)
    store = SqliteStore(tmp_path / "kept.db", memory)
    last = None
    for _ in range(200):
        last = node(last)
        store.add(last)
        list(store.find([last.key]))
    assert len(memory) > 1
    assert memory.size == sum(each.size for each in memory._by_nonce.values()) <= 100_000
    store.close()


def test_minted_ids_say_their_turn_to_their_own_client_alone() -> None:
    mint, nonce = Mint(b"s" * 32), new_nonce()
    given = mint.new_id("call_", b"t", nonce, 7)
    assert mint.nonce_of(given, b"t") == nonce
    assert mint.nonce_of("toolu_" + given.removeprefix("call_"), b"t") == nonce
    for wrong in (given[:-1] + ("0" if given[-1] != "0" else "1"), "call_", "", given[:-2], "call_ü" * 9):
        assert mint.nonce_of(wrong, b"t") is None
    assert mint.nonce_of(given, b"other") is None
    assert Mint(b"u" * 32).nonce_of(given, b"t") is None
