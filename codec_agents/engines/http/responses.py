"""A response as engines see it, whichever client it came from, and its closing."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import suppress
from typing import Protocol

import anyio

MAX_LEFT_OVER = 10_000
"""Chunks that a closed response may still hold."""


class HttpResponse(Protocol):
    """The part of a response that engines use.

    A client may offer three things more: `abort_read(error)`, which ends a read that waits (see
    `ReadTimeout`), and `at_end` and `release()`, which save `BodyDrainer` a read.
    """

    status_code: int
    headers: Mapping[str, str]
    stream: AsyncIterable[bytes]

    async def aclose(self) -> None:
        """Give the connection back, or close it if the body has not been read."""
        ...


async def close(response: HttpResponse, chunks: AsyncIterator[bytes] | None = None) -> None:
    """Close a response, also while being cancelled; `chunks` are those of a body not read to its end."""
    with anyio.CancelScope(shield=True):
        await response.aclose()
        if chunks is not None:
            await finish(chunks)


async def finish(chunks: AsyncIterator[bytes]) -> None:
    """Run a client's generators to their end.

    They are nested, and closing the outermost leaves the others to the garbage collector, of which trio
    warns. Reading on from what is closed, and cancelled besides, unwinds them all.
    """
    with anyio.move_on_after(0), suppress(Exception):
        for _ in range(MAX_LEFT_OVER):
            if await anext(chunks, None) is None:
                return
