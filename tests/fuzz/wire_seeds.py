"""Well-formed inputs for the fuzzer to begin with: one of each thing that can be read."""

import gzip
import json
import zlib

import msgspec

from codec_core.compression import compressor
from codec_core.frames import CodecRequest, encode_request, encoder
from tests.fuzz.wire import DICTIONARY

BATCHES = ([1, 2, 300], [], [70_000, 2**32 - 1], list(range(40)))


def stream(fmt):
    """Return the bytes of a whole stream."""
    out = encoder(fmt)
    return b"".join(out.encode(batch) for batch in BATCHES) + out.encode([5], done=True, finish_reason="stop")


def written_br(data):
    """Return a body of `br`."""
    out = compressor("br")
    return out.feed(data) + out.flush()


def written_zstd(data):
    """Return a body of `zstd` with the target's dictionary."""
    out = compressor("zstd", DICTIONARY)
    return out.feed(data) + out.flush()


DOCUMENTS = (
    {"map_id": "sha256:" + "0" * 64, "ids": [1, 70_000]},
    {"minimum_version": "0.4", "required_features": ["zstd"], "valid_until": "2027-01-01"},
    {
        "error": "codec_version_required",
        "minimum_version": "0.6",
        "required_features": ["delta"],
        "client_version": "0.5",
    },
    {
        "id": "x/y",
        "version": "1",
        "tokenizers": ["a/b"],
        "categories": [{"name": "n", "action": "stop"}],
        "classifier": {"family": "f", "host": "both", "requires_engine_features": ["hidden_states"]},
        "rules_summary": {"regex_pattern_count": 1},
        "publisher": {"name": "é"},
    },
)


FLAT_FRAMES = (
    msgspec.msgpack.encode({"done": False, "ids": [1, 70_000]}),
    msgspec.msgpack.encode({"ids": [], "x": 1.5, "done": False, "finish_reason": None}),
    msgspec.msgpack.encode({"base_id": 5, "done": False, "ids_delta": [2, 2**33 - 11], "y": "text"}),
    msgspec.msgpack.encode({"ids": [7], "done": True, "finish_reason": "stop"}),
)
FLAT = b"".join(FLAT_FRAMES)
"""Frames as others may write them, several in a chunk."""

FIELDS = (
    b"\x00\x00\x00\x06\x10\x00\x08\x05\x08\x06"
    b"\x00\x00\x00\x0d\x0a\x02\x05\x06\x0a\x05\xff\xff\xff\xff\x0f\x08\x07"
    b"\x00\x00\x00\x08\x20\x05\x0a\x02\x02\x01\x28\x09"
    b"\x00\x00\x00\x0a\x0a\x06\x85\x80\x80\x80\x80\x00\x10\x01"
)
"""Messages with fields in another order, packed, unpacked and both, and numbers longer than they need be."""


def seeds():
    """Yield inputs of the target: a choice, then bytes."""
    for step in (0, 1, 7, 31):
        for fmt in ("msgpack", "msgpack-delta", "protobuf", "protobuf-delta"):
            yield bytes([step << 3 | (fmt.startswith("protobuf"))]) + stream(fmt)
        yield bytes([step << 3]) + FLAT
        yield bytes([step << 3]) + b"".join(len(frame).to_bytes(4, "big") + frame for frame in FLAT_FRAMES)
        yield bytes([step << 3 | 1]) + FIELDS
        yield bytes([step << 3 | 5]) + gzip.compress(b"hello " * 50, mtime=0)
        yield bytes([step << 3 | 5]) + zlib.compress(b"hello " * 50)
        for body in (written_br(b"hello " * 50), written_zstd(b"hello " * 50)):
            yield bytes([step << 3 | 5]) + body
        yield bytes([step << 3 | 7]) + bytes([0, 1, 2, 3, 7, 4, 2, 2, 7, 1, 4, 5, 5, 1, 7, 7, 7, 7, 4])
    for document in DOCUMENTS:
        yield b"\x06" + json.dumps(document).encode()
    request = CodecRequest(
        prompt_ids=(1, 70_000), max_tokens=5, temperature=0.5, stop=("a",), stream_format="x"
    )
    for number, fmt in enumerate(("msgpack", "protobuf")):
        yield bytes([2 | number]) + encode_request(request, fmt)
    yield b"\x04" + stream("protobuf")[4:20]
    yield b"\x00\x83\xa1x\x93\xc0\xcb" + bytes(8) + b"\x81\xa1a\xc4\x02ab\xa3ids\x91\x07\xa4done\xc3"
    yield b"\x01\x00\x00\x00\x0c\x3b\x08\x01\x3c\x08\x07\x39" + bytes(8)
