"""Requests and answers of one ASGI connection.

Rules that hold in this file:

- A request's head is read without its body, so that everything that can be refused on the head is refused
  before a byte of the body is kept.
- A body is read under three limits: its own size, the time it may take, and the budget that all bodies
  share.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
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

MAX_QUERY_FIELDS = 32
"""Fields of a query that are read. The server knows one of them."""


class HttpError(Exception):
    """A request that is answered with an error.

    Attributes:
        status, message: the HTTP status, and the sentence that the client gets.
        kind, code, param: OpenAI's error fields.
        headers: further headers of the answer.
        body: the answer where the protocol has a form of its own for it (426); OpenAI's if left out.
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
    """The client closed the connection before its request had arrived."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its head, and its body once that has been read."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case; repeated headers joined by commas."""
    body: bytes = b""
    peer: str | None = None
    """The address at which this server received the request; None where there is none (a Unix socket)."""
    port: int | None = None
    scheme: str = "http"

    @property
    def content_type(self) -> str:
        """The media type of the body, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def with_body(self, body: bytes) -> Request:
        """Return the same request with its body."""
        return Request(
            self.method, self.path, self.query, self.headers, body, self.peer, self.port, self.scheme
        )


class BodyBudget:
    """The bytes that the bodies of all requests under way may hold together."""

    def __init__(self, total: int) -> None:
        self.left = total

    @contextmanager
    def share(self) -> Iterator[BodyShare]:
        """Open the share of one request; everything it took is given back on leaving."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self.left += share.taken


class BodyShare:
    """The part of the budget that one request holds, from the first byte of its body to its answer's end."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.taken = 0

    def take(self, size: int) -> None:
        """Take bytes as they arrive.

        What is declared and not sent takes nothing: a header must not be able to hold the budget.

        Raises:
            HttpError: 503, the budget is used up.
        """
        if size > self._budget.left:
            raise HttpError(
                503,
                "the server has as many request bytes in memory as it may; send the request again later",
                code="busy",
                # Without this, the rest of the body would be read all the same, to find the next request.
                headers={"retry-after": "1", "connection": "close"},
            )
        self._budget.left -= size
        self.taken += size

    def hold(self, size: int) -> None:
        """Take what is missing to a size: a body may name what its prompt is made of, and be short.

        Raises:
            HttpError: 503, the budget is used up.
        """
        self.take(max(0, size - self.taken))


def read_head(scope: Scope) -> Request:
    """Return a request without its body.

    Raises:
        HttpError: 400, the query cannot be read, or the length of the body is ambiguous.
    """
    headers = _headers(scope["headers"])
    if "transfer-encoding" in headers and "content-length" in headers:
        # RFC 9112, 6.1: a request smuggler's mark. What follows on this connection cannot be trusted.
        raise HttpError(
            400,
            "a request must not have both Transfer-Encoding and Content-Length",
            headers={"connection": "close"},
        )
    try:
        fields = parse_qsl(scope.get("query_string", b"").decode("latin-1"), max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise HttpError(400, f"the query has more than {MAX_QUERY_FIELDS} fields") from None
    address, port = scope.get("server") or (None, None)
    return Request(
        scope["method"],
        scope["path"],
        dict(fields),
        headers,
        # ASGI has the path of a Unix socket in the place of an address, and no port.
        peer=address if port is not None else None,
        port=port,
        scheme=scope.get("scheme", "http"),
    )


async def read_body(
    request: Request, receive: Receive, share: BodyShare, *, limit: int, within: float
) -> Request:
    """Read the body of a request whose head has been accepted.

    Args:
        request: the head.
        receive: ASGI's.
        share: takes the bytes from the budget of all bodies.
        limit: the most bytes of this body.
        within: seconds in which the whole body has to arrive.

    Raises:
        HttpError: 413, the body is larger than the limit; 408, it takes longer than `within` seconds; 503,
            the budget is used up. It is not read further.
        ClientGoneError: the client left.
    """
    declared = request.headers.get("content-length", "")
    # Digits are counted first: `int` raises for more than 4,300 of them.
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > limit):
        raise _too_large(limit)
    # An answer of 413 leaves the connection open: a client that is still sending gets to read it. What it
    # sends is thrown away, for as long as `connections` lets it be idle.
    with anyio.move_on_after(within):
        return request.with_body(await _read(receive, share, limit))
    raise HttpError(
        408, f"the body did not arrive within {within:g} seconds", headers={"connection": "close"}
    )


async def _read(receive: Receive, share: BodyShare, limit: int) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        if len(body) + len(part) > limit:
            raise _too_large(limit)
        share.take(len(part))
        body += part
        more = message.get("more_body", False)
    return bytes(body)


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
    # Given headers win, as for the length of an answer to HEAD.
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
