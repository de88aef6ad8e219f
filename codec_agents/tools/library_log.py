"""The log of the MCP library, without what a server wrote.

The library logs lines that are no message with a part of them and a traceback. Many servers print to their
standard output, and such a line may hold the secrets that the server was given, or come a million times.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from codec_agents.display.escape import escape_line
from codec_agents.references.secret_texts import hide

LOGGERS: Final = (
    "client",  # the name of that of `mcp.client.session`
    "mcp.client.caching",
    "mcp.client.client",
    "mcp.client.stdio",
    "mcp.client.streamable_http",
    "mcp.shared.jsonrpc_dispatcher",
)

MAX_MESSAGE: Final = 300
"""Characters of a message; some name what the server sent."""

MOST_MESSAGES: Final = 100
"""Different messages of one connection that are logged."""


@contextmanager
def discreet(secrets: Sequence[str] = ()) -> Iterator[None]:
    """Have the library log each message once and on one line, while a connection is open.

    Args:
        secrets: values that are not logged.
    """
    passes = _filter(secrets)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addFilter(passes)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(passes)


def _filter(secrets: Sequence[str]) -> Callable[[logging.LogRecord], bool]:
    found = find_spec("mcp")
    home = Path(__file__ if found is None or found.origin is None else found.origin).parent
    seen: set[str] = set()

    def passes(record: logging.LogRecord) -> bool:
        if not Path(record.pathname).is_relative_to(home):  # another program's logger may be called "client"
            return True
        said = escape_line(hide(record.getMessage(), secrets)[:MAX_MESSAGE])
        # The text of the error and its traceback hold what the server wrote.
        if record.exc_info and record.exc_info[0] is not None:
            said += f" ({record.exc_info[0].__name__})"
        record.msg, record.args, record.exc_info, record.exc_text = said, (), None, None
        if record.levelno < logging.WARNING:
            return True
        if said in seen or len(seen) >= MOST_MESSAGES:
            return False
        seen.add(said)
        return True

    return passes
