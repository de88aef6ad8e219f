"""The frame of the stock engines: JSON goes out, events come back, and the tokenizers are compared before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypedDict, Unpack

import msgspec

from codec_agents.engines.base import WHOLE, GenerationRequest, StreamStats
from codec_agents.engines.context import ContextQuestion
from codec_agents.engines.http.clients import HttpClient
from codec_agents.engines.http.engine import HttpEngine, Outgoing
from codec_agents.engines.http.first_bytes import (
    EVENT_STREAM,
    UNTELLING,
    ChosenParser,
    is_event_stream,
    media_type,
)
from codec_agents.engines.http.responses import HttpResponse
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.engines.http.stream import FrameParser
from codec_agents.engines.map_header import check_map
from codec_agents.engines.stock.event_parser import EventParser, WholeAnswer
from codec_agents.engines.stock.handshake import Handshake, HandshakeMode, handshake_mode, tokenize
from codec_agents.exceptions import EngineError, EngineStreamError
from codec_core.vocabulary import Vocabulary


class StockOptions(TypedDict, total=False):
    """The options of every stock engine's client.

    Keys:
        name: the engine's name in the pipeline.
        handshake: how far to compare the engine's tokenizer with the map before the first request: `off`,
            `probe` (the default) or `full`; True is `probe`, and False is `off`, as YAML reads it.
        settings: how it is reached.
        client: a client of the caller's own.
    """

    name: str | None
    handshake: HandshakeMode | bool
    settings: HttpSettings | None
    client: HttpClient | None


class StockEngine(HttpEngine):
    """The frame of an engine with an API of its own. Subclasses write its requests and read its answers."""

    tokenize_field: ClassVar[str | None] = "prompt"
    """The name of the text in `/tokenize`; None for an engine without the call."""
    tokenize_options: ClassVar[Mapping[str, Any]] = {"add_special_tokens": False}
    """Its other fields, for a text that spells control tokens."""
    content_options: ClassVar[Mapping[str, Any] | None] = None
    """The same for content, where the engine can be told not to read control tokens in it."""

    unstreamed: ClassVar[bool] = False
    """Whether its requests ask for an answer at once where `stream_interval` is `WHOLE`."""

    def __init__(self, url: str, **options: Unpack[StockOptions]) -> None:
        shared = {"name": None, "settings": None, "client": None, **options}
        mode = handshake_mode(shared.pop("handshake", "probe"))
        super().__init__(url, **shared)  # type: ignore[arg-type] # `StockOptions` has the types
        self._context = self._context_question()
        self._handshake: Handshake | None = None
        """Compares the engine's tokenizer with the map, where the caller wants that and it is possible."""
        if mode != "off" and self.tokenize_field is not None:
            self._handshake = Handshake(
                self,
                mode,
                self.tokenize_field,
                self.tokenize_options,
                self.content_options or self.tokenize_options,
            )

    def has_compared(self, vocabulary: Vocabulary) -> bool:
        """Return whether the engine's tokenizer was compared with a map, and is equal to it."""
        return self._handshake is not None and self._handshake.has_compared(vocabulary)

    def _context_question(self) -> ContextQuestion | None:
        """Return how the server is asked for its context; None for one that does not tell it."""
        return None

    async def context_length(self, request: GenerationRequest) -> int | None:
        """Return the most ids of a prompt and its answer; None where the server does not tell.

        Raises:
            EngineError: the server cannot be asked now.
        """
        return None if self._context is None else await self._context.ask(self, request)

    async def check(self, request: GenerationRequest) -> None:
        """Compare the tokenizers.

        Raises:
            EngineError: they disagree, or the engine cannot be asked.
        """
        if self._handshake is not None:
            await self._handshake.ensure(request)

    def _parser(self, response: HttpResponse, request: GenerationRequest, stats: StreamStats) -> FrameParser:
        if self.tokenize_field is not None:  # a Codec server speaks these APIs as well, and names its map
            check_map(self.name, response, request)
        if request.stream_interval == WHOLE and self.unstreamed:
            return WholeAnswer(self._events(request, stats).expect(request))
        return parser_of_events(self.name, response, lambda: self._events(request, stats).expect(request))

    def _events(self, request: GenerationRequest, stats: StreamStats) -> EventParser[Any]:
        """Return the parser of the events of an answer."""
        raise NotImplementedError


class TokenizeRendering(StockEngine):
    """A stock engine whose `/tokenize` takes messages as well, and renders its chat template."""

    async def render_chat(self, request: GenerationRequest, conversation: Mapping[str, Any]) -> Sequence[int]:
        """Return the ids of a prompt, as `rendering.ChatRendering` describes.

        Raises:
            EngineError: the engine cannot be asked, or does not render.
        """
        # The template writes the first control token itself: it would be there twice.
        body = {**conversation, "add_generation_prompt": True, "add_special_tokens": False}
        return rendered(self, await tokenize(self, body, request))


def rendered(engine: HttpEngine, ids: list[int] | None) -> list[int]:
    """Return the ids, if there are any.

    Raises:
        EngineError: the engine has no endpoint that renders.
    """
    if ids is None:
        raise EngineError(engine.name, "has no endpoint that renders a chat; use the template of the dialect")
    return ids


def json_request(path: str, body: Mapping[str, Any], **headers: str) -> Outgoing:
    """Return a request whose body is JSON, and whose answer is wanted as it is: events gain nothing."""
    common = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    return Outgoing(path, msgspec.json.encode(body), {**common, **headers})


def parser_of_events(engine: str, response: HttpResponse, events: Callable[[], FrameParser]) -> FrameParser:
    """Return the parser of an answer that has to be an event stream.

    Raises:
        EngineStreamError: it is something else.
    """
    found = media_type(response.headers.get("content-type"))
    if found == EVENT_STREAM:
        return events()
    if found not in UNTELLING:  # HTML or JSON: a wrong path, or a server that does not stream
        raise no_events(engine, found)

    def choose(first: bytes) -> FrameParser:
        if is_event_stream(first):
            return events()
        raise no_events(engine, found)

    return ChosenParser(choose)


def no_events(engine: str, found: str) -> EngineStreamError:
    """Return the error for an answer of another content type."""
    return EngineStreamError(
        engine,
        f"answered {found or 'without a content type'} to a request for an event stream; correct the "
        "engine's `url`, or declare it as the `kind` that it is",
        transient=False,
    )
