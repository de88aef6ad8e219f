"""Read `POST /v1/chat/completions`, OpenAI's first chat API, with the fields that vLLM and others add."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.engines.base import SamplingOptions
from codec_agents.server.apis.request import (
    CHOICES,
    ConversationRequest,
    OfferedTool,
    ToolChoice,
    check_results,
    hints_of,
    reasoning_or_none,
    sent_call,
    text_of,
)
from codec_agents.server.apis.tools import (
    MAX_TOOLS,
    check_count,
    distinct,
    read_tool,
    require_shallow,
)
from codec_agents.server.bodies import DEFAULTS, STREAM_OPTIONS, Sampling, check_stops
from codec_agents.server.fields import KnownFields, check_entries, check_fields, decode
from codec_agents.server.http import HttpError

if TYPE_CHECKING:
    from codec_agents.dialects.values import ThinkingMode
    from codec_agents.server.settings import ServerSettings

CALLS = "messages.tool_calls"
NULL = msgspec.Raw(b"null")

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
"""The roles of the API, as dialects call them. `developer` is OpenAI's newer name for the system's."""


class ContentPart(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A part of a message's content."""

    type: str | None = None
    text: str | None = None


class FunctionCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The function that an earlier call of the model named."""

    name: str
    arguments: str
    """A JSON object, as text."""


class ChatCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A tool call in an assistant's message."""

    function: FunctionCall
    id: str | None = None
    type: str = "function"


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message of a conversation. The `name` of a speaker has no place in the templates."""

    role: str
    content: str | list[ContentPart] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """The same by the name that newer servers give it."""
    tool_calls: list[ChatCall] | None = None
    tool_call_id: str | None = None
    audio: msgspec.Raw = NULL
    function_call: msgspec.Raw = NULL
    refusal: msgspec.Raw = NULL
    prefix: msgspec.Raw = NULL
    """Marks a turn that the model is to continue, in the APIs of DeepSeek and Mistral."""
    partial: msgspec.Raw = NULL
    """The same in those of Moonshot and Qwen."""


UNSERVED = ("audio", "function_call", "refusal", "prefix", "partial")
"""Fields of messages that would change the prompt, and that no template here has a form for."""


class TemplateArguments(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of chat templates that every family has a form for: both turn reasoning on or off."""

    enable_thinking: bool | None = None
    thinking: bool | None = None


class SchemaFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The schema within `response_format`."""

    schema: dict[str, Any]
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The form that the answer has to have."""

    type: str
    json_schema: SchemaFormat | None = None


