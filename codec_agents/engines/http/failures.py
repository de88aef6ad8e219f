"""A client library's exceptions as the SDK's errors.

Classes are recognized by name, since httpx, httpx2 and aiohttp have their own. Where one library carries
another's exceptions, the lower one decides: a refused connection, a slow one and a broken one have the same
class in `httpx-aiohttp`.
"""

from __future__ import annotations

from codec_agents.engines.base import Timeouts
from codec_agents.exceptions import (
    EngineError,
    EngineStreamError,
    EngineTimeoutError,
    EngineUnavailableError,
)
from codec_agents.references.unreachable import unreachable

CONNECT_TIMEOUTS = {"ConnectTimeout", "PoolTimeout", "ConnectionTimeoutError"}
UNREACHABLE = {"ConnectError", "ProxyError", "ClientConnectorError", "ClientProxyConnectionError"}
BAD_URL = {"InvalidURL", "UnsupportedProtocol"}
BROKEN = {"TransportError", "StreamError", "ClientError", "OSError"}


def translated(
    engine: str, error: Exception, url: str, timeouts: Timeouts, *, delivered: int = 0
) -> EngineError | Exception:
    """Return the SDK's error for a client's; an error of another kind as it is.

    Args:
        engine: the engine's name.
        error: what the client raised.
        url: the URL that was asked.
        timeouts: those of the request.
        delivered: ids that were delivered before.
    """
    cause = error.__cause__
    wrapped = _is_from(cause, "aiohttp") and not _is_from(error, "aiohttp")
    lower = cause if wrapped and cause is not None else error
    names = {kind.__name__ for kind in type(lower).__mro__}
    kind = type(lower).__name__
    # In this order: the classes of the first three are below those of the last.
    if names & BAD_URL:
        return EngineError(engine, f"its url {url} cannot be used ({kind}); correct the engine's `url`")
    if names & CONNECT_TIMEOUTS:
        return EngineTimeoutError(engine, "connect", timeouts.connect, url=url)
    if names & UNREACHABLE:
        return EngineUnavailableError(engine, unreachable(lower, url))
    if names & BROKEN:
        # aiohttp's text of some holds the URL beside the message
        said = getattr(lower, "message", None) or str(lower)
        what = f"{kind}: {said}" if said else kind
        broke = f"the connection to {url} broke: {what}; see the server's log"
        return EngineStreamError(engine, broke, delivered=delivered)
    return error


def _is_from(error: BaseException | None, package: str) -> bool:
    return error is not None and type(error).__module__.partition(".")[0] == package
