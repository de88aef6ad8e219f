"""Bodies whose last frame has come and whose end has not: a connection is used again only after the end.

No caller waits for the end. On asyncio, nothing is done before the task that read the body waits for
something else, such as the answer of the next model; by then most bodies have ended, and the rest of the
others is read in the background. The next request to the same engine waits a few milliseconds for it, because
a connection that is about to be free is available sooner than a new one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio

from codec_agents.concurrency.event_loop import running_loop, start_in_background, this_loop
from codec_agents.engines.http.responses import HttpResponse, close

DRAIN_SECONDS = 0.5
"""How long the rest of a body may take, so that its connection can be used again; then it is closed."""

MOMENT = 0.005
"""Seconds that a request waits for a connection about to be free: about as long as opening one takes."""


class BodyDrainer:
    """Reads the bodies of one pool of connections to their ends, in the background."""

    def __init__(self, *, limit: float = DRAIN_SECONDS, moment: float = MOMENT) -> None:
        """Read nothing yet.

        Args:
            limit: seconds that the rest of a body may take.
            moment: seconds that a request waits for a connection that is about to be free.
        """
        self._limit = limit
        self._moment = moment
        self._open: set[_Rest] = set()

    async def add(self, response: HttpResponse, chunks: AsyncIterator[bytes]) -> None:
        """Schedule the reading of the rest of a body, and the return of its connection."""
        ending = _Rest(response, chunks, self._limit, self._open.discard)
        self._open.add(ending)
        loop = running_loop()
        if loop is None:
            ending.start()
        else:
            loop.call_soon(ending.start)  # by then the end of most bodies has come, and no task is needed

    async def wait_briefly(self) -> None:
        """Wait up to `moment` for a connection that is about to be free, if there is one."""
        if not self._open:
            return
        here = this_loop()
        # A copy: threads with loops of their own add to the set.
        waiting = next((end for end in list(self._open) if end.loop == here and not end.awaited), None)
        if waiting is not None:
            waiting.awaited = True
            waiting.start()
            with anyio.move_on_after(self._moment):
                await waiting.wait()

    async def aclose(self) -> None:
        """Give up all that has not come, in this event loop."""
        here = this_loop()
        for ending in [ending for ending in list(self._open) if ending.loop == here]:
            await ending.aclose()


class _Rest:
    """The rest of one body."""

    def __init__(
        self,
        response: HttpResponse,
        chunks: AsyncIterator[bytes],
        limit: float,
        then: Callable[[_Rest], None],
    ) -> None:
        """Schedule nothing yet; `then` is called at the end."""
        self.loop = this_loop()
        self.awaited = False
        """Whether a request waits for it already: each request waits for one of its own."""
        self._response = response
        self._chunks = chunks
        self._limit = limit
        self._then = then
        self._over: anyio.Event | None = None
        """Made only when a request waits."""
        self._scope: anyio.CancelScope | None = None
        self._given_up = False
        self._task: object = None
        """Kept because event loops hold their tasks weakly."""
        self._ended = False

    def start(self) -> None:
        """Give the connection back if the body has come; read the rest of it otherwise."""
        if self._ended or self._task is not None:
            return
        if getattr(self._response, "at_end", False):  # aiohttp knows it without reading
            self._response.release()  # type: ignore[attr-defined] # what has `at_end` has it
            self._end()
        else:
            self._task = start_in_background(self._read_out, self.loop)

    def _end(self) -> None:
        self._ended = True
        self._then(self)
        if self._over is not None:
            self._over.set()

    async def wait(self) -> None:
        """Wait until it has been read or given up."""
        while not self._ended:
            self._over = self._over or anyio.Event()
            await self._over.wait()

    async def aclose(self) -> None:
        """Give the rest up, and wait until the connection is closed."""
        self._given_up = True
        self.start()  # closing takes the task: a body that no task reads would keep its connection
        if self._scope is not None:
            self._scope.cancel()
        await self.wait()

    async def _read_out(self) -> None:
        """Read to the end; a failure costs the connection and nothing else, since the answer was complete."""
        whole = False
        try:
            with anyio.move_on_after(self._limit) as self._scope, suppress(Exception):
                if self._given_up:  # before the task had begun, when there was no scope to cancel
                    self._scope.cancel()
                while await anext(self._chunks, None) is not None:
                    pass
                whole = True
        finally:
            with suppress(Exception):
                await close(self._response, None if whole else self._chunks)
            self._end()
