"""Packed ids: consecutive varints, read by the protobuf runtime's C code where that is exact."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from codec_core.frames.protobuf_wire import FieldReader, write_varint
from codec_core.frames.schema import packed_ids_class

_MORE_OR_LAST = bytes(0x80) + b"\1" * 0x80
"""The translation of each byte of a varint to whether more bytes follow."""

_MORE = bytes(range(0x80, 0x100))
"""The bytes of a varint that are not its last."""

_PART = 64 * 1024

_FIVE_BYTES = b"\1\1\1\1"
"""Four bytes that are not the last: a number of 2^28 or above."""

_find_long = re.compile(rb"[\x80-\xff]{4}[\x10-\xff]").search
"""A number of more than 32 bits, or of more bytes than 32 bits need."""

_match_ids = re.compile(
    rb"(?:[\x80-\xff]{0,3}+[\x00-\x7f]|[\x80-\xff]{4}(?:[\x00-\x0f]|[\x80-\x8f]\x80{0,4}+\x00))*+"
).match
"""Numbers of 32 bits in at most ten bytes, as protobuf allows."""


def has_long_varints(data: bytes) -> bool:
    """Return whether a varint in `data` is longer than an id's, which the runtime might truncate."""
    # `in` takes half as much time again: it first tests whether the operand is a number.
    return data.translate(_MORE_OR_LAST).find(_FIVE_BYTES) >= 0 and _find_long(data) is not None


def read_packed(
    reader: FieldReader, start: int, end: int, name: str, most: int, before: int = 0
) -> list[int]:
    """Return the packed numbers between two places of a message, each checked to be a uint32.

    Raises:
        FrameTooLargeError: with those `before` there are more than `most`; raised before any is made.
    """
    if before + end - start > most:  # of fewer bytes, which are one at least for each, no count is needed
        reader.check_count(before + _count(reader.data, start, end), most, start)
    packed = reader.data[start:end]
    # A last byte that promises more is a number cut off: the runtime's error would not have its place.
    if packed and (packed[-1] > 0x7F or has_long_varints(packed)):
        _check_numbers(reader, packed, start, end, name)
    # A message of field 1 alone, whose tag is the byte 0x0a.
    return ids_of_message(b"\n" + write_varint(len(packed)) + packed)


def _count(data: bytes, start: int, end: int) -> int:
    """Return the count of numbers: each has one last byte. Parts are counted, since each is copied."""
    parts = (data[at : min(at + _PART, end)] for at in range(start, end, _PART))
    return sum(len(part.translate(None, _MORE)) for part in parts)


def _check_numbers(reader: FieldReader, packed: bytes, start: int, end: int, name: str) -> None:
    """Raise the error of the first number that is not a uint32, if any."""
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
    """Return field 1 with these ids packed; no bytes for no ids."""
    data: bytes = packed_ids_class()(ids=ids).SerializeToString()
    return data
