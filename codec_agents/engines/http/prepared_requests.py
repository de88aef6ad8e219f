"""Requests that are prepared before their content is known.

Building a request, passing the layers of the client and taking a connection take longer than writing the body
of a long prompt. While a prompt is still being filled, all of that can be done already: a prepared request
holds a connection, and nothing of it is on the wire. When its content comes, its head is written anew, with
the content's length and the headers of this request alone (a trace's, for one); head and body leave together,
in the task that has them. So servers see an ordinary request. If anything fails before that, nothing has been
sent, and the request goes the usual way.

It is kept for what it gains: the gap between A's last id and B's first is 0.325 ms with it and 0.412 ms
without (medians of 500 handoffs, interleaved, `python -m tests.benchmarks engines --only handoff`'s server,
aiohttp 3.14, two cores). It depends on aiohttp holding a head back until the first part of the body, which
`aiohttp>=3.12,<4` does; where one does not, `test_prepared_requests.py` shows that the request goes the usual
way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from codec_agents.concurrency.event_loop import running_loop
from codec_agents.engines.http.responses import HttpResponse, close

PREPARED_FOR = 4.0
"""Seconds after which a prepared request is given up: servers close connections that idle for five."""

MAX_PREPARED = 8
"""Prepared requests of one engine, one for each node that asks: each holds a connection."""

Place = tuple[str, str]
"""The path that a request is prepared for, and the node that will send it."""


class DeferredContent(Protocol):
    """The body of a prepared request: its head and content come later."""

    written: bool
    """Whether anything may be on the wire."""

    async def give(self, content: bytes, headers: Mapping[str, str], on_sent: Callable[[], None]) -> bool:
        """Send the request, at once where it has its connection.

        Args:
            content: the whole body.
            headers: those of the request; its length is added to them.
            on_sent: called when all of it has been written.

        Returns:
            False if it can no longer be written; then nothing of it was.
        """
        ...


class PreparedRequest:
    """One request that waits for its content."""

    def __init__(
        self,
        content: DeferredContent,
        send: Callable[[DeferredContent], Awaitable[HttpResponse]],
        max_age: float,
    ) -> None:
        self._content = content
        self.loop = asyncio.get_running_loop()
        self._usable_until = self.loop.time() + max_age
        self._task: asyncio.Future[HttpResponse] = asyncio.ensure_future(send(content))
        self._task.add_done_callback(self._ended)

    @property
    def usable(self) -> bool:
        """True while it waits for its request, within the time that a server leaves it open."""
        return not self._task.done() and self.loop.time() < self._usable_until

    async def give(self, content: bytes, headers: Mapping[str, str], on_sent: Callable[[], None]) -> bool:
        """Send it; return whether that was possible. Without a connection it leaves when it has one."""
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
        except asyncio.CancelledError:
            # It may have come just before, and this caller, who would close it, never gets it.
            await self._close_answer()
            raise
        except Exception:
            # The engine may be at work on it: a second one is the decision of the caller.
            if self._content.written:
                raise
            return None

    async def aclose(self) -> None:
        """Cancel the request, and wait until its connection is closed."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._close_answer()

    async def _close_answer(self) -> None:
        if self._task.done() and not self._task.cancelled() and self._task.exception() is None:
            await close(self._task.result())

    def drop(self) -> None:
        """Cancel the request, without waiting for its connection to be closed."""
        self._task.cancel()

    def _ended(self, task: asyncio.Future[HttpResponse]) -> None:
        """Retrieve an exception that no caller sees, and close an answer that came before the question."""
        if task.cancelled() or task.exception() is not None or self._content.written:
            return
        asyncio.ensure_future(close(task.result()))  # noqa: RUF006 - it ends at once: there is no body to read


class PreparedRequests:
    """The prepared requests of one pool of connections, at most one for each place and event loop."""

    def __init__(self, *, max_age: float = PREPARED_FOR) -> None:
        """Prepare nothing yet; a request older than `max_age` seconds is not used."""
        self._max_age = max_age
        self._waiting: dict[tuple[asyncio.AbstractEventLoop, Place], PreparedRequest] = {}

    def start(
        self,
        place: Place,
        content: DeferredContent,
        send: Callable[[DeferredContent], Awaitable[HttpResponse]],
    ) -> None:
        """Prepare a request, unless one waits there already."""
        loop = asyncio.get_running_loop()
        if (waiting := self._waiting.get((loop, place))) is not None and waiting.usable:
            return
        for key in list(self._waiting):
            # A task belongs to the thread of its loop: those of other loops are left alone, or went with
            # them.
            if key[0] is loop and (key[1] == place or not self._waiting[key].usable):
                self._waiting.pop(key).drop()
            elif key[0].is_closed():
                self._waiting.pop(key, None)  # another thread may have done it
        if len(self._waiting) < MAX_PREPARED:
            self._waiting[loop, place] = PreparedRequest(content, send, self._max_age)

    def take(self, place: Place) -> PreparedRequest | None:
        """Return the request that waits there, for the caller that has its content."""
        if not self._waiting or (loop := running_loop()) is None:
            return None
        request = self._waiting.pop((loop, place), None)
        if request is None or request.usable:
            return request
        request.drop()
        return None

    async def aclose(self) -> None:
        """Cancel those of the event loop that runs; the others go with theirs."""
        loop = running_loop()
        # A copy: threads with loops of their own add to it.
        for key in [key for key in list(self._waiting) if key[0] is loop]:
            await self._waiting.pop(key).aclose()
