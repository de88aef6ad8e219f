"""The HTTP clients that carry the bytes, and the choice between them."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import httpx

from codec_agents.concurrency.event_loop import running_loop
from codec_agents.engines.http.settings import HttpSettings

MAX_IDLE = 100
"""Idle connections kept: httpx's pool does work at every request that grows with them."""
IDLE_SECONDS = 4.0
"""uvicorn and llama.cpp close a connection after 5 idle seconds; a request that meets the closing is lost."""


class HttpClient(Protocol):
    """The calls of a client that an engine uses: `httpx.AsyncClient` and `httpx2.AsyncClient` have them."""

    @property
    def build_request(self) -> Callable[..., Any]:
        """Make a request."""
        ...

    @property
    def send(self) -> Callable[..., Awaitable[Any]]:
        """Send it; with `stream=True` the body stays unread."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


def make_client(settings: HttpSettings, *, tls: bool = True) -> HttpClient:
    """Return a client for the event loop that runs, the fastest that there is.

    Without `tls`, no certificates are loaded, which takes tens of milliseconds. Proxies come from the
    settings alone, never from the environment.

    Raises:
        ImportError: the settings ask for `aiohttp`, and it is not installed.
    """
    verify = _verification(settings) if tls else False
    if settings.transport == "aiohttp" or (settings.transport == "auto" and _aiohttp_serves(settings)):
        from codec_agents.engines.http.aiohttp_client import AiohttpClient

        return AiohttpClient(
            ssl_context=verify,
            max_connections=settings.max_connections,
            idle_seconds=IDLE_SECONDS if settings.keep_alive else 0,
            proxy=settings.proxy,
        )
    from codec_agents.engines.http.httpx_client import make_httpx_client

    max_idle = MAX_IDLE if settings.keep_alive else 0
    return make_httpx_client(settings, verify=verify, max_idle=max_idle, idle_seconds=IDLE_SECONDS)


def _verification(settings: HttpSettings) -> ssl.SSLContext | Literal[False]:
    """Return how certificates are verified: the same way whatever carries the bytes."""
    if settings.verify is False:
        return False
    if isinstance(settings.verify, str):
        return ssl.create_default_context(cafile=settings.verify)
    return httpx.create_ssl_context(trust_env=False)


def _aiohttp_serves(settings: HttpSettings) -> bool:
    """Return whether aiohttp can be used here: it knows no event loop but asyncio's, and no SOCKS proxies."""
    if running_loop() is None or (settings.proxy is not None and not settings.proxy.startswith("http")):
        return False
    return find_spec("aiohttp") is not None
