"""Answers whose content type does not show what they are: their first bytes decide.

Proxies rewrite content types, and some servers send none. A Codec stream begins with a MessagePack map or
with the length of a frame, an event stream with a field or a comment; no byte begins both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from codec_agents.engines.http.stream import FrameParser
from codec_core.frames import CodecFrame

UNTELLING = frozenset({"", "application/octet-stream", "binary/octet-stream", "text/plain"})
"""Content types that proxies and servers give to anything."""

EVENT_STREAM = "text/event-stream"

_EVENT_STARTS = (b"data", b"event", b"id", b"retry", b":", b"\xef\xbb\xbf")
_UNTIL_TOLD = frozenset(start[:size] for start in _EVENT_STARTS for size in range(len(start)))
"""Beginnings that do not show yet whether they are those of events; the empty one is among them."""

_MAP_STARTS = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
"""First bytes of a MessagePack map."""


def media_type(content_type: str | None) -> str:
    """Return a content type without parameters, in lower case; empty for none."""
    return (content_type or "").partition(";")[0].strip().lower()


def is_event_stream(first: bytes) -> bool:
    """Return whether a body begins as an event stream does."""
    return first.lstrip(b"\r\n").startswith(_EVENT_STARTS)


def frames_format(first: bytes, asked: str) -> str | None:
    """Return the format of the frames that a body begins with; None where it begins with none.

    Args:
        first: the first bytes, one at least.
        asked: the requested format: a length is put before the frames of either.
    """
    if first[0] in _MAP_STARTS:
        return "msgpack"
    return asked if first[0] == 0 else None


class ChosenParser:
    """A parser that the first bytes of a body choose.

    Args:
        choose: returns the parser for these first bytes; it raises an `EngineError` where none fits.
    """

    def __init__(self, choose: Callable[[bytes], FrameParser]) -> None:
        self._choose = choose
        self._chosen: FrameParser | None = None
        self._first = b""
        """The bytes before the choice: a chunk may end anywhere, also within the first field's name."""
        self.server_continues = False

    @property
    def awaits_counts(self) -> bool:
        """True while only the event with the counts is missing."""
        return self._chosen is not None and self._chosen.awaits_counts

    @property
    def advanced(self) -> bool:
        """True if the bytes fed last held a part of the answer without ids."""
        return self._chosen is not None and self._chosen.advanced

    @property
    def error(self) -> Exception | None:
        """The error that follows the frames returned last."""
        return None if self._chosen is None else self._chosen.error

    def feed(self, data: bytes) -> Sequence[CodecFrame]:
        """Return the frames that these bytes complete."""
        if self._chosen is None:
            data = self._first + data
            if data.lstrip(b"\r\n") in _UNTIL_TOLD:
                self._first = data
                return ()
            self._chosen = self._choose(data)
        frames = self._chosen.feed(data)
        self.server_continues = self._chosen.server_continues
        return frames

    def close(self) -> Sequence[CodecFrame]:
        """Return what was held back, when the body has ended."""
        # A body that ended before its first bytes was cut off, which the stream reports: no kind is at fault.
        return () if self._chosen is None else self._chosen.close()
