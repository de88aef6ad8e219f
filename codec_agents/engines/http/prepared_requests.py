"""Requests that are begun before their content is there.

Building a request, going through the layers of the client and taking a connection take longer than writing
the body of a long prompt. While a prompt is still being filled all of that can be done already: a begun
request waits with its connection, and nothing of it is on the wire. When its content comes, its head is
written anew, with the content's length and whatever headers belong to this request alone, a trace's for one;
head and body leave together, in the task that has them. So servers see an ordinary request. If anything
fails before that, nothing has been sent, and the request goes the usual way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from codec_agents.concurrency.event_loop import running_loop
from codec_agents.engines.http.responses import HttpResponse, close

BEGUN_FOR = 4.0
"""Seconds after which a begun request is given up: servers close connections that idle for five."""

MAX_BEGUN = 8
"""Begun requests of one engine, one for each node that asks: each holds a connection."""

Place = tuple[str, str]
"""For which path a request is begun, and for whom."""


class LateContent(Protocol):
    """What a client takes for the body of a request that is begun: head and body come later."""

    written: bool
    """Whether anything may be on the wire."""

    async def give(self, content: bytes, headers: Mapping[str, str], on_sent: Callable[[], None]) -> bool:
        """Let the request go out, at once where its connection stands.

        Args:
            content: the whole body.
            headers: those of the request; its length is put with them.
            on_sent: called when all of it has been written.

        Returns:
            False if it cannot be written any more; then nothing of it was.
        """
        ...


class BegunRequest:
    """One request that waits for its content."""

    def __init__(self, content: LateContent, send: Callable[[LateContent], Awaitable[HttpResponse]]) -> None:
        self._content = content
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        self._task: asyncio.Future[HttpResponse] = asyncio.ensure_future(send(content))
        self._task.add_done_callback(self._ended)

    @property
    def usable(self) -> bool:
        """Whether it waits, here, and not for too long."""
        loop = running_loop()
        if loop is not self._task.get_loop() or self._task.done():
            return False
        return loop.time() - self._began < BEGUN_FOR

    async def give(self, content: bytes, headers: Mapping[str, str], on_sent: Callable[[], None]) -> bool:
        """Let it go out; return whether it still can. Without a connection it goes when that stands."""
        if await self._content.give(content, headers, on_sent):
            return True
        self.drop()
        return False

    async def response(self) -> HttpResponse | None:
        """Return the response; None if the request broke before anything of it was written.

        Raises:
            Exception: what the client raises.
        """
        try:
            return await self._task
        except Exception:
            if self._content.written:
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

    def _ended(self, task: asyncio.Future[HttpResponse]) -> None:
        """Take note of what nobody has to hear of, and close an answer that came before the question."""
        if task.cancelled() or task.exception() is not None or self._content.written:
            return
        asyncio.ensure_future(close(task.result()))  # noqa: RUF006 - it ends at once: there is no body to read


class BegunRequests:
    """The begun requests of one pool of connections, at most one for each place."""

    def __init__(self) -> None:
        self._waiting: dict[Place, BegunRequest] = {}

    def begin(
        self,
        place: Place,
        content: LateContent,
        send: Callable[[LateContent], Awaitable[HttpResponse]],
    ) -> None:
        """Begin a request, unless one waits there already."""
        if (waiting := self._waiting.get(place)) is not None and waiting.usable:
            return
        for old, request in list(self._waiting.items()):
            if old == place or not request.usable:
                self._waiting.pop(old).drop()
        if len(self._waiting) < MAX_BEGUN:
            self._waiting[place] = BegunRequest(content, send)

    def take(self, place: Place) -> BegunRequest | None:
        """Return the request that waits there, for whoever has its content."""
        request = self._waiting.pop(place, None) if self._waiting else None
        if request is None or request.usable:
            return request
        request.drop()
        return None

    async def aclose(self) -> None:
        """Give all up that belong to the event loop that runs; the others went with theirs."""
        loop = running_loop()
        requests, self._waiting = list(self._waiting.values()), {}
        for request in requests:
            if request._task.get_loop() is loop:
                await request.aclose()
