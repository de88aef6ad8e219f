"""Requests that a client sends again, because it did not see the answer: they get the same one.

Only a client that says so repeats a request: by an idempotency key, or by its count of retries with the same
body. The same body sent anew is another sample. A repeated request waits for the first one, if that is still
under way, and then gets its turn, with the same ids in it; if that was broken off, the request is made anew.

A count of retries does not say which request is sent again. Clients that draw many samples of one prompt send
many equal ones, of which a busy server refuses some, and the retry of one must not get the sample of another.
So it is a new sample wherever it could be of a request that is not known here.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

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
MOST_FAILURES: Final = 4096
"""Keys and clients of which a failure is remembered, in about a megabyte: a busy server refuses many."""
RETRIED: Final = frozenset({408, 409, 429})
"""Statuses below 500 after which the clients of OpenAI and Anthropic send a request again."""


class Sent(NamedTuple):
    """A request, as far as it is compared with others.

    Fields:
        key: the same for a request and its repetitions.
        client: the same for all requests of a client to one path.
        digest: of its body.
        size: of its body, in bytes.
        named: whether the client has given it an idempotency key.
        again: whether the client says that it sends it again.
    """

    key: bytes
    client: bytes
    digest: bytes
    size: int
    named: bool
    again: bool

    @classmethod
    def of(cls, tenant: bytes, path: str, body: bytes, hints: Hints) -> Sent:
        """Return the request of a client with this body."""
        own, digest = hints.idempotency_key, hashlib.blake2b(body, digest_size=32).digest()
        named = b"key" + own.encode() if own else b"body" + digest
        client = client_of(tenant, path)
        return cls(joined([client, named]), client, digest, len(body), bool(own), hints.retry_count > 0)


def client_of(tenant: bytes, path: str) -> bytes:
    """Return what is the same for all requests of a client to one path."""
    return joined([tenant, path.encode()])


class _Request(NamedTuple):
    begun: float
    digest: bytes
    exchange: Exchange
    size: int
    alone: bool
    """Whether no other request with the same key began lately, of which a retry could be as well."""

    @property
    def whole(self) -> bool:
        exchange = self.exchange
        return exchange.node is not None and not exchange.node.partial and not exchange.values.lost


class Repeats:
    """The last requests of all clients, by what makes them the same."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, most_bytes: int = MOST_BYTES) -> None:
        self._clock = clock
        self._most_bytes = most_bytes
        self._bytes = 0
        self._known: OrderedDict[bytes, _Request] = OrderedDict()
        self._beginning: dict[bytes, anyio.Event] = {}
        """Set when the request with a key is known, or has failed."""
        self._failed: OrderedDict[bytes, float] = OrderedDict()
        """When a request with a key, or of a client, last failed before it was known; the oldest first."""
        self._forgotten = float("-inf")
        """When the last failure was that is no longer remembered, of whomever it was."""

    async def earlier(self, sent: Sent) -> Exchange | None:
        """Return the exchange of the same request, once it is over; None where there is none to repeat.

        Raises:
            HttpError: 409, the idempotency key was given to another request.
        """
        if not sent.named and not sent.again:
            return None
        while (beginning := self._beginning.get(sent.key)) is not None:
            await beginning.wait()
        found = self._lately(sent.key)
        if found is None or not (sent.named or (found.alone and not self._has_failed(sent))):
            return None
        if found.digest != sent.digest:
            raise HttpError(
                409,
                "the idempotency key was given to a request with another body",
                code="idempotency_conflict",
            )
        # Its turn may be half done. Should it break off, this one is generated anew.
        await found.exchange.ended.wait()
        return found.exchange if found.whole else None

    @contextmanager
    def beginning(self, sent: Sent) -> Iterator[None]:
        """Let those that repeat a request wait until it is known."""
        ready = anyio.Event()
        # Of equal samples the first one is waited for: a retry among several repeats none of them.
        waited_for = self._beginning.setdefault(sent.key, ready) is ready
        try:
            with self.noting(sent.key):
                yield
        finally:
            if waited_for:
                del self._beginning[sent.key]
            ready.set()

    def begun(self, sent: Sent, exchange: Exchange) -> None:
        """Remember a request that begins."""
        before = self._lately(sent.key)
        # One that broke off is the one that is sent again here.
        alone = before is None or (before.alone and sent.again and not before.whole)
        self._forget(sent.key)
        size = sent.size + exchange.continuation.size
        self._known[sent.key] = _Request(self._clock(), sent.digest, exchange, size, alone)
        self._bytes += size
        while len(self._known) > MOST or self._bytes > self._most_bytes:
            self._forget(next(iter(self._known)))

    @contextmanager
    def noting(self, whose: bytes) -> Iterator[None]:
        """Note when a request that is not known here fails such that a client sends it again.

        Args:
            whose: the request's key, or its client while there is no key.
        """
        try:
            yield
        # Of any other kind: the client has left, or gets status 500.
        except BaseException as error:
            if not isinstance(error, HttpError) or error.status in RETRIED or error.status >= 500:
                self._note(whose)
            raise

    def _note(self, whose: bytes) -> None:
        self._failed[whose] = self._clock()
        self._failed.move_to_end(whose)
        while len(self._failed) > MOST_FAILURES:
            _, self._forgotten = self._failed.popitem(last=False)

    def _has_failed(self, sent: Sent) -> bool:
        """Return whether this may be the retry of a request that failed lately, before it was known."""
        never = float("-inf")
        failed = max(self._forgotten, *(self._failed.get(each, never) for each in (sent.key, sent.client)))
        return self._clock() - failed <= AGE

    def _lately(self, key: bytes) -> _Request | None:
        found = self._known.get(key)
        return None if found is None or self._clock() - found.begun > AGE else found

    def _forget(self, key: bytes) -> None:
        if (known := self._known.pop(key, None)) is not None:
            self._bytes -= known.size
