"""Hostile clients. Each attack goes on until its time is over, from a process of its own.

`python -m tests.soak.attacks NAME PORT SECONDS` runs one against a server on 127.0.0.1.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

WORKERS = 4
"""Threads of an attack."""

MiB = 2**20
TIMEOUT = 30.0

JSON = "content-type: application/json"
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


def head(path: str, *more: str, method: str = "POST") -> bytes:
    """Return the head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: localhost", *more, "", ""]).encode()


def request(document: Any, path: str = COMPLETIONS, *more: str) -> bytes:
    """Return a request with a body."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return head(path, JSON, f"content-length: {len(body)}", *more) + body


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """Open a connection."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.settimeout(TIMEOUT)
        yield connection


def send(data: bytes) -> Callable[[int], None]:
    """Return an attack that sends a request, waits for an answer, and begins anew."""

    def once(port: int) -> None:
        with connected(port) as connection:
            connection.sendall(data)
            connection.recv(65536)

    return once


def hold(data: bytes, *, many: int, trickle: bytes = b"", for_seconds: float = 2.0) -> Callable[[int], None]:
    """Return an attack that opens many connections, and then sends next to nothing on them."""

    def once(port: int) -> None:
        connections: list[socket.socket] = []
        try:
            for _ in range(many):
                connection = socket.socket()
                connection.settimeout(TIMEOUT)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                connections.append(connection)
                connection.connect(("127.0.0.1", port))
                connection.sendall(data)
            end = time.monotonic() + for_seconds
            while time.monotonic() < end:
                time.sleep(0.1)
                for connection in connections if trickle else ():
                    with suppress(OSError):
                        connection.sendall(trickle)
        finally:
            for connection in connections:
                connection.close()

    return once


def leave(data: bytes) -> Callable[[int], None]:
    """Return an attack that leaves as soon as its request is sent, with a reset."""

    def once(port: int) -> None:
        with connected(port) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(data)

    return once


def prompt(given: str | list[int]) -> Callable[[int], None]:
    """Return an attack with a long prompt."""
    return send(request({"prompt": given, "max_tokens": 1}))


def declared(content_type: str, length: int) -> bytes:
    """Return the head of a request with a body of a length."""
    return head(COMPLETIONS, content_type, f"content-length: {length}")


FLOOD = {"prompt": "flood", "max_tokens": 60_000, "stream_format": "msgpack"}
USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "description": "x" * 500}}
CHUNKED = head(COMPLETIONS, JSON, "transfer-encoding: chunked")


ATTACKS: dict[str, Callable[[], Callable[[int], None]]] = {
    "a long prose prompt": lambda: prompt("the quick brown fox. " * 380_000),
    "a prompt of spaces": lambda: prompt(" " * (7 * MiB)),
    "a prompt of one word": lambda: prompt("a" * (7 * MiB)),
    "a prompt of 900,000 ids": lambda: prompt([65] * 900_000),
    "a body beyond the limit": lambda: send(declared(JSON, 30 * MiB) + b" " * MiB),
    "100,000 stops": lambda: send(request({"prompt": "x", "stop": [f"z{n}" for n in range(100_000)]})),
    "100,000 messages": lambda: send(request({"messages": [USER] * 100_000}, CHAT)),
    "a chat of spaces": lambda: send(request({"messages": [{**USER, "content": " " * (7 * MiB)}]}, CHAT)),
    "10,000 tools": lambda: send(request({"messages": [USER], "tools": [TOOL] * 10_000}, CHAT)),
    "a million objects": lambda: send(request(b'{"messages":[' + b"{}," * 1_000_000 + b"{}]}", CHAT)),
    "a million unknown objects": lambda: send(request(b'{"prompt":"x","z":[' + b"{}," * 1_000_000 + b"{}]}")),
    "nesting": lambda: send(request(b'{"prompt":' + b"[" * 5_000_000)),
    "small chunks": lambda: send(CHUNKED + b"1\r\n \r\n" * 200_000),
    "text/plain of 7 MiB": lambda: send(declared("content-type: text/plain", 7 * MiB) + b" " * (7 * MiB)),
    "malformed requests": lambda: send(b"GET / HTTP/9.9\r\n\x00\r\n\r\n" + os.urandom(200)),
    "heads that trickle": lambda: hold(b"GET /hea", many=50, trickle=b"l"),
    "bodies that trickle": lambda: hold(declared(JSON, 9999) + b"{", many=50, trickle=b" "),
    "readers that do not read": lambda: hold(request(FLOOD), many=20),
    "connections without a request": lambda: hold(b"", many=250),
    "clients that leave": lambda: leave(request(FLOOD)),
}  # fmt: skip


def run(name: str, port: int, seconds: float) -> None:
    """Attack for a while."""
    once = ATTACKS[name]()
    end = time.monotonic() + seconds

    def work() -> None:
        while time.monotonic() < end:
            with suppress(OSError):
                once(port)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + TIMEOUT)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
