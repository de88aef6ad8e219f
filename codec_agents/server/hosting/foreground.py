"""uvicorn's server with this package's listeners, draining and signals."""

from __future__ import annotations

import asyncio
import logging
import socket
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from anyio import to_thread

from codec_agents.server.hosting.connections import Listener
from codec_agents.server.hosting.descriptors import connection_limit

if TYPE_CHECKING:
    from codec_agents.server.app import CodecServer

POLL_SECONDS: Final = 0.05
"""Seconds between two looks of a draining server at what still runs; uvicorn itself polls every 0.1 s."""

_log = logging.getLogger("uvicorn.error")


class ForegroundServer(uvicorn.Server):
    """Serves until a signal, and drains.

    Args:
        config: uvicorn's settings.
        app: the application, which is told when it drains.
        host: the address in the words of the caller, for the log.
        drain: seconds that running generations have after the signal.
    """

    def __init__(self, config: uvicorn.Config, app: CodecServer, host: str, drain: int) -> None:
        super().__init__(config)
        self._app = app
        self._host = host
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and listen on sockets that are bound."""
        await self.lifespan.startup()
        self.should_exit = self.lifespan.should_exit
        if self.should_exit:
            return
        # In a thread: what follows a signal to stop must not wait for it.
        await to_thread.run_sync(self._app.warm_up)
        limit, settings = connection_limit(), self._app.settings
        listeners: Any = []  # uvicorn asks no more of them than to close
        for each in sockets or ():
            state, app_state = self.server_state, self.lifespan.state
            made = Listener(each, self.config, state, app_state, settings=settings, limit=limit)
            listeners.append(made)
        self.servers = listeners
        self.started = True
        if sockets:
            shown = f"[{self._host}]" if ":" in self._host else self._host
            _log.info("running on http://%s:%d", shown, sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new generations, wait for those that run, and close."""
        self._app.draining = True
        ending = asyncio.get_running_loop().call_later(self._drain, self._app.end_generations)
        # uvicorn would close the listeners first, and a load balancer could not see that the server drains.
        while self._app.generating and not self.force_exit:  # noqa: ASYNC110 - a signal sets `force_exit`
            await asyncio.sleep(POLL_SECONDS)
        await super().shutdown(sockets)
        ending.cancel()

    def hang_up(self, _signal: int, _frame: FrameType | None) -> None:
        """Drain, and exit as a server does that was asked to: with status 0."""
        self.should_exit = True
