"""Frames as MessagePack maps, one after another: `{"ids": [..], "done": bool, "finish_reason"?: str}`.

A chunk that is one frame, or several in the usual form, is decoded by one call into msgspec; any other flat
frame by one call each. All others go to the `FrameScanner`. Some servers put four bytes of length before each
frame, which the first byte of the body shows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import msgspec

from codec_core.exceptions import FrameTooLargeError, MalformedFrameError
from codec_core.frames.decoder import MAX_EMPTY_FRAMES, Bytes, FrameDecoder
from codec_core.frames.encoder import FrameEncoder
from codec_core.frames.frame import MAX_FRAME_BYTES, MAX_FRAME_IDS, CodecFrame
from codec_core.frames.msgpack_counted import COUNT_AT, DECODE_COUNTED, LONGEST, SHORTEST, Decode
from codec_core.frames.msgpack_scanner import FrameScanner
from codec_core.frames.msgpack_types import HEADS, type_name
from codec_core.frames.values import VALUES, with_entry

_decode_frame: Decode = msgspec.msgpack.Decoder(CodecFrame).decode
_decode_frames = msgspec.msgpack.Decoder(list[CodecFrame]).decode
_encode = msgspec.msgpack.Encoder().encode

_ERRORS = (msgspec.DecodeError, UnicodeDecodeError)

_IDS, _DONE = b"\xa3ids", b"\xa4done"

FlatReader = Callable[[bytes | bytearray, int], tuple[CodecFrame, int] | None]


@cache
def _flat_reader() -> FlatReader:
    """Return what reads flat frames. Imported late: compiling its patterns takes longer than most streams."""
    from codec_core.frames.msgpack_compact import read_compact
    from codec_core.frames.msgpack_flat import read_flat

    return lambda data, limit: read_flat(data, limit) or read_compact(data, limit)


class MsgpackDecoder(FrameDecoder):
    """Reads frames of every form, bare or behind four bytes of length, whichever the bytes show."""

    __slots__ = ("_prefixed", "_scanner")

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES, max_frame_ids: int = MAX_FRAME_IDS) -> None:
        super().__init__(max_frame_bytes=max_frame_bytes, max_frame_ids=max_frame_ids)
        self._prefixed = False
        self._scanner: FrameScanner | None = None

    def feed(self, data: Bytes) -> list[CodecFrame]:
        """Return the frames that these bytes complete.

        Raises:
            FrameError: the stream broke the protocol and no frame came before that in `data`.
        """
        size = len(data)
        # At most one frame, which no limit can touch: -1 behind an error, the end, buffered bytes or empty
        # frames.
        if size <= self._direct:
            try:
                if size < SHORTEST or size > LONGEST:
                    frame = _decode_frame(data)
                else:
                    frame = DECODE_COUNTED[data[COUNT_AT]](data)
            except _ERRORS:  # several frames, a part of one, or a fault: the general way finds out which
                return super().feed(data)
            # The general way counts empty frames and ends the stream after the last one.
            if frame.ids and not frame.done:
                self._offset += size
                return [frame]
        return super().feed(data)

    def _read(self, frames: list[CodecFrame]) -> None:
        if not self._offset and self._scanner is None:
            self._prefixed = self._sniff(self._buffer[0])
            # A chunk that begins with a length is no bare frame: `feed` does not try.
            self._largest = -1 if self._prefixed else min(self._limit, self._max_ids)
        if self._prefixed:
            self._read_prefixed(partial(parse_frame, max_ids=self._max_ids), frames)
        else:
            self._read_bare(frames)

    def _sniff(self, byte: int) -> bool:
        """Find whether the body has lengths: one within the limit begins with 0x00, or 0x01 at 16 MiB."""
        if byte > 0x01 and HEADS[byte].kind != "map":
            raise MalformedFrameError(f"a frame must be a map, found {type_name(byte)}", self._offset)
        return byte <= 0x01

    def _read_bare(self, frames: list[CodecFrame]) -> None:
        usual = True
        while self._buffer and not self._done:
            if self._scanner is None:
                # After one failure it is not tried again: trying after every frame would be quadratic.
                if usual:
                    usual = self._read_usual(frames)
                    continue
                if self._read_flat(frames):
                    continue
            if not self._read_one(frames):
                return

    def _read_usual(self, frames: list[CodecFrame]) -> bool:
        """Read the whole frames at the start of the buffer at once; return False if that fails.

        Where the last one ends is guessed from the usual form of frames. msgspec, which has to find that
        many frames in just so many bytes, proves the guess.
        """
        # Usual frames begin with `ids` and end with `done`: if the last one is not whole, the run ends before
        # its first byte. Behind 0xdd and a count, the run is an array, one value to msgspec.
        # Ids take at least a byte each, so no frame in `_max_ids` bytes has too many.
        buffer, end = self._buffer, min(len(self._buffer), self._limit, self._max_ids)
        if buffer[end - 6 : end - 1] != _DONE:
            end = buffer.rfind(_IDS, 0, end) - 1
        count = buffer.count(_IDS, 0, max(end, 0))
        if not 0 < count <= MAX_EMPTY_FRAMES - self._empty:
            return False
        try:
            run = _decode_frames(b"\xdd" + count.to_bytes(4, "big") + buffer[:end])
        except _ERRORS:
            return False
        # Frame by frame, those up to the end are given out, and what follows it is refused with its offset.
        if any(frame.done for frame in run[:-1]):
            return False
        self._hand_over(run, end, frames)
        return True

    def _hand_over(self, run: list[CodecFrame], size: int, frames: list[CodecFrame]) -> None:
        """Give out frames of the first `size` bytes, too few to reach the limit on empty ones."""
        empty = 0
        while empty < len(run) and not run[-1 - empty].ids:
            empty += 1
        self._empty = empty + (self._empty if empty == len(run) else 0)
        self._done = run[-1].done
        frames += run
        del self._buffer[:size]
        self._offset += size

    def _read_flat(self, frames: list[CodecFrame]) -> bool:
        """Read one frame without nested values at once; return False if that fails."""
        found = _flat_reader()(self._buffer, min(self._limit, self._max_ids))
        if found:
            self._give(*found, frames)
        return found is not None

    def _read_one(self, frames: list[CodecFrame]) -> bool:
        if self._scanner is None:
            self._scanner = FrameScanner(self._buffer, self._offset, self._limit, self._max_ids)
        frame = self._scanner.advance()
        if frame is None:
            return False
        size, self._scanner = self._scanner.size, None
        self._give(frame, size, frames)
        return True


def parse_frame(data: bytes, offset: int = 0, *, max_ids: int = MAX_FRAME_IDS) -> CodecFrame:
    """Return the frame that `data` is, all of it. `offset` is its place in the stream, for errors.

    Raises:
        FrameError: `data` is not exactly one frame.
    """
    if len(data) > max_ids:  # ids take at least a byte each: only here may there be too many
        return _scan_frame(data, offset, max_ids)
    try:
        return _decode_frame(data)
    except _ERRORS:
        found = _flat_reader()(data, len(data))
        return found[0] if found and found[1] == len(data) else _scan_frame(data, offset, max_ids)


def _scan_frame(data: bytes, offset: int, max_ids: int) -> CodecFrame:
    scanner = FrameScanner(data, offset, len(data), max_ids)
    try:
        frame = scanner.advance()
    except FrameTooLargeError as error:
        if error.unit == "ids":
            raise
        # The limit on bytes given to the scanner is the length that the frame declares.
        raise MalformedFrameError("the frame is longer than its length says", error.offset) from None
    if frame is None:
        raise MalformedFrameError("the frame is longer than its length says", offset + len(data))
    if scanner.size != len(data):
        raise MalformedFrameError("the frame is shorter than its length says", offset + scanner.size)
    return frame


class MsgpackEncoder(FrameEncoder):
    """Writes plain frames without lengths, the form that every reader accepts."""

    format = "msgpack"

    def _write(self, frame: CodecFrame) -> bytes:
        return _encode(frame)

    def _add(self, data: bytes, packed: bytes) -> bytes:
        return with_entry(data, VALUES, packed)
