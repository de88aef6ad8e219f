"""The gateway as an ASGI application: OpenAI's and Anthropic's APIs in front of one engine, exact in ids.

    app = Gateway(VllmEngine("http://127.0.0.1:8000"), read_map("qwen2.json"), store=SqliteStore(path))

It is a Codec server whose prompts continue what the engine has seen. Any ASGI server runs it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codec_agents.engines.base import enforced_forms
from codec_agents.exceptions import RecordError
from codec_agents.server.access import credentials_of, key_of
from codec_agents.server.answers import Answer, FrameAnswer
from codec_agents.server.apis.families import require_dialect
from codec_agents.server.apis.messages import read_count
from codec_agents.server.apis.table import READERS, answer_to
from codec_agents.server.app import CHATS, CodecServer
from codec_agents.server.backends.backend import Backend, Job, ServedModel
from codec_agents.server.backends.bridge import BridgeBackend
from codec_agents.server.backends.chosen_dialect import require_families, with_dialect
from codec_agents.server.exchanges import render_metrics
from codec_agents.server.gateway.continuation import ReasoningRules
from codec_agents.server.gateway.conversations import Conversations, Exchange
from codec_agents.server.gateway.equivalence import joined
from codec_agents.server.gateway.filters import filtered
from codec_agents.server.gateway.look_ups import HASHED_AT_ONCE
from codec_agents.server.gateway.metrics import render_counts
from codec_agents.server.gateway.repeats import Repeats, Sent, client_of
from codec_agents.server.gateway.run_records import Capture, ConversationRecords, Speaker
from codec_agents.server.gateway.store import MemoryStore, Store
from codec_agents.server.gateway.tool_choice import require_choices, with_one_call
from codec_agents.server.gateway.tracing import RequestSpan
from codec_agents.server.http import JSON, Receive, Request
from codec_agents.server.lanes import Lanes
from codec_agents.server.settings import ServerSettings
from codec_core.frames import CodecFrame
from codec_core.frames.values import with_values

if TYPE_CHECKING:
    from codec_agents.engines.base import Engine, SamplingOptions
    from codec_agents.server.apis.request import ConversationRequest
    from codec_agents.server.exchanges import Exchange as Count
    from codec_agents.server.exchanges import Exchanges
    from codec_agents.server.http import BodyShare
    from codec_core.maps import TokenizerMap
    from codec_core.vocabulary import Vocabulary

LINEAGE: Final = "x-codec-lineage"
TENANT: Final = "x-codec-tenant"
"""Tells clients of one key apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """The routing of a conversation's requests at the engine.

    Fields:
        sessions: whether the engine gets the conversation's name, by which routers keep it on one worker. An
            engine whose API has no place for it refuses the request.
        salts: whether each client's prefix cache is kept apart, by `cache_salt`.
        priorities: the `priority` of requests, by API key.
    """

    sessions: bool = False
    salts: bool = False
    priorities: Mapping[str, int] | None = None


