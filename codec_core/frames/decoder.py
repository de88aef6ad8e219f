"""The one contract of all frame decoders: bytes in, frames out, and no doubt about how the stream ended.

Three rules hold for every format:

1. Frames come out as soon as their last byte is in, and how the bytes were cut never changes them.
2. Nothing is lost. When a chunk holds good frames and then a bad one, `feed` returns the good ones; the error
   stands in `error`, and the next call of `feed` or `close` raises it. With no good frame before it, `feed`
   raises at once.
3. An error is final: every later call raises it again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from codec_core.exceptions import FrameError, FrameTooLargeError, TrailingDataError, TruncatedStreamError
from codec_core.frames.frame import MAX_FRAME_BYTES, CodecFrame

Bytes = bytes | bytearray | memoryview

PREFIX_BYTES = 4


class FrameDecoder(ABC):
    """Turns the bytes of one body into frames. Not for use by two threads at once."""

    __slots__ = ("_buffer", "_done", "_error", "_fresh", "_limit", "_offset")

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        if max_frame_bytes < 1:
            raise ValueError(f"max_frame_bytes must be positive, got {max_frame_bytes}")
        self._limit = max_frame_bytes
        self._buffer = bytearray()
        self._offset = 0
        """The place in the stream of the first byte in the buffer."""
        self._done = False
        self._error: FrameError | None = None
        self._fresh = True
        """Nothing is buffered, nothing went wrong and nothing was `done`: the next byte begins a frame."""

    @property
    def done(self) -> bool:
        """Whether the frame that says `done` has been given out."""
        return self._done

    @property
    def error(self) -> FrameError | None:
        """The error that the next call will raise; check it after each `feed` that returned frames."""
        return self._error

    @property
    def offset(self) -> int:
        """Bytes of the stream that have become frames."""
        return self._offset

    def feed(self, data: Bytes) -> list[CodecFrame]:
        """Return the frames that these bytes complete.

        Raises:
            FrameError: the stream broke the protocol and no frame came before that in `data`.
        """
        if self._error is not None:
            raise self._error
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
            self._fresh = not self._buffer and not self._done
        return frames

    def close(self) -> None:
        """Check that the stream ended where it should have: after a frame that said `done`.

        Raises:
            TruncatedStreamError: the body ended inside a frame, or before any frame said `done`.
            FrameError: the stream had broken the protocol before.
        """
        if self._error is None and not self._done:
            self._fail(self._truncation())
        if self._error is not None:
            raise self._error

    def _accept(self, data: Bytes, frames: list[CodecFrame]) -> None:
        if self._done:
            raise TrailingDataError("bytes follow the frame that said done", self._offset)
        self._buffer += data
        self._read(frames)
        if self.done and self._buffer:
            raise TrailingDataError("bytes follow the frame that said done", self._offset)

    @abstractmethod
    def _read(self, frames: list[CodecFrame]) -> None:
        """Move what is complete in the buffer to `frames`, up to and including a frame that says `done`."""

    def _read_prefixed(self, parse: Callable[[bytes, int], CodecFrame], frames: list[CodecFrame]) -> None:
        """Read frames that stand behind four bytes of length, big end first."""
        buffer = self._buffer
        while len(buffer) >= PREFIX_BYTES and not self._done:
            size = int.from_bytes(buffer[:PREFIX_BYTES], "big")
            if size > self._limit:
                raise FrameTooLargeError(f"a frame declares {size} bytes", self._offset, self._limit)
            end = PREFIX_BYTES + size
            if len(buffer) < end:
                return
            self._give(parse(bytes(buffer[PREFIX_BYTES:end]), self._offset + PREFIX_BYTES), end, frames)

    def _give(self, frame: CodecFrame, size: int, frames: list[CodecFrame]) -> None:
        """Hand over a frame that took `size` bytes from the start of the buffer."""
        del self._buffer[:size]
        self._offset += size
        self._done = frame.done
        frames.append(frame)

    def _fail(self, error: FrameError) -> None:
        self._error = error
        self._fresh = False
        self._buffer = bytearray()

    def _truncation(self) -> TruncatedStreamError:
        if self._buffer:
            return TruncatedStreamError("the body ended inside a frame", self._offset + len(self._buffer))
        return TruncatedStreamError("the body ended before a frame that says done", self._offset)
