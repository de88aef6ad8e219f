"""Bytes that a server sends over an idle connection, which no request has asked for.

A connection on which such bytes wait is not used again: they would be taken for the answer to the next
request. What arrives after a request was sent cannot be told from its answer, unless the engine repeats the
request's id. So once stray bytes have been seen, no connection of that client carries a second request.
"""

from __future__ import annotations

import logging
import select
from typing import Any, Literal

_log = logging.getLogger("codec_agents")

HANG_UP = getattr(select, "POLLRDHUP", 0)
"""The event of a server that has closed its side; 0 where the system has no such event."""


def unread(sock: Any) -> Literal["nothing", "end", "bytes", "unknown"]:
    """Return what waits in a socket that is idle, without reading it.

    Args:
        sock: a socket, or asyncio's view of one; None for none.

    Returns:
        `unknown` where the system cannot tell bytes from an end, and `nothing` where it has no `poll`.
    """
    if sock is None or not hasattr(select, "poll"):
        return "nothing"
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN | HANG_UP)
    events = poller.poll(0)
    if not events:
        return "nothing"
    if not HANG_UP:
        return "unknown"
    # Bytes before an end are the last message of a server that closes (408, for one), and no second answer.
    return "bytes" if events[0][1] & (HANG_UP | select.POLLHUP | select.POLLERR) == 0 else "end"


def warn(server: str) -> None:
    """Log that the connections of a client are not used again.

    Args:
        server: its origin, without a login.
    """
    _log.warning("%s sent bytes that no request had asked for: each request now opens a connection", server)
