"""Well-formed inputs for the fuzzer to begin with: one of each thing that can be read."""

import gzip
import zlib

from codec_core.frames import CodecRequest, encode_request, encoder

BATCHES = ([1, 2, 300], [], [70_000, 2**32 - 1], list(range(40)))


def stream(fmt):
    """Return the bytes of a whole stream."""
    out = encoder(fmt)
    return b"".join(out.encode(batch) for batch in BATCHES) + out.encode([5], done=True, finish_reason="stop")


def seeds():
    """Yield inputs of the target: a choice, then bytes."""
    for step in (0, 1, 7, 31):
        for fmt in ("msgpack", "msgpack-delta", "protobuf", "protobuf-delta"):
            yield bytes([step << 3 | (fmt.startswith("protobuf"))]) + stream(fmt)
        yield bytes([step << 3 | 5]) + gzip.compress(b"hello " * 50)
        yield bytes([step << 3 | 5]) + zlib.compress(b"hello " * 50)
        yield bytes([step << 3 | 6]) + bytes([0, 1, 2, 3, 7, 4, 2, 2, 7, 1, 4, 5, 5, 1, 7, 7, 7, 7, 4])
    request = CodecRequest(
        prompt_ids=(1, 70_000), max_tokens=5, temperature=0.5, stop=("a",), stream_format="x"
    )
    for number, fmt in enumerate(("msgpack", "protobuf")):
        yield bytes([2 | number]) + encode_request(request, fmt)
    yield b"\x04" + stream("protobuf")[4:20]
    yield b"\x00\x83\xa1x\x93\xc0\xcb" + bytes(8) + b"\x81\xa1a\xc4\x02ab\xa3ids\x91\x07\xa4done\xc3"
    yield b"\x01\x00\x00\x00\x0c\x3b\x08\x01\x3c\x08\x07\x39" + bytes(8)
