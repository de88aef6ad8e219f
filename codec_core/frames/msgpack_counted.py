"""Decoding of frames that hold as many ids as many before them: servers that gather send one size.

msgspec grows a list id by id where any number may come, and makes a tuple of it. Where the type says the
number, it fills the tuple at once. What it is told is a guess, from one byte of the usual form; a frame that
holds another number fails like a malformed one, and is read by those that guess nothing.
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
"""Where the low byte of the number stands: `{"ids": [..` is 0x82, 0xa3, three letters, 0xdc, two bytes."""

FEWEST, MOST = 17, 128
"""Ids of the frames that are counted on.

Up to sixteen the list need not grow. Beyond 128, the low byte alone could be that of twice the number.
"""

_AROUND, _LARGEST_ID = 14, 5
"""Bytes of a frame beside its ids, and of an id."""

SHORTEST = _AROUND + _LARGEST_ID * FEWEST
LONGEST = _AROUND + _LARGEST_ID * MOST
"""Bytes of a frame in which that byte is looked at: shorter ones may have none, longer ones may mislead."""

FRAMES_FIRST = 64
"""Frames of a size before it is counted on: what a decoder saves on some hundreds it costs to make."""

_decode_any: Decode = msgspec.msgpack.Decoder(CodecFrame).decode


def watching(count: int) -> Decode:
    """Return the decoding of frames of any size that counts those of one until they are worth a decoder."""
    seen = 0

    def decode(data: Bytes) -> CodecFrame:
        nonlocal seen
        frame = _decode_any(data)
        seen += len(frame.ids) == count
        if seen >= FRAMES_FIRST:
            DECODE_COUNTED[count] = decoder_of(count)
        return frame

    return decode


def decoder_of(count: int) -> Decode:
    """Return the decoding of frames of just so many ids; it fails with any other number."""
    generic: Any = CodecFrame
    ids = GenericAlias(tuple, (TokenId,) * count)
    decode: Decode = msgspec.msgpack.Decoder(generic[ids]).decode
    return decode


DECODE_COUNTED: list[Decode] = [
    watching(count) if FEWEST <= count <= MOST else _decode_any for count in range(256)
]
"""How to decode a frame that may hold as many ids as the index says; all streams share what was learned."""
