"""Measurements of one engine from its answers, for decisions that nothing else can make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import get_ident
from weakref import WeakValueDictionary

import anyio

from codec_agents.engines.base import Engine, StreamStats, replicas_of

MISSES = 2
"""Prompts in a row that are sent ahead without gain before a node stops; one may be an eviction."""

TRIED_AGAIN = 50
"""Prompts of a node after which it is tried again: an engine may have been restarted with a cache."""

QUEUED = 0.02
"""Seconds in the engine's own queue from which on it has no room: work ahead would delay other requests."""

REMEMBERED = 256
"""Beginnings that are taken to be in the engine's cache, the latest ones."""

ROOM = 8
"""Requests of this process in flight from which on an engine has no room, where it reports no queue."""


class Load:
    """The nodes that ask one server now, over all pipelines of this process."""

    def __init__(self) -> None:
        self.asking: set[Asking] = set()
        """One object for each node: adding and removing one is safe in any thread, and counting is not."""
        self.yielding: dict[anyio.CancelScope, int] = {}
        """The requests ahead that make way, each with the thread in which it can be cancelled."""

    @property
    def is_idle(self) -> bool:
        """True if no node asks, and no request ahead that makes way is in flight."""
        return not self.asking and not self.yielding

    def make_way(self) -> None:
        """Close the requests ahead that make way."""
        for scope, thread in tuple(self.yielding.items()):
            if thread == get_ident():  # another one has an event loop of its own
                scope.cancel()

    @contextmanager
    def makes_way(self, scope: anyio.CancelScope) -> Iterator[None]:
        """Cancel a scope when a node begins to ask."""
        self.yielding[scope] = get_ident()
        try:
            yield
        finally:
            del self.yielding[scope]


class Asking:
    """Counts a node while it asks; requests ahead that make way are closed first.

    A class, and not a generator: every node of every run pays for it.
    """

    __slots__ = ("_loads",)

    def __init__(self, loads: Sequence[Load]) -> None:
        self._loads = loads

    def __enter__(self) -> None:
        for load in self._loads:
            load.asking.add(self)
            if load.yielding:
                load.make_way()

    def __exit__(self, *_: object) -> None:
        for load in self._loads:
            load.asking.remove(self)


_LOADS: WeakValueDictionary[Hashable, Load] = WeakValueDictionary()
"""The loads that some plan uses, by server."""


def loads_of(engine: Engine) -> tuple[Load, ...]:
    """Return the loads of the servers behind an engine: the same for every engine that asks one server.

    An engine tells its server by an attribute, `server`; one without it is taken for a server of its own.
    """
    # A plan holds its engines and their loads, so no other engine has this number meanwhile.
    servers = dict.fromkeys(getattr(each, "server", None) or id(each) for each in replicas_of(engine))
    return tuple(_LOADS.setdefault(server, Load()) for server in servers)


class Measured:
    """The figures of one engine. The nodes of a pipeline that use it share them.

    As a context manager it counts a request in flight.
    """

    def __init__(self, loads: Sequence[Load] = ()) -> None:
        """Begin without figures.

        Args:
            loads: of the servers behind the engine; without any it is taken for one of its own.
        """
        self._loads = loads or (Load(),)
        self.running = 0
        """Requests in flight."""
        self.reports_cached_ids = False
        """Whether an answer has told how many ids were found in the engine's cache."""
        self._queue: float | None = None
        """Seconds that the latest request waited in the engine's queue."""
        self._read: OrderedDict[int, None] = OrderedDict()
        self._misses: dict[str, int] = {}
        self._passed_over: dict[str, int] = {}

    def has_read(self, beginning: object) -> bool:
        """Return whether a request with this beginning was read before, so that the cache may hold it."""
        return hash(beginning) in self._read  # the beginning itself would hold hundreds of ids

    def note_read(self, beginning: object) -> None:
        """Remember that a request with this beginning was read."""
        self._read[hash(beginning)] = None
        if len(self._read) > REMEMBERED:
            self._read.popitem(last=False)

    def __enter__(self) -> None:
        """Count a request while it is in flight."""
        self.running += 1

    def __exit__(self, *_: object) -> None:
        self.running -= 1

    def node_asks(self) -> Asking:
        """Return what counts a node while it asks, between two of its turns as well."""
        return Asking(self._loads)

    @contextmanager
    def ahead(self, *, yields: bool) -> Iterator[anyio.CancelScope]:
        """Count a request ahead while it is in flight.

        Args:
            yields: whether it is closed when a node begins to ask: its answer is needed by none, and on a
                small server it takes the place, or the cache, of a conversation.
        """
        with self, anyio.CancelScope() as scope, ExitStack() as stack:
            for load in self._loads if yields else ():
                stack.enter_context(load.makes_way(scope))
            yield scope

    def has_room(self) -> bool:
        """Return whether a request ahead would delay no other one, as far as is known."""
        return self.running < ROOM and (self._queue or 0.0) < QUEUED

    def is_idle(self) -> bool:
        """Return whether nothing asks the engine, or another one of its servers, as far as is known."""
        return not self.running and self.has_room() and all(load.is_idle for load in self._loads)

    def gains(self, node: str) -> bool:
        """Return whether prompts of a node are worth sending ahead; asked once for each prompt."""
        if self._misses.get(node, 0) < MISSES:
            return True
        self._passed_over[node] = self._passed_over.get(node, 0) + 1
        return self._passed_over[node] % TRIED_AGAIN == 0

    def note(self, node: str, sent_ahead: int, stats: StreamStats) -> bool:
        """Take the figures of an answer; return true if they stop a node's requests ahead.

        An engine that does not report cached ids shows no gain: what cannot be measured is not done.

        Args:
            node: the path of the node, as it is declared.
            sent_ahead: how many ids of its prompt the engine had read ahead.
            stats: of the request itself.
        """
        if stats.engine_queue is not None:
            self._queue = stats.engine_queue
        if stats.cached_tokens is not None:
            self.reports_cached_ids = True
        if not sent_ahead:
            return False
        # Half: engines keep whole blocks only, and evict some of them meanwhile.
        if stats.cached_tokens is not None and stats.cached_tokens >= sent_ahead // 2:
            self._misses[node] = 0
            return False
        self._misses[node] = self._misses.get(node, 0) + 1
        return self._misses[node] == MISSES  # once: a later miss is of a prompt that was tried again
