"""Wire formats of frames, one per file, behind one decoder and one encoder contract. No I/O."""

from codec_core.frames.decoder import FrameDecoder
from codec_core.frames.encoder import FrameEncoder
from codec_core.frames.formats import (
    CONTENT_TYPES,
    DECODERS,
    ENCODERS,
    StreamFormat,
    decoder,
    encoder,
    format_of_content_type,
)
from codec_core.frames.frame import (
    MAX_FRAME_BYTES,
    MAX_FRAME_IDS,
    MAX_ID,
    MAX_PROMPT_IDS,
    CodecFrame,
    CodecRequest,
    SampledValues,
    ValuedFrame,
    WeightVersion,
)
from codec_core.frames.protobuf import decode_protobuf_frame
from codec_core.frames.requests import decode_request, encode_request
from codec_core.frames.schema import SCHEMA
from codec_core.frames.streams import decode_msgpack_stream, decode_protobuf_stream, decode_stream

__all__ = [
    "CONTENT_TYPES",
    "DECODERS",
    "ENCODERS",
    "MAX_FRAME_BYTES",
    "MAX_FRAME_IDS",
    "MAX_ID",
    "MAX_PROMPT_IDS",
    "SCHEMA",
    "CodecFrame",
    "CodecRequest",
    "FrameDecoder",
    "FrameEncoder",
    "SampledValues",
    "StreamFormat",
    "ValuedFrame",
    "WeightVersion",
    "decode_msgpack_stream",
    "decode_protobuf_frame",
    "decode_protobuf_stream",
    "decode_request",
    "decode_stream",
    "decoder",
    "encode_request",
    "encoder",
    "format_of_content_type",
]
