"""Requests and answers of one ASGI connection: what the server needs of HTTP, and no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import anyio
import msgspec

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

JSON = "application/json"


class HttpError(Exception):
    """A request that is answered with an error.

    Attributes:
        status, message: what went wrong.
        kind, code, param: OpenAI's error fields.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.kind = kind or ("invalid_request_error" if status < 500 else "server_error")
        self.code = code
        self.param = param
        self.headers = dict(headers or {})
        self._body = body

    @property
    def body(self) -> bytes:
        """The error in the form that OpenAI's clients read."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error}) if self._body is None else self._body


class ClientGoneError(Exception):
    """The client closed the connection before its request was there."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, its body read."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case; repeated headers joined by commas."""
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type of the body, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_request(scope: Scope, receive: Receive, *, limit: int, within: float) -> Request:
    """Read a whole request.

    Raises:
        HttpError: 413, the body is larger than the limit; 408, it takes longer than `within` seconds; it is
            not read further.
        ClientGoneError: the client left.
    """
    with anyio.move_on_after(within):
        return await _read_request(scope, receive, limit)
    raise HttpError(
        408, f"the body did not arrive within {within:g} seconds", headers={"connection": "close"}
    )


async def _read_request(scope: Scope, receive: Receive, limit: int) -> Request:
    headers = _headers(scope["headers"])
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
    return Request(scope["method"], scope["path"], query, headers, bytes(body))


def _too_large(limit: int) -> HttpError:
    return HttpError(413, f"the body is larger than {limit} bytes", code="body_too_large")


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


async def answer(
    send: Send,
    status: int,
    body: bytes,
    *,
    content_type: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Send a whole answer."""
    own = {"content-type": content_type, "content-length": str(len(body))}
    given = {name.lower(): value for name, value in (headers or {}).items()}
    await begin(send, status, own | given)
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def begin(send: Send, status: int, headers: Mapping[str, str]) -> None:
    """Send the head of an answer; its body follows."""
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def send_part(send: Send, body: bytes, *, last: bool = False) -> None:
    """Send a part of a body, at once."""
    await send({"type": "http.response.body", "body": body, "more_body": not last})
