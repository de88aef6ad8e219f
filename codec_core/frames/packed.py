"""Packed ids: varints one after another, by the protobuf runtime's C code where that is exact."""

from __future__ import annotations

from collections.abc import Iterable

from codec_core.frames.protobuf_wire import FieldReader, write_varint
from codec_core.frames.schema import packed_ids_class

_MORE_OR_LAST = bytes(0x80) + b"\1" * 0x80
"""Translates each byte of a varint to whether more bytes follow."""

_FIVE_BYTES = b"\1\1\1\1"
"""Four bytes with more to follow: an id of 2^28 or above, or a number that is no uint32."""


def has_long_varints(data: bytes) -> bool:
    """Tell whether a varint in `data` has five bytes or more, which the runtime might cut in silence."""
    return _FIVE_BYTES in data.translate(_MORE_OR_LAST)


def read_packed(reader: FieldReader, start: int, end: int, name: str) -> list[int]:
    """Return the packed numbers between two places of a message, each checked to be a uint32."""
    packed = reader.data[start:end]
    if packed and packed[-1] < 0x80 and not has_long_varints(packed):
        ids: list[int] = packed_ids_class().FromString(b"\n" + write_varint(len(packed)) + packed).ids[:]
        return ids
    return [reader.uint32(value, name, at) for value, at in _varints(reader, start, end)]


def write_packed(ids: Iterable[int]) -> bytes:
    """Return field 1 with these ids packed; nothing at all when there are none."""
    data: bytes = packed_ids_class()(ids=ids).SerializeToString()
    return data


def _varints(reader: FieldReader, at: int, end: int) -> Iterable[tuple[int, int]]:
    while at < end:
        start = at
        value, at = reader.varint(at, end)
        yield value, start
