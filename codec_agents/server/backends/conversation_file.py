"""The conversations of a served pipeline in a SQLite file, that of a gateway's store.

One process writes the file. A turn is committed before its client has the end of the answer, so a process
that is killed loses nothing that a client has whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from codec_agents.exceptions import PauseError, StoreError
from codec_agents.records.sqlite_file import SqliteFile
from codec_agents.runtime.pause import Pause
from codec_agents.server.backends.conversations import Kept
from codec_agents.server.gateway.sqlite_store import CONVERSATIONS, bytes_of, ids_of

NotNegative: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]

Row: TypeAlias = tuple[bytes, bytes, str | None, NotNegative]
"""Key, histories, pause, and delivered; SQLite keeps values of any type in any column."""

_HISTORIES = msgspec.msgpack.Decoder(dict[str, tuple[bytes, bytes, NotNegative, str | None]])
_encode = msgspec.msgpack.Encoder().encode


class ConversationFile:
    """Keeps the turns of one served pipeline.

    Args:
        path: the file; made where it is missing.

    Raises:
        StoreError: the file is no store, cannot be written, or another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = SqliteFile(path, CONVERSATIONS)

    def load(self) -> Iterator[tuple[bytes, Kept]]:
        """Yield all turns with their keys, the one kept longest ago first.

        Raises:
            StoreError: the file cannot be read, or holds a turn of another version.
        """
        try:
            for row in self._file.rows("SELECT key, histories, pause, delivered FROM served ORDER BY number"):
                # `builtin_types`: msgspec would read a text as base64, where another program has written one.
                key, histories, pause, delivered = msgspec.convert(row, Row, builtin_types=(bytes,))
                packed = {
                    node: (ids_of(prompt), ids_of(answer), begin, map_hash)
                    for node, (prompt, answer, begin, map_hash) in _HISTORIES.decode(histories).items()
                }
                yield key, Kept(packed, None if pause is None else Pause.from_json(pause), delivered)
        except (msgspec.DecodeError, PauseError, ValueError) as error:
            raise StoreError(f"the store {self.path} cannot be read: {error}") from error

    def put(self, key: bytes, kept: Kept) -> None:
        """Keep a turn, in the place of one with the same key.

        Raises:
            StoreError: the file cannot be written.
        """
        histories = {
            node: (bytes_of(prompt), bytes_of(answer), begin, map_hash)
            for node, (prompt, answer, begin, map_hash) in kept.packed.items()
        }
        pause = None if kept.pause is None else kept.pause.to_json()
        # REPLACE gives the row a new number, the largest: `load` reads in the order in which turns were kept.
        row = (key, _encode(histories), pause, kept.delivered)
        self._file.change(
            "INSERT OR REPLACE INTO served (key, histories, pause, delivered) VALUES (?, ?, ?, ?)", row
        )

    def drop(self, key: bytes) -> None:
        """Forget a turn.

        Raises:
            StoreError: the file cannot be written.
        """
        self._file.change("DELETE FROM served WHERE key = ?", (key,))

    def close(self) -> None:
        """Close the file, and let another process write it."""
        self._file.close()
