"""Reads and writes protobuf fields strictly, with the place of every error.

The usual runtimes forgive too much for a wire that must be exact: they cut a varint of 40 bits to 32 in
silence, and take a known field of another wire type for an unknown one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from codec_core.exceptions import FrameTooLargeError, MalformedFrameError, NestingError
from codec_core.frames.frame import MAX_ID

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
WIRE_TYPES = ("varint", "64 bits", "bytes", "group", "end of group", "32 bits")

MAX_FIELDS = 2**18
"""The most fields of a message: each costs a step. Packed ids are one field."""

MAX_GROUPS = 8
"""The depth to which unknown groups may be nested; no message of the protocol has any."""


class Field(NamedTuple):
    """One field on the wire."""

    number: int
    wire_type: int
    value: int
    """The number; for bytes and for 32 or 64 bits, the place of the first byte."""
    end: int
    """The place after the field."""
    offset: int
    """The place of the tag."""


class FieldReader:
    """Reads the fields of one message. Places are relative to it, offsets in errors to the stream."""

    def __init__(self, data: bytes, offset: int) -> None:
        self.data = data
        self._offset = offset
        self._read = 0

    def fields(self) -> Iterator[Field]:
        """Yield the fields in order, unknown groups left out.

        Raises:
            MalformedFrameError: the bytes are not fields.
        """
        at = 0
        while at < len(self.data):
            field = self._field(at)
            if field.wire_type == END_GROUP:
                raise self.malformed("a group ends that did not begin", at)
            if field.wire_type == GROUP:
                at = self._after_group(field)
            else:
                yield field
                at = field.end

    def expect(self, field: Field, name: str, *wire_types: int) -> None:
        """Check that a known field has one of the wire types that it may have."""
        if field.wire_type not in wire_types:
            raise self.malformed(f"{name} must not be {WIRE_TYPES[field.wire_type]}", field.offset)

    def uint32(self, value: int, name: str, at: int) -> int:
        """Check that a number lies in 0..2^32-1."""
        if value > MAX_ID:
            raise self.malformed(f"{name} lies outside 0..2^32-1", at)
        return value

    def text(self, field: Field, name: str) -> str:
        """Return the UTF-8 text of a field of bytes."""
        self.expect(field, name, BYTES)
        try:
            return self.data[field.value : field.end].decode()
        except UnicodeDecodeError:
            raise self.malformed(f"{name} is not UTF-8", field.value) from None

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Return the number at this place and the place after it; at most ten bytes and 64 bits."""
        value = shift = 0
        start = at
        while at < end:
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    raise self.malformed("a varint has more than 64 bits", start)
                return value, at
            shift += 7
            if shift == 70:
                raise self.malformed("a varint has more than ten bytes", start)
        raise self.malformed("a varint is cut off", start)

    def malformed(self, reason: str, at: int) -> MalformedFrameError:
        """Return the error for a fault at this place."""
        return MalformedFrameError(reason, self._offset + at)

    def check_count(self, count: int, most: int, at: int) -> None:
        """Refuse more ids than the limit at the place where they would be read.

        Raises:
            FrameTooLargeError: there are more than `most`.
        """
        if count > most:
            raise FrameTooLargeError(f"a frame has {count} ids or more", self._offset + at, most, "ids")

    def _field(self, offset: int) -> Field:
        self._read += 1  # also within unknown groups, where each costs as much
        if self._read > MAX_FIELDS:
            raise self.malformed(f"a message has more than {MAX_FIELDS} fields", offset)
        tag, at = self.varint(offset, len(self.data))
        number, wire_type = tag >> 3, tag & 7
        # Numbers of fields have 29 bits, so a tag has 32; the wire types 6 and 7 do not exist.
        if not number or tag >> 32 or wire_type > FIXED32:
            raise self.malformed(f"no field can have the tag {tag}", offset)
        value, end = at, at
        if wire_type == VARINT:
            value, end = self.varint(at, len(self.data))
        elif wire_type == BYTES:
            size, value = self.varint(at, len(self.data))
            end = value + size
        elif wire_type in (FIXED32, FIXED64):
            end = at + (4 if wire_type == FIXED32 else 8)
        if end > len(self.data):
            raise self.malformed(f"field {number} is cut off", offset)
        return Field(number, wire_type, value, end, offset)

    def _after_group(self, first: Field) -> int:
        # With a list instead of recursion, depth costs no stack, and is bounded all the same.
        open_groups = [first.number]
        at = first.end
        while open_groups:
            if at >= len(self.data):
                raise self.malformed(f"the group {open_groups[-1]} is cut off", first.offset)
            field = self._field(at)
            at = field.end
            if field.wire_type == GROUP:
                open_groups.append(field.number)
            elif field.wire_type == END_GROUP and field.number != open_groups.pop():
                raise self.malformed("a group ends that did not begin", field.offset)
            if len(open_groups) > MAX_GROUPS:
                raise NestingError(f"groups are nested more than {MAX_GROUPS} deep", self._offset + at)
        return at


def write_varint(value: int) -> bytes:
    """Return a number that is not negative as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_bytes(number: int, data: bytes) -> bytes:
    """Return a field of bytes."""
    return write_varint(number << 3 | BYTES) + write_varint(len(data)) + data


def write_number(number: int, value: int) -> bytes:
    """Return a varint field."""
    return write_varint(number << 3 | VARINT) + write_varint(value)