class ChatBody(Sampling, frozen=True, kw_only=True):
    """The fields of a chat request that are read."""

    messages: list[ChatMessage]
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: TemplateArguments | None = None
    return_token_ids: bool | None = None
    store: bool | None = None
    session_id: str | None = None
    min_p: float | None = None
    min_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    return_tokens_as_token_ids: bool | None = None

    @property
    def limit(self) -> int | None:
        """The most ids that the caller wants; the newer name wins."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


OF_ENGINES = frozenset(
    {
        "min_p", "min_tokens", "presence_penalty", "frequency_penalty", "repetition_penalty",
        "parallel_tool_calls", "response_format", "logprobs", "top_logprobs", "return_tokens_as_token_ids",
    }
)  # fmt: skip
"""Fields that only a server in front of an engine can honour; others refuse them by name."""

LONG = {"messages": None, "tools": MAX_TOOLS}
NESTED = {**STREAM_OPTIONS, "chat_template_kwargs": TemplateArguments.__struct_fields__}
FIELDS = KnownFields(frozenset(ChatBody.__struct_fields__) - OF_ENGINES, LONG, NESTED)
FIELDS_OF_ENGINES = KnownFields(ChatBody.__struct_fields__, LONG, NESTED)

_CHAT = msgspec.json.Decoder(ChatBody)


def read_chat(
    body: bytes,
    settings: ServerSettings = DEFAULTS,
    headers: Mapping[str, str] | None = None,
    *,
    of_engines: bool = False,
) -> ConversationRequest:
    """Read a chat request.

    Args:
        body: the JSON.
        settings: the limits.
        headers: the request's head, names in lower case.
        of_engines: whether `OF_ENGINES` are read; they are refused otherwise.

    Raises:
        HttpError: 400, naming the field.
    """
    # In the bytes, before anything is decoded: `check_count` below would count messages that already take
    # their memory. Each message has a role.
    check_entries(body, b'"role"', settings.max_messages, "messages", "messages")
    check_fields(body, FIELDS_OF_ENGINES if of_engines else FIELDS)
    chat = decode(_CHAT, body)
    check_stops(chat.stops, settings)
    if not chat.messages:
        raise HttpError(400, "messages is empty", param="messages")
    check_count(chat.messages, settings.max_messages, "messages")
    check_count(chat.tools or (), settings.max_tools, "tools")
    messages = tuple(_message(f"messages[{place}]", message) for place, message in enumerate(chat.messages))
    check_results(messages, "messages")
    choice, name = _tool_choice(chat.tool_choice)
    # The ids of calls alone come back in this API.
    minted = {place: ids for place, message in enumerate(messages) if (ids := tuple(_ids(message)))}
    return ConversationRequest(
        api="chat",
        messages=messages,
        model=chat.model,
        tools=distinct(_tools(chat.tools or ())),
        tool_choice=choice,
        tool_name=name,
        parallel_calls=chat.parallel_tool_calls is not False,
        thinking=_thinking(chat),
        sampling=_sampling(chat),
        max_tokens=chat.limit,
        count=1 if chat.n is None else chat.n,
        stream=bool(chat.stream),
        stream_format=chat.stream_format,
        usage=chat.include_usage,
        token_ids=bool(chat.return_token_ids),
        tokens_as_ids=bool(chat.return_tokens_as_token_ids),
        # True if left out, unlike in OpenAI's chats: a gateway has to find the turns again.
        store=chat.store is not False,
        hints=hints_of(headers or {}, session=chat.session_id, minted=minted),
    )


def _ids(message: Message) -> Iterator[str]:
    return (call.id for call in message.calls if call.id is not None)


def _message(place: str, message: ChatMessage) -> Message:
    role = ROLES.get(message.role)
    if role is None:
        raise HttpError(400, f"{place} has the role {message.role[:40]!r}", param="messages")
    # Clients that send an answer back as they got it have some of these as null; false asks for nothing.
    for name in UNSERVED:
        if bytes(getattr(message, name)) not in (b"null", b"false"):
            raise HttpError(400, f"{place} has {name}, which is not served", param=f"messages.{name}")
    if message.tool_calls and role != "assistant":
        raise HttpError(400, f"{place} has tool_calls, but not the role assistant", param=CALLS)
    return Message(
        role=role,
        content=_content(place, message.content),
        reasoning=_reasoning(place, message),
        calls=tuple(
            _call(f"{place}.tool_calls[{number}]", call)
            for number, call in enumerate(message.tool_calls or ())
        ),
        # The API knows it in results alone.
        call_id=message.tool_call_id if role == "tool" else None,
    )


def _content(place: str, content: str | list[ContentPart] | None) -> str:
    return text_of(content, f"{place}.content", param="messages")


def _reasoning(place: str, message: ChatMessage) -> str | None:
    if message.role != "assistant":
        return None
    older, newer = map(reasoning_or_none, (message.reasoning_content, message.reasoning))
    if older is not None and newer is not None and older != newer:
        raise HttpError(
            400, f"{place} has two reasonings, and they differ: send one", param="messages.reasoning"
        )
    return older or newer


def _call(place: str, call: ChatCall) -> MessageCall:
    if call.type != "function":
        raise HttpError(400, f"{place} is of type {call.type[:40]!r}: only functions are served", param=CALLS)
    if not call.function.name:
        raise HttpError(400, f"{place} names no function", param=CALLS)
    return sent_call(call.function.name, call.function.arguments, call.id)


def _tools(tools: Sequence[Mapping[str, Any]]) -> Iterator[OfferedTool]:
    for number, tool in enumerate(tools):
        place = f"tools[{number}]"
        if tool.get("type", "function") != "function":
            kind = str(tool["type"])[:40]
            raise HttpError(400, f"{place} is of type {kind!r}: only functions are served", param="tools")
        yield read_tool(f"{place}.function", tool.get("function"), "parameters")


def _tool_choice(choice: str | dict[str, Any] | None) -> tuple[ToolChoice, str | None]:
    if not isinstance(choice, dict) and choice in CHOICES:
        return CHOICES[choice], None
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if isinstance(name, str) and name:
        return "required", name
    raise HttpError(
        400, "tool_choice must be auto, none, required, or a function's name", param="tool_choice"
    )


def _thinking(chat: ChatBody) -> ThinkingMode | None:
    """Return the mode that template arguments or the effort ask for."""
    # Dialects turn reasoning on or off; a degree would be taken and not heeded.
    if chat.reasoning_effort not in (None, "none"):
        raise HttpError(
            400,
            "reasoning_effort is served as none alone, which turns reasoning off; leave it out",
            code="unsupported_parameter",
            param="reasoning_effort",
        )
    # Qwen's templates have the one name and DeepSeek's the other, so a client of both may send both.
    arguments = chat.chat_template_kwargs or TemplateArguments()
    asked = {value for value in (arguments.enable_thinking, arguments.thinking) if value is not None}
    if chat.reasoning_effort == "none":
        asked.add(False)
    if len(asked) > 1:
        raise HttpError(400, "reasoning is turned on and off at once", param="chat_template_kwargs")
    return None if not asked else "on" if asked.pop() else "off"


def _sampling(chat: ChatBody) -> SamplingOptions:
    top = chat.top_logprobs
    # OpenAI's rule. 0 alternatives without `logprobs` ask for nothing.
    if top and not chat.logprobs:
        raise HttpError(400, "top_logprobs needs logprobs to be true", param="top_logprobs")
    return msgspec.structs.replace(
        chat.options,
        min_p=chat.min_p,
        min_tokens=chat.min_tokens,
        presence_penalty=chat.presence_penalty,
        frequency_penalty=chat.frequency_penalty,
        repetition_penalty=chat.repetition_penalty,
        logprobs=(top or 0) if chat.logprobs else None,
        structured=_structured(chat.response_format),
    )


def _structured(form: ResponseFormat | None) -> dict[str, Any] | None:
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return {"json_schema": {"type": "object"}}
    if form.type == "json_schema" and form.json_schema is not None:
        require_shallow(form.json_schema.schema, "response_format.json_schema.schema", "response_format")
        return {"json_schema": form.json_schema.schema}
    raise HttpError(
        400, "response_format is text, json_object, or json_schema with a schema", param="response_format"
    )
