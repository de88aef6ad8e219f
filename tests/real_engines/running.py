"""The real servers of one test session: each is started when it is first needed, and stopped at the end."""

from __future__ import annotations

import atexit
import os

from tests.real_engines.kinds import START
from tests.real_engines.servers import Server

VARIABLE = "CODEC_TEST_{}"
"""Holds the origin of a server that runs already, with the same model under the same name."""

_started: dict[str, Server] = {}


def url_of(name: str) -> str:
    """Return the origin of a server.

    Raises:
        UnavailableError: the engine is not prepared on this machine.
        DidNotStartError: it does not start.
    """
    given = os.environ.get(VARIABLE.format(name.upper()), "").split()
    return given[0] if given else server_of(name).url


def server_of(name: str) -> Server:
    """Return a server that this session has started.

    Raises:
        UnavailableError: the engine is not prepared on this machine.
        DidNotStartError: it does not start.
    """
    if name not in _started:
        server = START[name]()
        server.__enter__()
        atexit.register(server.stop)
        _started[name] = server
    return _started[name]
