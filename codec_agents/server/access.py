"""Decide on a request's head: which host it names, which web page sends it, which key it carries.

Rules that hold in this file:

- Every decision is made on the head, before a byte of the body is read.
- A web page must not be able to use a server of the user's own machine. A page can send `text/plain` to any
  address without asking, and can make its own name resolve to 127.0.0.1. So a body must declare a type that
  a page can send only after asking, `Host` must name this server, and `Origin` must be on a list.
- A server that others can reach asks for a key.
- Nothing of `Host`, `Origin` or `X-Forwarded-*` is ever sent back, except an origin that is on the list.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from functools import lru_cache
from ipaddress import ip_address

from codec_agents.server.http import HttpError, Request, Send
from codec_agents.server.settings import ServerSettings

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
ANY = "*"

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
"""An id of a request that an answer may repeat: nothing in it can end a header or mean markup."""


class UnprotectedServerError(ValueError):
    """A server that others can reach has no keys."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"a server on {host!r} can be reached by others, and asks for no key: give "
            "ServerSettings(api_keys=...), or bind it to 127.0.0.1"
        )


class Access:
    """The rules of one server on who may ask it."""

    def __init__(self, settings: ServerSettings) -> None:
        self._keys = [key.encode() for key in settings.api_keys]
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        self._origins = frozenset(origin.lower() for origin in settings.allowed_origins)

    def check_place(self, request: Request) -> None:
        """Check where the request was sent to, and which page sent it.

        Raises:
            HttpError: 421 for a host that this server is not, 403 for an origin that is not allowed or for a
                server that others can reach and that has no keys.
        """
        # `serve` refuses to start at such an address. Under another ASGI server a request is the first to
        # show where it listens.
        if not self._keys and not is_loopback(request.peer):
            raise HttpError(403, "this server can be reached by others and has no keys: it answers nothing")
        self._check_host(request)
        origin = request.headers.get("origin")
        if origin is not None and self.allowed_origin(request) is None:
            raise HttpError(
                403,
                "requests of web pages are not served; allow the page's origin in `allowed_origins`",
                code="origin_not_allowed",
            )

    def allowed_origin(self, request: Request) -> str | None:
        """Return the origin of the page that sends the request, where it is on the list."""
        origin = request.headers.get("origin", "").lower()
        return origin if origin in self._origins else None

    def check_key(self, request: Request) -> None:
        """Compare with every key, each in constant time, so that timing reveals nothing about them.

        Raises:
            HttpError: 401, a key is required, and the request has no valid one.
        """
        # Clients of this machine alone: `check_place` has refused any other.
        if not self._keys:
            return
        token = key_of(request)
        # A list: `any` over a generator would stop at the first match.
        matches = [hmac.compare_digest(token, key) for key in self._keys]
        if not any(matches):
            raise HttpError(
                401,
                "a valid bearer token is required",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )

    def _check_host(self, request: Request) -> None:
        given = request.headers.get("host")
        if given is None:  # HTTP/1.0 alone: no browser speaks it
            return
        host = _host_of(given)
        # An address cannot be made to resolve elsewhere, so the server's own address needs no list.
        known = host in LOOPBACK_NAMES or host in self._hosts or host == request.peer
        if not known and ANY not in self._hosts:
            raise HttpError(
                421,
                "this server does not serve the host that the request names; name it in `allowed_hosts`",
                code="host_not_allowed",
            )


def key_of(request: Request) -> bytes:
    """Return the key that a request carries, in the header of either API; empty without one."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    token = given.strip().encode() if scheme.lower() == "bearer" else b""
    # Anthropic's clients have a header of their own for it.
    return token or request.headers.get("x-api-key", "").encode()


def credentials_of(request: Request) -> bytes:
    """Return what tells a client from others; empty without any.

    It is the key, or what another scheme gives: a proxy on this machine may check a password for this server.
    """
    return key_of(request) or request.headers.get("authorization", "").encode()


def tenant_of(request: Request) -> bytes:
    """Return a digest of the request's credentials; the same for all requests without any."""
    return hashlib.blake2b(credentials_of(request), digest_size=16).digest()


def require_keys(host: str, settings: ServerSettings) -> None:
    """Check that a server on this address asks for a key, where others can reach it.

    Raises:
        UnprotectedServerError: it does not.
    """
    if not settings.api_keys and not is_loopback(host):
        raise UnprotectedServerError(host)


@lru_cache(maxsize=256)
def is_loopback(host: str | None) -> bool:
    """Return True for an address or name that this machine alone can reach; None is a Unix socket."""
    if host is None or host.lower() == "localhost":
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    # A socket for both versions of IP shows an IPv4 address as one of IPv6; only those have this attribute.
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _host_of(value: str) -> str:
    """Return the host of a `Host` header, without port and brackets; "" for a malformed one."""
    if value.startswith("["):
        host, bracket, port = value[1:].partition("]")
        return host.lower() if bracket and (not port or port.startswith(":")) else ""
    host, _, port = value.partition(":")
    return host.lower() if not port or port.isdecimal() else ""


# --- web pages that are allowed ---

CORS_METHODS = "GET, POST"
CORS_HEADERS = (
    "authorization, content-type, codec-client-version, x-codec-map, traceparent, tracestate, "
    "x-api-key, anthropic-version, anthropic-beta, x-codec-progress"
)


PREFLIGHT = {"access-control-allow-methods": CORS_METHODS, "access-control-allow-headers": CORS_HEADERS}
"""The answer to a browser's question before a request of an allowed page; `with_origin` names the page."""


def with_origin(send: Send, origin: str) -> Send:
    """Return a `send` that lets the allowed page read the answer."""
    allowed = (b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")
    return _with_headers(send, *allowed)


def with_request_id(send: Send, request: Request) -> Send:
    """Return a `send` whose answers repeat the request's id, by which a client knows whose answer it has."""
    name = request.headers.get("x-request-id", "")
    if not REQUEST_ID.fullmatch(name):
        return send
    return _with_headers(send, (b"x-request-id", name.encode("latin-1")))


def _with_headers(send: Send, *more: tuple[bytes, bytes]) -> Send:
    async def send_with_headers(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            headers = message["headers"]
            assert isinstance(headers, list)
            message = {**message, "headers": [*headers, *more]}
        await send(message)

    return send_with_headers
