"""Frames as protobuf messages, each behind four bytes of length, big-endian.

The usual frame, ids and then `done`, goes through the protobuf runtime's C code after a look at its
shape; the runtime alone would take wrong wire types and numbers above 2^32-1 in silence. Any other frame is
read field by field.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from codec_core.exceptions import FrameEncodeError
from codec_core.frames.decoder import PREFIX_BYTES, Bytes, FrameDecoder, declared_size
from codec_core.frames.delta import from_deltas
from codec_core.frames.encoder import FrameEncoder
from codec_core.frames.frame import MAX_FRAME_IDS, MAX_ID, CodecFrame
from codec_core.frames.packed import (
    has_long_varints,
    ids_of_message,
    read_packed,
    write_packed,
)
from codec_core.frames.protobuf_wire import BYTES, VARINT, FieldReader, write_bytes, write_number
from codec_core.frames.values import unpack_values, with_values

IDS, DONE, FINISH_REASON, BASE_ID, LATER_BASE_ID = 1, 2, 3, 4, 5
"""Servers differ in field 4: `base_id`, or tool calls with `base_id` in field 5. The wire type tells."""
VALUES = 15

IDS_TAG = bytes([IDS << 3 | BYTES])
ID_TAG = bytes([IDS << 3 | VARINT])

_AFTER_IDS = {b"": False, b"\x10\x00": False, b"\x10\x01": True}
"""The usual bytes after the ids, or of the whole message, and the value of `done` that they give."""

_match_unpacked = re.compile(rb"(?:\x08[\x80-\xff]{0,3}+[\x00-\x7f])++(\x10[\x00\x01])?+").fullmatch
"""Ids that are not packed, as old writers do; those of five bytes are read field by field."""


class ProtobufDecoder(FrameDecoder):
    """Reads plain and delta frames; those with `base_id` are deltas."""

    __slots__ = ()

    def feed(self, data: Bytes) -> list[CodecFrame]:
        """Return the frames that these bytes complete.

        Raises:
            FrameError: the stream broke the protocol and no frame came before that in `data`.
        """
        size = len(data) - PREFIX_BYTES
        if 0 <= size <= self._direct and declared_size(data)[0] == size:
            frame = _parse_usual(bytes(data[PREFIX_BYTES:]))
            # The general way counts empty frames and ends the stream after the last one.
            if frame is not None and frame.ids and not frame.done:
                self._offset += size + PREFIX_BYTES
                return [frame]
        return super().feed(data)

    def _read(self, frames: list[CodecFrame]) -> None:
        self._read_prefixed(partial(parse_frame, max_ids=self._max_ids), frames)


def decode_protobuf_frame(data: Bytes) -> CodecFrame:
    """Return the frame of these bytes, plain or delta, without a length.

    Raises:
        MalformedFrameError: they are not a frame; its `offset` is the place in `data`.
        FrameTooLargeError: it has more than `MAX_FRAME_IDS` ids.
        NestingError: unknown groups are nested too deep.
    """
    return parse_frame(bytes(data))


def parse_frame(data: bytes, offset: int = 0, *, max_ids: int = MAX_FRAME_IDS) -> CodecFrame:
    """Return the frame of these bytes, without a length. `offset` is their place, for errors.

    Raises:
        MalformedFrameError: they are not a frame.
        FrameTooLargeError: it has more ids than the limit.
        NestingError: unknown groups are nested too deep.
    """
    usual = _parse_usual(data) if len(data) <= max_ids else None
    return usual or _parse_any(data, offset, max_ids)


def _parse_usual(data: bytes) -> CodecFrame | None:
    """Return the frame if it is ids and `done`, in this order; None for any other."""
    if data[:1] != IDS_TAG:
        return _parse_unpacked(data)
    if len(data) < 3:  # no ids: the byte behind the size is looked at below
        return None
    size, start = data[1], 2
    if size > 0x7F:
        if data[2] > 0x7F:
            return None  # of 16 KB or more, the ids take the time
        size, start = size & 0x7F | data[2] << 7, 3
    end = start + size
    done = _AFTER_IDS.get(data[end:])
    # A last byte that promises more is a number cut off: the runtime's error would not have its place.
    if done is None or end > len(data) or data[end - 1] > 0x7F or has_long_varints(data):
        return None
    return CodecFrame(tuple(ids_of_message(data)), done)


def _parse_unpacked(data: bytes) -> CodecFrame | None:
    """Return the frame if its ids are not packed, or if it has none."""
    if data[:1] != ID_TAG:
        done = _AFTER_IDS.get(data)
        return None if done is None else CodecFrame((), done)
    found = _match_unpacked(data)
    return CodecFrame(tuple(ids_of_message(data)), _AFTER_IDS[found[1] or b""]) if found else None


def _parse_any(data: bytes, offset: int, max_ids: int) -> CodecFrame:
    reader = FieldReader(data, offset)
    ids: list[int] = []
    values: dict[str, Any] = {}  # of a field that is given twice the last counts, as protobuf has it
    for field in reader.fields():
        if field.number == IDS:
            reader.expect(field, "ids", BYTES, VARINT)
            if field.wire_type == VARINT:  # ids may be packed, single, or both in one message
                reader.check_count(len(ids) + 1, max_ids, field.offset)
                ids.append(reader.uint32(field.value, "an id", field.offset))
            else:
                ids += read_packed(reader, field.value, field.end, "an id", max_ids, len(ids))
        elif field.number == DONE:
            reader.expect(field, "done", VARINT)
            values["done"] = bool(field.value)
        elif field.number == FINISH_REASON:
            values["finish_reason"] = reader.text(field, "finish_reason")
        elif field.number in (BASE_ID, LATER_BASE_ID) and field.wire_type != BYTES:
            reader.expect(field, "base_id", VARINT)
            values["base_id"] = _base_id(reader, field.value, field.offset)
        elif field.number == VALUES and field.wire_type == BYTES:  # of another type, it is another server's
            values["values"] = data[field.value : field.end]
    return _build(reader, ids, values)


def _base_id(reader: FieldReader, value: int, at: int) -> int:
    """Return the id of an int32: one from 2^31 on is negative there, and ten bytes long."""
    if MAX_ID < value < 2**64 - 2**31:
        raise reader.malformed("base_id is no int32", at)
    return value & MAX_ID


def _build(reader: FieldReader, ids: list[int], values: dict[str, Any]) -> CodecFrame:
    base_id, packed = values.get("base_id"), values.get("values")
    try:
        read = tuple(ids) if base_id is None else from_deltas(ids, base_id)
        frame = CodecFrame(read, values.get("done", False), values.get("finish_reason"))
        return frame if packed is None else with_values(frame, unpack_values(packed, len(read)))
    except ValueError as error:
        raise reader.malformed(str(error), 0) from None


class ProtobufEncoder(FrameEncoder):
    """Writes plain frames."""

    format = "protobuf"

    def _write(self, frame: CodecFrame) -> bytes:
        return with_length(write_message(frame, frame.ids))

    def _add(self, data: bytes, packed: bytes) -> bytes:
        return with_length(data[PREFIX_BYTES:] + write_bytes(VALUES, packed))


def write_message(frame: CodecFrame, numbers: Any, base_id: int | None = None) -> bytes:
    """Return the message: `numbers` in field 1, `base_id` where the numbers are deltas."""
    data: bytes = write_packed(numbers)
    if frame.done:
        data += write_number(DONE, 1)
    if frame.finish_reason is not None:
        data += write_bytes(FINISH_REASON, frame.finish_reason.encode())
    if base_id is not None:
        data += write_number(BASE_ID, base_id if base_id < 2**31 else base_id + 2**64 - 2**32)
    return data


def with_length(message: bytes) -> bytes:
    """Return the message behind its length."""
    if len(message) > MAX_ID:
        raise FrameEncodeError("a frame longer than 4 GiB")
    return len(message).to_bytes(PREFIX_BYTES, "big") + message
