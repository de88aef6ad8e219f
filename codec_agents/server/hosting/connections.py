"""Connections of a server under uvicorn: accepted within a limit, and closed when they stall.

Rules that hold in this file:

- A connection is *idle* while it has no request under way: before the first head is complete, between
  requests, and while a body is thrown away that nothing reads. An idle connection is closed `head_within`
  seconds after it became so, however slowly bytes trickle in. One that still takes the end of an answer is
  closed once it has taken nothing in that time.
- A connection at work whose client takes nothing of its answers is closed after `stalled_after` seconds. The
  application waits for such a client, and requests that were sent ahead wait for the application.
- No more connections are accepted than the process has file descriptors for. At the limit the oldest idle
  connection makes room; where none is idle, new ones wait in the kernel's queue.
- A step reads at most `READ_BYTES`, and a request in chunks of next to nothing is cut off: parsing a chunk
  costs the same for one byte as for a thousand.

The parser is h11, which uvicorn always brings along. Another one, if installed, is not used, so that these
rules hold everywhere.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import h11
from h11._receivebuffer import ReceiveBuffer
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from codec_agents.server.settings import ServerSettings

READ_BYTES = 64 * 1024
"""Bytes taken from a socket at once."""

SMALL_CHUNK = 16
"""Bytes of a chunk below which a body costs more to parse than to carry."""

MOST_SMALL_CHUNKS = 256
"""Small chunks that one request may have, by default."""

MAX_HEAD = 64 * 1024
"""Bytes of a request's head; a longer one is a 400."""

MOST_LINES = 256
"""Lines of a head, or of trailers; more are a 400. Each takes about 5 us, and a head has room for 10,000."""

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

RETRY_ACCEPT = 0.5
"""Seconds until an accept that failed for lack of a file descriptor or memory is tried again."""

LOOK_FOR_ROOM = 0.05
"""Seconds until a full server looks for room again: nothing tells it that a connection has ended."""

AT_ONCE = 16
"""Connections begun in one turn of the event loop; the reserve of file descriptors has room for them."""

ACCEPTED_AT_ONCE = 512
"""Connections accepted in one turn: most of a flood have been reset while they waited, and cost 8 us each."""

BACKLOG = 65_535
"""Connections that wait to be accepted, as many as the kernel allows. Where there are more, it drops what
their clients send, and those wait for 200 ms and longer before they send it again."""

TELL_AGAIN = 60.0
"""Seconds between two warnings of one kind."""

_log = logging.getLogger(__name__)

Protocol = Any
"""`GuardedProtocol`; uvicorn's classes have no types that a subclass could be checked against."""


class Idle:
    """The idle connections of one server, the longest idle one first."""

    def __init__(self) -> None:
        self._since: dict[GuardedProtocol, None] = {}

    def add(self, connection: GuardedProtocol) -> None:
        """Note that a connection has nothing to do."""
        self._since[connection] = None

    def discard(self, connection: GuardedProtocol) -> None:
        """Note that it has."""
        self._since.pop(connection, None)

    def close_oldest(self) -> bool:
        """Close the connection that has been idle for longest; return False where none is idle."""
        oldest = next((connection for connection in self._since if not connection.unsent), None)
        if oldest is None:
            return False
        self.discard(oldest)
        oldest.transport.abort()
        return True


class FewLines(ReceiveBuffer):
    """h11's buffer; it refuses a head, or trailers, of many lines before each of them is parsed."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Return the lines of a head or of trailers; None until they are all there.

        Raises:
            RemoteProtocolError: there are too many.
        """
        lines: list[bytearray] | None = super().maybe_extract_lines()
        if lines is not None and len(lines) > MOST_LINES:
            raise h11.RemoteProtocolError(f"more than {MOST_LINES} header lines", error_status_hint=431)
        return lines


