"""A Codec server as an ASGI application: frames for clients that read ids, OpenAI's API for the others.

Rules that hold in this file:

- Everything that a request's head can decide is decided before a byte of its body is read: place, origin,
  key, path, method, content type.
- A body is gone from memory when its job is made; its share of the budget of all bodies is held until the
  answer is over.
- Errors go out in one form. For a failure of the server itself the client gets an id, under which
  the log has the rest.

`create_app(backend)` returns the application; any ASGI server runs it. `codec_agents.server.serve` runs it
with uvicorn, `codec_agents.server.EmbeddedServer` inside this process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from importlib import import_module
from typing import Any

import anyio
import msgspec

from codec_agents.server.access import PREFLIGHT, Access, with_origin, with_request_id
from codec_agents.server.answers import (
    Answer,
    CompletionDocument,
    CompletionEvents,
    FrameAnswer,
)
from codec_agents.server.apis.errors import error_body
from codec_agents.server.backends.backend import Backend, Job, ServedModel
from codec_agents.server.delivery import AnswerCutError, deliver
from codec_agents.server.discovery import Library
from codec_agents.server.exchanges import Exchange, Exchanges, render_metrics
from codec_agents.server.failures import drop_frames, log_failure
from codec_agents.server.http import (
    JSON,
    BodyBudget,
    BodyShare,
    ClientGoneError,
    HttpError,
    Receive,
    Request,
    Scope,
    Send,
    answer,
    begin,
    read_body,
    read_head,
    send_part,
)
from codec_agents.server.jobs import JobMaker, find_model
from codec_agents.server.logprobs import Logprobs
from codec_agents.server.negotiation import require_format, require_version
from codec_agents.server.settings import ServerSettings
from codec_agents.server.workers import Workers
from codec_core.frames import SCHEMA, format_of_content_type
from codec_core.tokenizer import pick_tokenizer

Generation = Callable[[Request], Awaitable[tuple[Job, Answer]]]
"""Reads a request; returns what is to be generated, and the form in which to answer."""
Document = Callable[[Request], tuple[str, bytes]]
"""Returns a content type and a body."""

WELL_KNOWN = "/.well-known/codec/"
MODEL = "/v1/models/"
BINARY = "/v1/completions/codec"
CHATS = ("/v1/chat/completions", "/v1/responses", "/v1/messages")
COUNT = "/v1/messages/count_tokens"

FIRST_NEEDED = (
    "codec_agents.server.apis.prompts",
    "codec_agents.server.apis.table",
    "codec_core.compression",
)
"""Modules that the first requests import, unless the server is warm."""
TEXT = "text/plain; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

ID_BYTES = 4
"""Bytes of the budget of bodies that an id of a prompt takes at least."""

OPEN_PATHS = frozenset({"/health", "/ready", "/codec/schema"})
"""Answered without a key, as are the discovery documents: none reveals anything about clients."""


class CodecServer:
    """The application. `exchanges` counts what it has seen."""

    def __init__(
        self,
        backend: Backend,
        settings: ServerSettings | None = None,
        *,
        maps: Mapping[str, bytes] | None = None,
        exchanges: Exchanges | None = None,
    ) -> None:
        self.backend = backend
        self.settings = settings or ServerSettings()
        self.exchanges = Exchanges() if exchanges is None else exchanges
        self.workers = Workers()
        self.bodies = BodyBudget(self.settings.max_bodies)
        self.draining = False
        """Set when the server is about to stop: what runs may end, nothing new begins."""
        self.failure: Exception | None = None
        """Why the back end could not be opened, or not be closed."""
        self.generating = 0
        """The number of generations under way."""
        self._running: set[anyio.CancelScope] = set()
        """Those that send; cancelling one ends its answer."""
        self._access = Access(self.settings)
        self._jobs = JobMaker(backend, self.settings, self.workers)
        self._library = Library(maps or {}, self.settings)
        self._generations: dict[str, Generation] = {
            "/v1/completions": self._complete,
            BINARY: self._complete_binary,
            **dict.fromkeys(CHATS, self._converse),
        }
        self._documents: dict[str, Document] = {
            "/v1/models": self._models,
            "/codec/schema": self._schema,
            "/health": self._health,
            "/ready": self._ready,
            "/metrics": self._metrics,
        }

    def warm_up(self) -> None:
        """Import what first requests need, and build the tokenizers: then, it would hold the event loop."""
        for module in FIRST_NEEDED:
            import_module(module)
        from codec_agents.server.apis.families import require_dialect

        for model in self.backend.models:
            pick_tokenizer(model.vocabulary).encode_ordinary("warm up")
            with suppress(HttpError):  # a map of no family has no chats
                require_dialect(model.vocabulary)

    def end_generations(self) -> None:
        """End every answer under way, with a last frame of the reason `error` and a complete body."""
        for scope in self._running:
            scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hold the back end open as long as the ASGI server runs."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        # ASGI asks an application to raise for a kind of connection that it does not know (WebSockets).
        if scope["type"] != "http":
            raise ValueError(f"this application answers HTTP, not {scope['type']!r}")
        try:
            request = read_head(scope)
        except HttpError as error:
            # Not counted: without a head there is no request.
            await _refuse(send, error, scope["path"])
            return
        await self._answer(request, receive, send)

    def _opened(self) -> AbstractAsyncContextManager[None]:
        """Hold open what the application needs as long as it runs."""
        return self.backend.opened()

    async def _live(self, receive: Receive, send: Send) -> None:
        stage = "startup"
        await receive()
        try:
            async with self._opened():
                await send({"type": "lifespan.startup.complete"})
                await receive()
                stage = "shutdown"
        except Exception as error:
            # The ASGI server gets a text alone; `serve` and `EmbeddedServer` raise the error itself.
            self.failure = error
            await send({"type": f"lifespan.{stage}.failed", "message": str(error)})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, request: Request, receive: Receive, send: Send) -> None:
        send = with_request_id(send, request)
        if (origin := self._access.allowed_origin(request)) is not None:
            send = with_origin(send, origin)
        exchange = self.exchanges.begin(request)
        try:
            await self._route(exchange, request, receive, send)
        # It left while it was sending: there is no answer to count as left early.
        except ClientGoneError:
            return
        except HttpError as error:
            exchange.status = error.status
            # They hold the request's body, until Python's next full collection.
            drop_frames(error)
            await _refuse(send, error, request.path)
        except AnswerCutError:
            exchange.failed = True
            raise  # the ASGI server logs it and closes the connection: the client sees a body cut off
        except Exception as error:
            exchange.failed = True
            # The head is out, so no status can tell the client; the server closes the connection instead.
            if exchange.status is not None:
                raise
            exchange.status = 500
            failed = HttpError(500, log_failure("the server failed", error), code="internal_error")
            await _refuse(send, failed, request.path)
        finally:
            self.exchanges.end(exchange)

    async def _route(self, exchange: Exchange, request: Request, receive: Receive, send: Send) -> None:
        self._access.check_place(request)
        # Before the key: browsers send none with the question that precedes a request.
        if request.method == "OPTIONS" and self._access.allowed_origin(request) is not None:
            exchange.status = 204
            await begin(send, 204, PREFLIGHT)
            await send_part(send, b"", last=True)
            return
        if request.path not in OPEN_PATHS and not request.path.startswith(WELL_KNOWN):
            self._access.check_key(request)
        if (generation := self._generations.get(request.path)) is not None:
            await self._generate(exchange, request, generation, receive, send)
            return
        if request.path == COUNT:
            content_type, body = await self._count(exchange, request, receive)
        else:
            content_type, body = self._document(request)
        exchange.status = 200
        # The length that GET has, without the body.
        head = {"content-length": str(len(body))}
        await answer(
            send, 200, b"" if request.method == "HEAD" else body, content_type=content_type, headers=head
        )

    def _document(self, request: Request) -> tuple[str, bytes]:
        document = self._documents.get(request.path)
        if request.path.startswith(WELL_KNOWN):
            document = self._library.find
        elif request.path.startswith(MODEL):
            document = self._model
        if document is not None:
            _require_method(request, "GET", "HEAD")
            return document(request)
        # The words of web frameworks: clients of stock engines take them for a server without such a call.
        raise HttpError(404, "not found", code="not_found")

    # --- generations ---

    async def _generate(
        self, exchange: Exchange, request: Request, generation: Generation, receive: Receive, send: Send
    ) -> None:
        with self._begun(request) as share:
            request = await self._with_body(exchange, request, receive, share)
            job, form = await generation(request)
            del request  # the body would stay in memory until the answer is over
            self.generating += 1
            try:
                share.hold(ID_BYTES * len(job.prompt_ids))
                exchange.prompted(job.prompt_ids)
                self._require_room(running=1)  # others have begun while the body arrived
                shared = self.settings, self.workers, receive, send, self._running
                await deliver(self.backend, job, form, exchange, *shared)
            finally:
                self.generating -= 1
                await job.release()

    def _begun(self, request: Request) -> AbstractContextManager[BodyShare]:
        """Accept the head of a request with a body; return the share of all bodies that it takes."""
        _require_method(request, "POST")
        _require_content_type(request)
        # Checked before the body as well as after it: a busy server does not read what it will refuse.
        self._require_room()
        return self.bodies.share()

    async def _with_body(
        self, exchange: Exchange, request: Request, receive: Receive, share: BodyShare
    ) -> Request:
        limits = self.settings
        request = await read_body(request, receive, share, limit=limits.max_body, within=limits.body_within)
        exchange.received(request)
        return request

    def _require_room(self, running: int = 0) -> None:
        """Refuse a request where there are too many, `running` of which are itself."""
        if self.draining or self.generating - running >= self.settings.max_streams:
            raise HttpError(
                503, "the server is busy; send the request again later", headers={"retry-after": "1"}
            )

    async def _complete(self, request: Request) -> tuple[Job, Answer]:
        body, job = await self._jobs.from_completion(request)
        if body.stream_format is not None:
            return job, self._frames(request, body.stream_format, job)
        with_ids, top = bool(body.return_token_ids), body.alternatives
        as_ids = bool(body.return_tokens_as_token_ids)
        logprobs = None if top is None else Logprobs(job, top, as_ids=as_ids)
        if body.stream:
            usage = body.include_usage
            return job, CompletionEvents(job, with_ids=with_ids, usage=usage, logprobs=logprobs)
        return job, CompletionDocument(job, with_ids=with_ids, logprobs=logprobs)

    async def _converse(self, request: Request) -> tuple[Job, Answer]:
        # Read with the first chat: a server of frames alone never needs the dialects.
        from codec_agents.server.apis.table import READERS, answer_to

        asked, job = await self._jobs.from_conversation(request, READERS[request.path])
        if asked.stream_format is not None:
            return job, self._frames(request, asked.stream_format, job)
        return job, answer_to(asked, job)

    async def _count(self, exchange: Exchange, request: Request, receive: Receive) -> tuple[str, bytes]:
        """Return how many ids the prompt of a Messages request has."""
        from codec_agents.server.apis.messages import read_count

        with self._begun(request) as share:
            request = await self._with_body(exchange, request, receive, share)
            _, job = await self._jobs.from_conversation(request, read_count)
        return JSON, msgspec.json.encode({"input_tokens": len(job.prompt_ids)})

    async def _complete_binary(self, request: Request) -> tuple[Job, Answer]:
        asked, job = await self._jobs.from_codec(request)
        return job, self._frames(request, asked.stream_format or "msgpack", job)

    def _frames(self, request: Request, wire_format: str, job: Job) -> Answer:
        require_version(request, self.settings.minimum_version, self.settings.required_features)
        dictionary = self.settings.dictionaries.get(require_format(wire_format))
        return FrameAnswer(job, wire_format, request.headers.get("accept-encoding"), dictionary)

    # --- documents ---

    def _models(self, _request: Request) -> tuple[str, bytes]:
        data = [_described(model) for model in self.backend.models]
        ends = {"has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
        return JSON, msgspec.json.encode({"object": "list", "data": data, **ends})

    def _model(self, request: Request) -> tuple[str, bytes]:
        name = request.path.removeprefix(MODEL)
        return JSON, msgspec.json.encode(_described(find_model(self.backend.models, name)))

    def _schema(self, _request: Request) -> tuple[str, bytes]:
        return TEXT, SCHEMA.encode()

    def _health(self, _request: Request) -> tuple[str, bytes]:
        return JSON, b'{"status":"ok"}'

    def _ready(self, _request: Request) -> tuple[str, bytes]:
        if self.draining:
            raise HttpError(503, "the server is shutting down")
        return JSON, b'{"status":"ready"}'

    def _metrics(self, _request: Request) -> tuple[str, bytes]:
        return PROMETHEUS, render_metrics(self.exchanges).encode()


def create_app(
    backend: Backend,
    settings: ServerSettings | None = None,
    *,
    maps: Mapping[str, bytes] | None = None,
    exchanges: Exchanges | None = None,
) -> CodecServer:
    """Return the ASGI application of a Codec server.

    Args:
        backend: what generates.
        settings: limits and features.
        maps: tokenizer map documents to publish under `/.well-known/codec/`, by map id.
        exchanges: what counts requests; a test may give `codec_agents.testing.RecordingExchanges`.
    """
    return CodecServer(backend, settings, maps=maps, exchanges=exchanges)


def _described(model: ServedModel) -> dict[str, Any]:
    """Return a model as OpenAI's and Anthropic's APIs describe one, with the map that it speaks."""
    return {
        "id": model.name,
        "object": "model",
        # Both APIs require an instant, and clients check its form; a served model has none.
        "created": 0,
        "owned_by": "codec-agents",
        "type": "model",
        "display_name": model.name,
        "created_at": "1970-01-01T00:00:00Z",
        "max_model_len": model.context,
        "codec_map": model.vocabulary.hash,
    }


def _require_method(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise HttpError(405, f"{request.path} takes {methods[0]}", headers={"allow": ", ".join(methods)})


def _require_content_type(request: Request) -> None:
    """Check the type that the body is declared to have.

    A page may send `text/plain` and forms to any address without asking first, so they are never read.
    """
    if request.path == BINARY:
        try:
            format_of_content_type(request.content_type)
        except ValueError:
            raise _wrong_type("application/x-msgpack or application/x-protobuf") from None
    elif request.content_type != JSON:
        raise _wrong_type(JSON)
    # The limits of bodies count the bytes that arrive; a few of them can decompress to gigabytes.
    if request.headers.get("content-encoding", "identity") != "identity":
        raise HttpError(415, "the body must not be compressed", code="unsupported_media_type")


def _wrong_type(expected: str) -> HttpError:
    return HttpError(415, f"the Content-Type must be {expected}", code="unsupported_media_type")


async def _refuse(send: Send, error: HttpError, path: str) -> None:
    await answer(send, error.status, error_body(error, path), headers=error.headers)
