"""The contract of all frame decoders: bytes in, frames out, and a known end of the stream.

Three rules hold for every format:

1. A frame comes out as soon as its last byte is in. How the bytes are divided never changes the frames.
2. Nothing is lost. When a chunk holds good frames and then a bad one, `feed` returns the good ones; the error
   is in `error`, and the next call of `feed` or `close` raises it. Without a good frame before it, `feed`
   raises at once.
3. An error is final: every later call raises it again.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable

from codec_core.exceptions import (
    FrameError,
    FrameTooLargeError,
    MalformedFrameError,
    TrailingDataError,
    TruncatedStreamError,
)
from codec_core.frames.frame import MAX_FRAME_BYTES, MAX_FRAME_IDS, CodecFrame

Bytes = bytes | bytearray | memoryview

PREFIX_BYTES = 4

declared_size = struct.Struct(">I").unpack_from
"""Read the length before a frame. The caller makes sure that four bytes are there."""

MAX_EMPTY_FRAMES = 2**16
"""The most frames in a row that hold no ids and are not the last.

A server may send one now and then to keep a connection open, or while a stop sequence is undecided. A hostile
one could send them without end, within any budget of ids.
"""


class FrameDecoder(ABC):
    """Turns the bytes of one body into frames. Not for use by two threads at once."""

    __slots__ = (
        "_buffer",
        "_direct",
        "_done",
        "_empty",
        "_largest",
        "_limit",
        "_max_ids",
        "_offset",
        "error",
    )

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES, max_frame_ids: int = MAX_FRAME_IDS) -> None:
        if max_frame_bytes < 1 or max_frame_ids < 1:
            raise ValueError(f"limits must be positive, got {max_frame_bytes} bytes, {max_frame_ids} ids")
        self._limit = max_frame_bytes
        self._max_ids = max_frame_ids
        """Ids take at least a byte each, so a frame of fewer bytes has fewer ids and need not be counted."""
        self._buffer = bytearray()
        self._offset = 0
        """The place in the stream of the first byte in the buffer."""
        self._done = False
        self._empty = 0
        """The number of frames without ids in a row, up to now."""
        self.error: FrameError | None = None
        """The error that the next call will raise. Check it after each `feed` that returns frames."""
        self._largest = min(max_frame_bytes, max_frame_ids)
        """The largest chunk that is tried as one whole frame, for formats that can."""
        self._direct = self._largest
        """The same while no bytes are buffered; otherwise -1."""

    @property
    def done(self) -> bool:
        """True once the last frame, with `done`, is given out."""
        return self._done

    @property
    def offset(self) -> int:
        """Bytes of the stream that have become frames."""
        return self._offset

    def feed(self, data: Bytes) -> list[CodecFrame]:
        """Return the frames that these bytes complete.

        Raises:
            FrameError: the stream broke the protocol and no frame came before that in `data`.
        """
        if self.error is not None:
            raise self.error
        if not data:
            return []
        frames: list[CodecFrame] = []
        try:
            self._accept(data, frames)
        except FrameError as error:
            self._fail(error)
            if not frames:
                raise
        else:
            # Behind an empty frame too: the direct way does not end the count of empty ones.
            self._direct = -1 if self._buffer or self._done or self._empty else self._largest
        return frames

    def close(self) -> None:
        """Check that the stream ended after a frame with `done`.

        Raises:
            TruncatedStreamError: the body ended inside a frame, or before any frame said `done`.
            FrameError: the stream had broken the protocol before.
        """
        if self.error is None and not self._done:
            self._fail(self._truncation())
        if self.error is not None:
            raise self.error

    def _accept(self, data: Bytes, frames: list[CodecFrame]) -> None:
        if self._done:
            raise TrailingDataError("bytes follow the frame that said done", self._offset)
        self._buffer += data
        self._read(frames)
        if self.done and self._buffer:
            raise TrailingDataError("bytes follow the frame that said done", self._offset)

    @abstractmethod
    def _read(self, frames: list[CodecFrame]) -> None:
        """Move the complete frames in the buffer to `frames`, up to a frame with `done`."""

    def _read_prefixed(self, parse: Callable[[bytes, int], CodecFrame], frames: list[CodecFrame]) -> None:
        """Read frames behind four bytes of length, big-endian."""
        if not self._holds_prefixed(self._buffer, 0):
            return  # an incomplete frame is not copied at every feed
        # Small slices of bytes are faster than those of a view. A view does not copy a large buffer: one that
        # may hold a frame of too many ids.
        data = bytes(self._buffer) if len(self._buffer) <= self._max_ids else memoryview(self._buffer)
        at, begin = 0, self._offset
        try:
            while not self._done and self._holds_prefixed(data, at):
                start = at + PREFIX_BYTES
                end = start + declared_size(data, at)[0]
                self._take(parse(bytes(data[start:end]), begin + start), frames, begin + at)
                at = end
                self._offset = begin + end
        finally:
            if isinstance(data, memoryview):
                data.release()
            del self._buffer[:at]

    def _holds_prefixed(self, data: Bytes, at: int) -> bool:
        """Return whether the buffer holds a whole frame behind its length at a place."""
        if len(data) - at < PREFIX_BYTES:
            return False
        size: int = declared_size(data, at)[0]
        if size > self._limit:
            raise FrameTooLargeError(f"a frame declares {size} bytes", self._offset, self._limit)
        return len(data) - at - PREFIX_BYTES >= size

    def _give(self, frame: CodecFrame, size: int, frames: list[CodecFrame]) -> None:
        """Give out a frame of the first `size` bytes of the buffer."""
        self._take(frame, frames, self._offset)
        del self._buffer[:size]
        self._offset += size

    def _take(self, frame: CodecFrame, frames: list[CodecFrame], offset: int) -> None:
        """Give out a frame that begins at this place of the stream.

        Raises:
            MalformedFrameError: it is one frame too many without ids.
        """
        if frame.ids:
            self._empty = 0
        elif not frame.done:
            self._empty += 1
            if self._empty > MAX_EMPTY_FRAMES:
                raise MalformedFrameError(f"more than {MAX_EMPTY_FRAMES} frames in a row have no ids", offset)
        self._done = frame.done
        frames.append(frame)

    def _fail(self, error: FrameError) -> None:
        self.error = error
        self._direct = -1
        self._buffer = bytearray()

    def _truncation(self) -> TruncatedStreamError:
        if self._buffer:
            return TruncatedStreamError("the body ended inside a frame", self._offset + len(self._buffer))
        return TruncatedStreamError("the body ended before a frame that says done", self._offset)
