"""A table of the first bytes of MessagePack values, and patterns of values of a known size."""

from __future__ import annotations

from typing import NamedTuple

UINT32 = (
    rb"[\x00-\x7f]|\xcc.|\xcd..|\xce....|\xcf\x00{4}....|\xd0[\x00-\x7f]|\xd1[\x00-\x7f].|\xd2[\x00-\x7f]..."
    rb"|\xd3\x00{4}...."
)
"""An integer in 0..2^32-1 in any encoding; a writer may choose a wider one than needed."""

ANY_UINT = UINT32 + rb"|\xcf.{8}|\xd3[\x00-\x7f].{7}"
"""An integer that is not negative; the distance between two ids can need 33 bits."""

FIXED_VALUE = (
    rb"[\x00-\x7f\xe0-\xff\x80\x90\xa0\xc0\xc2\xc3]|[\xcc\xd0].|[\xcd\xd1]..|[\xca\xce\xd2].{4}"
    rb"|[\xcb\xcf\xd3].{8}"
)
"""A value whose first byte gives its size: numbers, booleans, nil, and empty values."""


class Head(NamedTuple):
    """The meaning of the first byte of a value."""

    kind: str
    """`integer`, `float`, `boolean`, `nil`, `string`, `bytes`, `array`, `map` or `unused`."""
    size: int = 0
    """The bytes that follow, or elements of an array or map, where the first byte gives them."""
    width: int = 0
    """The bytes of the length that follows otherwise."""
    extra: int = 0
    """The bytes beyond that length: the type byte of an extension."""


def _heads() -> list[Head]:
    """Return the table of the MessagePack specification, by byte."""
    heads = [Head("unused")] * 256
    heads[0x00:0x80] = [Head("integer")] * 0x80
    heads[0xE0:0x100] = [Head("integer")] * 0x20
    for low in range(16):
        heads[0x80 + low] = Head("map", low)
        heads[0x90 + low] = Head("array", low)
    for low in range(32):
        heads[0xA0 + low] = Head("string", low)
    heads[0xC0] = Head("nil")
    heads[0xC2] = heads[0xC3] = Head("boolean")
    heads[0xCA], heads[0xCB] = Head("float", 4), Head("float", 8)
    for power in range(4):
        heads[0xCC + power] = heads[0xD0 + power] = Head("integer", 1 << power)
    for power in range(3):
        heads[0xC4 + power] = Head("bytes", width=1 << power)
        heads[0xC7 + power] = Head("bytes", width=1 << power, extra=1)
        heads[0xD9 + power] = Head("string", width=1 << power)
    for power in range(5):
        heads[0xD4 + power] = Head("bytes", 1 << power, extra=1)
    for power in range(2):
        heads[0xDC + power] = Head("array", width=2 << power)
        heads[0xDE + power] = Head("map", width=2 << power)
    return heads


HEADS = tuple(_heads())

SMALL_VALUES = tuple(
    0
    if head.kind == "unused" or head.width or (head.kind in ("array", "map") and head.size)
    else 1 + head.extra + (head.size if head.kind not in ("array", "map") else 0)
    for head in HEADS
)
"""The size of a value by its first byte; 0 where that does not give it."""


def type_name(byte: int) -> str:
    """Return the name of the type of a value by its first byte, for errors."""
    return HEADS[byte].kind
