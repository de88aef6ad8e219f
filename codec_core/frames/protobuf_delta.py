"""Delta frames as protobuf messages: field 1 holds the zigzag deltas, and `base_id` marks it."""

from __future__ import annotations

from codec_core.frames.decoder import PREFIX_BYTES
from codec_core.frames.delta import to_deltas
from codec_core.frames.encoder import FrameEncoder
from codec_core.frames.frame import MAX_ID, CodecFrame
from codec_core.frames.protobuf import VALUES, with_length, write_message
from codec_core.frames.protobuf_wire import write_bytes


class ProtobufDeltaEncoder(FrameEncoder):
    """Writes delta frames, and a plain one if a delta needs more than the 32 bits of the field.

    `ProtobufDecoder` reads both.
    """

    __slots__ = ("_last",)

    format = "protobuf-delta"

    def __init__(self) -> None:
        super().__init__()
        self._last = 0

    def _write(self, frame: CodecFrame) -> bytes:
        base, deltas = self._last, to_deltas(frame.ids, self._last)
        if frame.ids:
            self._last = frame.ids[-1]
        if max(deltas, default=0) > MAX_ID:
            return with_length(write_message(frame, frame.ids))
        return with_length(write_message(frame, deltas, base))

    def _add(self, data: bytes, packed: bytes) -> bytes:
        return with_length(data[PREFIX_BYTES:] + write_bytes(VALUES, packed))
