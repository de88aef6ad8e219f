"""What clients send: bodies read strictly where they matter, and lenient to fields of other servers."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from codec_agents.server.http import HttpError


class StreamOptions(msgspec.Struct, frozen=True):
    """OpenAI's `stream_options`."""

    include_usage: bool = False


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that completions and chat share."""

    model: str | None = None
    stream: bool = False
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
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionBody(Sampling, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    prompt: str | list[int | str | list[int]]
    """One text or one list of ids; also a list with one of these in it."""
    return_token_ids: bool = False
    echo: bool = False


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None

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
                raise HttpError(400, f"a content part of type {part.get('type')!r}: only text is served")
        return "".join(part["text"] for part in self.content)


class ChatBody(Sampling, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage]
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None

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
    return _read(_COMPLETION, body)


def read_chat(body: bytes) -> ChatBody:
    """Read a chat request.

    Raises:
        HttpError: 400, naming the field.
    """
    return _read(_CHAT, body)


def _read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:  # ValidationError is one
        raise HttpError(400, f"the body cannot be read: {error}") from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise HttpError(400, "the body cannot be read: it is not sound JSON") from error
