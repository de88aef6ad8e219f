"""Fast decoding of frames with a frequent number of ids: servers that batch send one size.

For a tuple of any length, msgspec grows a list id by id and copies it. For a tuple of a known length, it
fills the tuple at once. The length is a guess from one byte of the usual form. A frame of another length
fails like a malformed one and is decoded again without a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from types import GenericAlias
from typing import Any

import msgspec

from codec_core.frames.decoder import Bytes
from codec_core.frames.frame import CodecFrame, TokenId

Decode = Callable[[Bytes], CodecFrame]

COUNT_AT = 7
"""The place of the count's low byte: `{"ids": [..` is 0x82, 0xa3, three letters, 0xdc, two bytes."""

FEWEST, MOST = 17, 128
"""The range of lengths that are guessed.

Up to sixteen, the list does not grow. Beyond 128, the low byte alone is ambiguous.
"""

_AROUND, _LARGEST_ID = 14, 5
"""Bytes of a frame without its ids, and the most bytes of an id."""

SHORTEST = _AROUND + _LARGEST_ID * FEWEST
LONGEST = _AROUND + _LARGEST_ID * MOST
"""The sizes of frames whose count is read: in shorter ones the byte may be absent, in longer ones
ambiguous."""

FRAMES_FIRST = 64
"""Frames of a length before a decoder is made for it: making one costs what it saves on hundreds."""

_decode_any: Decode = msgspec.msgpack.Decoder(CodecFrame).decode


def watching(count: int) -> Decode:
    """Return a decoder of frames of any length that counts one length until it is worth its own decoder."""
    seen = 0

    def decode(data: Bytes) -> CodecFrame:
        nonlocal seen
        frame = _decode_any(data)
        seen += len(frame.ids) == count
        if seen >= FRAMES_FIRST:  # of two that threads make at once, either is kept
            DECODE_COUNTED[count] = decoder_of(count)
        return frame

    return decode


def decoder_of(count: int) -> Decode:
    """Return a decoder of frames of exactly this many ids; it fails for any other number."""
    generic: Any = CodecFrame
    ids = GenericAlias(tuple, (TokenId,) * count)
    decode: Decode = msgspec.msgpack.Decoder(generic[ids]).decode
    return decode


DECODE_COUNTED: list[Decode] = [
    watching(count) if FEWEST <= count <= MOST else _decode_any for count in range(256)
]
"""The decoder to try for each number of ids. All streams share it."""
