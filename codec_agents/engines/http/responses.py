"""A response as engines see it, whichever client it came from, and its closing."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Protocol

import anyio

MAX_LEFT_OVER = 10_000
"""Chunks that a closed response may still hold."""


def text_of(value: object) -> str:
    """Return a value of JSON as messages show it.

    Nesting that the parser could just read may be too deep to be printed from a deeper call.
    """
    try:
        return str(value)
    except RecursionError:
        return "a value that is nested too deeply to be shown"


class HttpResponse(Protocol):
    """The part of a response that engines use.

    A client may offer four things more: `abort_read(error)`, which ends a read that waits (see
    `ReadTimeout`), `at_end` and `release()`, which save `BodyDrainer` a read, and `is_doubtful()`, which
    tells that the answer belongs to another request.
    """

    status_code: int
    headers: Mapping[str, str]
    stream: AsyncIterable[bytes]

    async def aclose(self) -> None:
        """Give the connection back, or close it if the body has not been read."""
        ...


def read_aborter(response: HttpResponse) -> Callable[[Exception], None] | None:
    """Return a function that ends a read of the body that waits; None where the client allows none.

    A cancel scope around every read would do the same for any client, at half the cost of httpx's own read.
    httpx exposes its connection, and a read of a connection that is shut down ends. (HTTP/2 shares its
    connections.)
    """
    # Asked for by name: a client of the caller's own has none of these, and a scope then does its work.
    abort: Callable[[Exception], None] | None = getattr(response, "abort_read", None)
    if abort is not None:
        return abort
    extensions = getattr(response, "extensions", None) or {}
    network = extensions.get("network_stream")
    if network is None or extensions.get("http_version") not in (b"HTTP/1.1", b"HTTP/1.0"):
        return None
    connection = network.get_extra_info("socket")
    if not hasattr(connection, "shutdown"):
        return None

    def shut_down(_: Exception) -> None:
        with suppress(OSError):  # it is closed already
            connection.shutdown(socket.SHUT_RDWR)

    return shut_down


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
    with anyio.move_on_after(0), suppress(Exception):  # a closed stream may raise anything
        for _ in range(MAX_LEFT_OVER):
            if await anext(chunks, None) is None:
                return
