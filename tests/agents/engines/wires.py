"""Every engine's wire, one piece of the body an id, and servers that do to it what networks do."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.openai import OpenAIEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.vllm import VllmEngine
from codec_core.detokenizer import Detokenizer, detokenize
from codec_core.vocabulary import Vocabulary
from tests.agents.engines.listening import ThreadedServer

DONE = b"data: [DONE]\n\n"


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


@dataclass(frozen=True)
class Wire:
    """How one engine is asked, and how it answers."""

    kind: str
    """Its kind in a declaration."""
    options: dict[str, Any]
    make: Callable[..., Any]
    pieces: Callable[[Vocabulary, Sequence[int]], list[bytes]]
    """One piece for each id, and one for the end."""
    prompt: Callable[[Any], Sequence[int] | None] = lambda asked: asked["prompt"]
    """The prompt's ids in a request; None where it is text."""
    content_type: str = "text/event-stream"


def codec(_: Vocabulary, ids: Sequence[int]) -> list[bytes]:
    end = {"ids": [], "done": True, "finish_reason": "stop"}
    return [msgspec.msgpack.encode(frame) for frame in (*({"ids": [i], "done": False} for i in ids), end)]


def completions(_: Vocabulary, ids: Sequence[int]) -> list[bytes]:
    said = [{"choices": [{"index": 0, "text": "", "token_ids": [token]}]} for token in ids]
    end = {"choices": [{"index": 0, "text": "", "token_ids": [], "finish_reason": "stop"}]}
    return [*map(event, said), event(end) + DONE]


def sglang(_: Vocabulary, ids: Sequence[int]) -> list[bytes]:
    said = [
        event({"output_ids": ids[:n], "meta_info": {"completion_tokens": n, "finish_reason": None}})
        for n in range(1, len(ids) + 1)
    ]
    end = {"completion_tokens": len(ids), "finish_reason": {"type": "stop", "matched": 2}}
    return [*said, event({"output_ids": list(ids), "meta_info": end}) + DONE]


def llamacpp(vocabulary: Vocabulary, ids: Sequence[int]) -> list[bytes]:
    said = [
        event({"content": detokenize(vocabulary, [i]), "tokens": [i], "stop": False, "tokens_predicted": n})
        for n, i in enumerate(ids, 1)
    ]
    end = {"content": "", "tokens": [], "stop": True, "stop_type": "eos", "tokens_predicted": len(ids)}
    return [*said, event(end)]


def text(vocabulary: Vocabulary, ids: Sequence[int]) -> list[bytes]:
    feed = Detokenizer(vocabulary).feed
    said = [{"choices": [{"index": 0, "delta": {"content": feed((token,))}}]} for token in ids]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return [*map(event, said), event(end) + DONE]


PLAIN = {"handshake": False}

WIRES = {
    "codec": Wire("codec", {}, CodecEngine, codec, content_type="application/x-msgpack"),
    "vllm completions": Wire("vllm", {**PLAIN, "api": "completions"}, VllmEngine, completions),
    "vllm generate": Wire(
        "vllm", {**PLAIN, "api": "generate"}, VllmEngine, completions, lambda asked: asked["token_ids"]
    ),
    "sglang completions": Wire("sglang", {**PLAIN, "api": "completions"}, SglangEngine, completions),
    "sglang generate": Wire(
        "sglang", {**PLAIN, "api": "generate"}, SglangEngine, sglang, lambda asked: asked["input_ids"]
    ),
    "llamacpp": Wire("llamacpp", {**PLAIN, "lost_ids": "error"}, LlamaCppEngine, llamacpp),
    "openai": Wire("openai", {}, OpenAIEngine, text, lambda _: None),
}


@dataclass
class Exchange:
    """One request, and what becomes of it."""

    connection: socket.socket
    head: bytes
    pieces: list[bytes]
    stopped: threading.Event

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.connection.sendall(part)

    def drip(self, data: bytes) -> None:
        """Send bytes one by one, far apart, until the client has had enough of it."""
        for byte in data:
            self.send(bytes([byte]))
            if self.stopped.wait(0.03):
                return

    def until_left(self) -> None:
        """Say nothing more until the client leaves."""
        self.connection.recv(1)


Fault = Callable[[Exchange], None]
SENT = 3
"""Pieces that arrive before a fault in mid-stream."""


def whole(exchange: Exchange) -> None:
    exchange.send(exchange.head + b"".join(exchange.pieces))


