"""An engine that finds out what it talks to, from the answer to a request that all of them take.

A Codec server answers with frames. vLLM, and SGLang of mid-2026 and later, answer with events that hold ids.
An older SGLang and llama.cpp answer with text; which of the two it is, a path of its own shows. A
server that gives text and nothing else is refused: a text boundary is declared, never slipped in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from codec_agents.concurrency.single_flight import SingleFlight
from codec_agents.engines.base import (
    FrameStream,
    GenerationRequest,
    SamplingOptions,
    StreamStats,
    Timeouts,
    closes_late,
    context_of,
)
from codec_agents.engines.codec import CodecEngine, frame_parser, frames_of
from codec_agents.engines.context import MAX_DOCUMENT
from codec_agents.engines.http.clients import HttpClient
from codec_agents.engines.http.engine import HttpEngine, Outgoing
from codec_agents.engines.http.first_bytes import (
    EVENT_STREAM,
    UNTELLING,
    ChosenParser,
    frames_format,
    is_event_stream,
    media_type,
)
from codec_agents.engines.http.responses import HttpResponse
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.engines.http.stream import FrameParser
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.map_header import check_map
from codec_agents.engines.prompt_body import check_prompt
from codec_agents.engines.request_body import CODEC, VLLM_COMPLETIONS, forms_in
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.stock.engine import no_events, parser_of_events
from codec_agents.engines.stock.event_parser import IdsMissingError
from codec_agents.engines.stock.handshake import HandshakeMode, ask, probe_ids
from codec_agents.engines.stock.openai_ids import CompletionEvents, completion_request
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineError, EngineStreamError
from codec_core.versions import CODEC_CLIENT_VERSION

KNOWN_BY = (("/server_info", "sglang"), ("/get_server_info", "sglang"), ("/props", "llama_cpp"))
"""Paths that only one engine serves; but see `OF_VLLM`."""

OF_VLLM = b'"vllm_config"'
"""In what vLLM answers to `/server_info`, which it serves with `VLLM_SERVER_DEV_MODE=1`."""


class AutoEngine:
    """A server of an undeclared kind. The first request decides, and the decision is kept.

    Args:
        url: the server's origin.
        format: the frame format to request, for the case of a Codec server.
        encodings: content encodings to accept, likewise.
        handshake: how far to compare a stock engine's tokenizer with the map.
    """

    continues = True
    checks_answers = True
    enforced_forms = forms_in(VLLM_COMPLETIONS)
    """Those of the engine with the most; one that turns out to have fewer refuses the others."""

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        format: str = "msgpack",  # noqa: A002 - the protocol's own word
        encodings: Sequence[str] = (),
        handshake: HandshakeMode | bool = "probe",
        settings: HttpSettings | None = None,
        client: HttpClient | None = None,
    ) -> None:
        self.name = name or "auto"
        self._probe = _Probe(url, format, name=self.name, settings=settings, client=client)
        shared: dict[str, Any] = {"name": self.name, "settings": settings, "client": client}
        self._kinds: Mapping[str, HttpEngine] = {
            "codec": CodecEngine(url, format=format, encodings=encodings, **shared),
            "vllm": VllmEngine(url, handshake=handshake, **shared),
            "sglang": SglangEngine(url, handshake=handshake, **shared),
            "llama_cpp": LlamaCppEngine(url, handshake=handshake, **shared),
        }
        for engine in self._kinds.values():
            engine.pool = self._probe.pool  # later requests use the connections that the probe opened
        self._found: HttpEngine | None = None
        self._asked: SingleFlight[str] = SingleFlight()

    @property
    def server(self) -> tuple[str, int]:
        """The host and the port of the server, whatever its kind."""
        return self._probe.server

    @property
    def provider(self) -> str:
        """The provider of the engine that was found; `auto` until the first request."""
        return "auto" if self._found is None else self._found.provider

    @property
    def found(self) -> HttpEngine | None:
        """The engine that the server turned out to be; None until the first request."""
        return self._found

    @property
    def closes_late(self) -> bool:
        """True if the server goes on with a request that is closed; false before the first request, too."""
        return self._found is not None and closes_late(self._found)

    @property
    def http(self) -> HttpEngine:
        """The client that asks the server while its kind is not known."""
        return self._probe

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        """Send a request; leaving the context closes it, and the server notices.

        Raises:
            EngineError: as the engine that it turns out to be; or it gives text alone.
        """
        if self._found is None:  # before the server is asked what it is; afterwards its own engine checks
            check_prompt(self.name, request)
        async with (await self._engine(request)).stream(request) as frames:
            yield frames

    async def prepare(self, request: GenerationRequest) -> None:
        """Find out what the server is, and do what can be done for requests to it.

        A failure is not raised: the request itself will meet it.
        """
        with suppress(EngineError):
            await (await self._engine(request)).prepare(request)

    async def context_length(self, request: GenerationRequest) -> int | None:
        """Return the most ids of a prompt and its answer, as the engine that it turns out to be tells it.

        Raises:
            EngineError: the server cannot be asked now.
        """
        return await context_of(await self._engine(request), request)

    async def is_healthy(self, timeouts: Timeouts) -> bool:
        """Return whether the server answers `/health`, and not with an error of its own."""
        return await self._probe.is_healthy(timeouts)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._probe.aclose()

    async def _engine(self, request: GenerationRequest) -> HttpEngine:
        if self._found is None:
            kind = await self._probe.ask_once(self._asked, lambda: self._find(request), request)
            self._found = self._kinds[kind]
        return self._found

    async def _find(self, request: GenerationRequest) -> str:
        """Ask for one id in all dialects at once, and see what comes."""
        probe = msgspec.structs.replace(
            request,
            prompt_ids=probe_ids(request.vocabulary),
            options=SamplingOptions(max_tokens=1),
            # The request itself may want an unstreamed answer, whose JSON tells no kinds apart.
            stream_interval=1,
        )
        async with self._probe.stream(probe) as frames:
            try:
                async for _ in frames:
                    break
            except EngineStreamError as error:
                if error.transient:  # a lost connection does not tell what the server is
                    raise
                return await self._ask_who(request, error)
            if frames.stats.format != "sse":
                return "codec"
        # Events that hold ids, from a server that is neither of the others: vLLM, or one with its API.
        return await self._who(request) or "vllm"

    async def _ask_who(self, request: GenerationRequest, failure: EngineStreamError) -> str:
        """Return the kind of a server whose answer to the probe failed.

        Raises:
            EngineStreamError: its API is unknown. Where it gave text alone, the error says so.
        """
        found = await self._who(request)
        if found is not None:
            return found
        # Any other failure is the server's fault with ids: it would be hidden by a name for text servers.
        if not isinstance(failure, IdsMissingError):
            raise failure
        raise EngineStreamError(
            self.name,
            "the server returns text without token ids, and its API is unknown; to use it as a text "
            "boundary, declare it as kind openai",
            transient=False,
        )

    async def _who(self, request: GenerationRequest) -> str | None:
        for path, kind in KNOWN_BY:
            status, body = await ask(self._probe, "GET", path, None, request.timeouts, limit=MAX_DOCUMENT)
            if status == 200 and OF_VLLM not in body:
                return kind
        return None


class _Probe(HttpEngine):
    """Sends what a Codec server, vLLM, SGLang and llama.cpp all take."""

    provider = "auto"

    def __init__(self, url: str, wire_format: str, **shared: Any) -> None:
        super().__init__(url, **shared)
        self._format = wire_format

    def _outgoing(self, request: GenerationRequest) -> Outgoing:
        headers = {"Codec-Client-Version": CODEC_CLIENT_VERSION}
        if request.vocabulary.hash is not None:
            headers["X-Codec-Map"] = request.vocabulary.hash
        also = {"stream_format": self._format}
        return completion_request(self.name, request, CODEC, also=also, **headers)

    def _parser(self, response: HttpResponse, request: GenerationRequest, stats: StreamStats) -> FrameParser:
        # A Codec server names its map at once; all others name none, and pass.
        check_map(self.name, response, request)
        frames = frame_parser(self.name, response, {}, stats)  # no dictionaries: kind `auto` takes none
        if frames is not None:
            return frames

        def events() -> FrameParser:
            return CompletionEvents(self.name, request, stats).expect(request)

        found = media_type(response.headers.get("content-type"))
        if found not in UNTELLING and found != EVENT_STREAM:
            return parser_of_events(self.name, response, events)

        # Not even `text/event-stream` is taken at its word: proxies give it to frames as well.
        def choose(first: bytes) -> FrameParser:
            if is_event_stream(first):
                return events()
            wire_format = frames_format(first, self._format)
            if wire_format is None:
                raise no_events(self.name, found)
            return frames_of(self.name, wire_format, response, {}, stats)

        return ChosenParser(choose)
