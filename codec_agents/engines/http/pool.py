"""Connections to one engine: a pool, its limits, and its failures as the SDK's errors.

httpx is the interface. Where `aiohttp` is installed and asyncio runs, it carries the bytes, because httpx's
own transport costs several times more CPU a chunk (`tests/benchmarks/engines.py` measures it). A client of
the caller's own is used as it is: an `httpx.AsyncClient`, or anything with its `build_request` and `send`,
such as `httpx2.AsyncClient`.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from importlib.util import find_spec
from typing import Any, Literal, Protocol, Self, TypeAlias
from urllib.parse import quote

import httpx
import msgspec
from anyio.lowlevel import current_token

from codec_agents.concurrency.event_loop import running_loop
from codec_agents.engines.base import Timeouts
from codec_agents.engines.http.draining import Endings
from codec_agents.engines.http.prepared_requests import BegunRequest, BegunRequests, LateContent
from codec_agents.engines.http.responses import HttpResponse
from codec_agents.exceptions import (
    EngineError,
    EngineStreamError,
    EngineTimeoutError,
    EngineUnavailableError,
)
from codec_agents.references.environment import hide, looks_secret

MAX_CONNECTIONS = 2000
"""Streams at once over one engine; each holds a connection."""
MAX_IDLE = 100
"""Idle connections kept: httpx's pool does work at every request that grows with them."""
IDLE_SECONDS = 4.0
"""uvicorn and llama.cpp close a connection after 5 idle seconds; a request that meets the closing is lost."""


class HttpClient(Protocol):
    """What an engine needs of a client: `httpx.AsyncClient` and `httpx2.AsyncClient` have it."""

    @property
    def build_request(self) -> Callable[..., Any]:
        """Make a request."""
        ...

    @property
    def send(self) -> Callable[..., Awaitable[Any]]:
        """Send it; with `stream=True` the body stays unread."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


Body: TypeAlias = bytes | AsyncIterable[bytes] | LateContent | None


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine is reached."""

    api_key: str | None = None
    """Sent as a bearer token."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Sent with every request."""
    proxy: str | None = None
    verify: bool | str = True
    """False accepts any certificate; a path names a file of trusted ones."""
    max_connections: int = MAX_CONNECTIONS
    transport: Literal["auto", "httpx", "aiohttp"] = "auto"
    """`httpx`, `aiohttp`, or `auto` for the faster one that can be used."""
    secrets: tuple[str, ...] = ()
    """Further texts that no message may repeat: what the variables in the URL and the headers stand for."""


UNKNOWN_LENGTH = {"Content-Length": "0"}
"""In the head of a request that is begun; that head is written again before any of it goes out."""