class Parser(h11.Connection):
    """h11's parser; it counts header lines and small chunks, which cost more than they carry."""

    def __init__(self, *, most_small: int = MOST_SMALL_CHUNKS) -> None:
        super().__init__(h11.SERVER, MAX_HEAD)
        self._receive_buffer = FewLines()
        self._most_small = most_small
        self._small = 0

    def next_event(self) -> Any:
        """Return the next event.

        Raises:
            RemoteProtocolError: the request is malformed, or made of next to nothing.
        """
        event = super().next_event()
        if isinstance(event, h11.Data) and len(event.data) < SMALL_CHUNK:
            self._small += 1
            if self._small > self._most_small:
                raise h11.RemoteProtocolError("a body of chunks that are too small", error_status_hint=400)
        return event

    def start_next_cycle(self) -> None:
        """Go on to the next request; a connection may have any number of short ones."""
        super().start_next_cycle()
        self._small = 0


class GuardedProtocol(H11Protocol):
    """uvicorn's connection over h11, closed when it is idle, or its client stalls, for too long."""

    def __init__(self, *args: Any, within: float, stalled_after: float, idle: Idle, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = Parser()
        self._within = within
        self._stalled_after = stalled_after
        self._idle = idle
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        """Looks at a client that reads too slowly; None while its buffer has room."""
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Begin a connection, which is idle."""
        super().connection_made(transport)
        if hasattr(transport, "max_size"):  # asyncio's own, of one read; other loops decide themselves
            transport.max_size = READ_BYTES
        self._look()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Go on to the next request; it may be there already."""
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        super().connection_lost(exc)
        self._at_work()
        self._stop_watching()

    def pause_writing(self) -> None:
        """Make the application wait for the client, which may never read on."""
        super().pause_writing()
        self._watch(self.unsent)

    def resume_writing(self) -> None:
        """Let the application go on."""
        super().resume_writing()
        self._stop_watching()

    def _watch(self, unsent: int) -> None:
        self._stall = self.loop.call_later(self._stalled_after, self._drop_if_stalled, unsent)

    def _drop_if_stalled(self, before: int) -> None:
        if (unsent := self.unsent) < before:
            self._watch(unsent)
        else:
            self.transport.abort()

    def _stop_watching(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request, or close where an answer is under way already."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()
        cycle: Any = self.cycle
        if cycle is not None:  # the application may not have begun to answer; its answer is dropped
            cycle.disconnected = True
            cycle.message_event.set()

    def _should_upgrade(self) -> bool:
        """Never upgrade, and log nothing: a client could fill the log with its wishes."""
        return False

    def _look(self) -> None:
        cycle: Any = self.cycle  # None before the first request, which uvicorn's annotation leaves out
        if cycle is not None and not cycle.response_complete:
            self._at_work()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self._within, self._expire)
            self._idle.add(self)

    def _expire(self) -> None:
        """Close, unless an answer is still on its way to a client that reads slowly."""
        unsent = self.unsent
        if unsent and unsent != self._unsent:
            self._unsent = unsent
            self._deadline = self.loop.call_later(self._within, self._expire)
        else:
            self.transport.abort()

    @property
    def unsent(self) -> int:
        """The bytes of answers that the client has not taken yet."""
        return self.transport.get_write_buffer_size()

    def _at_work(self) -> None:
        self._idle.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Listener:
    """Accepts connections on one socket, as long as there is room for them.

    asyncio's own servers accept until the table of file descriptors is full, and then log an error for every
    entry of the queue, once a second.
    """

    def __init__(
        self, listening: socket.socket, config: Config, state: ServerState, app_state: dict[str, Any], *,
        settings: ServerSettings, limit: int | None = None,
    ) -> None:  # fmt: skip
        self.sockets = [listening]
        self.accepted = 0
        """Connections accepted so far."""
        self._socket = listening
        self._connections = state.connections
        self._limit = limit
        self._idle = Idle()
        self._told_at = -TELL_AGAIN
        self._beginning: set[asyncio.Task[None]] = set()
        """Tasks of connections that are being set up. The event loop holds tasks weakly."""
        self._make: Callable[[], Protocol] = lambda: GuardedProtocol(
            config=config,
            server_state=state,
            app_state=app_state,
            within=settings.head_within,
            stalled_after=settings.stalled_after,
            idle=self._idle,
        )
        # asyncio requires it, and `_accept_all` accepts without waiting.
        listening.setblocking(False)
        listening.listen(BACKLOG)
        self._task = asyncio.get_running_loop().create_task(self._accept_all())

    def close(self) -> None:
        """Stop accepting; connections that are open continue."""
        self._task.cancel()
        # Before the socket is closed: its number may then be that of another one.
        with suppress(NotImplementedError, ValueError):  # no such loop, or closed already
            asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    async def wait_closed(self) -> None:
        """Wait until nothing is accepted any more, and what was accepted is among the open connections."""
        await asyncio.wait([self._task, *self._beginning])

    async def _accept_all(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection = await self._next(loop)
                begun = int(self._begin(loop, connection))
                # A client must not wait for a turn of the loop for each one before it.
                for _ in range(ACCEPTED_AT_ONCE - 1):
                    if begun == AT_ONCE:
                        break
                    connection, _ = self._socket.accept()
                    begun += self._begin(loop, connection)
            except BlockingIOError:  # all that waited are accepted
                pass
            except ConnectionError:  # the client has left while it waited
                continue
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self._tell("no connection can be accepted: %s", error.strerror)
                self._idle.close_oldest()
                await asyncio.sleep(RETRY_ACCEPT)
            await self._room()
            await asyncio.sleep(0)  # an accept that need not wait does not let others run either

    async def _next(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        """Wait for the next connection.

        Not by `sock_accept` alone: cancelled between its accept and its return, it leaves the connection open
        without an owner.
        """
        ready = loop.create_future()
        try:
            loop.add_reader(self._socket, _set, ready)
        except NotImplementedError:  # the loop of Windows
            return (await loop.sock_accept(self._socket))[0]
        try:
            await ready
        finally:
            if self._socket.fileno() != -1:  # `close` has removed it otherwise
                loop.remove_reader(self._socket)
        return self._socket.accept()[0]

    def _begin(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bool:
        """Begin a connection; return False for one whose client has left."""
        self.accepted += 1
        try:
            connection.getpeername()
        except OSError:  # reset while it waited: reading and answering its request would be for no one
            connection.close()
            return False
        connection.setblocking(False)
        beginning = loop.create_task(self._connect(loop, connection))
        self._beginning.add(beginning)
        beginning.add_done_callback(self._beginning.discard)
        return True

    async def _connect(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        await loop.connect_accepted_socket(self._make, connection)

    async def _room(self) -> None:
        """Wait until there are no more connections than there may be."""
        while self._limit is not None and len(self._connections) + len(self._beginning) > self._limit:
            self._tell("%d connections are open, as many as there may be", self._limit)
            # A closed connection is gone one turn of the event loop later.
            await asyncio.sleep(0 if self._idle.close_oldest() else LOOK_FOR_ROOM)

    def _tell(self, message: str, detail: object) -> None:
        now = time.monotonic()
        if now - self._told_at >= TELL_AGAIN:
            self._told_at = now
            _log.warning(message, detail)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():  # the loop calls it in each turn, and the task may take several to wake up
        ready.set_result(None)


def quiet_down(seconds: float = TELL_AGAIN) -> Callable[[logging.LogRecord], bool]:
    """Return a log filter that lets the same message pass once in so many seconds.

    uvicorn logs a warning for every malformed request, which a client can send by the thousand.
    """
    last: dict[str, float] = {}
    """By the message without its arguments, so one for each place that logs."""

    def passes(record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if record.levelno != logging.WARNING or now - last.get(str(record.msg), -seconds) >= seconds:
            last[str(record.msg)] = now
            return True
        return False

    return passes
