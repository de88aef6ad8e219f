"""Reads one MessagePack frame whose bytes arrive in any pieces, with exact errors.

The fast path in `msgpack.py` takes whole frames in their usual form. This reader takes the rest: frames in
pieces, other key orders, unknown keys, delta frames, errors. It walks the frame once, element by element,
as a coroutine that pauses where the bytes end, so the cost is linear in the bytes however they are cut.
Long runs of numbers are stepped over by compiled patterns of a fixed count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import msgspec

from codec_core.exceptions import FrameTooLargeError, MalformedFrameError, NestingError
from codec_core.frames.delta import from_deltas
from codec_core.frames.frame import CodecFrame, TokenId
from codec_core.frames.msgpack_types import (
    ANY_UINT,
    FIXED_VALUE,
    HEADS,
    SMALL_VALUES,
    UINT32,
    Head,
    type_name,
)
from codec_core.frames.packed import read_packed
from codec_core.frames.protobuf_wire import FieldReader
from codec_core.frames.values import unpack_values, with_values

MAX_NESTING = 8
"""The depth to which the value of an unknown key may be nested. A frame itself needs 2."""

MAX_KEYS = 64
"""The most keys of a frame. It has four now; later versions may have more."""

MAX_UNKNOWN_VALUES = 2**18
"""The most values under unknown keys: each costs a step, and no server sends so many beside the ids."""

MAX_KEY_BYTES = 64
"""Keys longer than this are unknown and not compared."""

LARGEST_ELEMENT = 9
"""Bytes of the longest number: the head and 64 bits."""

Result = TypeVar("Result")
Steps = Generator[None, None, Result]

Blocks = tuple[tuple[int, Callable[..., re.Match[bytes] | None]], ...]


def _blocks(element: bytes) -> Blocks:
    """Compile matchers for 4096, 256 and 16 elements in a row; possessive, so none backtracks."""
    return tuple(
        (count, re.compile(rb"(?:%b){%d}+" % (element, count), re.DOTALL).match) for count in (4096, 256, 16)
    )


_IDS = _blocks(UINT32)
_DELTAS = _blocks(ANY_UINT)
_VALUES = _blocks(FIXED_VALUE)
_ONE_ID = re.compile(UINT32, re.DOTALL)
_decode_ids = msgspec.msgpack.Decoder(tuple[TokenId, ...]).decode
_decode_deltas = msgspec.msgpack.Decoder(list[int]).decode


class FrameScanner:
    """Reads the frame at the beginning of a buffer that grows or is complete."""

    __slots__ = ("_buffer", "_limit", "_max_ids", "_offset", "_refused", "_steps", "_unknown", "size")

    def __init__(self, buffer: bytearray | bytes, offset: int, limit: int, max_ids: int) -> None:
        self._buffer = buffer
        self._offset = offset
        self._limit = limit
        self._max_ids = max_ids
        self.size = 0
        """Bytes read so far; the size of the frame once it is complete."""
        self._unknown = 0
        self._refused: MalformedFrameError | None = None
        self._steps = self._frame()

    def advance(self) -> CodecFrame | None:
        """Read on to the end of the buffer, or of the frame; return the frame when it is complete.

        Raises:
            MalformedFrameError: what was read is not a frame.
            FrameTooLargeError: the frame is, or must become, larger than the limit.
            NestingError: an unknown value is nested deeper than `MAX_NESTING`.
        """
        try:
            next(self._steps)
        except StopIteration as stop:
            frame: CodecFrame = stop.value
            return frame
        return None

    # The frame

    def _frame(self) -> Steps[CodecFrame]:
        fields: dict[bytes, Any] = {}
        keys = yield from self._size_of("map", 2)  # a key and a value have at least a byte each
        if keys > MAX_KEYS:
            raise self._malformed(f"a frame of {keys} keys; the limit is {MAX_KEYS}", 0)
        for _ in range(keys):
            key = yield from self._key()
            read = _FIELDS.get(key)
            numbered = key in _NUMBERED
            # Beside names, numbers are unknown keys.
            if read is None or (numbered and not fields.keys() <= _NUMBERED.keys()):
                yield from self._skip()
            elif numbered:
                yield from self._read_numbered(key, read, fields)
            else:
                fields[key] = yield from read(self)
        return self._build(fields)

    def _read_numbered(
        self, key: bytes, read: Callable[[FrameScanner], Steps[Any]], fields: dict[bytes, Any]
    ) -> Steps[None]:
        """Read the value of a numbered key, or step over it and keep the error.

        A name may follow, beside which the key is unknown and its value may be anything. Limits on size and
        nesting hold for unknown values too.
        """
        at = self.size
        try:
            fields[key] = yield from read(self)
        except MalformedFrameError as error:
            self._refused = self._refused or error
            self.size = at
            yield from self._skip()

    def _build(self, fields: dict[bytes, Any]) -> CodecFrame:
        if fields.keys() <= _NUMBERED.keys() and self._refused:
            raise self._refused
        if fields and fields.keys() <= _NUMBERED.keys():
            # Compact frames leave out a `done` that is false.
            fields = {b"done": False, **{_NUMBERED[key]: value for key, value in fields.items()}}
        if b"done" not in fields:
            raise self._malformed("the frame has no field done", 0)
        frame = CodecFrame(self._ids_of(fields), fields[b"done"], fields.get(b"finish_reason"))
        packed = fields.get(b"values")
        if packed is None:
            return frame
        try:
            return with_values(frame, unpack_values(packed, len(frame.ids)))
        except ValueError as error:
            raise self._malformed(str(error), 0) from None

    def _ids_of(self, fields: dict[bytes, Any]) -> tuple[int, ...]:
        if b"ids_delta" not in fields:
            if b"ids" not in fields:
                raise self._malformed("the frame has neither ids nor ids_delta", 0)
            ids: tuple[int, ...] = fields[b"ids"]
            return ids
        if b"ids" in fields:
            raise self._malformed("the frame has both ids and ids_delta", 0)
        if b"base_id" not in fields:
            raise self._malformed("the frame has ids_delta and no base_id", 0)
        try:
            return from_deltas(fields[b"ids_delta"], fields[b"base_id"])
        except ValueError as error:
            raise self._malformed(str(error), 0) from None

    # The fields

    def _key(self) -> Steps[bytes]:
        at = self.size
        head = yield from self._head()
        if head.kind != "string":
            yield from self._skip(head)
            return bytes(self._buffer[at : at + 1]) if self._buffer[at] < 0x20 else b""
        start, size = yield from self._text(head)
        # No name of a field is that short, and a text of one byte would be taken for a number's key.
        return bytes(self._buffer[start : start + size]) if 1 < size <= MAX_KEY_BYTES else b""

    def _read_ids(self) -> Steps[tuple[int, ...]]:
        start = self.size
        yield from self._numbers(_IDS, "an id")
        return _decode_ids(self._buffer[start : self.size])

    def _read_numbered_ids(self) -> Steps[tuple[int, ...]]:
        """Read ids as an array, or as one string of bytes of LEB128 varints."""
        at = self.size
        head = yield from self._head()
        if head.kind != "bytes" or head.extra:  # an extension is no string of bytes
            self.size = at
            return (yield from self._read_ids())
        start, size = yield from self._text(head)
        reader = FieldReader(bytes(memoryview(self._buffer)[start : start + size]), self._offset + start)
        return tuple(read_packed(reader, 0, size, "an id", self._max_ids))

    def _read_deltas(self) -> Steps[list[int]]:
        start = self.size
        yield from self._numbers(_DELTAS, "a delta")
        return _decode_deltas(self._buffer[start : self.size])

    def _read_base_id(self) -> Steps[int]:
        start = self.size
        yield from self._number("base_id", within_uint32=True)
        number: int = msgspec.msgpack.decode(self._buffer[start : self.size])
        return number

    def _read_done(self) -> Steps[bool]:
        at = yield from self._take(1)
        byte = self._buffer[at]
        if byte not in (0xC2, 0xC3):
            raise self._malformed(f"done must be a boolean, found {type_name(byte)}", at)
        return byte == 0xC3

    def _read_finish_reason(self) -> Steps[str | None]:
        at = self.size
        head = yield from self._head()
        if head.kind == "nil":
            return None
        if head.kind != "string":
            raise self._malformed(f"finish_reason must be a string, found {type_name(self._buffer[at])}", at)
        start, size = yield from self._text(head)
        try:
            return str(memoryview(self._buffer)[start : start + size], "utf-8")  # without another copy
        except UnicodeDecodeError:
            raise self._malformed("finish_reason is not UTF-8", start) from None

    def _read_values(self) -> Steps[bytes | None]:
        head = yield from self._head()
        if head.kind != "bytes" or head.extra:  # a field of the same name that is another server's
            yield from self._skip(head)
            return None
        start, size = yield from self._text(head)
        return bytes(memoryview(self._buffer)[start : start + size])

    def _numbers(self, blocks: Blocks, what: str) -> Steps[None]:
        at = self.size
        count = yield from self._size_of("array", 1)
        if count > self._max_ids:
            raise FrameTooLargeError(f"a frame declares {count} ids", self._offset + at, self._max_ids, "ids")
        while count:
            taken = self._leap(blocks, count)
            if not taken:
                yield from self._number(what, within_uint32=blocks is _IDS)
                taken = 1
            count -= taken

    def _number(self, what: str, *, within_uint32: bool) -> Steps[None]:
        at = self.size
        head = yield from self._head()
        if head.kind != "integer":
            raise self._malformed(f"{what} must be an integer, found {type_name(self._buffer[at])}", at)
        yield from self._take(head.size)
        if within_uint32:
            if not _ONE_ID.match(self._buffer, at):
                raise self._malformed(f"{what} lies outside 0..2^32-1", at)
        elif msgspec.msgpack.decode(self._buffer[at : self.size]) < 0:
            raise self._malformed(f"{what} is negative", at)

    # Unknown values

    def _skip(self, head: Head | None = None) -> Steps[None]:
        """Skip one value, however nested, without recursion."""
        left = [1]  # by depth, how many values are still to be skipped
        if head is not None:  # the value itself is taken: only what it contains is left
            left = [0, (yield from self._step_over(head))]
        while left:
            left[-1] -= self._leap(_VALUES, left[-1])
            self._skip_ahead(left)
            if left:
                left[-1] -= 1
                inside = yield from self._step_over((yield from self._head()))
                if inside:
                    left.append(inside)
                    self._check_depth(left)

    def _skip_ahead(self, left: list[int]) -> None:
        """Skip values in the buffer whose first byte gives their size; stop before any other."""
        buffer, at = self._buffer, self.size
        stop = min(len(buffer), self._limit)
        while left:
            if not left[-1]:
                left.pop()
                continue
            size = SMALL_VALUES[buffer[at]] if at < stop else 0
            if not size or at + size > stop:
                break
            at += size
            left[-1] -= 1
        self.size = at

    def _check_depth(self, left: list[int]) -> None:
        if len(left) > MAX_NESTING + 1:
            raise NestingError(f"a value is nested more than {MAX_NESTING} deep", self._offset + self.size)

    def _step_over(self, head: Head) -> Steps[int]:
        """Skip the head of a value; return how many values it contains."""
        if head.kind in ("array", "map"):
            each = 2 if head.kind == "map" else 1  # a key and a value
            inside = each * (yield from self._count(head, each))
            self._unknown += inside
            if self._unknown > MAX_UNKNOWN_VALUES:
                raise self._malformed(f"a frame has more than {MAX_UNKNOWN_VALUES} unknown values", self.size)
            return inside
        if head.kind in ("string", "bytes"):
            yield from self._text(head)
        else:
            yield from self._take(head.size)
        return 0

    # Elements

    def _head(self) -> Steps[Head]:
        at = yield from self._take(1)
        head = HEADS[self._buffer[at]]
        if head.kind == "unused":
            raise self._malformed("0xc1 begins no MessagePack value", at)
        return head

    def _size_of(self, kind: str, least: int) -> Steps[int]:
        """Read the head of an array or map, whose elements take `least` bytes each or more."""
        at = self.size
        head = yield from self._head()
        if head.kind != kind:
            raise self._malformed(f"expected {kind}, found {type_name(self._buffer[at])}", at)
        return (yield from self._count(head, least))

    def _count(self, head: Head, least: int = 1) -> Steps[int]:
        at = self.size
        count = yield from self._length(head)
        if self.size + count * least > self._limit:
            raise FrameTooLargeError(
                f"a frame declares {count} elements in one {head.kind}", self._offset + at, self._limit
            )
        return count

    def _text(self, head: Head) -> Steps[tuple[int, int]]:
        size = (yield from self._length(head)) + head.extra
        start = yield from self._take(size)
        return start, size

    def _length(self, head: Head) -> Steps[int]:
        if not head.width:
            return head.size
        at = yield from self._take(head.width)
        return int.from_bytes(self._buffer[at : at + head.width], "big")

    def _leap(self, blocks: Blocks, count: int) -> int:
        """Skip a large block of elements that is in the buffer whole; return their number.

        Nothing is tried that could fail for want of bytes, so no byte is matched twice for that reason.
        """
        within = len(self._buffer) - self.size
        for size, match in blocks:
            if size <= count and size * LARGEST_ELEMENT <= within:
                found = match(self._buffer, self.size)
                if found:
                    self.size = found.end()
                    return size
        return 0

    def _take(self, size: int) -> Steps[int]:
        """Wait for `size` more bytes and skip them; return where they begin."""
        at = self.size
        end = at + size
        if end > self._limit:
            raise FrameTooLargeError(f"a frame needs {end} bytes or more", self._offset + at, self._limit)
        while len(self._buffer) < end:
            yield
        self.size = end
        return at

    def _malformed(self, reason: str, at: int) -> MalformedFrameError:
        return MalformedFrameError(reason, self._offset + at)


_FIELDS: dict[bytes, Callable[[FrameScanner], Steps[Any]]] = {
    b"ids": FrameScanner._read_ids,
    b"done": FrameScanner._read_done,
    b"finish_reason": FrameScanner._read_finish_reason,
    b"ids_delta": FrameScanner._read_deltas,
    b"base_id": FrameScanner._read_base_id,
    b"values": FrameScanner._read_values,
    b"\x00": FrameScanner._read_numbered_ids,
    b"\x01": FrameScanner._read_done,
    b"\x02": FrameScanner._read_finish_reason,
    b"\x0f": FrameScanner._read_values,
}
"""By key. Those of one control character are the numbers of compact frames, see `msgpack_compact`."""

_NUMBERED = {b"\x00": b"ids", b"\x01": b"done", b"\x02": b"finish_reason", b"\x0f": b"values"}
"""The keys of compact frames, and the fields that they stand for."""
