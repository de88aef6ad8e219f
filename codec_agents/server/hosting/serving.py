"""Run a server in the foreground.

Rules that hold in this file:

- A server that others can reach has keys, whether it is started from code or from the command line.
- From the first signal on (SIGINT, SIGTERM, SIGHUP) `/ready` answers 503 and no generation begins. The
  address stays open until what runs has ended, so that a load balancer sees it.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from importlib.util import find_spec

from codec_agents.server.access import require_keys
from codec_agents.server.app import CodecServer
from codec_agents.server.hosting.descriptors import raise_descriptor_limit


class MissingServerError(ImportError):
    """The packages that serve HTTP are not installed."""

    def __init__(self) -> None:
        super().__init__('serving needs uvicorn; install it with: pip install "codec-agents[server]"')


def require_uvicorn() -> None:
    """Check that uvicorn is installed.

    Raises:
        MissingServerError: it is not.
    """
    if find_spec("uvicorn") is None:
        raise MissingServerError


DRAIN_SECONDS = 30
"""Seconds that running generations have after the signal to stop."""

ENDING_SECONDS = 5
"""Seconds in which the ends of those that still run after that are sent."""

SWITCH_SECONDS = 0.001


def serve(
    app: CodecServer,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    drain: int = DRAIN_SECONDS,
    sockets: list[socket.socket] | None = None,
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP; then wait for running generations, for up to `drain` seconds.

    The back end is opened before the first request, and closed after the last one. From the first signal on,
    `/ready` answers 503 and new generations are refused. What has not ended after `drain` seconds is ended:
    its last frame has the reason `error`, and the body is complete. A second SIGINT ends at once. `sockets`
    are those of `bind`, for a caller that has to know the address first.

    Raises:
        MissingServerError: the extra `server` is not installed.
        UnprotectedServerError: others can reach the address, and the application has no keys.
        Exception: the back end cannot be opened.
    """
    require_uvicorn()
    require_keys(host, app.settings)
    import uvicorn

    from codec_agents.server.hosting.connections import quiet_down
    from codec_agents.server.hosting.foreground import ForegroundServer

    raise_descriptor_limit()
    # Threads that encode give up Python's lock after this long, and the event loop waits as long for each of
    # its turns. At Python's own 5 ms a request of five turns would take 25 ms beside one long prompt.
    sys.setswitchinterval(SWITCH_SECONDS)
    listening = sockets or bind(host, port)
    config = uvicorn.Config(
        app,
        lifespan="on",  # "auto" would serve on where the back end could not be opened
        http="h11",  # `connections` limits this parser, and uses no other that is installed
        ws="none",  # the application answers HTTP alone
        proxy_headers=False,  # no header may change what the application takes for the client
        server_header=False,  # an answer need not name its software
        access_log=False,  # `exchanges` counts requests, for `/metrics`
        timeout_graceful_shutdown=ENDING_SECONDS,
        log_level="info",
    )
    logging.getLogger("uvicorn.error").addFilter(quiet_down())
    # asyncio warns of every write to a connection that its client has reset, before it informs the protocol.
    logging.getLogger("asyncio").addFilter(quiet_down())
    server = ForegroundServer(config, app, host, drain)
    # Only the main thread may handle signals; uvicorn checks the same for the others.
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, server.hang_up)
    try:
        server.run(listening)
    finally:
        if app.failure is not None:  # uvicorn exits with a status of its own
            raise app.failure from None


def bind(host: str, port: int) -> list[socket.socket]:
    """Return a socket for every address of a host.

    Raises:
        OSError: the host has no address, or the port is in use.
    """
    bound: list[socket.socket] = []
    # Each once: a hosts file may have an address twice, at which no two sockets can listen.
    for family, kind, protocol, _, address in dict.fromkeys(
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    ):
        # Without this protocol in the socket, asyncio would not turn Nagle's algorithm off.
        made = socket.socket(family, kind, protocol or socket.IPPROTO_TCP)
        try:
            if sys.platform != "win32":  # there, it would let two processes have the port
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Linux would bind IPv4 as well by default, and the socket of IPv4's own address then fails.
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # With port 0 the first address picks the port, and the others take the same one.
            made.bind(
                (address[0], bound[0].getsockname()[1], *address[2:]) if bound and not port else address
            )
        except OSError:
            for each in (made, *bound):
                each.close()
            raise
        bound.append(made)
    return bound
