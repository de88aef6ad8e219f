"""Read the bodies of requests, strictly.

Rules that hold in this file:

- Every field that the server reads has one type; anything else is a 400 that names the field. Fields that it
  does not read are looked at in `fields`.
- No field but `prompt`, `messages` and `tools` may be long. The long ones are decoded into types that fail
  at the first element that does not fit, so that a body costs time in proportion to its bytes.
- Nothing here runs on the event loop when the body is long: the callers see to that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from codec_agents.server.fields import refuse_unread
from codec_agents.server.http import HttpError
from codec_agents.server.settings import ServerSettings

MAX_FIELD = 64 * 1024
"""Bytes of any field but the long ones, as JSON."""

MANY = 2
"""Marks of a message in a body, for each message that there may be: schemas of tools may hold it too."""

CALLS = "messages.tool_calls"

Lengths: TypeAlias = Mapping[str, int | None]
"""The fields that may be longer, and up to how many bytes; None for the whole body."""

LONG_IN_COMPLETIONS: Lengths = {"prompt": None}
LONG_IN_CHATS: Lengths = {"messages": None, "tools": 1024 * 1024}


NULL = msgspec.Raw(b"null")

DEFAULTS = ServerSettings()
"""The limits of a server that is given no others."""


class StreamOptions(msgspec.Struct, frozen=True):
    """OpenAI's `stream_options`."""

    include_usage: bool | None = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that completions and chat share."""

    model: str | None = None
    stream: bool | None = None
    stream_format: str | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    n: int | None = None

    @property
    def limit(self) -> int | None:
        """The most ids that the caller wants."""
        return self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        if isinstance(self.stop, str):
            return (self.stop,)
        return tuple(self.stop or ())

    @property
    def include_usage(self) -> bool:
        """True if a stream ends with counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class CompletionBody(Sampling, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    prompt: msgspec.Raw
    """One text or one list of token ids; also a list with one of these in it. See `read_prompt`."""
    return_token_ids: bool | None = None
    echo: bool | None = None


class ContentPart(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A part of a message's content."""

    type: str | None = None
    text: str | None = None


class FunctionCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The function that an earlier call of the model named."""

    name: str
    arguments: str
    """A JSON object, as text."""


class MessageCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A tool call in an assistant's message."""

    function: FunctionCall
    id: str | None = None
    type: str = "function"


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message of a conversation."""

    role: str
    content: str | list[ContentPart] | None = None
    tool_calls: list[MessageCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    """Of the speaker; the templates have no place for it."""
    audio: msgspec.Raw = NULL
    function_call: msgspec.Raw = NULL
    refusal: msgspec.Raw = NULL

    @property
    def text(self) -> str:
        """The content as text.

        Raises:
            HttpError: 400, a part is not text.
        """
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join([_text_of(part) for part in self.content])

    @property
    def characters(self) -> int:
        """The characters of content and calls."""
        content = self.content or ""
        size = len(content) if isinstance(content, str) else sum(len(part.text or "") for part in content)
        return size + sum(len(call.function.arguments) for call in self.tool_calls or ())


def _text_of(part: ContentPart) -> str:
    if part.type != "text" or part.text is None:
        kind = str(part.type)[:40]
        raise HttpError(400, f"a content part of type {kind!r}: only text is served", param="messages")
    return part.text


class ChatBody(Sampling, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage]
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None

    @property
    def offered_tools(self) -> list[dict[str, Any]]:
        """The tools that are declared to the model."""
        return [] if self.tool_choice == "none" else self.tools or []

    @property
    def characters(self) -> int:
        """The characters of all messages; tools are bounded by themselves."""
        return sum(message.characters for message in self.messages)

    @property
    def limit(self) -> int | None:
        """The most ids that the caller wants; the newer name wins."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


T = TypeVar("T")
Fields: TypeAlias = dict[str, msgspec.Raw]

_COMPLETION = msgspec.json.Decoder(CompletionBody)
_CHAT = msgspec.json.Decoder(ChatBody)
_TEXT = msgspec.json.Decoder(str)
_IDS = msgspec.json.Decoder(list[int])
_ONE = msgspec.json.Decoder(tuple[msgspec.Raw])
_FIELDS = msgspec.json.Decoder(Fields)
_OBJECT = msgspec.json.Decoder(dict[str, Any])


def read_completion(body: bytes, settings: ServerSettings = DEFAULTS) -> CompletionBody:
    """Read a completion request.

    Raises:
        HttpError: 400, naming the field.
    """
    _check_fields(body, CompletionBody.__struct_fields__, LONG_IN_COMPLETIONS)
    completion = _read(_COMPLETION, body)
    _check_stops(completion, settings)
    return completion


def read_prompt(raw: bytes, *, nested: bool = False) -> str | list[int]:
    """Return the prompt of a completion request: a text or token ids.

    Raises:
        HttpError: 400, it is neither, or it is several prompts.
    """
    if raw[:1] == b'"':
        return _read(_TEXT, raw, "prompt")
    if not nested and raw[:1] == b"[" and raw[1:].lstrip()[:1] in (b'"', b"["):
        try:
            [only] = _ONE.decode(raw)
        except msgspec.ValidationError:
            raise HttpError(
                400, "one request has one prompt; send several requests", param="prompt"
            ) from None
        return read_prompt(bytes(only), nested=True)
    return _read(_IDS, raw, "prompt")


def read_chat(body: bytes, settings: ServerSettings = DEFAULTS) -> ChatBody:
    """Read a chat request.

    Raises:
        HttpError: 400, naming the field.
    """
    if body.count(b'"role"') > MANY * settings.max_messages:  # cheap to count, and dear to decode
        raise HttpError(
            400, f"there are too many messages, the limit is {settings.max_messages}", param="messages"
        )
    _check_fields(body, ChatBody.__struct_fields__, LONG_IN_CHATS)
    chat = _read(_CHAT, body)
    _check_stops(chat, settings)
    _check_tools(chat, settings)
    if not chat.messages:
        raise HttpError(400, "messages is empty", param="messages")
    if len(chat.messages) > settings.max_messages:
        count, limit = len(chat.messages), settings.max_messages
        raise HttpError(400, f"there are {count} messages, the limit is {limit}", param="messages")
    for place, message in enumerate(chat.messages):
        _check_message(f"messages[{place}]", message)
    return chat


def _check_message(place: str, message: ChatMessage) -> None:
    if message.role not in ("system", "developer", "user", "assistant", "tool"):
        raise HttpError(400, f"{place} has the role {message.role[:40]!r}", param="messages")
    for name in ("audio", "function_call", "refusal"):
        if bytes(getattr(message, name)) != b"null":
            raise HttpError(400, f"{place} has {name}, which is not served", param=f"messages.{name}")
    if message.tool_calls and message.role != "assistant":
        raise HttpError(400, f"{place} has tool_calls, but not the role assistant", param=CALLS)
    for number, call in enumerate(message.tool_calls or ()):
        _check_call(f"{place}.tool_calls[{number}]", call)


def _check_call(place: str, call: MessageCall) -> None:
    if call.type != "function":
        raise HttpError(
            400,
            f"{place} is of type {call.type[:40]!r}: only functions are served",
            param=CALLS,
        )
    if not call.function.name:
        raise HttpError(400, f"{place} names no function", param=CALLS)
    call_arguments(call, f"{place}.function.arguments")


def call_arguments(call: MessageCall, place: str = "messages") -> dict[str, Any]:
    """Return the arguments of an earlier call.

    Raises:
        HttpError: 400, they are not the text of a JSON object.
    """
    try:
        return _OBJECT.decode(call.function.arguments)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise HttpError(400, f"{place} must be a JSON object, written as a string", param=CALLS) from None


def _check_stops(body: Sampling, settings: ServerSettings) -> None:
    stops = body.stops
    if len(stops) > settings.max_stops:
        raise HttpError(400, f"stop has {len(stops)} texts, the limit is {settings.max_stops}", param="stop")
    if any(not 0 < len(stop) <= settings.max_stop_length for stop in stops):
        raise HttpError(400, f"a stop text has 1 to {settings.max_stop_length} characters", param="stop")


def _check_tools(chat: ChatBody, settings: ServerSettings) -> None:
    if chat.tool_choice not in (None, "auto", "none"):
        raise HttpError(
            400, "tool_choice must be auto or none: no model is forced to call", param="tool_choice"
        )
    tools = chat.tools or []
    if len(tools) > settings.max_tools:
        raise HttpError(
            400, f"there are {len(tools)} tools, the limit is {settings.max_tools}", param="tools"
        )
    for place, tool in enumerate(tools):
        _check_tool(f"tools[{place}]", tool)


def _check_tool(place: str, tool: Mapping[str, Any]) -> None:
    if tool.get("type", "function") != "function":
        kind = str(tool["type"])[:40]
        raise HttpError(400, f"{place} is of type {kind!r}: only functions are served", param="tools")
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise HttpError(400, f"{place} has no function with a name", param="tools")
    if not isinstance(function.get("parameters") or {}, dict):
        raise HttpError(400, f"{place}.function.parameters must be a JSON schema", param="tools")


def _check_fields(body: bytes, read: tuple[str, ...], long: Lengths) -> None:
    """Check the size of every field, and refuse those that are not read and would change the answer."""
    fields: Fields = _read(_FIELDS, body)
    for name, raw in fields.items():
        limit = long.get(name, MAX_FIELD)
        if limit is not None and len(bytes(raw)) > limit:
            shown = name[:80]
            raise HttpError(400, f"the field {shown!r} is longer than {limit} bytes", param=shown)
    refuse_unread(fields, read)
    if (options := fields.get("stream_options")) is not None and bytes(options) != b"null":
        inner: Fields = _read(_FIELDS, options, "stream_options")
        refuse_unread(inner, StreamOptions.__struct_fields__, "stream_options.")


_PLACE = re.compile(r"at `\$\.(\w+)")
"""Where msgspec found a value that does not fit."""


def _read(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, field: str | None = None) -> T:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:  # ValidationError is one
        place = _PLACE.search(str(error))
        param = field if place is None else place[1]
        within = "" if field is None else f"{field}: "
        raise HttpError(400, f"the body cannot be read: {within}{error}", param=param) from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise HttpError(400, "the body cannot be read: it is not valid JSON", param=field) from error
