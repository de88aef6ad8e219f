"""httpx, with a check that an answer came after its request.

httpx's pool closes an idle connection on which something has come. What came in the same read as the end of
an answer stays in the parser instead, and would be taken for the answer to the next request, which would get
the ids of another one. An answer that was there without a read since its request was written is such a one.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import httpcore
import httpx

from codec_agents.engines.http import stray_bytes
from codec_agents.engines.http.settings import HttpSettings

HAS_READ = "codec.has_read"
"""What an answer asks its connection: whether it has read since it wrote last."""


def make_httpx_client(
    settings: HttpSettings, *, verify: ssl.SSLContext | bool, max_idle: int, idle_seconds: float
) -> httpx.AsyncClient:
    """Return a client for any event loop."""
    return httpx.AsyncClient(
        transport=CheckingTransport(
            proxy=settings.proxy,
            verify=verify,
            limits=httpx.Limits(
                max_connections=settings.max_connections,
                max_keepalive_connections=max_idle,
                keepalive_expiry=idle_seconds,
            ),
            trust_env=False,  # as `make_client` loads them: no certificates that SSL_CERT_FILE names
        ),
        timeout=None,  # noqa: S113 - every request brings its own
        follow_redirects=False,  # another host would get the prompt, and headers with keys
        # A proxy that HTTP_PROXY names gets no prompts. httpx 0.28 looks for one only without a transport.
        trust_env=False,
    )


class CheckingTransport(httpx.AsyncHTTPTransport):
    """httpx's transport, which refuses an answer that came before its request."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # httpx has no option for the pool's backend; `test_stray_bytes.py` fails where these names change.
        self._pool._network_backend = _Backend(self._pool._network_backend, self._stop_reuse)

    def _stop_reuse(self, server: str) -> None:
        if self._pool._max_keepalive_connections:
            self._pool._max_keepalive_connections = 0
            stray_bytes.warn(server)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its answer, the body unread.

        Raises:
            httpx.RemoteProtocolError: the answer was there before the request was sent.
        """
        response = await super().handle_async_request(request)
        connection = response.extensions.get("network_stream")
        if connection is not None and connection.get_extra_info(HAS_READ) is False:
            await response.aclose()  # with its body unread, which closes the connection
            self._stop_reuse(f"{request.url.scheme}://{request.url.netloc.decode()}")
            raise httpx.RemoteProtocolError("the server had sent an answer that belongs to no request")
        return response


class _Backend(httpcore.AsyncNetworkBackend):
    """Opens connections that know whether they have read since they wrote."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend, on_stray: Callable[[str], None]) -> None:
        self._backend = backend
        self._on_stray = on_stray

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Connection(stream, partial(self._on_stray, f"{host}:{port}"))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._backend.connect_unix_socket(path, timeout, socket_options)
        return _Connection(stream, partial(self._on_stray, path))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class _Connection(httpcore.AsyncNetworkStream):
    def __init__(
        self, stream: httpcore.AsyncNetworkStream, on_stray: Callable[[], None], *, tls: bool = False
    ) -> None:
        self._stream = stream
        self._on_stray = on_stray
        self._tls = tls
        self._has_read = True

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        self._has_read = True
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._has_read = False
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _Connection(stream, self._on_stray, tls=True)

    def get_extra_info(self, info: str) -> Any:
        if info == HAS_READ:
            return self._has_read
        known = self._stream.get_extra_info(info)
        # The pool asks this of an idle connection only. Under TLS, a server may send tickets at any time.
        idle = info == "is_readable" and known and not self._tls
        if idle and stray_bytes.unread(self._stream.get_extra_info("socket")) == "bytes":
            self._on_stray()
        return known
