"""Conversations in a SQLite file: they go on after a restart, and after a crash.

Rules that hold in this file:

- A node is committed before its client sees the end of its answer.
- What is in memory is a part of what is in the file, by the same node objects.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.exceptions import StoreError
from codec_agents.records.sqlite_file import Kind, SqliteFile
from codec_agents.server.gateway.mint import new_secret
from codec_agents.server.gateway.store import MOST_SIBLINGS, MemoryStore
from codec_agents.server.gateway.tree import IDS, Node, Span

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS turns (
    number INTEGER PRIMARY KEY,
    parent INTEGER REFERENCES turns (number),
    tenant BLOB NOT NULL,
    origin BLOB NOT NULL,
    key BLOB NOT NULL,
    nonce BLOB NOT NULL UNIQUE,
    kept INTEGER NOT NULL,
    inserted BLOB NOT NULL,
    sampled BLOB NOT NULL,
    messages BLOB NOT NULL,
    turn BLOB NOT NULL,
    begin INTEGER NOT NULL,
    finish_reason TEXT,
    partial INTEGER NOT NULL,
    system TEXT,
    call_ids BLOB NOT NULL,
    spans BLOB NOT NULL,
    created REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS turns_by_key ON turns (key) WHERE NOT partial;
CREATE INDEX IF NOT EXISTS turns_by_origin ON turns (origin);
CREATE TABLE IF NOT EXISTS served (
    number INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    histories BLOB NOT NULL,
    pause TEXT,
    delivered INTEGER NOT NULL
);
"""
"""`inserted` and `sampled`: token ids, 4 bytes each, little-endian; the other fields of `turns`: JSON.
`served` has the conversations of a served pipeline (`codec_agents.server.backends.conversation_file`)."""

CONVERSATIONS: Final = Kind(
    name="store of conversations",
    row="a turn",
    version=b"1",
    schema=SCHEMA,
    one_writer=True,
    wait=5.0,
    facts={"secret": new_secret},
)

COLUMNS: Final = (
    "number, parent, tenant, origin, key, nonce, kept, inserted, sampled, messages, turn, begin, "
    "finish_reason, partial, system, call_ids, spans, created"
)

INSERT: Final = f"INSERT INTO turns ({COLUMNS}) VALUES ({', '.join('?' * 18)})"  # noqa: S608 - of constants

PATH: Final = f"""
WITH RECURSIVE path (number) AS (
    SELECT ? UNION SELECT turns.parent FROM turns JOIN path USING (number) WHERE turns.parent NOT NULL
)
SELECT {COLUMNS} FROM turns JOIN path USING (number) ORDER BY number
"""  # noqa: S608 - of constants
"""A turn and its ancestors, the beginning of the conversation first: a parent has the smaller number."""

MOST_KEYS: Final = 500
"""Keys of one query: SQLite's oldest limit of variables is 999."""