def killed(exchange: Exchange) -> None:
    """The process ends, and the system closes its sockets."""
    exchange.send(exchange.head, b"".join(exchange.pieces[:SENT]))


def cut_inside(exchange: Exchange) -> None:
    """The end comes inside a piece."""
    exchange.send(exchange.head, b"".join(exchange.pieces[:SENT]), exchange.pieces[SENT][:-4])


def reset(exchange: Exchange) -> None:
    """The connection is reset, as by a firewall that has forgotten it."""
    exchange.send(exchange.head, b"".join(exchange.pieces[:SENT]))
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half_open(exchange: Exchange) -> None:
    """The other end is gone, and nobody says so."""
    exchange.send(exchange.head, b"".join(exchange.pieces[:SENT]))
    exchange.until_left()


def silent(exchange: Exchange) -> None:
    """It accepts, and never answers."""
    exchange.until_left()


def silent_after_head(exchange: Exchange) -> None:
    exchange.send(exchange.head)
    exchange.until_left()


def dripping_head(exchange: Exchange) -> None:
    exchange.drip(exchange.head + bytes(10_000))


def dripping_body(exchange: Exchange) -> None:
    """Slow bytes are no progress: what counts is the time between ids."""
    exchange.send(exchange.head, b"".join(exchange.pieces[:SENT]))
    exchange.drip(exchange.pieces[SENT][:-1])
    exchange.until_left()


def byte_by_byte(exchange: Exchange) -> None:
    exchange.send(exchange.head, *(bytes([byte]) for byte in b"".join(exchange.pieces)))


def buffered(exchange: Exchange) -> None:
    """A proxy gives the answer on when it has all of it."""
    time.sleep(0.1)
    exchange.send(exchange.head + b"".join(exchange.pieces))


def refusing(status: int, *headers: bytes) -> Fault:
    body = b'{"error": {"message": "busy"}}'
    lines = [b"HTTP/1.1 %d Busy" % status, b"content-length: %d" % len(body), *headers]
    return lambda exchange: exchange.send(b"\r\n".join(lines) + b"\r\nconnection: close\r\n\r\n" + body)


class FaultyServer(ThreadedServer):
    """Answers in one engine's wire; to its first requests in the ways given, one each, then well.

    An answer goes on where the prompt ends, as a model would. Works under any event loop: it is threads.
    """

    def __init__(
        self,
        wire: Wire,
        vocabulary: Vocabulary,
        ids: Sequence[int],
        *faults: Fault,
        keeps: bool = False,
        seconds: float = 10.0,
    ) -> None:
        super().__init__()
        self.wire = wire
        self._keeps = keeps
        self._seconds = seconds
        self.asked: list[Any] = []
        self._vocabulary = vocabulary
        self._ids = list(ids)
        self._faults = list(faults)
        self._stopped = threading.Event()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped.set()
        self.stop()

    @property
    def prompts(self) -> list[list[int]]:
        """The prompts that were sent."""
        return [list(self.wire.prompt(asked) or ()) for asked in self.asked]

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(self._seconds)
            while (request := _request(connection)) is not None:
                head, body = request
                keeps = self._keeps and b"connection: close" not in head
                self._answer(connection, json.loads(body), keeps=keeps)
                if not keeps:
                    return

    def _answer(self, connection: socket.socket, asked: Any, *, keeps: bool) -> None:
        self.asked.append(asked)
        fault = self._faults.pop(0) if self._faults else whole
        pieces = self.wire.pieces(self._vocabulary, self._left(asked))
        ends = "transfer-encoding: chunked" if keeps else "connection: close"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {self.wire.content_type}\r\n{ends}\r\n\r\n"
        if keeps:
            pieces = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""]]
        fault(Exchange(connection, head.encode(), pieces, self._stopped))

    def _left(self, asked: Any) -> list[int]:
        """What the prompt does not hold already."""
        prompt = list(self.wire.prompt(asked) or ())
        known = next(n for n in range(len(self._ids), -1, -1) if prompt[len(prompt) - n :] == self._ids[:n])
        return self._ids[known:]


def _request(connection: socket.socket) -> tuple[bytes, bytes] | None:
    """Read a request; return its head, in lower case, and its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (chunk := connection.recv(65536)):
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    head = head.lower()
    lines = [line.partition(b":") for line in head.split(b"\r\n")]
    length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
    while len(body) < length:
        if not (chunk := connection.recv(65536)):
            return None
        body += chunk
    return head, body
