"""A request for the next turn of a conversation, whatever the API it came by.

Rules that hold in this file:

- A value here is complete: text is text, calls have the JSON that the client sent, and no field of an API is
  left to look up elsewhere.
- What a client sends to tell equal turns apart (ids of calls, items and responses, signatures) is a hint, and
  apart from the content.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import msgspec

from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.engines.base import SamplingOptions
from codec_agents.server.http import HttpError
from codec_agents.strict_json import MAX_DEPTH, depth_of

if TYPE_CHECKING:
    from codec_agents.dialects.values import ThinkingMode

Api: TypeAlias = Literal["chat", "responses", "messages"]
ToolChoice: TypeAlias = Literal["auto", "none", "required"]

CHOICES: Mapping[str | None, ToolChoice] = {
    None: "auto",
    "auto": "auto",
    "none": "none",
    "required": "required",
}
"""The values of OpenAI's `tool_choice` that name no tool."""

BLANKS = " \t\r\n"
"""The characters that JSON calls white space. Reasoning of these alone counts as not sent."""


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool that a client declares, as dialects declare it to the model."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """Fields that say nothing about the conversation's content.

    Fields:
        minted: for the place of a message in `messages`, the ids that came with it and that a server may have
            given out: of calls, items and responses, signatures, encrypted reasoning.
        previous_response_id: the response whose conversation `messages` continue (Responses only).
        retry_count: how often the client has sent this request before (`x-stainless-retry-count`).
        idempotency_key: the header `Idempotency-Key`.
        session: the client's own name for the session, from `session_id` or `x-session-id`.
    """

    minted: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    previous_response_id: str | None = None
    retry_count: int = 0
    idempotency_key: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationRequest:
    """One request for the model's next turn.

    Fields:
        api: the API that it came by.
        model: the model's name; None for the server's default.
        messages: the conversation, the system text included. With `hints.previous_response_id` it is only
            what follows that response.
        tools: the tools that the client declares, in its order.
        tool_choice: whether the model may, must not, or has to call a tool.
        tool_name: the tool that it has to call, with `tool_choice` "required"; None for any.
        parallel_calls: whether one turn may have several calls.
        thinking: the mode of reasoning; None for the model's default.
        sampling: the options of the generation; its `max_tokens` is not the client's.
        max_tokens: the most ids that the client wants, in 1 or more; None for the server's default.
        count: how many answers the client wants (`n`).
        stream: whether the answer is a stream.
        stream_format: the wire format of frames, where the client wants ids instead of text.
        usage: whether a stream ends with counts; the other forms always have them.
        token_ids: whether the answer holds the ids of prompt and answer (`return_token_ids`).
        tokens_as_ids: whether log probabilities name tokens by their ids (`return_tokens_as_token_ids`).
        reasoning_summary: whether reasoning goes out as a summary, and not as content (Responses).
        encrypted_reasoning: whether reasoning items carry a token that names them (Responses).
        hides_reasoning: whether reasoning goes out as its signature, without the text (Messages).
        store: whether a gateway may keep the turn beyond memory, and find it by the id of its response.
        echo: fields of the request that the answer repeats (Responses).
        hints: ids and names that do not change the content.
    """

    api: Api
    messages: tuple[Message, ...]
    model: str | None = None
    tools: tuple[OfferedTool, ...] = ()
    tool_choice: ToolChoice = "auto"
    tool_name: str | None = None
    parallel_calls: bool = True
    thinking: ThinkingMode | None = None
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    max_tokens: int | None = None
    count: int = 1
    stream: bool = False
    stream_format: str | None = None
    usage: bool = False
    token_ids: bool = False
    tokens_as_ids: bool = False
    reasoning_summary: bool = False
    encrypted_reasoning: bool = False
    hides_reasoning: bool = False
    store: bool = True
    echo: Mapping[str, Any] = field(default_factory=dict)
    hints: Hints = Hints()

    @property
    def offered_tools(self) -> tuple[OfferedTool, ...]:
        """The tools that are declared to the model."""
        return () if self.tool_choice == "none" else self.tools

    @property
    def logprobs(self) -> int | None:
        """How many alternatives the client wants with each id; None where it wants no log probabilities."""
        return self.sampling.logprobs

    @property
    def characters(self) -> int:
        """The characters of all messages; tools are bounded by themselves."""
        return sum(map(characters_of, self.messages))


def characters_of(message: Message) -> int:
    """Return the characters of content, reasoning and calls."""
    calls = sum(len(call.text or "") for call in message.calls)
    return len(message.content) + len(message.reasoning or "") + calls


def encoded_texts(request: ConversationRequest, field: str) -> list[tuple[str, str]]:
    """Return the texts that a dialect encodes, each with the field of the request that it is from.

    Calls and schemas are JSON, as dialects write them: what a client sent as escapes is text by then.

    Args:
        request: the request.
        field: the API's name of the field that holds the messages.
    """
    calls = [call for message in request.messages for call in message.calls]
    said = [text for message in request.messages for text in (message.content, message.reasoning or "")]
    said += [json.dumps(call.arguments, ensure_ascii=False) for call in calls]
    told = [tool.description for tool in request.offered_tools]
    told += [json.dumps(tool.parameters, ensure_ascii=False) for tool in request.offered_tools]
    return [*((text, field) for text in said), *((text, "tools") for text in told)]


def sent_call(name: str, text: str, call_id: str | None) -> MessageCall:
    """Return a call as a client sent it.

    Its arguments are None where the text is no JSON object, or one too deep to be written, and hold the last
    value of a repeated key: what compares arguments reads the text.
    """
    try:
        arguments = _OBJECT.decode(text)
    # The last one is for half of a surrogate pair, which has no UTF-8.
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        arguments = None
    if depth_of(arguments) > MAX_DEPTH:
        arguments = None
    return MessageCall(name, arguments, call_id, text)


_OBJECT = msgspec.json.Decoder(dict[str, Any])


def reasoning_or_none(text: str | None) -> str | None:
    """Return reasoning as a message holds it: None where a client sent none, or blanks alone."""
    return text if text and text.strip(BLANKS) else None


def check_results(messages: Sequence[Message], place: str) -> None:
    """Accept messages in which each result names a call before it.

    Args:
        messages: the whole conversation.
        place: the field that holds them, for the error.

    Raises:
        HttpError: 400, a result names an unknown call.
    """
    known: set[str] = set()
    for message in messages:
        known.update(call.id for call in message.calls if call.id is not None)
        # Chats may leave the id out: such a result is of the first call that has none (`gateway.history`).
        if message.role == "tool" and message.call_id is not None and message.call_id not in known:
            raise HttpError(
                400,
                f"a result names the call {message.call_id[:80]!r}, which no message before it has",
                param=place,
            )


class TextPart(Protocol):
    """A part of a content; it is text if it has a type of text."""

    @property
    def type(self) -> str | None:
        """Its type."""

    @property
    def text(self) -> str | None:
        """Its text."""


def text_of(
    content: str | Sequence[TextPart] | None, place: str, *, param: str, types: Collection[str] = ("text",)
) -> str:
    """Return the text of a content, which may be divided into parts.

    Args:
        content: the content.
        place: where it is, for the error.
        param: the field of the request, for the error.
        types: the types of parts that are text.

    Raises:
        HttpError: 400, a part is no text.
    """
    if content is None or isinstance(content, str):
        return content or ""
    for number, part in enumerate(content):
        if part.type not in types or part.text is None:
            kind = str(part.type)[:40]
            raise HttpError(400, f"{place}[{number}] is of type {kind!r}: only text is served", param=param)
    return "".join([part.text or "" for part in content])


def require_arguments(request: ConversationRequest) -> None:
    """Accept a conversation whose calls can be written for a model: their arguments are JSON objects.

    Raises:
        HttpError: 400, naming the call.
    """
    for number, message in enumerate(request.messages):
        for call in message.calls:
            if call.arguments is None:
                raise HttpError(
                    400,
                    f"message {number}, call of {call.name[:80]!r}: the arguments must be a JSON object of "
                    f"at most {MAX_DEPTH} levels",
                    param=_FIELDS_OF_CALLS[request.api],
                )


_FIELDS_OF_CALLS: Mapping[Api, str] = {
    "chat": "messages.tool_calls",
    "responses": "input",
    "messages": "messages",
}


def retry_count(headers: Mapping[str, str]) -> int:
    """Return how often a client says that it has sent the request before; 0 for anything unreadable."""
    sent = headers.get("x-stainless-retry-count", "0")
    return int(sent) if sent.isdecimal() and len(sent) < MAX_COUNT_DIGITS else 0


MAX_COUNT_DIGITS = 4
"""Clients retry a few times; more digits than these are no count."""


def hints_of(
    headers: Mapping[str, str],
    *,
    session: str | None = None,
    minted: Mapping[int, tuple[str, ...]] | None = None,
    previous_response_id: str | None = None,
) -> Hints:
    """Return the hints of a request's head, and those given from its body."""
    return Hints(
        minted=minted or {},
        previous_response_id=previous_response_id,
        retry_count=retry_count(headers),
        idempotency_key=headers.get("idempotency-key"),
        session=session or headers.get("x-session-id"),
    )
