"""Messages of the Model Context Protocol within a limit, from programs and servers that may never end one.

The MCP library reads a line of any length into memory, and takes the square of its length for it. So what it
gets here are whole lines: one that is too long is dropped as it comes, and a line takes its place that is no
message. The library logs that, and the call whose answer it was ends by its time limit.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator
from typing import Any, BinaryIO, Final

from codec_agents.exceptions import MessageTooLongError

MAX_MESSAGE: Final = 32 * 1024 * 1024
"""Bytes of a message: a little more than a server takes in a request. Results for models are far shorter."""

DROPPED: Final = "(a line that is too long for a message)\n"

ENCODING: Final = "codec_agents_message_lines"
"""The name by which the library finds the decoder below: an encoding is what it lets its callers choose."""


class LineDecoder(codecs.IncrementalDecoder):
    """Decodes UTF-8 by whole lines, and drops those that are too long.

    Args:
        errors: as of `bytes.decode`.
        limit: bytes of a line.
    """

    def __init__(self, errors: str = "strict", *, limit: int = MAX_MESSAGE) -> None:
        super().__init__(errors)
        self._limit = limit
        self._parts: list[bytes] = []
        self._held = 0

    def decode(self, data: Any, final: bool = False) -> str:
        """Return the lines that the bytes complete; `final` gives the rest as well."""
        *lines, rest = bytes(data).split(b"\n")
        whole = []
        for line in lines:
            self._hold(line)
            whole.append(self._taken("\n"))
        self._hold(rest)
        return "".join(whole) + (self._taken() if final else "")

    def reset(self) -> None:
        """Forget the line that has begun."""
        self._parts, self._held = [], 0

    def _hold(self, part: bytes) -> None:
        self._held += len(part)
        if self._held > self._limit:
            self._parts.clear()
        elif part:
            self._parts.append(part)

    def _taken(self, end: str = "") -> str:
        """Return the line that has begun, and begin the next."""
        line, dropped = b"".join(self._parts), self._held > self._limit
        self.reset()
        return DROPPED if dropped else line.decode("utf-8", self.errors) + end


def _codec(name: str) -> codecs.CodecInfo | None:
    if name != ENCODING:
        return None
    utf_8 = codecs.lookup("utf-8")
    return codecs.CodecInfo(utf_8.encode, utf_8.decode, incrementaldecoder=LineDecoder, name=ENCODING)


codecs.register(_codec)


class LineReader:
    """Reads lines of messages from a file, whose writer gets an error for one that is too long.

    Args:
        file: the file.
        limit: bytes of a line.
    """

    def __init__(self, file: BinaryIO, *, limit: int = MAX_MESSAGE) -> None:
        self._file = file
        self._limit = limit

    def readline(self) -> str:
        """Return a line; empty at the end of the file.

        Raises:
            MessageTooLongError: the line is longer than a message may be.
        """
        line = self._file.readline(self._limit + 1)
        if len(line) > self._limit and not line.endswith(b"\n"):
            raise MessageTooLongError(self._limit)
        return line.decode("utf-8", "replace")


def bounding(limit: int = MAX_MESSAGE) -> Any:
    """Return a hook of an HTTP client that bounds the bodies which are one message.

    The library bounds the events of a stream itself, by the limit that it is given.
    """
    import httpx2

    class Bounded(httpx2.AsyncByteStream):
        def __init__(self, inner: Any, refused: str | None) -> None:
            self._inner = inner
            self._refused = refused

        async def __aiter__(self) -> AsyncIterator[bytes]:
            # The kind of error that the library turns into one of the call.
            if self._refused is not None:
                raise httpx2.StreamError(self._refused)
            size = 0
            async for chunk in self._inner:
                size += len(chunk)
                if size > limit:
                    raise httpx2.StreamError(f"the answer has more than {limit} bytes")
                yield chunk

        async def aclose(self) -> None:
            await self._inner.aclose()

    async def bound(response: httpx2.Response) -> None:
        if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            return
        # None was asked for, and what it expands to has no limit.
        encoding = response.headers.get("content-encoding", "identity").lower()
        refused = None if encoding == "identity" else f"the answer is compressed by {encoding[:40]!r}"
        response.stream = Bounded(response.stream, refused)

    return bound
