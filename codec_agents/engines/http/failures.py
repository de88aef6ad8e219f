"""A client library's exceptions as the SDK's errors.

Classes are recognized by name, since httpx, httpx2 and aiohttp have their own. Where one library carries
another's exceptions, the lower one decides: a refused connection, a slow one and a broken one have the same
class in `httpx-aiohttp`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from codec_agents.engines.base import Timeouts
from codec_agents.exceptions import (
    EngineError,
    EngineStreamError,
    EngineTimeoutError,
    EngineUnavailableError,
)

CONNECT_TIMEOUTS = {"ConnectTimeout", "PoolTimeout", "ConnectionTimeoutError"}
UNREACHABLE = {"ConnectError", "ProxyError", "ClientConnectorError", "ClientProxyConnectionError"}
BAD_URL = {"InvalidURL", "UnsupportedProtocol"}
BROKEN = {"TransportError", "StreamError", "ClientError", "OSError"}

MAX_CHAIN = 20
"""Causes of one exception that are looked at: chains can be circular."""


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
        return EngineUnavailableError(engine, _unreachable(lower, url, kind))
    if names & BROKEN:
        # aiohttp's text of some holds the URL beside the message
        said = getattr(lower, "message", None) or str(lower)
        what = f"{kind}: {said}" if said else kind
        broke = f"the connection to {url} broke: {what}; see the server's log"
        return EngineStreamError(engine, broke, delivered=delivered)
    return error


def _unreachable(error: BaseException, url: str, kind: str) -> str:
    """Return one sentence on why no connection was made."""
    for each in _chain(error):
        # aiohttp's own classes are `SSLError`s without a reason; the one with it is further down the chain.
        if isinstance(each, ssl.SSLError) and not _is_from(each, "aiohttp"):
            reason = getattr(each, "verify_message", None) or each.reason or "the handshake failed"
            return f"the certificate or the TLS of {url} is not accepted: {reason}"
        if isinstance(each, socket.gaierror):
            return f"the host of {url} is not known"
        if isinstance(each, ConnectionRefusedError):
            return f"nothing listens at {url}"
    if "Proxy" in kind:
        return f"the proxy to {url} cannot be reached or refuses"
    if isinstance(error, OSError) and error.strerror:
        return f"{url} cannot be reached: {error.strerror}"
    return f"{url} cannot be reached ({kind})"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, the members of groups included."""
    waiting: list[BaseException] = [error]
    for _ in range(MAX_CHAIN):
        if not waiting:
            return
        each = waiting.pop(0)
        yield each
        below = (getattr(each, name, None) for name in ("os_error", "certificate_error"))  # aiohttp's
        waiting += [found for found in (*below, each.__cause__, each.__context__) if found is not None]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _is_from(error: BaseException | None, package: str) -> bool:
    return error is not None and type(error).__module__.partition(".")[0] == package
