"""The binary completion request, in both encodings: the HTTP body is the request, without a length."""

from __future__ import annotations

import struct
from functools import cache
from typing import Annotated, Any

import msgspec

from codec_core.exceptions import (
    CONVERSION_ERRORS,
    FrameEncodeError,
    FrameTooLargeError,
    MalformedFrameError,
    NestingError,
    UnsupportedFormatError,
)
from codec_core.frames.decoder import Bytes
from codec_core.frames.frame import MAX_FRAME_BYTES, MAX_PROMPT_IDS, CodecRequest, TokenId
from codec_core.frames.packed import read_packed, write_packed
from codec_core.frames.protobuf_wire import (
    BYTES,
    FIXED32,
    VARINT,
    Field,
    FieldReader,
    write_bytes,
    write_number,
    write_varint,
)

PROMPT_IDS, MAX_TOKENS, TEMPERATURE, STOP, STREAM_FORMAT = 1, 2, 3, 4, 5

_decode = msgspec.msgpack.Decoder(CodecRequest).decode


def encode_request(request: CodecRequest, fmt: str = "msgpack") -> bytes:
    """Return the body of a request; `fmt` is `msgpack` or `protobuf`, also to ask for a delta form.

    Raises:
        FrameEncodeError: a field has a wrong type, lies outside its range, or is text with a lone surrogate.
        UnsupportedFormatError: `fmt` is neither.
    """
    try:
        # A struct made in Python is not checked: its fields may have any type.
        checked = msgspec.convert(msgspec.to_builtins(request), CodecRequest)
    except (*CONVERSION_ERRORS, TypeError) as error:
        raise FrameEncodeError(f"the request cannot be written: {error}") from None
    try:
        return _WRITERS[_known(fmt)](checked)
    except UnicodeEncodeError as error:
        raise FrameEncodeError(f"a text of the request is not Unicode: {error}") from None


def decode_request(
    data: Bytes,
    fmt: str = "msgpack",
    *,
    max_request_bytes: int = MAX_FRAME_BYTES,
    max_prompt_ids: int = MAX_PROMPT_IDS,
) -> CodecRequest:
    """Return the request that a body holds; unknown fields are skipped.

    Raises:
        FrameError: the body is not a request, is longer than the limit, or has a longer prompt.
        UnsupportedFormatError: `fmt` is neither `msgpack` nor `protobuf`.
    """
    if len(data) > max_request_bytes:
        raise FrameTooLargeError(f"the request has {len(data)} bytes", 0, max_request_bytes)
    return _READERS[_known(fmt)](bytes(data), max_prompt_ids)


def _known(fmt: str) -> str:
    if fmt not in _WRITERS:
        raise UnsupportedFormatError(f"a request is msgpack or protobuf, not {fmt!r}")
    return fmt


def _read_msgpack(data: bytes, most: int) -> CodecRequest:
    try:
        # Ids take at least a byte each, so a shorter body need not be counted.
        return _decode(data) if len(data) <= most else _decode_long(data, most)
    except RecursionError:
        raise NestingError("a value of the request is nested without end", 0) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedFrameError(f"the request is malformed: {error}", 0) from None


def _decode_long(data: bytes, most: int) -> CodecRequest:
    # A plain request again: one of the decoder's own type would not be equal to it.
    return CodecRequest(**msgspec.structs.asdict(_bounded(most).decode(data)))


@cache
def _bounded(most: int) -> msgspec.msgpack.Decoder[CodecRequest]:
    """Return a decoder that refuses a longer prompt before it makes any of its ids."""
    prompt = Annotated[tuple[TokenId, ...], msgspec.Meta(max_length=most)]
    kind = msgspec.defstruct("CodecRequest", [("prompt_ids", prompt)], bases=(CodecRequest,), kw_only=True)
    return msgspec.msgpack.Decoder(kind)


def _read_protobuf(data: bytes, most: int) -> CodecRequest:
    reader = FieldReader(data, 0)
    values: dict[str, Any] = {"prompt_ids": [], "stop": []}
    for field in reader.fields():
        _read_field(reader, field, values, most)
    return CodecRequest(**values | {"prompt_ids": tuple(values["prompt_ids"]), "stop": tuple(values["stop"])})


def _read_field(reader: FieldReader, field: Field, values: dict[str, Any], most: int) -> None:
    if field.number == PROMPT_IDS:
        ids = values["prompt_ids"]
        reader.expect(field, "prompt_ids", BYTES, VARINT)
        if field.wire_type == VARINT:
            reader.check_count(len(ids) + 1, most, field.offset)
            ids.append(reader.uint32(field.value, "an id", field.offset))
        else:
            ids += read_packed(reader, field.value, field.end, "an id", most, len(ids))
    elif field.number == MAX_TOKENS:
        reader.expect(field, "max_tokens", VARINT)
        values["max_tokens"] = reader.uint32(field.value, "max_tokens", field.offset)
    elif field.number == TEMPERATURE:
        reader.expect(field, "temperature", FIXED32)
        values["temperature"] = struct.unpack_from("<f", reader.data, field.value)[0]
    elif field.number == STOP:
        values["stop"].append(reader.text(field, "stop"))
    elif field.number == STREAM_FORMAT:
        values["stream_format"] = reader.text(field, "stream_format")


def _write_protobuf(request: CodecRequest) -> bytes:
    data = write_packed(request.prompt_ids)
    if request.max_tokens:  # as in all of proto3, what has its default (0, "") is not written
        data += write_number(MAX_TOKENS, request.max_tokens)
    if request.temperature:
        data += write_varint(TEMPERATURE << 3 | FIXED32) + _float32(request.temperature)
    for stop in request.stop:
        data += write_bytes(STOP, stop.encode())
    if request.stream_format:
        data += write_bytes(STREAM_FORMAT, request.stream_format.encode())
    return data


def _float32(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        raise FrameEncodeError(f"the temperature {value} does not fit 32 bits") from None


_READERS = {"msgpack": _read_msgpack, "protobuf": _read_protobuf}
_WRITERS = {"msgpack": msgspec.msgpack.Encoder().encode, "protobuf": _write_protobuf}
