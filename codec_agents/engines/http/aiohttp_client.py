"""aiohttp behind the part of httpx's interface that engines use.

httpx's own transport spends several times more CPU on each chunk, and its layers around any transport about
as much on a request as the request itself (`python -m tests.benchmarks engines` measures both). Here nothing
stands between an engine and aiohttp's parser, which is written in C and hands on together what came together.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, Mapping
from typing import NamedTuple, Self

import aiohttp

from codec_agents.engines.late_body import LateBody, LateRequest

READ_AHEAD = 4096
"""Bytes of a body kept ready, twice that at most: a few hundred frames. While less than this is left,
aiohttp looks after every chunk whether to read on; and a slow reader holds its server back the sooner."""


class AiohttpRequest(NamedTuple):
    """What is to be sent."""

    method: str
    url: str
    content: bytes | AsyncIterable[bytes] | LateBody | None
    headers: Mapping[str, str]
    timeout: aiohttp.ClientTimeout


class AiohttpResponse:
    """A response whose body is read as it comes, and not decompressed. It is its own stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status_code = response.status
        self.headers: Mapping[str, str] = response.headers
        self.stream = self
        self._response = response
        self._read = response.content.readany

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
        """Whether the whole body has come and has been read."""
        return self._response.content.at_eof()

    def release(self) -> None:
        """Give the connection back; an unread body closes it."""
        self._response.release()

    async def aclose(self) -> None:
        """Do as `release`."""
        self._response.release()


class AiohttpClient:
    """A pool of connections of the event loop that runs.

    Args:
        ssl_context: how certificates are verified; False for not at all.
        max_connections: at once; a further request waits for one.
        idle_seconds: how long an idle connection is kept.
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
        connector = aiohttp.TCPConnector(
            limit=max_connections, keepalive_timeout=idle_seconds, ssl=ssl_context
        )
        self._proxy = proxy
        self._session = aiohttp.ClientSession(
            connector=connector,
            request_class=LateRequest,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(),
            proxy=proxy,
            read_bufsize=READ_AHEAD,
        )

    def late_body(self) -> LateBody | None:
        """Return a body for a request that is begun before its content is there; None for none.

        A proxy wants another head. And what instruments the session would take a request for sent from when
        it was begun.
        """
        return LateBody() if self._proxy is None and not self._session.trace_configs else None

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | AsyncIterable[bytes] | LateBody | None,
        headers: Mapping[str, str],
        timeout: tuple[float | None, float | None, float | None, float | None],
    ) -> AiohttpRequest:
        """Return a request; its timeout is that of connecting, reading, writing, and waiting for a place."""
        connect, read, _, pool = timeout
        limits = aiohttp.ClientTimeout(connect=pool, sock_connect=connect, sock_read=read)
        return AiohttpRequest(method, url, content, headers, limits)

    async def send(self, request: AiohttpRequest, *, stream: bool = True) -> AiohttpResponse:  # noqa: ARG002
        """Send it, and return the response with its body unread."""
        response = await self._session.request(
            request.method,
            request.url,
            data=request.content,
            headers=request.headers,
            timeout=request.timeout,
            allow_redirects=False,
        )
        return AiohttpResponse(response)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()
