"""Delta frames as MessagePack maps: `{"base_id", "ids_delta": [uint..], "done", "finish_reason"?}`."""

from __future__ import annotations

import msgspec

from codec_core.frames.delta import to_deltas
from codec_core.frames.encoder import FrameEncoder
from codec_core.frames.frame import CodecFrame
from codec_core.frames.values import VALUES, with_entry

_encode = msgspec.msgpack.Encoder().encode


class _DeltaFrame(msgspec.Struct, omit_defaults=True, gc=False):
    base_id: int
    ids_delta: list[int]
    done: bool
    finish_reason: str | None = None


class MsgpackDeltaEncoder(FrameEncoder):
    """Writes delta frames; `MsgpackDecoder` reads them."""

    __slots__ = ("_last",)

    format = "msgpack-delta"

    def __init__(self) -> None:
        super().__init__()
        self._last = 0

    def _write(self, frame: CodecFrame) -> bytes:
        deltas = to_deltas(frame.ids, self._last)
        data = _encode(_DeltaFrame(self._last, deltas, frame.done, frame.finish_reason))
        if frame.ids:
            self._last = frame.ids[-1]
        return data

    def _add(self, data: bytes, packed: bytes) -> bytes:
        return with_entry(data, VALUES, packed)
