"""Packed ids: varints one after another, by the protobuf runtime's C code where that is exact."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from codec_core.frames.protobuf_wire import FieldReader, write_varint
from codec_core.frames.schema import packed_ids_class

_MORE_OR_LAST = bytes(0x80) + b"\1" * 0x80
"""Translates each byte of a varint to whether more bytes follow."""

_MORE = bytes(range(0x80, 0x100))
"""The bytes of a varint that more bytes follow."""

_PART = 64 * 1024

_FIVE_BYTES = b"\1\1\1\1"
"""Four bytes with more to follow: a number of 2^28 or above."""

_find_long = re.compile(rb"[\x80-\xff]{4}[\x10-\xff]").search
"""A number of more than 32 bits, or of more bytes than 32 bits need."""

_match_ids = re.compile(
    rb"(?:[\x80-\xff]{0,3}+[\x00-\x7f]|[\x80-\xff]{4}(?:[\x00-\x0f]|[\x80-\x8f]\x80{0,4}+\x00))*+"
).match
"""Numbers of 32 bits in ten bytes at most, as protobuf allows."""


def has_long_varints(data: bytes) -> bool:
    """Return whether a varint in `data` is longer than an id's; the runtime might cut it in silence."""
    # `in` would take half as much time again: it first asks whether what it looks for is a number.
    return data.translate(_MORE_OR_LAST).find(_FIVE_BYTES) >= 0 and _find_long(data) is not None


def read_packed(
    reader: FieldReader, start: int, end: int, name: str, most: int, before: int = 0
) -> list[int]:
    """Return the packed numbers between two places of a message, each checked to be a uint32.

    Raises:
        FrameTooLargeError: with those `before` there are more than `most`; none of them was made.
    """
    if before + end - start > most:
        reader.check_count(before + _count(reader.data, start, end), most, start)
    packed = reader.data[start:end]
    if packed and (packed[-1] > 0x7F or has_long_varints(packed)):
        _check_numbers(reader, packed, start, end, name)
    return ids_of_message(b"\n" + write_varint(len(packed)) + packed)


def _count(data: bytes, start: int, end: int) -> int:
    """Return how many numbers there are: each has one last byte. Counts a part at a time, which is copied."""
    parts = (data[at : min(at + _PART, end)] for at in range(start, end, _PART))
    return sum(len(part.translate(None, _MORE)) for part in parts)


def _check_numbers(reader: FieldReader, packed: bytes, start: int, end: int, name: str) -> None:
    """Raise what is wrong with the first number that is no uint32, if there is one."""
    good = _match_ids(packed)
    at = start + (good.end() if good else 0)
    if at < end:
        value, _ = reader.varint(at, end)
        reader.uint32(value, name, at)


def ids_of_message(data: bytes) -> list[int]:
    """Return field 1 of a message in which all numbers are known to be uint32."""
    ids: list[int] = _parser()(data).ids[:]
    return ids


@cache
def _parser() -> Callable[[bytes], Any]:
    parse: Callable[[bytes], Any] = packed_ids_class().FromString
    return parse


def write_packed(ids: Iterable[int]) -> bytes:
    """Return field 1 with these ids packed; nothing at all when there are none."""
    data: bytes = packed_ids_class()(ids=ids).SerializeToString()
    return data