class SqliteStore:
    """Keeps nodes in a file; those used last are in memory too.

    Args:
        path: the file; made where it is missing.
        memory: bounds what is kept in memory, and has the nodes that are not to be in the file.

    Raises:
        StoreError: the file is not such a store, cannot be written, or another process writes it.
    """

    def __init__(self, path: Path, memory: MemoryStore | None = None) -> None:
        self.path = path
        self._memory = MemoryStore() if memory is None else memory
        self._apart = 0
        self._file = SqliteFile(path, CONVERSATIONS)
        self.secret = self._file.facts["secret"]

    @property
    def accesses(self) -> int:
        """The number of look-ups so far."""
        return self._memory.accesses

    def find(self, keys: Sequence[bytes]) -> list[Node]:
        """Return the whole turns of the first of these keys that has any."""
        # Asked first for turns that are nowhere else, and so that it knows which turns are in use.
        known = self._memory.find(keys)
        for start in range(0, len(keys), MOST_KEYS):
            some = keys[start : start + MOST_KEYS]
            marks = ", ".join("?" * len(some))
            query = f"SELECT key, number FROM turns WHERE NOT partial AND key IN ({marks})"  # noqa: S608 - marks
            found = self._file.rows(query, some)
            numbers: dict[bytes, list[int]] = {}
            for key, number in found:
                numbers.setdefault(key, []).append(number)
            first = next((key for key in some if key in numbers or any(n.key == key for n in known)), None)
            if first is not None:
                own = [node for node in known if node.number < 0 and node.key == first]
                return [*self._nodes(sorted(numbers.get(first, ()))[-MOST_SIBLINGS:]), *own]
        return []

    def children(self, origin: bytes) -> list[Node]:
        """Return the newest turns whose request began so."""
        own = [node for node in self._memory.children(origin) if node.number < 0]
        query = "SELECT number FROM turns WHERE origin = ? ORDER BY number DESC LIMIT ?"
        rows = self._file.rows(query, (origin, MOST_SIBLINGS))
        return [*self._nodes(number for (number,) in reversed(rows)), *own]

    def by_nonce(self, tenant: bytes, nonce: bytes) -> Node | None:
        """Return the turn of a number."""
        if (node := self._memory.by_nonce(tenant, nonce)) is not None:
            return node
        rows = self._file.rows("SELECT number FROM turns WHERE nonce = ? AND tenant = ?", (nonce, tenant))
        return next(iter(self._nodes(number for (number,) in rows)), None)

    def add(self, node: Node) -> None:
        """Keep a node in the file; a private one, and what continues it, in memory alone.

        Raises:
            StoreError: the file cannot be written.
        """
        if not (node.private or (node.parent is not None and node.parent.number < 0)):
            number = self._file.change(INSERT, _row(node))
            assert number is not None
            node.number = number
        elif not node.number:
            self._apart += 1
            node.number = -self._apart  # none that the file gives, so that it tells what is in memory alone
        self._memory.add(node)

    def was_evicted(self, keys: Sequence[bytes]) -> bool:
        """Return whether one of these keys had a turn that was evicted lately: a private one."""
        return self._memory.was_evicted(keys)

    def close(self) -> None:
        """Close the file, and let another process write it."""
        self._file.close()

    def _nodes(self, numbers: Iterable[int]) -> list[Node]:
        return [self._memory.numbered(number) or self._load(number) for number in numbers]

    def _load(self, number: int) -> Node:
        """Return a turn with its ancestors, which are read where they are not in memory."""
        parent: Node | None = None
        for row in self._file.rows(PATH, (number,)):
            node = self._memory.numbered(row[0])
            if node is None:
                node = self._checked(row, parent)
                self._memory.keep(node)
            parent = node
        if parent is None or parent.number != number:
            raise StoreError(f"the turn {number} of {self.path} is damaged, or those before it are missing")
        self._memory.evict()  # they are whole without their places in memory
        return parent

    def _checked(self, row: Sequence[Any], parent: Node | None) -> Node:
        """Return the node of a row.

        Raises:
            StoreError: the row is damaged, or continues another turn than the one before it.
        """
        before = None if parent is None else parent.number
        try:
            if row[1] != before:
                raise ValueError(f"it continues the turn {row[1]}")
            return _node(row, parent)
        # msgspec's errors are of values; one of types is a column that another program has changed.
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(f"the turn {row[0]} of {self.path} is damaged: {error}") from error


# --- nodes as rows ---


class _Call(msgspec.Struct, array_like=True):
    name: str
    id: str | None
    text: str


class _Message(msgspec.Struct, omit_defaults=True):
    role: str
    content: str = ""
    reasoning: str | None = None
    calls: tuple[_Call, ...] = ()
    name: str | None = None
    call_id: str | None = None


