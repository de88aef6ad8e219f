"""Requests that a client sends again, because it did not see the answer: they get the same one.

Only a client that says so repeats a request: by an idempotency key, or by its count of retries with the same
body. The same body sent anew is another sample. A repeated request waits for the first one, if that is still
under way, and then gets its turn, with the same ids in it; if that was broken off, the request is made anew.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from codec_agents.server.gateway.equivalence import joined
from codec_agents.server.http import HttpError

if TYPE_CHECKING:
    from codec_agents.server.apis.request import Hints
    from codec_agents.server.gateway.conversations import Exchange

MOST: Final = 64
"""Requests that are remembered, each with its prompt: clients retry within seconds."""
MOST_BYTES: Final = 128 * 1024 * 1024
"""Bytes of their bodies, prompts and conversations, of which the store may have evicted any."""
AGE: Final = 600.0
"""Seconds for which a request is remembered: longer than clients go on retrying."""


class _Request(NamedTuple):
    begun: float
    digest: bytes
    exchange: Exchange
    size: int


class Repeats:
    """The last requests of all clients, by what makes them the same."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, most_bytes: int = MOST_BYTES) -> None:
        self._clock = clock
        self._most_bytes = most_bytes
        self._bytes = 0
        self._known: OrderedDict[bytes, _Request] = OrderedDict()

    async def earlier(self, tenant: bytes, path: str, body: bytes, hints: Hints) -> Exchange | None:
        """Return the exchange of the same request, once it is over; None where there is none to repeat.

        Raises:
            HttpError: 409, the idempotency key was given to another request.
        """
        if not hints.idempotency_key and not hints.retry_count:
            return None
        found = self._known.get(self._key(tenant, path, body, hints))
        if found is None or self._clock() - found.begun > AGE:
            return None
        exchange = found.exchange
        if found.digest != _digest(body):
            raise HttpError(
                409,
                "the idempotency key was given to a request with another body",
                code="idempotency_conflict",
            )
        # Its turn may be half done. Should it break off, this one is generated anew.
        await exchange.ended.wait()
        whole = exchange.node is not None and not exchange.node.partial and not exchange.values.lost
        return exchange if whole else None

    def begun(self, tenant: bytes, path: str, body: bytes, hints: Hints, exchange: Exchange) -> None:
        """Remember a request that begins."""
        key = self._key(tenant, path, body, hints)
        self._forget(key)
        size = len(body) + exchange.continuation.size
        self._known[key] = _Request(self._clock(), _digest(body), exchange, size)
        self._bytes += size
        while len(self._known) > MOST or self._bytes > self._most_bytes:
            self._forget(next(iter(self._known)))

    def _forget(self, key: bytes) -> None:
        if (known := self._known.pop(key, None)) is not None:
            self._bytes -= known.size

    def _key(self, tenant: bytes, path: str, body: bytes, hints: Hints) -> bytes:
        own = hints.idempotency_key
        named = b"key" + own.encode() if own else b"body" + _digest(body)
        return joined([tenant, path.encode(), named])


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=32).digest()
