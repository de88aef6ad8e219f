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
        self.server_continues = False

    @property
    def awaits_counts(self) -> bool:
        """True while only the event with the counts is missing."""
        return self._chosen is not None and self._chosen.awaits_counts

    @property
    def error(self) -> Exception | None:
        """The error that follows the frames returned last."""
        return None if self._chosen is None else self._chosen.error

    def feed(self, data: bytes) -> Sequence[CodecFrame]:
        """Return the frames that these bytes complete."""
        if self._chosen is None:
            if not data.strip(b"\r\n"):
                return ()
            self._chosen = self._choose(data)
        frames = self._chosen.feed(data)
        self.server_continues = self._chosen.server_continues
        return frames

    def close(self) -> Sequence[CodecFrame]:
        """Return what was held back, when the body has ended."""
        if self._chosen is None:
            self._chosen = self._choose(b" ")
        return self._chosen.close()
