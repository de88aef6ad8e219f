"""The contract of a store of conversations, and the store in memory.

Rules that hold in this file:

- Memory is bounded by bytes and by age. What was used longest ago goes first, and the last turns of a
  conversation before the earlier ones, because a turn without those before it cannot be continued.
- A store knows nothing of equality: it finds nodes by keys.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import takewhile
from threading import RLock
from typing import Final, Protocol, TypeVar

import anyio
from anyio import to_thread

from codec_agents.server.gateway.mint import new_secret
from codec_agents.server.gateway.tree import Node

T = TypeVar("T")

MiB: Final = 1024 * 1024
DEFAULT_BYTES: Final = 512 * MiB
"""About 60 million ids with their texts."""
DEFAULT_AGE: Final = 24 * 3600.0
"""Seconds for which a conversation that is not continued stays in memory."""
MOST_TOMBS: Final = 65_536
"""Evicted turns that are remembered by their keys alone, to say that they were evicted: about 8 MB."""


MOST_AGED: Final = 1024
"""Nodes that are dropped for their age in one step, perhaps of the event loop: a few milliseconds."""

MOST_SIBLINGS: Final = 256
"""The newest turns of one key that are looked at. There may be thousands of equal samples of one prompt, and
each is compared with the whole history of a request that continues it."""


class Store(Protocol):
    """Keeps the nodes of all clients. One thread uses it at a time."""

    secret: bytes
    """With it the ids are made that clients get; as lasting as the store."""

    def find(self, keys: Sequence[bytes]) -> list[Node]:
        """Return the whole turns of the first of these keys that has any, oldest first. One access.

        Of more than `MOST_SIBLINGS` turns, the newest.
        """
        ...

    def children(self, origin: bytes) -> list[Node]:
        """Return the turns whose request began so, by their `origin`: the newest ones, partial ones too."""
        ...

    def by_nonce(self, tenant: bytes, nonce: bytes) -> Node | None:
        """Return the turn of a number; None for an unknown one and one of another client."""
        ...

    def add(self, node: Node) -> None:
        """Keep a node; when this returns, it is as safe as the store makes it.

        Raises:
            StoreError: it could not be kept.
        """
        ...

    def was_evicted(self, keys: Sequence[bytes]) -> bool:
        """Return whether one of these keys had a turn that was evicted lately."""
        ...

    def close(self) -> None:
        """Give back what the store holds open."""
        ...


class OneAtATime:
    """A store that the event loop shares with threads, which look long histories up and store long turns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = RLock()
        self.secret = store.secret

    async def use(self, step: Callable[[], T]) -> T:
        """Return what a short step returns that uses the store.

        It runs here; in a thread while another one uses the store, for which the event loop must not wait.
        It is not cancelled.
        """
        if not self._lock.acquire(blocking=False):
            with anyio.CancelScope(shield=True):
                return await to_thread.run_sync(step)
        try:
            return step()
        finally:
            self._lock.release()

    def find(self, keys: Sequence[bytes]) -> list[Node]:
        """Return the whole turns of the first of these keys that has any."""
        with self._lock:
            return self._store.find(keys)

    def children(self, origin: bytes) -> list[Node]:
        """Return the newest turns whose request began so."""
        with self._lock:
            return self._store.children(origin)

    def by_nonce(self, tenant: bytes, nonce: bytes) -> Node | None:
        """Return the turn of a number."""
        with self._lock:
            return self._store.by_nonce(tenant, nonce)

    def add(self, node: Node) -> None:
        """Keep a node."""
        with self._lock:
            self._store.add(node)

    def was_evicted(self, keys: Sequence[bytes]) -> bool:
        """Return whether one of these keys had a turn that was evicted lately."""
        with self._lock:
            return self._store.was_evicted(keys)

    def close(self) -> None:
        """Give back what the store holds open."""
        with self._lock:
            self._store.close()