class HttpPool:
    """One engine's connections. A client that the pool made belongs to the event loop that first used it."""

    def __init__(
        self, engine: str, url: str, settings: HttpSettings | None = None, client: HttpClient | None = None
    ) -> None:
        self.engine = engine
        self.url, self._login = _without_login(url.rstrip("/"))
        self.settings = settings or HttpSettings()
        parsed = httpx.URL(self.url)
        self._path = parsed.raw_path.decode("ascii").strip("/")
        self.host: str = parsed.host
        self.port: int = parsed.port or (443 if parsed.scheme == "https" else 80)
        self._secrets = _told_in_confidence(self.settings, self._login)
        self._given = client
        self._made: tuple[object, HttpClient] | None = None
        self.endings = Endings()
        self._begun = BegunRequests()

    def begin(self, path: str, timeouts: Timeouts, by: str = "") -> bool:
        """Begin a `POST` whose head and body will come later; return whether that can be done here.

        `by` says for whom: there is one for each. A small pool has no connection to spare.
        """
        late_body = getattr(self._client(), "late_body", None)
        body: LateContent | None = None if late_body is None else late_body()
        if body is None or self.settings.max_connections <= MAX_IDLE:
            return False
        place = path, by
        self._begun.begin(
            place, body, lambda body: self._request("POST", path, body, UNKNOWN_LENGTH, timeouts)
        )
        return True

    async def finish(
        self, path: str, by: str, content: bytes, headers: Mapping[str, str], on_sent: Callable[[], None]
    ) -> BegunRequest | None:
        """Write the content of the request that was begun there, without waiting; None if there is none."""
        begun = self._begun.take((path, by))
        if begun is None or not await begun.give(content, self._headers(headers), on_sent):
            return None
        return begun

    async def send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None = None,
        begun: BegunRequest | None = None,
    ) -> HttpResponse:
        """Send a request and return the response, its body unread; `on_sent` hears when the body is written.

        `begun` is what `finish` gave: it has been sent already, and is sent again only if it broke before.

        Raises:
            EngineError: the engine cannot be reached, or closed the connection.
        """
        merged = self._headers(headers)
        try:
            if begun is not None and (response := await begun.response()) is not None:
                return response
            if content is None or on_sent is None:
                return await self._request(method, path, content, merged, timeouts)
            merged["Content-Length"] = str(len(content))
            return await self._request(method, path, WatchedBody(content, on_sent), merged, timeouts)
        except Exception as error:
            failure = self.failure(error, timeouts)
            raise failure from failure.__cause__

    async def _request(
        self, method: str, path: str, body: Body, headers: Mapping[str, str], timeouts: Timeouts
    ) -> HttpResponse:
        await self.endings.moment()
        client = self._client()
        connect = timeouts.connect
        request = client.build_request(
            method,
            self.url + path,
            content=body,
            headers=headers,
            timeout=(connect, None, None, connect),  # connect, read, write, pool: read is timed here
        )
        response: HttpResponse = await client.send(request, stream=True)
        return response

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        merged = {**self.settings.headers, **headers}
        if self._login is not None:
            merged.setdefault("Authorization", basic_login(*self._login))
        if self.settings.api_key is not None:
            merged.setdefault("Authorization", f"Bearer {self.settings.api_key}")
        return merged

    def failure(self, error: Exception, timeouts: Timeouts, *, delivered: int = 0) -> Exception:
        """Return the SDK's error for a client's, to be raised from the cause that it has.

        A cause that repeats what was told in confidence is left out.
        """
        found = translated(self.engine, error, timeouts, delivered=delivered)
        if isinstance(found, EngineError):
            self.keep_secrets(found)
            found.__cause__ = None if self._tells_secrets(error) else error
        return found

    def keep_secrets(self, error: EngineError) -> None:
        """Leave out of an error what was told in confidence."""
        error.args = (self.without_secrets(str(error)),)

    def without_secrets(self, text: str) -> str:
        """Return what a server says with what it was told in confidence left out: some say keys again."""
        return hide(text, self._secrets)

    def _tells_secrets(self, error: BaseException | None) -> bool:
        """Whether an error, or one behind it, repeats a secret, or the engine's URL beyond its origin."""
        if error is None:
            return False
        said = str(error)
        named = self._path and self._path in said
        if named or _names(error) & BAD_URL or self.without_secrets(said) != said:
            return True
        return self._tells_secrets(error.__cause__) or self._tells_secrets(error.__context__)

    async def aclose(self) -> None:
        """Close the connections of the client that the pool made; a client of the caller's stays open."""
        await self._begun.aclose()
        await self.endings.aclose()
        if self._made is not None:
            (loop, client), self._made = self._made, None
            if loop == current_token():
                await client.aclose()

    def _client(self) -> HttpClient:
        if self._given is not None:
            return self._given
        loop = current_token()
        if self._made is None or self._made[0] != loop:
            self._made = (loop, make_client(self.settings, tls=self.url.startswith("https:")))
        return self._made[1]


def _told_in_confidence(settings: HttpSettings, login: Login | None) -> tuple[str, ...]:
    """Return all that no message may repeat, in every form in which it is sent."""
    told = [form for text in settings.secrets for form in (text, quote(text), quote(text, safe=""))]
    told += [value for name, value in settings.headers.items() if looks_secret(name)]
    told += [] if settings.api_key is None else [settings.api_key]
    of_proxy = None if settings.proxy is None else _without_login(settings.proxy)[1]
    for known in filter(None, (login, of_proxy)):
        told += [known[1], basic_login(*known)]
    return tuple(told)


Login: TypeAlias = tuple[str, str]
"""A user and a password."""


def _without_login(url: str) -> tuple[str, Login | None]:
    """Return a URL without user and password, and those: clients differ in what they do with them.

    Raises:
        ValueError: it is no URL. What the library says of it repeats it, and there may be a secret in it.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError("the url of the engine, or of its proxy, cannot be read") from None
    if not parsed.userinfo:
        return url, None
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}", (parsed.username, parsed.password)


def basic_login(user: str, password: str) -> str:
    """Return what the `Authorization` header says for a user and a password."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


