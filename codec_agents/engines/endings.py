"""Bodies whose last frame has come and whose end has not: only behind that is a connection used again.

Nobody has to wait for it. Where asyncio runs, the rest is read in the background; the next request to the
same engine gives it a moment, because a connection that is about to be free is sooner there than a new one.
Other event loops have no background, and there the rest is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio

from codec_agents.engines.responses import HttpResponse, close
from codec_agents.event_loop import running_loop

DRAIN_SECONDS = 0.5
"""How long the rest of a body may take, so that its connection can be used again; then it is closed."""

MOMENT = 0.005
"""Seconds that a request waits for a connection about to be free: about as long as opening one takes."""


class Endings:
    """The rests of the bodies of one pool of connections."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], HttpResponse] = {}
        self._awaited: set[asyncio.Task[None]] = set()
        """Those that a request waits for already: every request waits for one of its own."""

    async def add(self, response: HttpResponse, chunks: AsyncIterator[bytes]) -> None:
        """Have the rest of a body read, and its connection given back."""
        if getattr(response, "at_end", False):  # a client that knows it: there is nothing to be read
            await response.aclose()
            return
        loop = running_loop()
        if loop is None:
            await _read_out(response, chunks)
            return
        task = loop.create_task(_read_out(response, chunks))
        self._tasks[task] = response
        task.add_done_callback(self._forget)

    async def moment(self) -> None:
        """Wait for a connection that is about to be free, if there is one, and not for long."""
        loop = running_loop()
        waiting = [task for task in self._tasks.keys() - self._awaited if task.get_loop() is loop]
        if waiting:
            self._awaited.add(waiting[0])
            await asyncio.wait(waiting[:1], timeout=MOMENT)

    async def aclose(self) -> None:
        """Give up what has not come."""
        loop = running_loop()
        here = {task: response for task, response in self._tasks.items() if task.get_loop() is loop}
        for task in here:
            task.cancel()
        if here:
            await asyncio.wait(here)
        for response in here.values():
            await close(response)  # a task that is cancelled before it began has not done it

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._awaited.discard(task)
        if not task.cancelled():
            task.exception()  # the answer was complete: what breaks now costs a connection, and nothing else


async def _read_out(response: HttpResponse, chunks: AsyncIterator[bytes]) -> None:
    whole = False
    try:
        with anyio.move_on_after(DRAIN_SECONDS), suppress(Exception):
            while await anext(chunks, None) is not None:
                pass
            whole = True
    finally:
        await close(response, None if whole else chunks)
