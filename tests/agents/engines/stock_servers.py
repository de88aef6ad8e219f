"""Servers that behave as the documented engines do, byte by byte, faults included, on real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable

Reply = Iterable[bytes]


def head(status: int, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return the head of an answer; without a length, the end of the connection ends the body."""
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in headers)]
    if not any(name == "content-length" for name, _ in headers):
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class RawServer:
    """Sends these bytes to whoever asks anything, then closes. Works under any event loop: it is a thread.

    `pieces` are sent one by one; a callable among them is called (to wait, or to fail).
    """

    def __init__(self, *pieces: bytes | Callable[[socket.socket], None]) -> None:
        self._pieces = pieces
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._stopped = threading.Event()

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._answer(connection)
                except OSError:
                    continue

    def _answer(self, connection: socket.socket) -> None:
        read_http_request(connection)
        for piece in self._pieces:
            if callable(piece):
                piece(connection)
            else:
                connection.sendall(piece)


def read_http_request(connection: socket.socket) -> tuple[str, dict[str, str], bytes] | None:
    """Return the request line, the headers and the body; None when the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        data += chunk
    raw_head, _, body = data.partition(b"\r\n\r\n")
    line, *rest = raw_head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rest)}
    while len(body) < int(headers.get("content-length", 0)):
        chunk = connection.recv(65536)
        if not chunk:
            return None
        body += chunk
    return line, headers, body
