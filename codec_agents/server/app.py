"""A Codec server as an ASGI application: frames for clients that read ids, OpenAI's API for the others.

`create_app(backend)` returns the application; any ASGI server runs it. `codec_agents.server.serve` runs it
with uvicorn, `codec_agents.server.EmbeddedServer` inside this process.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import msgspec

from codec_agents.server.answers import (
    Answer,
    ChatDocument,
    ChatEvents,
    CompletionDocument,
    CompletionEvents,
    FrameAnswer,
)
from codec_agents.server.backends.backend import Backend, Job, ServedModel
from codec_agents.server.bodies import read_chat, read_completion
from codec_agents.server.delivery import deliver
from codec_agents.server.discovery import Library
from codec_agents.server.exchanges import Exchange, Exchanges, render_metrics
from codec_agents.server.http import (
    JSON,
    ClientGoneError,
    HttpError,
    Receive,
    Request,
    Scope,
    Send,
    answer,
    read_request,
)
from codec_agents.server.jobs import JobMaker, find_model
from codec_agents.server.negotiation import require_format, require_version
from codec_agents.server.settings import ServerSettings
from codec_core.frames import SCHEMA, decode_request, format_of_content_type

Generation = Callable[[Request], tuple[Job, Answer]]
"""Reads a request; returns what is to be generated, and the form in which to answer."""
Document = Callable[[Request], tuple[str, bytes]]
"""Returns a content type and a body."""

WELL_KNOWN = "/.well-known/codec/"
MODEL = "/v1/models/"
TEXT = "text/plain; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

OPEN_PATHS = frozenset({"/health", "/ready", "/codec/schema"})
"""Answered without a key, as are the discovery documents: none of them tells anything about others."""


class CodecServer:
    """The application. `exchanges` holds what it has seen."""

    def __init__(
        self,
        backend: Backend,
        settings: ServerSettings | None = None,
        *,
        maps: Mapping[str, bytes] | None = None,
    ) -> None:
        self.backend = backend
        self.settings = settings or ServerSettings()
        self.exchanges = Exchanges()
        self.draining = False
        """Set when the server is about to stop: what runs may end, nothing new begins."""
        self.failure: Exception | None = None
        """Why the back end could not be opened, or not be closed."""
        self._running: set[anyio.CancelScope] = set()
        """The generations under way; cancelling one ends its answer."""
        self._jobs = JobMaker(backend, self.settings)
        self._library = Library(maps or {}, self.settings)
        self._generations: dict[str, Generation] = {
            "/v1/completions": self._complete,
            "/v1/completions/codec": self._complete_binary,
            "/v1/chat/completions": self._chat,
        }
        self._documents: dict[str, Document] = {
            "/v1/models": self._models,
            "/codec/schema": self._schema,
            "/health": self._health,
            "/ready": self._ready,
            "/metrics": self._metrics,
        }

    def end_generations(self) -> None:
        """End every answer under way, properly: its last frame says `error`, the body has its end."""
        for scope in self._running:
            scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hold the back end open as long as the ASGI server runs."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"this application answers HTTP, not {scope['type']!r}")
        try:
            limits = self.settings
            request = await read_request(scope, receive, limit=limits.max_body, within=limits.body_within)
        except HttpError as error:
            await _refuse(send, error)
        except ClientGoneError:
            return
        else:
            await self._answer(request, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        stage = "startup"
        await receive()
        try:
            async with self.backend.opened():
                await send({"type": "lifespan.startup.complete"})
                await receive()
                stage = "shutdown"
        except Exception as error:
            self.failure = error
            await send({"type": f"lifespan.{stage}.failed", "message": str(error)})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, request: Request, receive: Receive, send: Send) -> None:
        exchange = self.exchanges.begin(request)
        try:
            await self._route(exchange, receive, send)
        except HttpError as error:
            exchange.status = error.status
            await _refuse(send, error)
        finally:
            self.exchanges.end(exchange)

    async def _route(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        request = exchange.request
        if request.path not in OPEN_PATHS and not request.path.startswith(WELL_KNOWN):
            self._require_key(request)
        if (generation := self._generations.get(request.path)) is not None:
            _require_method(request, "POST")
            job, form = generation(request)
            await self._generate(exchange, job, form, receive, send)
            return
        content_type, body = self._document(request)
        exchange.status = 200
        await answer(send, 200, b"" if request.method == "HEAD" else body, content_type=content_type)

    def _document(self, request: Request) -> tuple[str, bytes]:
        document = self._documents.get(request.path)
        if request.path.startswith(WELL_KNOWN):
            document = self._library.find
        elif request.path.startswith(MODEL):
            document = self._model
        if document is not None:
            _require_method(request, "GET", "HEAD")
            return document(request)
        raise HttpError(404, f"there is nothing at {request.path[:200]}", code="not_found")

    def _require_key(self, request: Request) -> None:
        """Compare with every key, each in constant time, so that timing tells nothing about them."""
        if not self.settings.api_keys:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        token = given.strip().encode() if scheme.lower() == "bearer" else b""
        matches = [hmac.compare_digest(token, key.encode()) for key in self.settings.api_keys]
        if not any(matches):
            raise HttpError(
                401,
                "a valid bearer token is required",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )

    # --- generations ---

    def _complete(self, request: Request) -> tuple[Job, Answer]:
        body = read_completion(request.body)
        job = self._jobs.from_completion(body, request)
        if body.stream_format is not None:
            return job, self._frames(request, body.stream_format, job)
        if body.stream:
            return job, CompletionEvents(job, with_ids=bool(body.return_token_ids), usage=body.include_usage)
        return job, CompletionDocument(job, with_ids=bool(body.return_token_ids))

    def _chat(self, request: Request) -> tuple[Job, Answer]:
        body = read_chat(request.body)
        job = self._jobs.from_chat(body, request)
        if body.stream_format is not None:
            return job, self._frames(request, body.stream_format, job)
        if body.stream:
            return job, ChatEvents(job, usage=body.include_usage, tools=bool(body.offered_tools))
        return job, ChatDocument(job, tools=bool(body.offered_tools))

    def _complete_binary(self, request: Request) -> tuple[Job, Answer]:
        try:
            asked = decode_request(request.body, format_of_content_type(request.content_type))
        except ValueError as error:
            raise HttpError(400, f"the body cannot be read: {error}") from error
        job = self._jobs.from_codec(asked, request)
        return job, self._frames(request, asked.stream_format or "msgpack", job)

    def _frames(self, request: Request, wire_format: str, job: Job) -> Answer:
        require_version(request, self.settings.minimum_version, self.settings.required_features)
        dictionary = self.settings.dictionaries.get(require_format(wire_format))
        return FrameAnswer(job, wire_format, request.headers.get("accept-encoding"), dictionary)

    async def _generate(
        self, exchange: Exchange, job: Job, form: Answer, receive: Receive, send: Send
    ) -> None:
        if self.draining or self.exchanges.open > self.settings.max_streams:
            raise HttpError(503, "the server takes no further generations now", headers={"retry-after": "1"})
        exchange.prompt_ids = tuple(job.prompt_ids)
        await deliver(self.backend, job, form, exchange, self.settings, receive, send, self._running)

    # --- documents ---

    def _models(self, _request: Request) -> tuple[str, bytes]:
        data = [_described(model) for model in self.backend.models]
        return JSON, msgspec.json.encode({"object": "list", "data": data})

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
    backend: Backend, settings: ServerSettings | None = None, *, maps: Mapping[str, bytes] | None = None
) -> CodecServer:
    """Return the ASGI application of a Codec server.

    Args:
        backend: what generates.
        settings: limits and features.
        maps: tokenizer map documents to publish under `/.well-known/codec/`, by map id.
    """
    return CodecServer(backend, settings, maps=maps)


def _described(model: ServedModel) -> dict[str, Any]:
    """Return a model as OpenAI's API describes one, with the map that it speaks."""
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "codec-agents",
        "max_model_len": model.context,
        "codec_map": model.vocabulary.hash,
    }


def _require_method(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise HttpError(405, f"{request.path} takes {methods[0]}", headers={"allow": ", ".join(methods)})


async def _refuse(send: Send, error: HttpError) -> None:
    await answer(send, error.status, error.body, headers=error.headers)
