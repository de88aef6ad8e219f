"""The frame of all engines over HTTP: check the prompt, send, check the answer's head, read the stream."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import TypeVar

import anyio
import msgspec

from codec_agents.concurrency.single_flight import SingleFlight
from codec_agents.engines.base import WHOLE, FrameStream, GenerationRequest, StreamStats, Timeouts
from codec_agents.engines.http.clients import HttpClient
from codec_agents.engines.http.pool import REQUEST_ID, HttpPool
from codec_agents.engines.http.responses import HttpResponse, close, text_of
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.engines.http.stream import Deadlines, FrameParser, HttpStream
from codec_agents.engines.prompt_body import check_prompt
from codec_agents.exceptions import EngineError, EngineStatusError, EngineStreamError
from codec_core.exceptions import DECODE_ERRORS

T = TypeVar("T")

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error's body that are read; the connection is given up beyond that."""

HEALTH_SECONDS = 2.0
"""For an answer of `/health`; a server that needs longer is not one to send a request to."""

KEEP_OPEN = "/health"
"""Asked for to open a connection, too: engines answer it at once, whatever the answer is."""

SESSION_HEADERS = ("X-Session-ID", "x-smg-routing-key", "x-dynamo-session-id")
"""The names by which vLLM and vllm-router, smg, and Dynamo read the session of a request."""


def session_headers(request: GenerationRequest) -> dict[str, str]:
    """Return the headers by which routers keep a conversation on one worker."""
    session = request.options.session or request.session
    return dict.fromkeys(SESSION_HEADERS, session) if session else {}


class Outgoing(msgspec.Struct, frozen=True):
    """One HTTP request of an engine's own API."""

    path: str
    body: bytes
    headers: Mapping[str, str]


def headers_of(own: Mapping[str, str], request: GenerationRequest) -> dict[str, str]:
    """Return the headers of a call that have its own ones; what is nearer to the caller wins."""
    return {**session_headers(request), **own, **request.headers}


