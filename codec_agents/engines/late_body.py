"""The body of an aiohttp request that waits for its content while it has a connection already.

aiohttp keeps a request's head back until the first part of its body. So the head can be written a second
time, when everything is known, and both leave in one write, from the task that has the content: no other has
to run before that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from multidict import CIMultiDict


class LateBody(aiohttp.Payload):
    """A body whose content comes later, and its request's headers with it; see `begun.LateContent`."""

    _autoclose = True  # it holds nothing that has to be closed

    def __init__(self) -> None:
        super().__init__(None)
        self.head: tuple[str, CIMultiDict[str]] | None = None
        """The request's first line and headers, from when it has a connection."""
        self.written = False
        self._writer: Any = None
        self._given = asyncio.Event()
        self._content = b""
        self._headers_with_it: Mapping[str, str] = {}
        self._on_sent: Callable[[], None] | None = None

    async def give(self, content: bytes, headers: Mapping[str, str], on_sent: Callable[[], None]) -> bool:
        """Write the request, or have it written as soon as there is a connection."""
        self._content, self._headers_with_it, self._on_sent = content, headers, on_sent
        if self._writer is not None and not await self._write():
            return False
        self._given.set()
        return True

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:  # noqa: ARG002
        """Wait for the content. It is aiohttp that calls this, when the request has a connection."""
        self._writer = writer
        await self._given.wait()
        if not self.written and not await self._write():
            raise ConnectionResetError("the connection closed while the request waited for its content")
        await writer.drain()
        self._sent()

    async def _write(self) -> bool:
        """Write head and body, without ever waiting; return False if they cannot be written any more."""
        writer = self._writer
        if self.head is None or writer.output_size:  # an aiohttp that does not keep heads back
            return False
        line, headers = self.head
        headers.update(self._headers_with_it)
        headers["Content-Length"] = str(len(self._content))
        try:
            await writer.write_headers(line, headers)
            await writer.write(self._content, drain=False)
        except OSError:
            return False
        self.written = True
        if not writer.transport.get_write_buffer_size():
            self._sent()
        return True

    def _sent(self) -> None:
        if self._on_sent is not None:
            self._on_sent()
            self._on_sent = None

    async def write(self, writer: Any) -> None:
        """Do as `write_with_length`."""
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the content as text."""
        return self._content.decode(encoding, errors)


class LateRequest(aiohttp.ClientRequest):
    """A request that tells a late body its head."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it over a connection."""
        if isinstance(self.body, LateBody):
            self.body.head = f"{self.method} {self.url.raw_path_qs} HTTP/1.1", self.headers
        return await super().send(conn)
