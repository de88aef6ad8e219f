"""A server inside this process, on a free port of the loopback interface."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any, Generic, Self, TypeVar

import anyio

from codec_agents.server.hosting.serving import require_uvicorn
from codec_agents.server.settings import ServerSettings

App = TypeVar("App")

STARTED_WITHIN = 10.0
"""Seconds until the thread of a server must be listening. It is in milliseconds; the first import of uvicorn
and an application that opens files take longer, on a busy machine seconds. An application that cannot start
is reported at once: the bound is for one that hangs."""


class EmbeddedServer(Generic[App]):
    """Serves an ASGI application over real HTTP, on 127.0.0.1 and a port that the system picks.

    `async with EmbeddedServer(app) as server` runs it in the event loop where that is asyncio, in a thread
    elsewhere; `with EmbeddedServer(app) as server` always runs it in a thread. The application is started
    before (ASGI's lifespan), if it wants to know. Leaving drops what is open, waits until every request has
    noticed, and stops the application; an error of that is raised. uvicorn logs nothing. At `max_connections`
    the oldest idle connection makes room for a new one.

    Raises:
        MissingServerError: on construction, when the extra `server` is not installed.
    """

    def __init__(self, app: App, *, port: int = 0, max_connections: int | None = None) -> None:
        require_uvicorn()
        self.app = app
        self._max_connections = max_connections
        # Without this protocol in the socket, asyncio would not turn Nagle's algorithm off.
        self._socket = socket.socket(proto=socket.IPPROTO_TCP)
        # A given port may still have connections of a server that has ended.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self._state: Any = None
        self._listener: Any = None
        self._async_stack = AsyncExitStack()
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """The origin: scheme, address and port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def accepted(self) -> int:
        """The number of connections accepted so far."""
        return 0 if self._listener is None else self._listener.accepted

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._state.connections)

    def drop_connections(self) -> None:
        """Cut every connection off, as a crash would. To be called from the server's event loop."""
        for connection in list(self._state.connections):
            connection.transport.abort()

    async def __aenter__(self) -> Self:
        if _on_asyncio():
            await self._async_stack.enter_async_context(self._listening())
        else:
            self._stack.enter_context(self._in_thread())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._async_stack.aclose()
        self._stack.close()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._in_thread())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        """Listen in this event loop.

        uvicorn's protocol is driven without uvicorn's server: that one polls ten times a second for signals
        and for its end, which would make every start and stop a tenth of a second.
        """
        import uvicorn
        from uvicorn.server import ServerState

        from codec_agents.server.hosting.connections import Listener

        app: Any = self.app
        # No parser is named: `Listener` has its own. `lifespan` is "auto": any application may be served.
        config = uvicorn.Config(
            app, log_config=None, access_log=False, log_level="critical", ws="none", proxy_headers=False
        )
        config.load()
        # `uvicorn.Server` does this where it is used.
        lifespan: Any = config.lifespan_class(config)
        await lifespan.startup()
        if lifespan.should_exit:
            self._socket.close()
            # Other applications than a `CodecServer` have neither this attribute nor settings.
            raise getattr(app, "failure", None) or RuntimeError("the application did not start")
        self._state = state = ServerState()
        settings = getattr(app, "settings", None) or ServerSettings()
        self._listener = listener = Listener(
            self._socket, config, state, lifespan.state, settings=settings, limit=self._max_connections
        )
        try:
            yield
        finally:
            listener.close()
            # Also while being cancelled: connections would go on being served, and the back end stay open.
            with anyio.CancelScope(shield=True):
                await listener.wait_closed()  # what it has just accepted is dropped as well
                await _drop(state)
                await lifespan.shutdown()
            if lifespan.shutdown_failed:
                raise getattr(app, "failure", None) or RuntimeError("the application did not stop")

    @contextmanager
    def _in_thread(self) -> Iterator[None]:
        """Listen in the event loop of a thread of its own."""
        ready = threading.Event()
        stop: list[Any] = []
        failures: list[Exception] = []

        async def main() -> None:
            done = asyncio.Event()
            # Both exist only in this thread's loop, and ending is asked for from another one.
            stop.extend((asyncio.get_running_loop(), done))
            try:
                async with self._listening():
                    ready.set()
                    await done.wait()
            except Exception as error:
                failures.append(error)
                ready.set()

        # A daemon: one that does not start in time is left behind, and must not keep the process alive.
        thread = threading.Thread(target=asyncio.run, args=(main(),), name="codec server", daemon=True)
        thread.start()
        if not ready.wait(STARTED_WITHIN):
            raise RuntimeError(f"the embedded server did not listen within {STARTED_WITHIN:g} seconds")
        if failures:
            thread.join()
            raise failures[0]
        try:
            yield
        finally:
            loop, done = stop
            loop.call_soon_threadsafe(done.set)
            thread.join()
            # Those of ending, which `_listening` raises into the loop of the thread.
            if failures:
                raise failures[0]


async def _drop(state: Any) -> None:
    """Cut connections, and wait for the requests on them to end."""
    for connection in list(state.connections):
        connection.transport.abort()
    tasks = list(state.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