_OBJECT = msgspec.json.Decoder(dict[str, Any])
_MESSAGE = msgspec.json.Decoder(_Message)
_MESSAGES = msgspec.json.Decoder(tuple[_Message, ...])
_CALL_IDS = msgspec.json.Decoder(tuple[str, ...])
_SPANS = msgspec.json.Decoder(tuple[Span, ...])


def _row(node: Node) -> tuple[Any, ...]:
    return (
        # SQLite numbers the row.
        None,
        None if node.parent is None else node.parent.number,
        node.tenant,
        node.origin,
        node.key,
        node.nonce,
        node.kept,
        bytes_of(node.inserted),
        bytes_of(node.sampled),
        msgspec.json.encode([_kept(message) for message in node.messages]),
        msgspec.json.encode(_kept(node.turn)),
        node.begin,
        node.finish_reason,
        node.partial,
        node.system,
        msgspec.json.encode(node.call_ids),
        msgspec.json.encode(node.spans),
        node.created,
    )


def _node(row: Sequence[Any], parent: Node | None) -> Node:
    number, _, tenant, origin, key, nonce, kept, inserted, sampled, messages, turn, begin = row[:12]
    finish_reason, partial, system, call_ids, spans, created = row[12:]
    # SQLite keeps values of any type in any column.
    msgspec.convert((kept, begin, finish_reason, partial, system, created), _Plain)
    node = Node(
        number=number,
        parent=parent,
        tenant=tenant,
        origin=origin,
        key=key,
        nonce=nonce,
        kept=kept,
        inserted=ids_of(inserted),
        sampled=ids_of(sampled),
        messages=tuple(map(_message, _MESSAGES.decode(messages))),
        turn=_message(_MESSAGE.decode(turn)),
        begin=begin,
        finish_reason=finish_reason,
        partial=bool(partial),
        system=system,
        call_ids=_CALL_IDS.decode(call_ids),
        spans=_SPANS.decode(spans),
        created=created,
    )
    _check_places(node)
    return node


NotNegative: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]

_Plain: TypeAlias = tuple[NotNegative, NotNegative, str | None, NotNegative, str | None, float]
"""The columns that are no bytes: kept, begin, finish_reason, partial, system, and created."""


def _check_places(node: Node) -> None:
    """Check the numbers of a node against each other: what they name must be there.

    Raises:
        ValueError: it is not. The ids of a prompt, for one, would end early in silence.
    """
    before = 0 if node.parent is None else node.parent.length
    if node.kept > before:
        raise ValueError(f"it keeps {node.kept} ids of {before}")
    if node.begin > node.prompt_length:
        raise ValueError("it begins behind its prompt")
    if any(not 0 <= start <= stop <= len(node.sampled) for _, start, stop in node.spans):
        raise ValueError("a lane lies outside its ids")
    if len(node.call_ids) not in (0, len(node.turn.calls)):
        raise ValueError("it has ids of other calls than its own")


def _kept(message: Message) -> _Message:
    calls = tuple(
        _Call(call.name, call.id, call.text or json.dumps(call.arguments)) for call in message.calls
    )
    return _Message(message.role, message.content, message.reasoning, calls, message.name, message.call_id)


def _message(kept: _Message) -> Message:
    return Message(
        role=kept.role,
        content=kept.content,
        reasoning=kept.reasoning,
        calls=tuple(MessageCall(call.name, _arguments(call.text), call.id, call.text) for call in kept.calls),
        name=kept.name,
        call_id=kept.call_id,
    )


def _arguments(text: str) -> dict[str, Any] | None:
    try:
        return _OBJECT.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def bytes_of(ids: array[int]) -> bytes:
    """Return ids as the file has them: 4 bytes each, little-endian."""
    if sys.byteorder == "big":
        ids = ids[:]
        ids.byteswap()
    return ids.tobytes()


def ids_of(stored: bytes) -> array[int]:
    """Return ids that the file has."""
    ids: array[int] = array(IDS)
    ids.frombytes(stored)
    if sys.byteorder == "big":
        ids.byteswap()
    return ids
