"""Any OpenAI-style text API: a text boundary, since nothing but text goes in and comes out.

The prompt's ids become text, and the answer's text becomes ids of the node's map. They are ids of a text, not
the ids that the model sampled. The class says so (`text_boundary`), and so do `explain` and the trace.
"""

from __future__ import annotations

from typing import Any, Literal, Unpack

import msgspec

from codec_agents.engines.base import GenerationRequest, StreamStats
from codec_agents.engines.http.engine import Outgoing
from codec_agents.engines.http.stream import FrameParser
from codec_agents.engines.request_body import (
    OPENAI_CHAT,
    OPENAI_COMPLETIONS,
    for_model,
    place_options,
)
from codec_agents.engines.scripted.prompt_view import Message, PromptView
from codec_agents.engines.stock.engine import StockEngine, StockOptions, json_request
from codec_agents.engines.stock.event_parser import EventParser
from codec_agents.engines.stock.text_encoding import TextEncoder
from codec_core.frames import CodecFrame
from codec_core.vocabulary import Vocabulary

Api = Literal["chat", "completions"]


class OpenAIEngine(StockEngine):
    """A server that speaks text.

    Args:
        url: where the API's paths begin, without `/v1`.
        api: `chat` sends the prompt's turns as messages, `completions` the whole prompt as one text.
        options: those of every stock engine; there is no tokenizer to compare.
    """

    provider = "openai"
    text_boundary = True

    tokenize_field = None

    def __init__(self, url: str, *, api: Api = "chat", **options: Unpack[StockOptions]) -> None:
        super().__init__(url.removesuffix("/v1"), **options)
        self._api = api
        self.continues = api == "completions"
        """Whether an answer that broke off can be gone on with: messages end where the answer begins."""

    def _outgoing(self, request: GenerationRequest) -> Outgoing:
        prompt = PromptView(request.prompt_ids, request.vocabulary)
        body: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
        if self._api == "chat":
            body["messages"] = [_message(said, request.vocabulary) for said in prompt.messages]
        else:
            body["prompt"] = prompt.text
        path = "/v1/chat/completions" if self._api == "chat" else "/v1/completions"
        table = OPENAI_CHAT if self._api == "chat" else OPENAI_COMPLETIONS
        headers = place_options(self.name, request.options, table, body)
        return json_request(path, for_model(request, body), **headers)

    def _events(self, request: GenerationRequest, stats: StreamStats) -> FrameParser:
        return TextEvents(self.name, request, stats)


def _message(said: Message, vocabulary: Vocabulary) -> dict[str, str]:
    """Return a turn as a message; content that was encoded by itself may begin with a space of its own.

    Results go out in a user's message: such APIs take the role `tool` only with ids of calls that they made.
    """
    own_space = " " if vocabulary.trims_first_space else ""
    return {
        "role": "user" if said.role == "tool" else said.role,
        "content": said.text.removeprefix(own_space),
    }


class Delta(msgspec.Struct):
    """What is new in a chat choice."""

    content: str | None = None


class TextChoice(msgspec.Struct):
    """One choice of an event."""

    index: int = 0
    text: str | None = None
    delta: Delta | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    """OpenAI's counts."""

    prompt_tokens: int | None = None


class TextEvent(msgspec.Struct):
    """One event of either API."""

    choices: list[TextChoice] = []
    usage: Usage | None = None
    error: Any = None


class TextEvents(EventParser[TextEvent]):
    """Reads text, and gives the ids of it, the same whatever the cuts."""

    def __init__(self, engine: str, request: GenerationRequest, stats: StreamStats) -> None:
        super().__init__(engine, stats, TextEvent)
        self._encoder = TextEncoder(request.vocabulary)

    def read(self, event: TextEvent) -> tuple[int, ...]:
        """Return the ids that no later text can change."""
        if event.error is not None:
            raise self.reported(event.error)
        if event.usage is not None:
            self.stats.prompt_tokens = event.usage.prompt_tokens
        ids: list[int] = []
        for choice in event.choices:
            text = choice.text if choice.delta is None else choice.delta.content
            if text:
                ids += self._encoder.feed(text)
            if choice.finish_reason is not None:
                self.reason = choice.finish_reason
        return tuple(ids)

    def _end(self) -> CodecFrame:
        end = super()._end()
        ids = tuple(self._encoder.flush())
        self.received += len(ids)
        return CodecFrame(ids, done=True, finish_reason=end.finish_reason)
