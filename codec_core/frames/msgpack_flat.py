"""Frames without nested values but the ids: keys in any order, plain or delta, small unknown values.

A pattern finds where such a frame would end, and msgspec decodes that much, to the last byte or not at all.
What fails here is no error yet: the `FrameScanner` reads it anew, and knows the place of what is wrong.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from codec_core.frames.delta import from_deltas
from codec_core.frames.frame import CodecFrame, TokenId
from codec_core.frames.msgpack_types import ANY_UINT, FIXED_VALUE, UINT32

_SHORT_TEXT = b"|".join(b"[\\x%x]" % (0xA0 + size) + b"." * size for size in range(32))

_ARRAY = rb"(?:[\x90-\x9f]|\xdc..|\xdd....)"

_match = re.compile(
    rb"[\x80-\x8f](?:\xa4done[\xc2\xc3]|\xa3ids%b(?:%b)*+|\xa9ids_delta%b(?:%b)*+|(?:%b)(?:%b|%b))*+"
    % (_ARRAY, UINT32, _ARRAY, ANY_UINT, _SHORT_TEXT, FIXED_VALUE, _SHORT_TEXT),
    re.DOTALL,
).match
"""Find the end of a flat frame that begins here. Its numbers are checked by msgspec afterwards."""


class _Fields(msgspec.Struct, gc=False):
    """The fields of a frame. An absent field differs from `nil`, which only the last field may be."""

    done: bool
    ids: tuple[TokenId, ...] | msgspec.UnsetType = msgspec.UNSET
    ids_delta: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] | msgspec.UnsetType = msgspec.UNSET
    base_id: TokenId | msgspec.UnsetType = msgspec.UNSET
    finish_reason: str | None = None


_decode = msgspec.msgpack.Decoder(_Fields).decode


def read_flat(data: bytes | bytearray, limit: int) -> tuple[CodecFrame, int] | None:
    """Return the flat frame that begins `data`, and its size in bytes; None for any other frame.

    At most `limit` bytes are read.
    """
    found = _match(data, 0, limit)
    if not found:
        return None
    try:
        fields = _decode(found[0])
        return CodecFrame(_ids_of(fields), fields.done, fields.finish_reason), found.end()
    except (msgspec.DecodeError, ValueError):  # the latter from `_ids_of`, and for text that is not UTF-8
        return None


def _ids_of(fields: _Fields) -> tuple[int, ...]:
    if isinstance(fields.ids_delta, msgspec.UnsetType):
        if isinstance(fields.ids, msgspec.UnsetType):
            raise ValueError("neither ids nor deltas")
        return fields.ids
    if isinstance(fields.base_id, msgspec.UnsetType) or not isinstance(fields.ids, msgspec.UnsetType):
        raise ValueError("deltas without a base, or beside ids")
    return from_deltas(fields.ids_delta, fields.base_id)
