"""What the stock engines share: JSON goes out, events come back, and the tokenizers are compared before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict, Unpack

import msgspec

from codec_agents.engines.base import GenerationRequest, StreamStats
from codec_agents.engines.http.engine import HttpEngine, Outgoing
from codec_agents.engines.http.pool import HttpClient, HttpSettings
from codec_agents.engines.http.responses import HttpResponse
from codec_agents.engines.http.stream import FrameParser
from codec_agents.engines.stock.handshake import Handshake, tokenize
from codec_agents.exceptions import EngineError, EngineStreamError


class StockOptions(TypedDict, total=False):
    """What every stock engine's client takes.

    Keys:
        name: what the pipeline calls the engine.
        handshake: whether to compare the engine's tokenizer with the map before the first request.
        settings: how it is reached.
        client: a client of the caller's own.
    """

    name: str | None
    handshake: bool
    settings: HttpSettings | None
    client: HttpClient | None


class StockEngine(HttpEngine):
    """The frame of an engine with an API of its own. Subclasses say what it asks and how it answers."""

    tokenize_field: ClassVar[str | None] = "prompt"
    """What `/tokenize` calls the text; None for an engine without the call."""
    tokenize_options: ClassVar[Mapping[str, Any]] = {"add_special_tokens": False}

    def __init__(self, url: str, **options: Unpack[StockOptions]) -> None:
        shared = {"name": None, "settings": None, "client": None, **options}
        wanted = bool(shared.pop("handshake", True))
        super().__init__(url, **shared)  # type: ignore[arg-type]
        self._handshake: Handshake | None = None
        """Compares the engine's tokenizer with the map, where that is wanted and can be done."""
        if wanted and self.tokenize_field is not None:
            self._handshake = Handshake(self, self.tokenize_field, **self.tokenize_options)

    async def check(self, request: GenerationRequest) -> None:
        """Compare the tokenizers.

        Raises:
            EngineError: they disagree, or the engine cannot be asked.
        """
        if self._handshake is not None:
            await self._handshake.ensure(request)

    def _parser(self, response: HttpResponse, request: GenerationRequest, stats: StreamStats) -> FrameParser:
        require_events(self.name, response)
        return self._events(request, stats)

    def _events(self, request: GenerationRequest, stats: StreamStats) -> FrameParser:
        """Return what reads the events of an answer."""
        raise NotImplementedError


class TokenizeRendering(StockEngine):
    """A stock engine whose `/tokenize` takes messages as well, and renders its chat template."""

    async def render_chat(self, request: GenerationRequest, conversation: Mapping[str, Any]) -> Sequence[int]:
        """Return the ids of a prompt, as `rendering.ChatRendering` says.

        Raises:
            EngineError: the engine cannot be asked, or does not render.
        """
        body = {**conversation, "add_generation_prompt": True, "add_special_tokens": False}
        return rendered(self, await tokenize(self, body, request))


def rendered(engine: HttpEngine, ids: list[int] | None) -> list[int]:
    """Return the ids, if there are any.

    Raises:
        EngineError: the engine has no call that renders.
    """
    if ids is None:
        raise EngineError(engine.name, "has no call that renders a chat; leave the template to the dialect")
    return ids


def json_request(path: str, body: Mapping[str, Any], **headers: str) -> Outgoing:
    """Return a request whose body is JSON, and whose answer is wanted as it is: events gain nothing."""
    common = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    return Outgoing(path, msgspec.json.encode(body), {**common, **headers})


def require_events(engine: str, response: HttpResponse) -> None:
    """Check that an answer is an event stream.

    Raises:
        EngineStreamError: it is something else.
    """
    found = response.headers.get("content-type", "nothing")
    if not found.startswith("text/event-stream"):
        raise EngineStreamError(
            engine, f"answered {found} where an event stream was asked for", transient=False
        )
