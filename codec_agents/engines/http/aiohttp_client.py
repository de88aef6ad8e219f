"""aiohttp under the part of httpx's interface that engines use.

httpx's own transport spends several times more CPU on each chunk, and its layers around any transport about
as much on a request as the request itself (`python -m tests.benchmarks engines` measures both). Here nothing
lies between an engine and aiohttp's parser, which is written in C and delivers together what came together.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, Callable, Mapping
from typing import Any, NamedTuple, Self
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

from codec_agents.engines.http import stray_bytes

READ_AHEAD = 4096
"""Bytes of a body kept ready, twice that at most: a few hundred frames. While less than this is left,
aiohttp checks after every chunk whether to read on; and a slow reader slows its server down the sooner."""


class AiohttpRequest(NamedTuple):
    """The arguments of one request."""

    method: str
    url: str
    content: bytes | AsyncIterable[bytes] | DeferredBody | None
    headers: Mapping[str, str]
    timeout: aiohttp.ClientTimeout


class AiohttpResponse:
    """A response whose body is read as it comes, and not decompressed. It is its own stream."""

    def __init__(self, response: aiohttp.ClientResponse, connector: CheckingConnector) -> None:
        self.status_code = response.status
        self.headers: Mapping[str, str] = response.headers
        self.stream = self
        self._response = response
        self._connector = connector
        self._read = response.content.readany
        self.abort_read: Callable[[Exception], None] = response.content.set_exception
        """Ends a read that waits, and every later one, with an error. aiohttp's own time-outs do it this way:
        unlike a cancellation, it cannot be mistaken for anyone else's."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return all that has come, as soon as there is something."""
        chunk = await self._read()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    @property
    def at_end(self) -> bool:
        """True once the whole body has been read."""
        return self._response.content.at_eof()

    def is_doubtful(self) -> bool:
        """Return whether another answer came with this one, over a connection that had been used before.

        They come in the order of their requests, so that this one belongs to an earlier request. No
        connection is used again then.
        """
        protocol = self._response._protocol
        if protocol is None or not protocol._buffer:
            return False
        self._connector.stop_reuse(self._response.url)
        return self._connector.is_reused(protocol)

    def release(self) -> None:
        """Give the connection back; an unread body closes it."""
        self._response.release()

    async def aclose(self) -> None:
        """Give the connection back, as `release` does."""
        self._response.release()


class AiohttpClient:
    """A pool of connections of the event loop that runs.

    Args:
        ssl_context: how certificates are verified; False for not at all.
        max_connections: at once; a further request waits for one.
        idle_seconds: how long an idle connection is kept; 0 for a connection for each request.
        proxy: the origin of an HTTP proxy, with a user and a password where it needs them.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | bool = True,
        max_connections: int,
        idle_seconds: float,
        proxy: str | None = None,
    ) -> None:
        # aiohttp refuses a time for connections that it closes at once.
        kept = {"keepalive_timeout": idle_seconds} if idle_seconds else {"force_close": True}
        self._connector = CheckingConnector(limit=max_connections, ssl=ssl_context, **kept)
        self._proxy = proxy
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            request_class=DeferrableRequest,
            auto_decompress=False,  # the protocol's decompressors know its dictionaries
            timeout=aiohttp.ClientTimeout(),  # none; by default, aiohttp ends a request after five minutes
            proxy=proxy,
            read_bufsize=READ_AHEAD,
        )

    def deferred_body(self) -> DeferredBody | None:
        """Return the body of a request that is prepared before its content is known; None for none.

        A proxy wants another head. And instrumentation of the session would take a request for sent from when
        it was prepared.
        """
        return DeferredBody() if self._proxy is None and not self._session.trace_configs else None

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | AsyncIterable[bytes] | DeferredBody | None,
        headers: Mapping[str, str],
        timeout: tuple[float | None, float | None, float | None, float | None],
    ) -> AiohttpRequest:
        """Return a request; its timeout is that of connecting, reading, writing, and waiting for a place."""
        connect, read, _, pool = timeout  # aiohttp has no time-out for writing
        # Its `connect` is the wait for a place in the pool, with the connecting in it.
        limits = aiohttp.ClientTimeout(connect=pool, sock_connect=connect, sock_read=read)
        return AiohttpRequest(method, url, content, headers, limits)

    async def send(self, request: AiohttpRequest, *, stream: bool = True) -> AiohttpResponse:  # noqa: ARG002 - httpx has it
        """Send it, and return the response with its body unread."""
        response = await self._session.request(
            request.method,
            request.url,
            data=request.content,
            headers=request.headers,
            timeout=request.timeout,
            allow_redirects=False,  # another host would get the prompt, and headers with keys
        )
        return AiohttpResponse(response, self._connector)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()


class CheckingConnector(aiohttp.TCPConnector):
    """A connector that uses no idle connection on which anything has come.

    aiohttp keeps bytes that arrive on an idle connection, and takes them for the answer to the next request:
    with a server or a proxy that sends a stray response, a request would get another one's ids.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._seen: WeakSet[ResponseHandler] = WeakSet()
        """Connections that have carried a request: on a new one, nothing can be stray."""
        self._reused: WeakSet[ResponseHandler] = WeakSet()

    def is_reused(self, protocol: ResponseHandler) -> bool:
        """Return whether a connection carries its second request, or a later one."""
        return protocol in self._reused

    def stop_reuse(self, url: URL) -> None:
        """Close each connection after its request from now on."""
        if not self._force_close:
            self._force_close = True
            stray_bytes.warn(str(url.origin()))

    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **options: Any) -> Connection:
        """Return a connection for a request: a clean idle one, or a new one."""
        while True:  # ends: each round closes an idle connection, or returns
            connection = await super().connect(req, *args, **options)
            protocol = connection.protocol
            if protocol is None:  # by its type: only a connection that was given back has none
                return connection
            if protocol not in self._seen:
                self._seen.add(protocol)
                return connection
            waits = arrived(protocol)
            if waits == "nothing" and not self.force_close:
                self._reused.add(protocol)
                return connection
            if waits == "bytes":
                self.stop_reuse(req.url)
            connection.close()


