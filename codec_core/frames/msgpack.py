"""Frames as MessagePack maps, one after another: `{"ids": [..], "done": bool, "finish_reason"?: str}`.

A chunk that is one frame, or several in the usual form, is decoded by one call into msgspec. Everything
else goes to the `FrameScanner`. Some servers put four bytes of length before each frame; the first byte of
the body tells.
"""

from __future__ import annotations

import re

import msgspec

from codec_core.exceptions import FrameTooLargeError, MalformedFrameError
from codec_core.frames.decoder import Bytes, FrameDecoder
from codec_core.frames.encoder import FrameEncoder
from codec_core.frames.frame import MAX_FRAME_BYTES, CodecFrame
from codec_core.frames.msgpack_scanner import FrameScanner
from codec_core.frames.msgpack_types import HEADS, UINT32, type_name

_decode_frame = msgspec.msgpack.Decoder(CodecFrame).decode
_decode_frames = msgspec.msgpack.Decoder(list[CodecFrame]).decode
_encode = msgspec.msgpack.Encoder().encode

_ERRORS = (msgspec.DecodeError, UnicodeDecodeError)

_RUN = re.compile(
    rb"(?:\x82\xa3ids(?:[\x90-\x9f]|\xdc..|\xdd....)(?:%b)*+\xa4done[\xc2\xc3])*+" % UINT32, re.DOTALL
)
"""Whole frames in the form that everybody writes. It does not count the ids; msgspec does, afterwards."""


class MsgpackDecoder(FrameDecoder):
    """Reads plain and delta frames, bare or behind four bytes of length: the bytes tell which."""

    __slots__ = ("_prefixed", "_scanner")

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        super().__init__(max_frame_bytes=max_frame_bytes)
        self._prefixed: bool | None = None
        self._scanner: FrameScanner | None = None

    def feed(self, data: Bytes) -> list[CodecFrame]:
        """Return the frames that these bytes complete.

        Raises:
            FrameError: the stream broke the protocol and no frame came before that in `data`.
        """
        if self._fresh and not self._prefixed and len(data) <= self._limit:
            try:
                frame = _decode_frame(data)
            except _ERRORS:
                return super().feed(data)
            self._prefixed = False
            self._offset += len(data)
            if frame.done:
                self._done, self._fresh = True, False
            return [frame]
        return super().feed(data)

    def _read(self, frames: list[CodecFrame]) -> None:
        if self._prefixed is None:
            self._prefixed = self._sniff(self._buffer[0])
        if self._prefixed:
            self._read_prefixed(parse_frame, frames)
        else:
            self._read_bare(frames)

    def _sniff(self, byte: int) -> bool:
        """Tell a length from a map: a length within the limit begins with 0x00, or 0x01 at exactly 16 MiB."""
        if byte > 0x01 and HEADS[byte].kind != "map":
            raise MalformedFrameError(f"a frame must be a map, found {type_name(byte)}", self._offset)
        return byte <= 0x01

    def _read_bare(self, frames: list[CodecFrame]) -> None:
        runs = True
        while self._buffer and not self._done:
            if self._scanner is None and runs:
                # One failure is enough: trying again after every scanned frame would be quadratic.
                runs = self._read_run(frames)
                continue
            if not self._read_one(frames):
                return

    def _read_run(self, frames: list[CodecFrame]) -> bool:
        """Read the whole frames at the start of the buffer at once; return False where that fails."""
        found = _RUN.match(self._buffer, 0, self._limit)
        end = found.end() if found else 0
        count = self._buffer.count(b"\xa3ids", 0, end)
        try:
            run = _decode_frames(b"\xdd" + count.to_bytes(4, "big") + self._buffer[:end])
        except _ERRORS:
            return False
        if not run or any(frame.done for frame in run[:-1]):
            return False
        frames += run[:-1]
        self._give(run[-1], end, frames)
        return True

    def _read_one(self, frames: list[CodecFrame]) -> bool:
        if self._scanner is None:
            self._scanner = FrameScanner(self._buffer, self._offset, self._limit)
        frame = self._scanner.advance()
        if frame is None:
            return False
        size, self._scanner = self._scanner.size, None
        self._give(frame, size, frames)
        return True


def parse_frame(data: bytes, offset: int = 0) -> CodecFrame:
    """Return the frame that `data` is, from its first byte to its last; `offset` is its place, for errors.

    Raises:
        FrameError: `data` is not exactly one frame.
    """
    try:
        return _decode_frame(data)
    except _ERRORS:
        return _scan_frame(data, offset)


def _scan_frame(data: bytes, offset: int) -> CodecFrame:
    scanner = FrameScanner(bytearray(data), offset, max(len(data), 1))
    try:
        frame = scanner.advance()
    except FrameTooLargeError as error:
        raise MalformedFrameError("the frame is longer than its length says", error.offset) from None
    if frame is None:
        raise MalformedFrameError("the frame is longer than its length says", offset + len(data))
    if scanner.size != len(data):
        raise MalformedFrameError("the frame is shorter than its length says", offset + scanner.size)
    return frame


class MsgpackEncoder(FrameEncoder):
    """Writes plain frames, bare, in the form that every reader takes."""

    format = "msgpack"

    def _write(self, frame: CodecFrame) -> bytes:
        return _encode(frame)
