"""The real servers of one test session: each is started when it is first needed, and stopped at the end."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping

from tests.real_engines.kinds import START
from tests.real_engines.servers import DidNotStartError, Server

VARIABLE = "CODEC_TEST_{}"
"""Holds the origin of a server that runs already, with the same model under the same name."""

_launched: dict[str, Server] = {}
_ready: dict[str, Server] = {}
_failed: dict[str, DidNotStartError] = {}


def url_of(name: str) -> str:
    """Return the origin of a server.

    Raises:
        UnavailableError: the engine is not prepared on this machine.
        DidNotStartError: it does not start.
    """
    given = os.environ.get(VARIABLE.format(name.upper()), "").split()
    return given[0] if given else server_of(name).url


def launch(name: str) -> None:
    """Start a server, and wait for nothing: `url_of` waits, if it is needed before it is ready.

    Raises:
        UnavailableError: the engine is not prepared on this machine.
    """
    if name not in _launched and VARIABLE.format(name.upper()) not in os.environ:
        server = START[name]()
        atexit.register(server.stop)
        server.launch()
        _launched[name] = server


def server_of(name: str) -> Server:
    """Return a server that this session has started, when it is ready.

    Raises:
        UnavailableError: the engine is not prepared on this machine.
        DidNotStartError: it does not start; each further call says so again, and does not try again.
    """
    if name in _failed:
        raise _failed[name]
    if name not in _ready:
        launch(name)
        try:
            _launched[name].wait_until_ready()
        except DidNotStartError as error:
            _failed[name] = error
            raise
        _ready[name] = _launched[name]
    return _ready[name]


def ready_servers() -> Mapping[str, str]:
    """Return the origins of the servers that have been asked for, by name."""
    given = {name: os.environ.get(VARIABLE.format(name.upper()), "").split()[:1] for name in START}
    return {name: urls[0] for name, urls in given.items() if urls} | {
        name: server.url for name, server in _ready.items()
    }