class HttpEngine:
    """The frame of an engine over HTTP. Subclasses write requests and read answers."""

    provider = "http"
    text_boundary = False
    """Whether content becomes text on the way to the engine."""
    continues = True
    """The conformance test has shown it for every kind whose prompts are ids."""
    checks_answers = True
    health_seconds = HEALTH_SECONDS
    logprob_mode: str | None = None
    """What the server computes log probabilities from, a `LogprobMode`: a class has that of its kind, and a
    server may be started otherwise. None where it is not known."""

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        settings: HttpSettings | None = None,
        client: HttpClient | None = None,
    ) -> None:
        self.name = name or self.provider
        self.pool = HttpPool(self.name, url, settings, client)

    @property
    def server(self) -> tuple[str, int]:
        """The host and the port that it asks: the same for all engines of one server."""
        return self.pool.host, self.pool.port

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pool.shown('')!r}, name={self.name!r})"

    async def prepare(self, request: GenerationRequest) -> None:
        """Do what has to be done once, and prepare the request that will come, or at least open a connection.

        A failure is not raised: the request itself will meet it.
        """
        with suppress(EngineError):
            await self.check(request)
            timeouts = request.timeouts
            # Written for its path alone, which may follow from the options and the length of the prompt.
            if self.pool.prepare(self._outgoing(request).path, timeouts, request.node):
                return
            # Not longer than a request waits for a connection: this one may hold the only one there is.
            await self._ask_health(timeouts, min(self.health_seconds, timeouts.connect or math.inf))

    async def is_healthy(self, timeouts: Timeouts) -> bool:
        """Return whether the server answers `/health`, and not with an error of its own; never raises."""
        with suppress(EngineError):
            status = await self._ask_health(timeouts, self.health_seconds)
            # 404 is an engine without the path, and 401 one with a key.
            return status is not None and status < 500
        return False

    async def _ask_health(self, timeouts: Timeouts, seconds: float) -> int | None:
        """Return the status of the answer of `/health`; None where it is not there in time.

        Raises:
            EngineError: the engine cannot be reached.
        """
        with anyio.move_on_after(seconds):
            response = await self.pool.send("GET", KEEP_OPEN, content=None, headers={}, timeouts=timeouts)
            try:
                # A connection is kept only if its answer was read.
                await self.read_limited(response, Deadlines(timeouts))
                return response.status_code
            finally:
                await close(response)
        return None

    async def aclose(self) -> None:
        """Close the connections; a client that the caller gave stays open."""
        await self.pool.aclose()

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        """Send a request; leaving the context closes it, and the server notices.

        Raises:
            EngineError: the prompt is not in the map, or the request cannot be sent or is refused.
        """
        stream = await self.pool.secrets.sealed(self._open(request))
        try:
            yield stream
        finally:
            await stream.aclose()

    async def _open(self, request: GenerationRequest) -> HttpStream:
        check_prompt(self.name, request)
        await self.check(request)
        stats = self.new_stats(request)
        timeouts = request.timeouts
        deadlines = Deadlines(timeouts.of_whole_answer() if request.stream_interval == WHOLE else timeouts)
        response, parser = await self._begin(request, stats, deadlines)
        return HttpStream(
            self.name,
            response,
            parser,
            stats,
            request,
            deadlines,
            self.pool,
            text_boundary=self.text_boundary,
        )

    def new_stats(self, request: GenerationRequest, wire_format: str = "") -> StreamStats:
        """Return the measurements of a request that begins now."""
        return StreamStats(
            format=wire_format,
            prompt_tokens=len(request.prompt_ids),  # until the engine reports its own count
            request_started=time.perf_counter(),
            server_address=self.pool.host,
            server_port=self.pool.port,
        )

    async def check(self, request: GenerationRequest) -> None:
        """Do what has to be done once, before the first request.

        Raises:
            EngineError: the engine cannot serve such requests.
        """

    async def ask_once(
        self, flight: SingleFlight[T], ask: Callable[[], Awaitable[T]], request: GenerationRequest
    ) -> T:
        """Return an answer that one request asks for and all use; this one waits within its own time-outs.

        Raises:
            EngineError: there is no answer now.
        """
        if flight.known:
            return await flight.get(ask)
        # Sealed here, because not every question belongs to a stream: `context_length` is asked by itself.
        return await self.pool.secrets.sealed(self._ask_in_time(flight, ask, request))

    async def _ask_in_time(
        self, flight: SingleFlight[T], ask: Callable[[], Awaitable[T]], request: GenerationRequest
    ) -> T:
        deadlines = Deadlines(request.timeouts)
        with anyio.CancelScope(deadline=deadlines.instant()):
            return await flight.get(ask)
        # Reached only after the deadline: the scope has swallowed its own cancellation.
        raise deadlines.error(self.name, 0)

    async def _begin(
        self, request: GenerationRequest, stats: StreamStats, deadlines: Deadlines
    ) -> tuple[HttpResponse, FrameParser]:
        """Send the request; return the answer and its parser."""
        return await self._exchange(self._outgoing(request), request, stats, deadlines)

    async def _exchange(
        self, outgoing: Outgoing, request: GenerationRequest, stats: StreamStats, deadlines: Deadlines
    ) -> tuple[HttpResponse, FrameParser]:
        response = await self._send(outgoing, request, stats, deadlines)
        try:
            if response.status_code != 200:
                raise await self._refusal(response, outgoing.path, request, deadlines)
            return response, self._parser(response, request, stats)
        except BaseException:  # a cancellation too: no caller has the response yet
            await close(response)
            raise

    async def _send(
        self, outgoing: Outgoing, request: GenerationRequest, stats: StreamStats, deadlines: Deadlines
    ) -> HttpResponse:
        """Send and wait for the head of the answer."""
        written: list[float] = []
        headers = headers_of(outgoing.headers, request)
        named = self.pool.request_id(headers)
        headers |= named
        stats.request_id = named.get(REQUEST_ID)

        def on_sent() -> None:
            written.append(time.perf_counter())

        # A prepared request leaves here and now, before anything is set up for its answer.
        prepared = await self.pool.send_prepared(outgoing.path, request.node, outgoing.body, headers, on_sent)
        with anyio.CancelScope(deadline=deadlines.instant()):
            response = await self.pool.send(
                "POST",
                outgoing.path,
                content=outgoing.body,
                headers=headers,
                timeouts=request.timeouts,
                on_sent=on_sent,
                prepared=prepared,
            )
            stats.bytes_sent += len(outgoing.body)
            # The last one: a prepared request that broke was written again. Some clients do not report it.
            stats.request_sent = written[-1] if written else time.perf_counter()
            try:
                self.pool.check_request_id(named, response)
            except EngineStreamError:
                await close(response)
                raise
            return response
        raise deadlines.error(self.name, 0)  # as in `_ask_in_time`

    def _outgoing(self, request: GenerationRequest) -> Outgoing:
        """Return the request in the engine's own words."""
        raise NotImplementedError

    def _parser(self, response: HttpResponse, request: GenerationRequest, stats: StreamStats) -> FrameParser:
        """Return the parser of an answer with status 200.

        Raises:
            EngineError: the head shows that the answer cannot be read.
        """
        raise NotImplementedError

    async def _refusal(
        self,
        response: HttpResponse,
        path: str,
        request: GenerationRequest,  # noqa: ARG002 - some name the part of the request that was refused
        deadlines: Deadlines,
    ) -> EngineError:
        """Return the error for an answer with another status."""
        body = await self.read_limited(response, deadlines)
        return self.status_error(
            response.status_code, body, path, retry_after=response.headers.get("retry-after")
        )

    def status_error(
        self, status: int, body: bytes, path: str, *, method: str = "POST", retry_after: str | None = None
    ) -> EngineStatusError:
        """Return the error for an answer that refuses: it names the call, and the engine's own message."""
        # Secrets are hidden before the message is cut: a cut one would not be found any more.
        said = self.pool.secrets.hide(error_message(body))
        return EngineStatusError(
            self.name,
            status,
            said,
            asked=f"{method} {self.pool.shown(path)}",
            retry_after=_seconds(retry_after),
        )

    async def read_limited(
        self, response: HttpResponse, deadlines: Deadlines, limit: int = MAX_ERROR_BODY
    ) -> bytes:
        """Read a small body, as far as it comes in time."""
        body = bytearray()
        try:
            with anyio.CancelScope(deadline=deadlines.instant()):
                await _fill(body, response, limit)
        # What came says more than how it ended; faults of this code are no such end.
        except Exception as error:
            if not isinstance(self.pool.failure(error, deadlines.timeouts), EngineError):
                raise
        return bytes(body)

    async def read_whole(self, response: HttpResponse, timeouts: Timeouts, limit: int) -> bytes:
        """Read a document to its end: the beginning of one would be taken for another document.

        Raises:
            EngineStreamError: it broke off, or is larger than `limit` bytes.
        """
        body = bytearray()
        try:
            is_whole = await _fill(body, response, limit)
        except Exception as error:
            if (failure := self.pool.failure(error, timeouts)) is error:
                raise
            raise failure from None
        if not is_whole:
            raise EngineStreamError(
                self.name, f"an answer has more than {limit} bytes, and is not read", transient=False
            )
        return bytes(body)


async def _fill(body: bytearray, response: HttpResponse, limit: int) -> bool:
    """Read a response into `body`; return False where it is larger than `limit`, and closed for that."""
    chunks = aiter(response.stream)
    while (chunk := await anext(chunks, None)) is not None:
        body += chunk
        if len(body) > limit:
            await close(response, chunks)
            return False
    return True


def error_message(body: bytes) -> str:
    """Return the message of an error body: OpenAI's and FastAPI's forms, or the text as it is."""
    try:
        document = msgspec.json.decode(body)
    except DECODE_ERRORS:
        return body.decode("utf-8", "replace")
    for key in ("error", "detail", "message"):
        if isinstance(document, dict) and document.get(key):
            found = document[key]
            return text_of(found.get("message", found) if isinstance(found, dict) else found)
    return body.decode("utf-8", "replace")


def _seconds(value: str | None) -> float | None:
    """Return the seconds of a `Retry-After`, which is a number or a date; None for anything else."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None  # `float` reads "inf" and "nan"
