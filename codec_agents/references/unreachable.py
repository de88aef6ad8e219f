"""Why a URL cannot be reached, in one sentence, from the exception of any HTTP client."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

MAX_CHAIN = 20
"""Causes of one exception that are looked at: chains can be circular."""

_OTHER_HOST = ", certificate is not valid for"
"""OpenSSL's words behind `Hostname mismatch` and `IP address mismatch`."""


def unreachable(error: BaseException, url: str) -> str:
    """Return one sentence on why no connection to a URL was made.

    Args:
        error: what a client raised; classes of httpx, httpx2 and aiohttp are told by their names.
        url: as it may be shown.
    """
    kind = type(error).__name__
    for each in _chain(error):
        # aiohttp's own classes are `SSLError`s without a reason; the one with it is further down the chain.
        if isinstance(each, ssl.SSLError) and not type(each).__module__.startswith("aiohttp"):
            reason = getattr(each, "verify_message", None) or each.reason or "the handshake failed"
            # Behind it is the host, which may be the value of a variable: the URL shows what may be shown.
            reason = reason.partition(_OTHER_HOST)[0]
            return f"the certificate or the TLS of {url} is not accepted: {reason}"
        if isinstance(each, socket.gaierror):
            return f"the host of {url} is not known"
        if isinstance(each, ConnectionRefusedError):
            return f"nothing listens at {url}"
    # Some clients keep nothing of the causes but these words of anyio, which stand for every cause.
    if "connection attempts failed" in str(error):
        return f"nothing listens at {url}, or no network leads there"
    if "Proxy" in kind:
        return f"the proxy to {url} cannot be reached or refuses"
    if isinstance(error, OSError) and error.strerror:
        return f"{url} cannot be reached: {error.strerror}"
    return f"{url} cannot be reached ({kind})"


def by_way_of(url: str) -> str:
    """Return a URL, and the variable of the environment whose proxy it is asked through, if there is one.

    Not for engines, which read no variables of proxies.
    """
    asked, proxies = urlsplit(url), getproxies()
    name = next((each for each in (asked.scheme, "all") if each and each in proxies), None)
    if name is None or asked.hostname is None or proxy_bypass(asked.hostname):
        return url
    return f"{url} (asked through the proxy of {name.upper()}_PROXY)"


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