class MemoryStore:
    """Keeps nodes in memory, within bounds.

    Attributes:
        accesses: the number of look-ups so far.
        size: about how many bytes the nodes take.
    """

    def __init__(
        self,
        *,
        max_bytes: int = DEFAULT_BYTES,
        max_age: float = DEFAULT_AGE,
        secret: bytes | None = None,
        clock: Callable[[], float] = time.monotonic,
        most_aged: int = MOST_AGED,
    ) -> None:
        self.secret = secret or new_secret()
        self.accesses = 0
        self.size = 0
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._most_aged = most_aged
        self._clock = clock
        self._count = 0
        self._by_key: dict[bytes, list[Node]] = {}
        self._by_origin: dict[bytes, list[Node]] = {}
        self._by_nonce: dict[bytes, Node] = {}
        self._by_number: dict[int, Node] = {}
        self._continued: dict[bytes, int] = {}
        """How many children each node has here, by its nonce."""
        self._leaves: OrderedDict[bytes, float] = OrderedDict()
        """The nodes without children, and when they were used last, the longest ago first."""
        self._tombs: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_nonce)

    def find(self, keys: Sequence[bytes]) -> list[Node]:
        """Return the whole turns of the first of these keys that has any."""
        self.accesses += 1
        for key in keys:
            if found := self._by_key.get(key):
                newest = found[-MOST_SIBLINGS:]
                for node in newest:
                    self._use(node)
                return newest
        return []

    def children(self, origin: bytes) -> list[Node]:
        """Return the newest turns whose request began so."""
        self.accesses += 1
        return self._by_origin.get(origin, [])[-MOST_SIBLINGS:]

    def by_nonce(self, tenant: bytes, nonce: bytes) -> Node | None:
        """Return the turn of a number."""
        self.accesses += 1
        node = self._by_nonce.get(nonce)
        return node if node is not None and node.tenant == tenant else None

    def numbered(self, number: int) -> Node | None:
        """Return the turn that was stored as this one; None where it is not here."""
        return self._by_number.get(number)

    def add(self, node: Node) -> None:
        """Keep a node, and evict others where there are too many."""
        self.keep(node)
        self.evict()

    def keep(self, node: Node) -> None:
        """Keep a node, with those before it, and evict nothing."""
        # Those before it may have been evicted while its answer was generated. A conversation can have more
        # turns than Python allows calls within calls.
        missing = list(takewhile(lambda each: each.nonce not in self._by_nonce, node.path()))
        for each in reversed(missing):
            self._keep(each)

    def _keep(self, node: Node) -> None:
        """Keep a node whose parent is here."""
        if node.parent is not None:
            self._continued[node.parent.nonce] = self._continued.get(node.parent.nonce, 0) + 1
            self._leaves.pop(node.parent.nonce, None)
        # Under a store on disk, whose nodes have the numbers of their rows, nothing is counted here.
        if not node.number:
            self._count += 1
            node.number = self._count
        self._by_number[node.number] = self._by_nonce[node.nonce] = node
        self._by_origin.setdefault(node.origin, []).append(node)
        # No client sends back a turn that broke off as it is, so its key is never asked for.
        if not node.partial:
            self._by_key.setdefault(node.key, []).append(node)
            self._tombs.pop(node.key, None)
        self._leaves[node.nonce] = self._clock()
        self.size += node.size

    def evict(self) -> None:
        """Drop what is too old, and the oldest while there is too much."""
        oldest = self._clock() - self._max_age
        # After a day without requests there may be any number of old ones: those that are left go with the
        # next nodes.
        dropped = 0
        while self._leaves:
            # Leaves are in the order of their use, so the first decides for all.
            nonce, used = next(iter(self._leaves.items()))
            if self.size <= self._max_bytes and (used >= oldest or dropped >= self._most_aged):
                return
            dropped += 1
            self._drop(self._by_nonce[nonce])

    def was_evicted(self, keys: Sequence[bytes]) -> bool:
        """Return whether one of these keys had a turn that was evicted lately."""
        return any(key in self._tombs for key in keys)

    def close(self) -> None:
        """Do nothing: memory is given back with the store."""

    def _use(self, node: Node) -> None:
        if node.nonce in self._leaves:
            self._leaves[node.nonce] = self._clock()
            self._leaves.move_to_end(node.nonce)

    def _drop(self, node: Node) -> None:
        used = self._leaves.pop(node.nonce)
        self.size -= node.size
        del self._by_nonce[node.nonce], self._by_number[node.number]
        _remove(self._by_origin, node.origin, node)
        if not node.partial:
            _remove(self._by_key, node.key, node)
            self._tombs[node.key] = None
            if len(self._tombs) > MOST_TOMBS:
                self._tombs.popitem(last=False)
        if node.parent is None:
            return
        parent = node.parent.nonce
        self._continued[parent] -= 1
        if not self._continued[parent]:
            del self._continued[parent]
            # It was used before its child was: it is the next to go.
            self._leaves[parent] = used
            self._leaves.move_to_end(parent, last=False)


def _remove(index: dict[bytes, list[Node]], key: bytes, node: Node) -> None:
    index[key].remove(node)
    if not index[key]:
        del index[key]
