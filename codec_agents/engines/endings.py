"""Bodies whose last frame has come and whose end has not: only behind that is a connection used again.

Nobody has to wait for it: the rest is read in the background. The next request to the same engine gives it a
moment, because a connection that is about to be free is sooner there than a new one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from codec_agents.engines.responses import HttpResponse, close
from codec_agents.event_loop import start_in_background

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
        if getattr(response, "at_end", False):  # a client that knows it: there is nothing to be read
            await response.aclose()
            return
        ending = _Ending(response, chunks)
        self._open.add(ending)
        ending.start(self._open.discard)

    async def moment(self) -> None:
        """Wait for a connection that is about to be free, if there is one, and not for long."""
        if not self._open:
            return
        here = current_token()
        waiting = next((end for end in self._open if end.loop == here and not end.awaited), None)
        if waiting is not None:
            waiting.awaited = True
            with anyio.move_on_after(MOMENT):
                await waiting.over.wait()

    async def aclose(self) -> None:
        """Give up what has not come."""
        here = current_token()
        for ending in [ending for ending in self._open if ending.loop == here]:
            await ending.aclose()


class _Ending:
    """The reading of the rest of one body."""

    def __init__(self, response: HttpResponse, chunks: AsyncIterator[bytes]) -> None:
        self.loop: EventLoopToken = current_token()
        self.awaited = False
        """Whether a request waits for it already: every request waits for one of its own."""
        self.over = anyio.Event()
        self._response = response
        self._chunks = chunks
        self._scope = anyio.CancelScope()
        self._task: object = None
        """Kept because event loops do not."""

    def start(self, then: Callable[[_Ending], None]) -> None:
        """Read, and call `then` when it is over."""
        self._task = start_in_background(lambda: self._read_out(then))

    async def _read_out(self, then: Callable[[_Ending], None]) -> None:
        """What breaks now costs a connection, and nothing else: the answer was complete."""
        whole = False
        try:
            with self._scope, anyio.move_on_after(DRAIN_SECONDS), suppress(Exception):
                while await anext(self._chunks, None) is not None:
                    pass
                whole = True
        finally:
            with suppress(Exception):
                await close(self._response, None if whole else self._chunks)
            then(self)
            self.over.set()

    async def aclose(self) -> None:
        """Give it up."""
        self._scope.cancel()
        await self.over.wait()