def arrived(protocol: ResponseHandler) -> str:
    """Return what has come over a connection on which no answer is due, as `stray_bytes.unread` does."""
    if protocol.should_close:  # the event loop has read something already
        return "bytes"
    transport = protocol.transport
    if transport is None or transport.get_extra_info("ssl_object") is not None:
        return "nothing"  # under TLS, a server may send tickets at any time
    return stray_bytes.unread(transport.get_extra_info("socket"))


class DeferredBody(aiohttp.Payload):
    """A body whose content comes later, and its request's headers with it; see `DeferredContent`.

    aiohttp holds a request's head back until the first part of its body. So the head can be written a second
    time, when everything is known, and both leave in one write, from the task that has the content: no other
    has to run before that.
    """

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
        if self._writer is not None and not await self._write():  # else `write_with_length` will
            return False
        self._given.set()
        return True

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:  # noqa: ARG002 - aiohttp gives it
        """Wait for the content. aiohttp calls this when the request has a connection."""
        self._writer = writer
        await self._given.wait()
        if not self.written and not await self._write():
            raise ConnectionResetError("the connection closed while the request waited for its content")
        await writer.drain()
        self._sent()

    async def _write(self) -> bool:
        """Write head and body, without ever waiting; return False if they can no longer be written."""
        writer = self._writer
        if self.head is None or writer.output_size:  # an aiohttp that does not hold heads back
            return False
        # The connector has checked the connection when this was prepared, which may be seconds ago.
        if arrived(writer.protocol) != "nothing":
            return False
        line, headers = self.head
        headers.update(self._headers_with_it)
        headers["Content-Length"] = str(len(self._content))
        try:
            await writer.write_headers(line, headers)
            await writer.write(self._content, drain=False)
        except OSError:  # of a connection that is closing, before anything is written
            return False
        self.written = True
        # What the socket took at once is sent. Otherwise `write_with_length` reports it after draining.
        if not writer.transport.get_write_buffer_size():
            self._sent()
        return True

    def _sent(self) -> None:
        if self._on_sent is not None:
            self._on_sent()
            self._on_sent = None

    async def write(self, writer: Any) -> None:
        """Write the request, as `write_with_length` does."""
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the content as text."""
        return self._content.decode(encoding, errors)


class DeferrableRequest(aiohttp.ClientRequest):
    """A request that passes its head to a deferred body."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it over a connection."""
        if isinstance(self.body, DeferredBody):
            self.body.head = f"{self.method} {self.url.raw_path_qs} HTTP/1.1", self.headers
        return await super().send(conn)
