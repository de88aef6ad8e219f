"""Server-sent events, as inference servers write them: bytes in, the data of whole events out."""

from __future__ import annotations

from codec_core.exceptions import FrameTooLargeError

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""A cumulative stream repeats all its text and ids in each event; 100,000 ids are some 2 MB."""


class SseDecoder:
    """Gives the data of each event. Comments, event names and ids are passed over.

    Lines end with LF or CRLF. (The specification's lone CR is not read: no server of this kind writes it.)
    """

    __slots__ = ("_buffer", "_data", "_limit", "_offset")

    def __init__(self, *, limit: int = MAX_EVENT_BYTES) -> None:
        self._buffer = b""
        self._data: list[bytes] = []
        self._limit = limit
        self._offset = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that these bytes complete.

        Raises:
            FrameTooLargeError: an event is larger than the limit.
        """
        *lines, rest = data.split(b"\n")
        if not lines:
            return self._keep(self._buffer + rest)
        lines[0] = self._buffer + lines[0]
        self._keep(rest)
        events: list[bytes] = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
        self._offset += len(data)
        return events

    def _keep(self, rest: bytes) -> list[bytes]:
        self._buffer = rest
        if len(rest) + sum(map(len, self._data)) > self._limit:
            raise FrameTooLargeError("a server-sent event is too large", self._offset, self._limit)
        return []
