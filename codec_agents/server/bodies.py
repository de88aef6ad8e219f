"""What clients send: what is read of it is read strictly, and what is not is looked at in `fields`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from codec_agents.server.fields import refuse_unread
from codec_agents.server.http import HttpError


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
        """Whether a stream ends with counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class CompletionBody(Sampling, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    prompt: str | list[int | str | list[int]]
    """One text or one list of ids; also a list with one of these in it."""
    return_token_ids: bool | None = None
    echo: bool | None = None


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    """Of the speaker; the templates that there are have no place for it."""
    audio: Any = None
    function_call: Any = None
    refusal: Any = None

    @property
    def text(self) -> str:
        """The content as text.

        Raises:
            HttpError: 400, a part is not text.
        """
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        for part in self.content:
            if part.get("type") != "text" or not isinstance(part.get("text"), str):
                kind = str(part.get("type"))[:40]
                raise HttpError(
                    400, f"a content part of type {kind!r}: only text is served", param="messages"
                )
        return "".join(part["text"] for part in self.content)


class ChatBody(Sampling, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage]
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None

    @property
    def offered_tools(self) -> list[dict[str, Any]]:
        """The tools that the model is told about."""
        return [] if self.tool_choice == "none" else self.tools or []

    @property
    def limit(self) -> int | None:
        """The most ids that the caller wants; the newer name wins."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


T = TypeVar("T")

_COMPLETION = msgspec.json.Decoder(CompletionBody)
_CHAT = msgspec.json.Decoder(ChatBody)


def read_completion(body: bytes) -> CompletionBody:
    """Read a completion request.

    Raises:
        HttpError: 400, naming the field.
    """
    completion = _read(_COMPLETION, body)
    _refuse_unread(body, CompletionBody.__struct_fields__)
    return completion


def read_chat(body: bytes) -> ChatBody:
    """Read a chat request.

    Raises:
        HttpError: 400, naming the field.
    """
    chat = _read(_CHAT, body)
    _refuse_unread(body, ChatBody.__struct_fields__)
    _check_tools(chat)
    for message in chat.messages:
        for name in ("audio", "function_call", "refusal"):
            if getattr(message, name) is not None:
                raise HttpError(400, f"a message has {name}, which is not served", param=f"messages.{name}")
    return chat


def _check_tools(chat: ChatBody) -> None:
    if chat.tool_choice not in (None, "auto", "none"):
        raise HttpError(
            400, "tool_choice must be auto or none: no model is forced to call", param="tool_choice"
        )
    for tool in chat.tools or ():
        if tool.get("type", "function") != "function":
            kind = str(tool["type"])[:40]
            raise HttpError(400, f"a tool of type {kind!r}: only functions are served", param="tools")


Fields = dict[str, msgspec.Raw]

_FIELDS = msgspec.json.Decoder(Fields)


def _refuse_unread(body: bytes, read: tuple[str, ...]) -> None:
    fields: Mapping[str, msgspec.Raw] = _FIELDS.decode(body)
    refuse_unread(fields, read)
    if (options := fields.get("stream_options")) is not None and bytes(options) != b"null":
        refuse_unread(_FIELDS.decode(options), StreamOptions.__struct_fields__, "stream_options.")


_PLACE = re.compile(r"at `\$\.(\w+)")
"""Where msgspec says that a value stands that is none."""


def _read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:  # ValidationError is one
        place = _PLACE.search(str(error))
        param = None if place is None else place[1]
        raise HttpError(400, f"the body cannot be read: {error}", param=param) from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise HttpError(400, "the body cannot be read: it is not sound JSON") from error