class WatchedBody:
    """A request's body that tells when it has been written.

    Clients ask for a further part when the one before has gone to the socket, whatever carries the bytes.
    """

    __slots__ = ("_content", "_left", "_on_sent")

    def __init__(self, content: bytes, on_sent: Callable[[], None]) -> None:
        self._content = content
        self._left = True
        self._on_sent = on_sent

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._left:
            self._left = False
            return self._content
        self._on_sent()
        raise StopAsyncIteration


def make_client(settings: HttpSettings, *, tls: bool = True) -> HttpClient:
    """Return a client for the event loop that runs, the fastest that there is.

    Without `tls`, no certificates are loaded, which takes tens of milliseconds. Proxies come from the
    settings alone, never from the environment.

    Raises:
        ImportError: the settings ask for `aiohttp`, and it is not installed.
    """
    verify = _verification(settings) if tls else False
    if settings.transport == "aiohttp" or (settings.transport == "auto" and _aiohttp_serves(settings)):
        from codec_agents.engines.http.aiohttp_client import AiohttpClient

        return AiohttpClient(
            ssl_context=verify,
            max_connections=settings.max_connections,
            idle_seconds=IDLE_SECONDS,
            proxy=settings.proxy,
        )
    return httpx.AsyncClient(
        proxy=settings.proxy,
        verify=verify,
        limits=httpx.Limits(
            max_connections=settings.max_connections,
            max_keepalive_connections=MAX_IDLE,
            keepalive_expiry=IDLE_SECONDS,
        ),
        timeout=None,  # noqa: S113 - every request brings its own
        follow_redirects=False,
        trust_env=False,
    )


def _verification(settings: HttpSettings) -> ssl.SSLContext | Literal[False]:
    """Return how certificates are verified: the same way whatever carries the bytes."""
    if settings.verify is False:
        return False
    if isinstance(settings.verify, str):
        return ssl.create_default_context(cafile=settings.verify)
    return httpx.create_ssl_context(trust_env=False)


def _aiohttp_serves(settings: HttpSettings) -> bool:
    """Say whether aiohttp can be used here: it knows no event loop but asyncio's, and no SOCKS proxies."""
    if running_loop() is None or (settings.proxy is not None and not settings.proxy.startswith("http")):
        return False
    return find_spec("aiohttp") is not None


def translated(
    engine: str, error: Exception, timeouts: Timeouts, *, delivered: int = 0
) -> EngineError | Exception:
    """Return the SDK's error for a client's; an error of another kind as it is.

    By name, since httpx, httpx2 and aiohttp have classes of their own; and by the cause, where aiohttp's is
    behind httpx's: a refused connection, a slow one and a broken one have the same class in `httpx-aiohttp`.
    """
    cause = error.__cause__
    wrapped = _is_from(cause, "aiohttp") and not _is_from(error, "aiohttp")
    lower = cause if wrapped and cause is not None else error
    names = _names(lower)
    if names & BAD_URL:  # what such an error says repeats the URL
        kind = type(lower).__name__
        return EngineError(engine, f"its url cannot be used ({kind}); correct the engine's `url`")
    said = getattr(lower, "message", None) or str(lower)  # aiohttp's text of some holds the URL beside it
    what = f"{type(lower).__name__}: {said}" if said else type(lower).__name__
    if names & CONNECT_TIMEOUTS:
        return EngineTimeoutError(engine, "connect", timeouts.connect)
    if names & UNREACHABLE:
        return EngineUnavailableError(engine, what)
    if names & BROKEN:
        return EngineStreamError(engine, f"the connection broke: {what}", delivered=delivered)
    return error


CONNECT_TIMEOUTS = {"ConnectTimeout", "PoolTimeout", "ConnectionTimeoutError"}
UNREACHABLE = {
    "ConnectError",
    "ProxyError",
    "ClientConnectorError",
    "ClientProxyConnectionError",
}
BAD_URL = {"InvalidURL", "UnsupportedProtocol"}
BROKEN = {"TransportError", "StreamError", "ClientError", "OSError"}


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _is_from(error: BaseException | None, package: str) -> bool:
    return error is not None and type(error).__module__.partition(".")[0] == package
