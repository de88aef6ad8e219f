"""Compact frames whose ids are one string of bytes: a LEB128 varint each, as protobuf packs them."""

from __future__ import annotations

from codec_core.frames.frame import CodecFrame
from codec_core.frames.msgpack_compact import MsgpackCompactEncoder, compact_frame
from codec_core.frames.protobuf_wire import write_varint


class MsgpackPackedEncoder(MsgpackCompactEncoder):
    """Writes packed frames; `MsgpackDecoder` reads them."""

    format = "msgpack-packed"

    def _write(self, frame: CodecFrame) -> bytes:
        return compact_frame(b"".join(map(write_varint, frame.ids)), frame)
