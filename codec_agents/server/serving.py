"""Run a server in the foreground."""

from __future__ import annotations

import socket

from codec_agents.server.app import CodecServer
from codec_agents.server.uvicorn_extra import require_uvicorn

DRAIN_SECONDS = 30
"""How long generations that run may go on after the signal to stop."""


def serve(app: CodecServer, host: str = "127.0.0.1", port: int = 8000, *, drain: int = DRAIN_SECONDS) -> None:
    """Serve until SIGINT or SIGTERM; then end what runs, for up to `drain` seconds, and close the back end.

    From the first signal on, `/ready` answers 503 and new generations are refused. The address is loopback
    unless another one is given.

    Raises:
        MissingServerError: the extra `server` is not installed.
    """
    require_uvicorn()
    import uvicorn

    class Server(uvicorn.Server):
        """Tells the application before the connections are waited for."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.draining = True
            await super().shutdown(sockets)
            await app.backend.aclose()

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="off",
        access_log=False,
        timeout_graceful_shutdown=drain,
        log_level="info",
    )
    Server(config).run()
