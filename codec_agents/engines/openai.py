"""Any OpenAI-style text API: a text boundary, since only text goes in and comes out.

The prompt's token ids become text, and the answer's text becomes ids of the node's map. They are ids of a
text, not the ids that the model sampled. The class declares it (`text_boundary`); `explain` and the trace
show it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, Unpack

import msgspec

from codec_agents.engines.base import GenerationRequest, StreamStats
from codec_agents.engines.checked import count
from codec_agents.engines.http.engine import Outgoing
from codec_agents.engines.http.stream import OVERRUN
from codec_agents.engines.request_body import (
    OPENAI_CHAT,
    OPENAI_COMPLETIONS,
    for_model,
    forms_in,
    place_options,
)
from codec_agents.engines.scripted.prompt_view import Message, PromptView
from codec_agents.engines.stock.engine import StockEngine, StockOptions, json_request
from codec_agents.engines.stock.event_parser import ANSWER_BYTES, EventParser
from codec_agents.engines.stock.openai_ids import Usage
from codec_agents.engines.stock.text_encoding import TextEncoder
from codec_agents.exceptions import PromptError
from codec_agents.strict_json import read_json
from codec_core.frames import CodecFrame
from codec_core.vocabulary import Vocabulary

Api = Literal["chat", "completions"]

_log = logging.getLogger("codec_agents")


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
        super().__init__(url, **options)
        self._api = api
        self.enforced_forms = forms_in(OPENAI_CHAT if api == "chat" else OPENAI_COMPLETIONS)
        self.continues = api == "completions"
        """Whether an answer that broke off is continued: messages end where the answer begins."""

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

    def _events(self, request: GenerationRequest, stats: StreamStats) -> TextEvents:
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


class FunctionDelta(msgspec.Struct):
    """The new part of a call's function."""

    name: str | None = None
    arguments: str | None = None


class CallDelta(msgspec.Struct):
    """The new part of a call that the server's parser has taken out of the text."""

    index: int = 0
    function: FunctionDelta = msgspec.field(default_factory=FunctionDelta)


class Delta(msgspec.Struct):
    """The new part of a chat choice."""

    content: str | None = None
    reasoning_content: str | None = None
    """Reasoning, where the server's parser has taken it out of the text, by its older name."""
    reasoning: str | None = None
    """The same; the newer name."""
    refusal: str | None = None
    tool_calls: list[CallDelta] | None = None


class TextChoice(msgspec.Struct):
    """One choice of an event."""

    index: int = 0
    text: str | None = None
    delta: Delta | None = None
    finish_reason: str | None = None


class TextEvent(msgspec.Struct):
    """One event of either API."""

    choices: list[TextChoice] = []
    usage: Usage | None = None
    error: Any = None


MAX_CALLS = 4 * 1024 * 1024
"""Characters of the calls of one turn, which are held until its end: far more than any context has."""

MAX_CALLS_OF_A_TURN = 1000
"""Each holds memory, also where it has no characters."""

THINK = ("<think>", "</think>")
"""The marks between which reasoning arrives on its port, where the map has them."""


