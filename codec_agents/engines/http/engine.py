"""What all engines over HTTP share: check the prompt, send, look at the answer's head, read the stream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import anyio
import msgspec

from codec_agents.concurrency.once import Once
from codec_agents.engines.base import FrameStream, GenerationRequest, StreamStats
from codec_agents.engines.http.pool import HttpClient, HttpPool, HttpSettings
from codec_agents.engines.http.responses import HttpResponse, close
from codec_agents.engines.http.stream import Deadlines, FrameParser, HttpStream
from codec_agents.engines.prompt_body import WrittenPrompt, invalid_id
from codec_agents.exceptions import EngineError, EngineStatusError

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error's body that are read; the connection is given up beyond that."""

KEEP_OPEN = "/health"
"""Asked for only to open a connection: engines answer it at once, whatever the answer is."""


T = TypeVar("T")


class Outgoing(msgspec.Struct, frozen=True):
    """One HTTP request of an engine's own API."""

    path: str
    body: bytes
    headers: Mapping[str, str]


class HttpEngine:
    """The frame of an engine over HTTP. Subclasses say what goes out and what the answer means."""

    provider = "http"
    text_boundary = False
    """Whether content becomes text on the way to the engine."""

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

    async def prepare(self, request: GenerationRequest) -> None:
        """Do what has to be done once, and begin the request that will come, or at least open a connection.

        What fails is not told.
        """
        with suppress(EngineError):
            await self.check(request)
            timeouts = request.timeouts
            if self.pool.begin(self._outgoing(request).path, timeouts, request.node):
                return
            response = await self.pool.send("GET", KEEP_OPEN, content=None, headers={}, timeouts=timeouts)
            try:
                await self.read_limited(response, Deadlines(timeouts))
            finally:
                await close(response)

    async def aclose(self) -> None:
        """Close the connections; a client that the caller gave stays open."""
        await self.pool.aclose()

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        """Send a request; leaving the context closes it, and the server notices.

        Raises:
            EngineError: the prompt is not in the map, or the request cannot be sent or is refused.
        """
        check_prompt(self.name, request)
        await self.check(request)
        stats = StreamStats(
            prompt_tokens=len(request.prompt_ids),
            request_started=time.perf_counter(),
            server_address=self.pool.host,
            server_port=self.pool.port,
        )
        deadlines = Deadlines(request.timeouts)
        response, parser = await self._begin(request, stats, deadlines)
        stream = HttpStream(self.name, response, parser, stats, request, deadlines, self.pool)
        try:
            yield stream
        finally:
            await stream.aclose()

    async def check(self, request: GenerationRequest) -> None:
        """Do what has to be done once, before the first request.

        Raises:
            EngineError: the engine cannot serve such requests.
        """

    async def ask_once(self, once: Once[T], ask: Callable[[], Awaitable[T]], request: GenerationRequest) -> T:
        """Return what is asked once for all requests; this one waits no longer than its own time allows.

        Raises:
            EngineError: it cannot be found out now.
        """
        if once.known:
            return await once.get(ask)
        deadlines = Deadlines(request.timeouts)
        with anyio.CancelScope(deadline=deadlines.instant):
            return await once.get(ask)
        raise deadlines.error(self.name, 0)

    async def _begin(
        self, request: GenerationRequest, stats: StreamStats, deadlines: Deadlines
    ) -> tuple[HttpResponse, FrameParser]:
        """Send the request; return the answer and what reads it."""
        return await self._exchange(self._outgoing(request), request, stats, deadlines)

    async def _exchange(
        self, outgoing: Outgoing, request: GenerationRequest, stats: StreamStats, deadlines: Deadlines
    ) -> tuple[HttpResponse, FrameParser]:
        response = await self._send(outgoing, request, stats, deadlines)
        return response, await self._reader(response, request, stats, deadlines)

    async def _reader(
        self, response: HttpResponse, request: GenerationRequest, stats: StreamStats, deadlines: Deadlines
    ) -> FrameParser:
        """Return what reads the answer; close it if nothing does."""
        try:
            if response.status_code != 200:
                raise await self._refusal(response, request, deadlines)
            return self._parser(response, request, stats)
        except BaseException:
            await close(response)
            raise

    async def _send(
        self, outgoing: Outgoing, request: GenerationRequest, stats: StreamStats, deadlines: Deadlines
    ) -> HttpResponse:
        """Send and wait for the head of the answer."""
        written: list[float] = []
        headers = {**outgoing.headers, **request.headers}

        def on_sent() -> None:
            written.append(time.perf_counter())

        # What is begun leaves here and now, before anything is set up for its answer.
        begun = await self.pool.finish(outgoing.path, request.node, outgoing.body, headers, on_sent)
        scope = anyio.CancelScope(deadline=deadlines.instant)
        with scope:
            response = await self.pool.send(
                "POST",
                outgoing.path,
                content=outgoing.body,
                headers=headers,
                timeouts=request.timeouts,
                on_sent=on_sent,
                begun=begun,
            )
        if scope.cancelled_caught:
            raise deadlines.error(self.name, 0)
        stats.bytes_sent += len(outgoing.body)
        stats.request_sent = written[-1] if written else time.perf_counter()
        return response

    def _outgoing(self, request: GenerationRequest) -> Outgoing:
        """Return the request in the engine's own words."""
        raise NotImplementedError

    def _parser(self, response: HttpResponse, request: GenerationRequest, stats: StreamStats) -> FrameParser:
        """Return what reads an answer with status 200.

        Raises:
            EngineError: the head shows that nothing can read it.
        """
        raise NotImplementedError

    async def _refusal(
        self,
        response: HttpResponse,
        request: GenerationRequest,  # noqa: ARG002 - some say what of the request was refused
        deadlines: Deadlines,
    ) -> EngineError:
        """Return the error for an answer with another status."""
        body = await self.read_limited(response, deadlines)
        return self.status_error(response.status_code, body, response.headers.get("retry-after"))

    def status_error(self, status: int, body: bytes, retry_after: str | None = None) -> EngineStatusError:
        """Return the error for an answer that says no."""
        said = self.pool.without_secrets(error_message(body))
        return EngineStatusError(self.name, status, said, retry_after=_seconds(retry_after))

    async def read_limited(
        self, response: HttpResponse, deadlines: Deadlines, limit: int = MAX_ERROR_BODY
    ) -> bytes:
        """Read a small body, as far as it comes in time."""
        body = bytearray()
        chunks = aiter(response.stream)
        try:
            with anyio.CancelScope(deadline=deadlines.instant):
                while len(body) <= limit and (chunk := await anext(chunks, None)) is not None:
                    body += chunk
        except Exception as error:
            if not isinstance(self.pool.failure(error, deadlines.timeouts), EngineError):
                raise
        if len(body) > limit:
            await close(response, chunks)
        return bytes(body)


def check_prompt(engine: str, request: GenerationRequest) -> None:
    """Check that a prompt can be sent: some engines take any number for an id, and answer nonsense.

    Raises:
        EngineError: the prompt is empty, or holds an id that the map does not.
    """
    ids, vocabulary = request.prompt_ids, request.vocabulary
    if not ids:
        raise EngineError(engine, "the prompt is empty; give it at least one id")
    if isinstance(ids, WrittenPrompt) and ids.checked_for(vocabulary):
        return
    if (bad := invalid_id(ids, vocabulary)) is not None:
        raise EngineError(engine, f"the prompt's id {bad} is not in the map {vocabulary.id!r}")


def error_message(body: bytes) -> str:
    """Return what an error body says: OpenAI's and FastAPI's forms, or the text as it is."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body.decode("utf-8", "replace")
    for key in ("error", "detail", "message"):
        if isinstance(document, dict) and document.get(key):
            found = document[key]
            return str(found.get("message", found)) if isinstance(found, dict) else str(found)
    return body.decode("utf-8", "replace")


def _seconds(value: str | None) -> float | None:
    try:
        return None if value is None else max(0.0, float(value))
    except ValueError:
        return None
