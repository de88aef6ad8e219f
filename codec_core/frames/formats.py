"""The wire formats by name, and their content types: those to write, and those that servers send."""

from __future__ import annotations

from typing import Literal

from codec_core.exceptions import UnsupportedFormatError
from codec_core.frames.decoder import FrameDecoder
from codec_core.frames.encoder import FrameEncoder
from codec_core.frames.frame import MAX_FRAME_BYTES, MAX_FRAME_IDS
from codec_core.frames.msgpack import MsgpackDecoder, MsgpackEncoder
from codec_core.frames.msgpack_compact import MsgpackCompactEncoder
from codec_core.frames.msgpack_delta import MsgpackDeltaEncoder
from codec_core.frames.msgpack_packed import MsgpackPackedEncoder
from codec_core.frames.protobuf import ProtobufDecoder, ProtobufEncoder
from codec_core.frames.protobuf_delta import ProtobufDeltaEncoder

StreamFormat = Literal[
    "msgpack", "protobuf", "msgpack-delta", "protobuf-delta", "msgpack-compact", "msgpack-packed"
]
"""A value of `stream_format`."""

CONTENT_TYPES: dict[str, str] = {
    "msgpack": "application/x-msgpack",
    "protobuf": "application/x-protobuf",
    "msgpack-delta": "application/x-msgpack",
    "protobuf-delta": "application/x-protobuf",
    "msgpack-compact": "application/x-msgpack",
    "msgpack-packed": "application/x-msgpack",
}
"""The content type to write. The forms of an encoding share one: the frames themselves differ."""

_READ = {
    f"application/{prefix}{name}": name
    for name in ("msgpack", "protobuf")
    for prefix in ("", "x-", "codec+", "x-codec-")
}


def format_of_content_type(content_type: str) -> StreamFormat:
    """Return `msgpack` or `protobuf` for the content type of a response; parameters and case do not matter.

    Raises:
        UnsupportedFormatError: it is another type: JSON or SSE from an engine that ignored `stream_format`.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    name = _READ.get(media_type)
    if name is None:
        raise UnsupportedFormatError(
            f"{content_type!r} is not a content type of Codec frames; the server answered in another form"
        )
    return "msgpack" if name == "msgpack" else "protobuf"  # both spelled out for the type checker


DECODERS: dict[str, type[FrameDecoder]] = {
    "msgpack": MsgpackDecoder,
    "protobuf": ProtobufDecoder,
    "msgpack-delta": MsgpackDecoder,
    "protobuf-delta": ProtobufDecoder,
    "msgpack-compact": MsgpackDecoder,
    "msgpack-packed": MsgpackDecoder,
}
"""Decoders by format. A client that asks for one form may get another, so each reads all of its encoding."""

ENCODERS: dict[str, type[FrameEncoder]] = {
    "msgpack": MsgpackEncoder,
    "protobuf": ProtobufEncoder,
    "msgpack-delta": MsgpackDeltaEncoder,
    "protobuf-delta": ProtobufDeltaEncoder,
    "msgpack-compact": MsgpackCompactEncoder,
    "msgpack-packed": MsgpackPackedEncoder,
}


def decoder(
    fmt: str, *, max_frame_bytes: int = MAX_FRAME_BYTES, max_frame_ids: int = MAX_FRAME_IDS
) -> FrameDecoder:
    """Return a new decoder for one body in this format, with limits on the bytes and ids of a frame.

    Raises:
        UnsupportedFormatError: the format is unknown.
    """
    if fmt not in DECODERS:
        raise _unsupported(fmt)
    return DECODERS[fmt](max_frame_bytes=max_frame_bytes, max_frame_ids=max_frame_ids)


def encoder(fmt: str) -> FrameEncoder:
    """Return a new encoder for one stream in this format.

    Raises:
        UnsupportedFormatError: the format is unknown.
    """
    if fmt not in ENCODERS:
        raise _unsupported(fmt)
    return ENCODERS[fmt]()


def _unsupported(fmt: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(f"unknown stream format {fmt!r}; known are {', '.join(DECODERS)}")