class TextEvents(EventParser[TextEvent]):
    """Reads text, and returns the ids of it, the same whatever the cuts."""

    def __init__(self, engine: str, request: GenerationRequest, stats: StreamStats) -> None:
        super().__init__(engine, stats, TextEvent)
        self._vocabulary = request.vocabulary
        self._encoder = TextEncoder(request.vocabulary)
        self._prompt = request.prompt_ids
        self._marks = [request.vocabulary.special_tokens.get(name) for name in THINK]
        self._reasons = False
        """Whether the answer is inside its reasoning."""
        self._has_reasoned = False
        """Whether it is, or was before: a prompt that opened reasoning did so for the first stretch alone."""
        self._left_out = False
        """Whether reasoning was left out, for which the map has no marks."""
        self._dialect = request.dialect
        self._calls: dict[int, tuple[list[str], list[str]]] = {}
        """The parts of the name and of the arguments of each call, by its number."""
        self._held = 0
        """Characters in them."""
        self._left = (request.options.max_tokens + OVERRUN) * ANSWER_BYTES
        """Characters that the answer may still have; encoding more would take the event loop."""

    def feed(self, data: bytes) -> Sequence[CodecFrame]:
        """Return the frames that these bytes complete."""
        self.advanced = False
        return super().feed(data)

    def read(self, event: TextEvent) -> tuple[int, ...]:
        """Return the ids that no later text can change."""
        if event.error is not None:
            raise self.reported(event.error)
        if event.usage is not None:
            if event.usage.prompt_tokens is not None:
                self.stats.prompt_tokens = count(event.usage.prompt_tokens)
            if event.usage.prompt_tokens_details is not None:
                self.stats.cached_tokens = count(event.usage.prompt_tokens_details.cached_tokens)
        ids: list[int] = []
        for choice in event.choices:
            if choice.index != 0:  # its text would be taken for the answer's
                raise self.broken(f"an unrequested choice {choice.index}", transient=False)
            ids += self._read_choice(choice)
            if choice.finish_reason is not None:
                self.reason = choice.finish_reason
        return tuple(ids)

    def _read_choice(self, choice: TextChoice) -> list[int]:
        delta = choice.delta
        if delta is None:
            return self._encode(choice.text) if choice.text else []
        for part in delta.tool_calls or ():
            self._keep_call(part)
        ids: list[int] = []
        if thought := delta.reasoning_content or delta.reasoning:
            ids += self._think(thought)
        # A refusal is text of the model in place of an answer: it leaves by the same port.
        if text := delta.content or delta.refusal:
            ids += self._stop_thinking()
            ids += self._encode(text)
        return ids

    def _encode(self, text: str) -> list[int]:
        self._left -= len(text)
        if self._left < 0:
            what = "it sends far more text than it was asked for: it ignores the limit"
            raise self.broken(what, transient=False)
        return self._encoder.feed(text)

    def _keep_call(self, part: CallDelta) -> None:
        name, arguments = part.function.name or "", part.function.arguments or ""
        parts = self._calls.setdefault(part.index, ([], []))
        for kept, text in zip(parts, (name, arguments), strict=True):
            if text:  # parts without characters would be held without a bound
                kept.append(text)
        self._held += len(name) + len(arguments)
        if self._held > MAX_CALLS or len(self._calls) > MAX_CALLS_OF_A_TURN:
            raise self.broken("the calls that the server has parsed are without end", transient=False)
        self.advanced = True  # the ids of calls come when all of them are known

    def _think(self, text: str) -> list[int]:
        """Return the ids of reasoning, after its mark unless it is opened already."""
        start = self._marks[0]
        if start is None or self._marks[1] is None:
            if not self._left_out:
                _log.warning(
                    "engine %s: reasoning is left out: the map %r has no marks for it",
                    self.engine,
                    self._vocabulary.id,
                )
            self._left_out = True
            self.advanced = True  # a model may reason for longer than the time between two ids
            return []
        ids: list[int] = []
        if not self._reasons:
            ids += self._flush()  # a mark divides texts: their tokens do not merge across it
            if self._has_reasoned or PromptView(self._prompt, self._vocabulary).thinking != "open":
                ids.append(start)
            self._reasons = self._has_reasoned = True
        return ids + self._encode(text)

    def _stop_thinking(self) -> list[int]:
        if not self._reasons:
            return []
        self._reasons = False
        end = self._marks[1]
        assert end is not None
        return [*self._flush(), end]

    def _called(self) -> Sequence[int]:
        """Return the ids of the calls that the server has parsed, in the form of the node's dialect."""
        if not self._calls:
            return ()
        try:
            # A call without arguments has an empty text from some servers.
            calls = [
                ("".join(name), read_json("".join(text) or "{}"))
                for _, (name, text) in sorted(self._calls.items())
            ]
            if self._dialect is not None and all(isinstance(each, dict) for _, each in calls):
                return self._dialect.call_ids(calls)
            why = "their arguments are no objects" if self._dialect else "no dialect can write them"
        except (ValueError, PromptError) as error:
            why = str(error)
        raise self.broken(
            f"the server has parsed tool calls out of the answer, and their text is lost: {why}; start it "
            "without a tool call parser, or declare the engine with `api: completions`",
            transient=False,
        )

    def _flush(self) -> list[int]:
        """Return the ids of the text so far: a mark follows it, so no later text can change them."""
        ids = self._encoder.flush()
        self._encoder = TextEncoder(self._vocabulary)
        return ids

    def _end(self) -> CodecFrame:
        end = super()._end()
        # In this order: text before the closing mark, and the calls, which the server has parsed, last.
        ids = (*self._encoder.flush(), *self._stop_thinking(), *self._called())
        self.received += len(ids)
        # An answer that was cut while its model reasoned says so by its finish reason.
        if self._left_out and not self.received and self.reason != "length":
            raise self.broken(
                "the server took the whole answer for reasoning, for which the map "
                f"{self._vocabulary.id!r} has no marks; start it without a reasoning parser, or declare the "
                "engine with `api: completions`",
                transient=False,
            )
        return CodecFrame(ids, done=True, finish_reason=end.finish_reason)