class Gateway(CodecServer):
    """Serves an engine's model to clients that send whole histories.

    Args:
        engine: a client of the engine, or a back end.
        source: the map of the engine's model, or its vocabulary; None with a back end.
        name: what clients call the model.
        model: what the engine calls it; the same name if left out.
        dialect: the model family; the one that the map tells if left out. All that serve the same map object
            in this process have it from then on.
        store: keeps the conversations; in memory if left out.
        rules: the reasoning of earlier turns in prompts.
        affinity: the routing of a conversation's requests at the engine.
        filters: names of `filters.FILTERS`, for clients whose system texts change with each request.
        record: the folder of the records of conversations, or what writes them; they are not recorded if
            left out.
        record_logprobs: whether the engine is asked for the log probability of each id, for the records.
        settings: limits and keys.
        exchanges: counts requests.

    Raises:
        DialectError: the map tells no family, or lacks the markers of the one that is named.
        RecordError: the folder of records cannot be made, or `record_logprobs` is given without `record`.
    """

    def __init__(
        self,
        engine: Engine | Backend,
        source: TokenizerMap | Vocabulary | None = None,
        name: str = "default",
        *,
        model: str | None = None,
        dialect: str | None = None,
        store: Store | None = None,
        rules: ReasoningRules | None = None,
        affinity: Affinity | None = None,
        filters: tuple[str, ...] = (),
        record: str | os.PathLike[str] | ConversationRecords | None = None,
        record_logprobs: bool = False,
        settings: ServerSettings | None = None,
        exchanges: Exchanges | None = None,
    ) -> None:
        # A back end has its vocabularies. mypy cannot tell the two kinds of `engine` apart by `source`.
        if source is None:
            backend: Backend = engine  # type: ignore[assignment]
        else:
            backend = BridgeBackend(engine, source, name, model=model)  # type: ignore[arg-type]
        if dialect is None:
            require_families(backend)
        else:
            backend = with_dialect(backend, dialect)
        super().__init__(_Replaying(backend), settings, exchanges=exchanges)
        self.store = MemoryStore() if store is None else store
        self.records = ConversationRecords(record) if isinstance(record, str | os.PathLike) else record
        most = self.settings.max_conversation
        self.conversations = Conversations(
            self.store, self.workers, rules, records=self.records, most_bytes=most
        )
        if record_logprobs and self.records is None:
            raise RecordError(
                "`record_logprobs` is about the records, and there are none; give `record`, too"
            )
        self._record_logprobs = record_logprobs
        # A bridge's engine enforces forms and computes log probabilities; any other back end does so itself.
        self._engine: Any = getattr(backend, "engine", backend)
        self._forms = enforced_forms(self._engine)
        self._affinity = affinity or Affinity()
        self._filters = filters
        self._repeats = Repeats()

    async def _with_body(
        self, exchange: Count, request: Request, receive: Receive, share: BodyShare
    ) -> Request:
        with self._noting(request):
            return await super()._with_body(exchange, request, receive, share)

    def _begun(self, request: Request) -> AbstractContextManager[BodyShare]:
        with self._noting(request):
            return super()._begun(request)

    def _noting(self, request: Request) -> AbstractContextManager[None]:
        """Note a failure before the request is read: a retry can be of none that is known then."""
        if request.path not in CHATS:  # no other path has requests that are repeated
            return nullcontext()
        return self._repeats.noting(client_of(self._tenant(request), request.path))

    async def _converse(self, request: Request) -> tuple[Job, Answer]:
        read = partial(READERS[request.path], of_engines=True)
        # `begun_ids` makes a model call; what it cannot make is refused by `require_choices`, or there.
        with self._noting(request):
            asked, model, options = await self._jobs.conversation(request, read, forces_calls=True)
        require_choices(asked, require_dialect(model.vocabulary), self._forms)
        asked = filtered(asked, self._filters)
        exchange = await self._exchange(request, asked, model)
        try:
            job = await self._job(request, asked, model, options, exchange)
            if asked.stream_format is not None:
                form = self._frames(request, asked.stream_format, job)
            else:
                form = answer_to(asked, job, exchange.mint)
        except BaseException:
            await exchange.over()  # a repeated request would wait for it
            raise
        return job, RecordedAnswer(form, exchange, job)

    async def _exchange(self, request: Request, asked: ConversationRequest, model: ServedModel) -> Exchange:
        """Return the exchange of a request; of a repeated one, that of the first."""
        tenant, body = self._tenant(request), request.body
        noting = partial(Sent.of, tenant, request.path, body, asked.hints)
        sent = await self.workers.run(noting, len(body) // HASHED_AT_ONCE)
        earlier = await self._repeats.earlier(sent)
        if earlier is not None:
            return earlier.again()
        dialect, size = require_dialect(model.vocabulary), len(body)
        with self._repeats.beginning(sent):
            exchange = await self.conversations.begin(asked, model.name, dialect, tenant, size=size)
            self._repeats.begun(sent, exchange)
        return exchange

    async def _job(
        self,
        request: Request,
        asked: ConversationRequest,
        model: ServedModel,
        options: SamplingOptions,
        exchange: Exchange,
    ) -> Job:
        """Return the generation of an exchange, which records it and tells its span."""
        options = self._routed(options, exchange, request)
        prompt = exchange.continuation.prompt
        ids = await self.workers.run(prompt.tolist, len(prompt))
        job = await self._jobs.job(model, ids, options, request, chat=asked)
        await self._prepare_record(exchange)
        job.recorder, job.begun = exchange, exchange.continuation.begun
        exchange.capture = self._captured(job)
        exchange.span = RequestSpan(request.headers, model.name, exchange.continuation)
        job.headers = {**job.headers, **exchange.span.headers}
        return job

    async def _count(self, exchange: Count, request: Request, receive: Receive) -> tuple[str, bytes]:
        """Return how many ids the prompt of a Messages request has."""
        with self._begun(request) as share:
            request = await self._with_body(exchange, request, receive, share)
            read = partial(read_count, of_engines=True)
            asked, model, _ = await self._jobs.conversation(request, read, forces_calls=True)
        asked, dialect = filtered(asked, self._filters), require_dialect(model.vocabulary)
        tenant, size = self._tenant(request), len(request.body)
        begun = await self.conversations.begin(asked, model.name, dialect, tenant, size=size, counts=False)
        return JSON, msgspec.json.encode({"input_tokens": len(begun.continuation.prompt)})

    def _tenant(self, request: Request) -> bytes:
        """Return a digest of what tells clients apart: the key, and the header for clients of one key."""
        named = [credentials_of(request), request.headers.get(TENANT, "").encode()]
        return hashlib.blake2b(joined(named), digest_size=32).digest()

    def _routed(self, options: SamplingOptions, exchange: Exchange, request: Request) -> SamplingOptions:
        rules = self._affinity
        # 0: of the sampled ids, without alternatives.
        recorded = 0 if self._record_logprobs and options.logprobs is None else options.logprobs
        return msgspec.structs.replace(
            options,
            logprobs=recorded,
            session=exchange.session if rules.sessions else options.session,
            cache_salt=self._tenant(request).hex() if rules.salts else options.cache_salt,
            priority=(rules.priorities or {}).get(key_of(request).decode(), options.priority),
        )

    async def _prepare_record(self, exchange: Exchange) -> None:
        """Read the record to which the turn is going to be added, away from the event loop.

        Raises:
            RecordError: it is damaged, or no record. The engine is not asked then.
        """
        if self.records is not None and self.records.unread(exchange.session):
            await self.workers.run_beside(partial(self.records.prepare, exchange.session))

    def _captured(self, job: Job) -> Capture | None:
        """Return what gathers the record of a turn."""
        if self.records is None:
            return None
        speaker = Speaker(
            model=job.model.name,
            vocabulary=job.model.vocabulary,
            dialect=require_dialect(job.model.vocabulary).name,
            # Optional: back ends, and engines of users, need not tell their kind.
            engine=getattr(self._engine, "provider", None),
            logprob_mode=getattr(self._engine, "logprob_mode", None),
        )
        return Capture(speaker=speaker, options=job.options, started=self.records.now())

    def _metrics(self, request: Request) -> tuple[str, bytes]:
        content_type, _ = super()._metrics(request)
        text = render_metrics(self.exchanges) + render_counts(self.conversations.counts)
        return content_type, text.encode()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        try:
            async with super()._opened():
                yield
        finally:
            try:
                self.store.close()
            finally:
                if self.records is not None:
                    self.records.close()


class RecordedAnswer:
    """An answer of which the exchange takes what the client gets."""

    def __init__(self, form: Answer, exchange: Exchange, job: Job) -> None:
        self._form = form
        self._exchange = exchange
        self._job = job
        self.streamed = form.streamed
        self._shows_values = job.chat is not None and job.chat.logprobs is not None
        # Frames hold no text, and what the client will make of them is what the chat APIs would send.
        tools = job.chat is not None and bool(job.chat.offered_tools)
        self._lanes = Lanes(job, tools=tools) if isinstance(form, FrameAnswer) else None

    @property
    def headers(self) -> dict[str, str]:
        """The head of the answer, with how the prompt came about."""
        return {**self._form.headers, LINEAGE: str(self._exchange.continuation.verdict)}

    @property
    def held(self) -> int:
        """The ids of earlier frames that the next one may complete."""
        return self._form.held if self._lanes is None else self._lanes.held

    def write(self, frame: CodecFrame) -> bytes:
        """Take a frame; return what may go out now."""
        # The engine may have been asked for values by the gateway alone, for its record.
        shown = frame
        if frame.values is not None and not self._shows_values:
            shown = CodecFrame(frame.ids, frame.done, frame.finish_reason)
        # In this order: writing gives the exchange the pieces of text that the stored turn is made of.
        body = self._form.write(shown)
        if self._lanes is not None:
            self._lanes.feed(frame)
        self._exchange.sampled(frame, self._job.cached_ids)
        return body

    def close(self) -> bytes:
        """Return the end of the body."""
        return self._form.close()


class _Replaying:
    """A back end that gives a repeated request the turn of the first one."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.models = backend.models
        self.gathers = backend.gathers
        self.stops_itself = backend.stops_itself
        self.gives_logprobs = getattr(backend, "gives_logprobs", False)

    def generate(self, job: Job) -> AbstractAsyncContextManager[AsyncIterator[CodecFrame]]:
        """Start a generation, or repeat one."""
        exchange = job.recorder
        if isinstance(exchange, Exchange) and exchange.node is not None:
            node = exchange.node
            frame = CodecFrame(tuple(node.sampled), done=True, finish_reason=node.finish_reason)
            return _one_frame(with_values(frame, exchange.values.of(len(node.sampled))))
        return with_one_call(self._backend.generate(job), job)

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Hold open what generations share."""
        return self._backend.opened()


@asynccontextmanager
async def _one_frame(frame: CodecFrame) -> AsyncIterator[AsyncIterator[CodecFrame]]:
    async def frames() -> AsyncIterator[CodecFrame]:
        yield frame

    yield frames()
