"""Connections to one engine: a pool, its limits, and its failures as the SDK's errors.

httpx is the interface. Where `aiohttp` is installed and asyncio runs, it carries the bytes, because httpx's
own transport costs several times more CPU per chunk (`tests/benchmarks/engines.py` measures it). A client of
the caller's own is used as it is: an `httpx.AsyncClient`, or anything with its `build_request` and `send`,
such as `httpx2.AsyncClient`.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import AsyncIterable, Callable, Mapping
from itertools import count
from typing import Self, TypeAlias

from pydantic import SecretStr

from codec_agents.concurrency.event_loop import may_run_yet, this_loop
from codec_agents.engines.base import Timeouts
from codec_agents.engines.http.addresses import Login, basic_login, read_address, without_login
from codec_agents.engines.http.clients import HttpClient, make_client
from codec_agents.engines.http.draining import BodyDrainer
from codec_agents.engines.http.failures import translated
from codec_agents.engines.http.prepared_requests import DeferredContent, PreparedRequest, PreparedRequests
from codec_agents.engines.http.responses import HttpResponse
from codec_agents.engines.http.secrets import EngineSecrets
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.exceptions import EngineStreamError

MIN_FOR_PREPARED = 100
"""Pools of up to so many connections have none to spare for a request that waits for its content."""

HARMLESS_HEADERS = frozenset({"accept", "accept-encoding", "accept-language", "content-type", "user-agent"})
"""Headers whose values may be repeated. Any other one may hold a key, whatever its name."""

REQUEST_ID = "x-request-id"
"""Names a request. An engine that repeats it shows which request its answer belongs to."""

OF_ANOTHER = "it sent the answer to another request; its connection is closed"

Body: TypeAlias = bytes | AsyncIterable[bytes] | DeferredContent | None


UNKNOWN_LENGTH = {"Content-Length": "0"}
"""In the head of a prepared request; that head is written again before any of it goes out."""


class HttpPool:
    """One engine's connections. A client that the pool made belongs to the event loop that first used it."""

    def __init__(
        self, engine: str, url: str, settings: HttpSettings | None = None, client: HttpClient | None = None
    ) -> None:
        self.engine = engine
        self.url = SecretStr(url)
        """The URL as it was given; it may hold a password."""
        self.address = read_address(url)
        self.host, self.port = self.address.host, self.address.port
        self.settings = settings or HttpSettings()
        self.secrets = EngineSecrets(_told_in_confidence(self.settings, self.address.login))
        self._given = client
        self._made: dict[object, HttpClient] = {}
        """A client for each event loop: none can be used in another."""
        self._making = threading.Lock()
        self.drainer = BodyDrainer()
        self.prepared_requests = PreparedRequests()
        self._requests = count()
        self._name = secrets.token_hex(8)
        """Begins the ids of this pool's requests."""
        self._names_requests = all(name.lower() != REQUEST_ID for name in self.settings.headers)

    def __repr__(self) -> str:
        return f"HttpPool({self.engine!r}, {self.shown('')!r})"

    def shown(self, path: str) -> str:
        """Return the URL of a path as messages show it."""
        return self.secrets.hide(self.address.of(path))

    def prepare(self, path: str, timeouts: Timeouts, by: str = "") -> bool:
        """Prepare a `POST` whose head and body come later; return whether that can be done here.

        Args:
            path: of the call.
            timeouts: of the request.
            by: the node that will send it; there is one request for each.
        """
        # Only the client for aiohttp has it: httpx sends a head before it asks for the body.
        deferred_body = getattr(self._client(), "deferred_body", None)
        body: DeferredContent | None = None if deferred_body is None else deferred_body()
        if body is None or self.settings.max_connections <= MIN_FOR_PREPARED:
            return False
        self.prepared_requests.start(
            (path, by), body, lambda body: self._request("POST", path, body, UNKNOWN_LENGTH, timeouts)
        )
        return True

    async def send_prepared(
        self, path: str, by: str, content: bytes, headers: Mapping[str, str], on_sent: Callable[[], None]
    ) -> PreparedRequest | None:
        """Write the content of the request that was prepared, without waiting; None if there is none."""
        prepared = self.prepared_requests.take((path, by))
        if prepared is None or not await prepared.give(content, self._headers(headers), on_sent):
            return None
        return prepared

    async def send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None = None,
        prepared: PreparedRequest | None = None,
    ) -> HttpResponse:
        """Send a request and return the response, its body unread.

        `on_sent` is called when the body of the request is written.
        `prepared` is the result of `send_prepared`: it is sent again only if it broke before it was written.

        Raises:
            EngineError: the engine cannot be reached, or closed the connection.
        """
        merged = self._headers(headers)
        try:
            if prepared is not None and (response := await prepared.response()) is not None:
                return response
            if content is None or on_sent is None:
                return await self._request(method, path, content, merged, timeouts)
            # An iterated body has no known length, and would be sent in chunks without this header.
            merged["Content-Length"] = str(len(content))
            return await self._request(method, path, WatchedBody(content, on_sent), merged, timeouts)
        except Exception as error:
            if (failure := self.failure(error, timeouts, path=path)) is error:
                raise
            # The client's exception holds the request with its headers, and those may hold a key.
            raise failure from None

    async def _request(
        self, method: str, path: str, body: Body, headers: Mapping[str, str], timeouts: Timeouts
    ) -> HttpResponse:
        await self.drainer.wait_briefly()  # which may save opening a connection
        client = self._client()
        connect = timeouts.connect
        request = client.build_request(
            method,
            self.address.of(path),
            content=body,
            headers=headers,
            timeout=(connect, None, None, connect),  # connect, read, write, pool: read is timed here
        )
        response: HttpResponse = await client.send(request, stream=True)
        return response

    def request_id(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the header that names a new request; none where the user's own headers do."""
        if not self._names_requests or any(name.lower() == REQUEST_ID for name in headers):
            return {}
        return {REQUEST_ID: f"{self._name}-{next(self._requests)}"}

    def check_request_id(self, sent: Mapping[str, str], response: HttpResponse) -> None:
        """Check that a response repeats no other request's id; engines and proxies may have ids of their own.

        Raises:
            EngineStreamError: it is the answer to another request of this pool.
        """
        answered = response.headers.get(REQUEST_ID)
        if answered != sent.get(REQUEST_ID) and answered and answered.startswith(f"{self._name}-"):
            raise EngineStreamError(self.engine, OF_ANOTHER)

    def names_another(self, beginning: bytes, sent: str | None) -> bool:
        """Return whether the beginning of a body holds the id of another request of this pool.

        vLLM makes the ids of its events from the request's, and repeats that in no header unless it is
        started so (`_base_request_id` in its `entrypoints/openai`).

        Args:
            beginning: the first bytes that came.
            sent: the id of the request, None for none.
        """
        at = -1 if sent is None else beginning.find(self._name.encode())
        if at < 0 or sent is None:
            return False
        found = beginning[at : at + len(sent) + 1].decode("latin-1")  # whatever bytes follow
        if found.startswith(sent):  # request 1 of this pool, and so the beginning of 12
            return found[-1].isdigit() and found != sent
        return not sent.startswith(found)  # one that is cut off may be the same

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        given: list[tuple[str, str]] = []
        if not self.settings.keep_alive:
            given.append(("Connection", "close"))
        # Of these two the login is sent: it is of this URL alone, and replicas share the key.
        if (key := self.settings.key) is not None:
            given.append(("Authorization", f"Bearer {key}"))
        if self.address.login is not None:
            given.append(("Authorization", basic_login(*self.address.login)))
        given += [*self.settings.headers.items(), *headers.items()]
        # The last of a name wins, whatever its case: clients send both of two that differ in case alone.
        return dict({name.lower(): (name, value) for name, value in given}.values())

    def failure(
        self, error: Exception, timeouts: Timeouts, *, path: str = "", delivered: int = 0
    ) -> Exception:
        """Return the SDK's error for a client's; an error of another kind as it is."""
        return translated(self.engine, error, self.shown(path), timeouts, delivered=delivered)

    async def aclose(self) -> None:
        """Close the connections of this event loop's client; a client of the caller's stays open."""
        # Before the client: both have connections of it in use.
        await self.prepared_requests.aclose()
        await self.drainer.aclose()
        with self._making:  # else another thread, while it makes its client, could put this one back
            made = self._made.pop(this_loop(), None)
        if made is not None:
            await made.aclose()

    def _client(self) -> HttpClient:
        if self._given is not None:
            return self._given
        loop = this_loop()
        client = self._made.get(loop)
        return self._make_client(loop) if client is None else client

    def _make_client(self, loop: object) -> HttpClient:
        client = make_client(self.settings, tls=self.address.base.startswith("https:"))
        with self._making:
            # A client of a loop that has ended can no longer be closed: closing takes that loop.
            self._made = {known: made for known, made in self._made.items() if may_run_yet(known)}
            self._made[loop] = client
        return client


def _told_in_confidence(settings: HttpSettings, login: Login | None) -> list[str]:
    """Return all that no output may repeat."""
    headers = settings.headers.items()
    told = [*settings.secrets, *(value for name, value in headers if name.lower() not in HARMLESS_HEADERS)]
    told += [] if settings.key is None else [settings.key]
    of_proxy = None if settings.proxy is None else without_login(settings.proxy)[1]
    for known in filter(None, (login, of_proxy)):
        told += [known[1], basic_login(*known)]
    return told


class WatchedBody:
    """A request's body that reports when it has been written.

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
