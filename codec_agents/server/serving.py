"""Run a server in the foreground."""

from __future__ import annotations

import asyncio
import socket
from importlib.util import find_spec

from codec_agents.server.app import CodecServer


class MissingServerError(ImportError):
    """The packages that serve HTTP are not installed."""

    def __init__(self) -> None:
        super().__init__('serving needs uvicorn; install it with: pip install "codec-agents[server]"')


def require_uvicorn() -> None:
    """Check that uvicorn is there.

    Raises:
        MissingServerError: it is not.
    """
    if find_spec("uvicorn") is None:
        raise MissingServerError


DRAIN_SECONDS = 30
"""How long generations that run may go on after the signal to stop."""

ENDING_SECONDS = 5
"""How long the ends of those that are still running then may take to be sent."""


def serve(app: CodecServer, host: str = "127.0.0.1", port: int = 8000, *, drain: int = DRAIN_SECONDS) -> None:
    """Serve until SIGINT or SIGTERM; then let what runs end, for up to `drain` seconds.

    The back end is opened before the first request, and closed behind the last one. From the first signal on,
    `/ready` answers 503 and new generations are refused. What has not ended after `drain` seconds is ended:
    its last frame says `error`, and the body has its end. The address is loopback unless another is given.

    Raises:
        MissingServerError: the extra `server` is not installed.
        Exception: the back end cannot be opened.
    """
    require_uvicorn()
    import uvicorn

    class Server(uvicorn.Server):
        """Tells the application before the connections are waited for."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.draining = True
            ending = asyncio.get_running_loop().call_later(drain, app.end_generations)
            await super().shutdown(sockets)
            ending.cancel()

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="on",
        access_log=False,
        timeout_graceful_shutdown=drain + ENDING_SECONDS,
        log_level="info",
    )
    try:
        Server(config).run()
    finally:
        if app.failure is not None:  # uvicorn exits with a status of its own
            raise app.failure from None
