"""Requests that are begun before their body is there.

Building a request, going through the layers of the client and taking a connection take longer than writing
the body of a long prompt. While a prompt is still being filled all of that can be done already: a begun
request waits in its body, and nothing is on the wire before the body is. Its length is not known by then, so
the body goes out in a chunk (`Transfer-Encoding: chunked`). If anything fails before the body was asked for,
nothing has been sent, and the request goes the usual way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self, TypeAlias

from codec_agents.engines.responses import HttpResponse, close
from codec_agents.event_loop import running_loop

BEGUN_FOR = 4.0
"""Seconds after which a begun request is given up: servers close connections that idle for five."""

MAX_BEGUN = 8
"""Begun requests of one engine, one for each head: each holds a connection."""

LENGTH_REQUIRED = frozenset({411, 501})
"""What servers answer that take no body in chunks; RFC 9112, 6.1 and 6.3."""

Head: TypeAlias = tuple[str, frozenset[tuple[str, str]]]
"""A path, and headers."""


class LateBody:
    """A request's body that comes after its head, and tells when it has been written.

    Clients ask for a further part when the one before has gone to the socket, whatever carries the bytes.
    """

    __slots__ = ("_content", "_given", "_on_sent", "asked_for")

    def __init__(self) -> None:
        self._content: bytes | None = None
        self._given = asyncio.Event()
        self._on_sent: Callable[[], None] | None = None
        self.asked_for = False
        """Whether the client has taken the content: from then on something may be on the wire."""

    def give(self, content: bytes, on_sent: Callable[[], None]) -> None:
        """Let the request go on."""
        self._content = content
        self._on_sent = on_sent
        self._given.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await self._given.wait()
        assert self._on_sent is not None
        if (content := self._content) is not None:
            self._content = None
            self.asked_for = True
            return content
        self._on_sent()
        raise StopAsyncIteration


class BegunRequest:
    """One request that waits in its body."""

    def __init__(self, send: Callable[[LateBody], Awaitable[HttpResponse]]) -> None:
        self._body = LateBody()
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        self._task: asyncio.Future[HttpResponse] = asyncio.ensure_future(send(self._body))
        self._task.add_done_callback(_take_note)

    @property
    def usable(self) -> bool:
        """Whether it waits, here, and not for too long."""
        loop = running_loop()
        if loop is not self._task.get_loop() or self._task.done():
            return False
        return loop.time() - self._began < BEGUN_FOR

    async def finish(self, content: bytes, on_sent: Callable[[], None]) -> HttpResponse | None:
        """Send the body and return the response; None if the request broke before anything of it was sent.

        Raises:
            Exception: what the client raises.
        """
        self._body.give(content, on_sent)
        try:
            return await self._task
        except Exception:
            if self._body.asked_for:
                raise
            return None

    async def aclose(self) -> None:
        """Give the request up."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and self._task.exception() is None:
            await close(self._task.result())

    def drop(self) -> None:
        """Give the request up, without waiting for its connection to be closed."""
        self._task.cancel()


class BegunRequests:
    """The begun requests of one pool of connections, at most one for each head."""

    def __init__(self) -> None:
        self._by_head: dict[Head, BegunRequest] = {}
        self.taken = True
        """Whether bodies are taken in chunks: until the server says no."""

    def begin(
        self, path: str, headers: Mapping[str, str], send: Callable[[LateBody], Awaitable[HttpResponse]]
    ) -> None:
        """Begin a request, unless one with the same head waits already."""
        head = _head(path, headers)
        if (waiting := self._by_head.get(head)) is not None and waiting.usable:
            return
        for old, request in list(self._by_head.items()):
            if old == head or not request.usable:
                self._by_head.pop(old).drop()
        if len(self._by_head) < MAX_BEGUN:
            self._by_head[head] = BegunRequest(send)

    def take(self, path: str, headers: Mapping[str, str]) -> BegunRequest | None:
        """Return the request that waits with this head, for whoever has its body."""
        request = self._by_head.pop(_head(path, headers), None) if self._by_head else None
        if request is None or request.usable:
            return request
        request.drop()
        return None

    async def aclose(self) -> None:
        """Give all up that belong to the event loop that runs; the others went with theirs."""
        loop = running_loop()
        requests, self._by_head = list(self._by_head.values()), {}
        for request in requests:
            if request._task.get_loop() is loop:
                await request.aclose()


def _head(path: str, headers: Mapping[str, str]) -> Head:
    return path, frozenset(headers.items())


def _take_note(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # whoever finishes the request hears of it; nobody else has to
