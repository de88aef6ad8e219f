"""The conversations that a served pipeline has had, by their content.

A key stands for a whole history, as in a gateway (`codec_agents.server.gateway.history`): a client sends the
messages again, and white space at the ends, other ids of calls and arguments written anew make no difference.
What is kept are the ids of every model at the end of the run, so that the next run continues them exactly.

With a file, it holds what memory holds: it is read when the server starts, and changed with each turn, before
the end of the answer is sent.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from codec_agents.prompts import History

if TYPE_CHECKING:
    from codec_agents.runtime.pause import Pause

MOST_IDS: Final = 16_000_000
"""Ids that are kept, 64 MB: 160 conversations of 100,000 ids. The ones used longest ago are dropped."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The end of one run.

    Fields:
        histories: the conversation of each model so far.
        pause: the suspended run, where the answer was calls of the client's tools.
        delivered: the ids of the answer that went out before the run was suspended.
    """

    histories: Mapping[str, History]
    pause: Pause | None = None
    delivered: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """A turn as it is kept: of each node, the ids of its prompt and its answer, `begin` and `map_hash`."""

    packed: Mapping[str, tuple[array[int], array[int], int, str | None]]
    pause: Pause | None
    delivered: int

    @property
    def size(self) -> int:
        """The number of ids."""
        paused = 0
        if self.pause is not None:
            paused = sum(len(turn.prompt) + len(turn.generated) for turn in self.pause.waiting.values())
        return paused + sum(len(prompt) + len(answer) for prompt, answer, _, _ in self.packed.values())


class KeptFile(Protocol):
    """Keeps turns where a restart does not lose them."""

    def load(self) -> Iterable[tuple[bytes, Kept]]:
        """Return all turns with their keys, the one kept longest ago first."""
        ...

    def put(self, key: bytes, kept: Kept) -> None:
        """Keep a turn."""
        ...

    def drop(self, key: bytes) -> None:
        """Forget a turn."""
        ...


class Conversations:
    """Keeps turns by the keys of their histories, within a number of ids."""

    def __init__(self, most_ids: int = MOST_IDS, file: KeptFile | None = None) -> None:
        self._most = most_ids
        self._file = file
        self._kept: OrderedDict[bytes, Kept] = OrderedDict(() if file is None else file.load())
        self._ids = sum(kept.size for kept in self._kept.values())
        self._shrink()

    def find(self, key: bytes) -> Turn | None:
        """Return the turn with which a history ends."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        self._kept.move_to_end(key)
        histories = {
            node: History(prompt=prompt.tolist(), generated=answer.tolist(), begin=begin, map_hash=map_hash)
            for node, (prompt, answer, begin, map_hash) in kept.packed.items()
        }
        return Turn(histories, kept.pause, kept.delivered)

    def keep(self, key: bytes, turn: Turn) -> None:
        """Keep a turn; an equal history that ended otherwise is replaced."""
        packed = {
            node: (array("I", each.prompt), array("I", each.generated), each.begin, each.map_hash)
            for node, each in turn.histories.items()
        }
        kept = Kept(packed, turn.pause, turn.delivered)
        # The file first, in one step: a turn that cannot be written is not known here either, and until then
        # the one that it replaces is in both.
        if self._file is not None:
            self._file.put(key, kept)
        if (replaced := self._kept.pop(key, None)) is not None:
            self._ids -= replaced.size
        self._kept[key] = kept
        self._ids += kept.size
        self._shrink()

    def _shrink(self) -> None:
        while self._ids > self._most and self._kept:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._ids -= kept.size
            if self._file is not None:
                self._file.drop(key)
