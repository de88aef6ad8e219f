"""Bodies whose last frame has come and whose end has not: only behind that is a connection used again.

Nobody has to wait for it. Where asyncio runs, nothing is done about it before the task that read the body has
nothing else to do, such as to ask the next model; by then most bodies have come to their end, and the rest of
the others is read in the background. The next request to the same engine gives it a moment, because a
connection that is about to be free is sooner there than a new one.
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


class Endings:
    """The rests of the bodies of one pool of connections."""

    def __init__(self) -> None:
        self._open: set[_Ending] = set()

    async def add(self, response: HttpResponse, chunks: AsyncIterator[bytes]) -> None:
        """Have the rest of a body read, and its connection given back."""
        ending = _Ending(response, chunks, self._open.discard)
        self._open.add(ending)
        loop = running_loop()
        if loop is None:
            ending.start()
        else:
            loop.call_soon(ending.start)

    async def moment(self) -> None:
        """Wait for a connection that is about to be free, if there is one, and not for long."""
        if not self._open:
            return
        here = this_loop()
        waiting = next((end for end in self._open if end.loop == here and not end.awaited), None)
        if waiting is not None:
            waiting.awaited = True
            waiting.start()
            with anyio.move_on_after(MOMENT):
                await waiting.wait()

    async def aclose(self) -> None:
        """Give up what has not come."""
        here = this_loop()
        for ending in [ending for ending in self._open if ending.loop == here]:
            await ending.aclose()


class _Ending:
    """What becomes of one body."""

    def __init__(
        self, response: HttpResponse, chunks: AsyncIterator[bytes], then: Callable[[_Ending], None]
    ) -> None:
        """Do nothing yet; `then` is called when it is over."""
        self.loop = this_loop()
        self.awaited = False
        """Whether a request waits for it already: every request waits for one of its own."""
        self._response = response
        self._chunks = chunks
        self._then = then
        self._over: anyio.Event | None = None
        """Made when there is something to wait for: mostly there is not."""
        self._scope: anyio.CancelScope | None = None
        self._given_up = False
        self._task: object = None
        """Kept because event loops do not."""
        self._ended = False

    def start(self) -> None:
        """Give the connection back if the body has come; read the rest of it otherwise."""
        if self._ended or self._task is not None:
            return
        if getattr(self._response, "at_end", False):  # a client that knows it: there is nothing to be read
            self._response.release()  # type: ignore[attr-defined]
            self._end()
        else:
            self._task = start_in_background(self._read_out, self.loop)

    def _end(self) -> None:
        self._ended = True
        self._then(self)
        if self._over is not None:
            self._over.set()

    async def wait(self) -> None:
        """Return when it is over."""
        while not self._ended:
            self._over = self._over or anyio.Event()
            await self._over.wait()

    async def aclose(self) -> None:
        """Give it up."""
        self._given_up = True
        self.start()
        if self._scope is not None:
            self._scope.cancel()
        await self.wait()

    async def _read_out(self) -> None:
        """What breaks now costs a connection, and nothing else: the answer was complete."""
        whole = False
        try:
            with anyio.move_on_after(DRAIN_SECONDS) as self._scope, suppress(Exception):
                if self._given_up:
                    self._scope.cancel()
                while await anext(self._chunks, None) is not None:
                    pass
                whole = True
        finally:
            with suppress(Exception):
                await close(self._response, None if whole else self._chunks)
            self._end()
