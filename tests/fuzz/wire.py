"""The wire: what all decoders are held to, for any bytes.

1. Nothing but the library's own errors is raised.
2. How the bytes were cut changes neither the frames, nor the error, nor its place.
3. What was read can be written, and reads the same again.
"""

import contextlib
import json
from types import SimpleNamespace

from codec_core.compression import decompressor, hash_zstd_dict
from codec_core.exceptions import (
    CodecError,
    CompressionError,
    CorruptBodyError,
    DecompressionBudgetError,
    FrameError,
    LeafTokenizationError,
    SafetyPolicyValidationError,
    VersionPolicyError,
)
from codec_core.frames import decode_protobuf_frame, decode_request, decoder, encode_request, encoder
from codec_core.leaf import LEAF_TOKENIZATION, read_leaf, write_leaf
from codec_core.regions import RegionKind, RegionScanner
from codec_core.regions_reference import join, scan_whole
from codec_core.safety import descriptor_canonical_bytes, descriptor_from_json
from codec_core.versions import parse_version_policy_document, parse_version_required

FORMATS = ("msgpack", "protobuf")
LIMIT = 1 << 16
MOST_IDS = 200

DICTIONARY = b"a dictionary of plain content, which zstd takes as well as a trained one"
DICTIONARY_NAME = hash_zstd_dict(DICTIONARY)


def frames_of(fmt, data, step):
    """Return the frames of a body fed in pieces, and its error in words."""
    body, frames = decoder(fmt, max_frame_bytes=LIMIT, max_frame_ids=MOST_IDS), []
    try:
        for at in range(0, len(data), step):
            frames += body.feed(data[at : at + step])
        body.close()
    except FrameError as error:
        return frames, repr(error)
    return frames, None


def check_frames(fmt, data, step):
    """Hold a frame decoder to its promises."""
    whole = frames_of(fmt, data, max(len(data), 1))
    pieces = frames_of(fmt, data, step)
    assert whole == pieces, (fmt, step, whole, pieces)
    for name in (fmt, fmt + "-delta"):
        out = encoder(name)
        again = b"".join(out.encode(frame.ids, frame.done, frame.finish_reason) for frame in whole[0])
        assert frames_of(fmt, again, step)[0] == whole[0]


def check_request(fmt, data):
    """Hold the reader of requests to its promises."""
    with contextlib.suppress(FrameError):
        request = decode_request(data, fmt)
        again = encode_request(request, fmt)
        assert encode_request(decode_request(again, fmt), fmt) == again


def body_of(encoding, data, step):
    """Return what a body decompresses to, or how it is refused.

    Of a body that is both too large and corrupt the cut may decide which of the two is told.
    """
    named = DICTIONARY_NAME if encoding == "zstd" else None
    known = {DICTIONARY_NAME: DICTIONARY}
    body, out = decompressor(encoding, zstd_dict=named, dictionaries=known, budget=LIMIT), b""
    try:
        for at in range(0, len(data), step):
            out += body.feed(data[at : at + step])
        return out + body.flush()
    except (CorruptBodyError, DecompressionBudgetError):
        return "too large or corrupt"
    except CompressionError as error:
        return type(error)


def check_compression(data, step):
    """Hold the decompressors to their promises."""
    for encoding in ("gzip", "deflate", "br", "zstd"):
        assert body_of(encoding, data, max(len(data), 1)) == body_of(encoding, data, step), (encoding, step)


KINDS = [
    RegionKind("tool", ((1,), (1, 2, 3)), ((4,),), cap=3),
    RegionKind("think", ((2, 2),), ((5, 5),), True, ((1,), (6,))),
]


def check_regions(data, step):
    """Hold the region scanner to its reference; the bytes are the ids."""
    scanner = RegionScanner(KINDS)
    ids = [byte & 7 for byte in data]
    events = [event for at in range(0, len(ids), step) for event in scanner.feed(ids[at : at + step])]
    assert join(events + scanner.flush()) == scan_whole(KINDS, ids)


def check_documents(data):
    """Hold the readers of small documents to their promises; the bytes are JSON, or the body of an answer."""
    answer = SimpleNamespace(status_code=426, text=data.decode("utf-8", "replace"), headers={})
    with contextlib.suppress(CodecError):
        raise parse_version_required(answer)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    with contextlib.suppress(LeafTokenizationError):
        leaf = read_leaf({LEAF_TOKENIZATION: document})
        assert leaf is None or read_leaf(write_leaf(leaf.map_id, leaf.ids)) == leaf
    with contextlib.suppress(VersionPolicyError):
        parse_version_policy_document(document)
    with contextlib.suppress(SafetyPolicyValidationError):
        policy = descriptor_from_json(document)
        written = descriptor_canonical_bytes(policy)
        assert descriptor_canonical_bytes(descriptor_from_json(json.loads(written))) == written


def check(data):
    """Hold everything to its promises with these bytes; the first one says what and how it is cut."""
    if not data:
        return
    choice, data = data[0], bytes(data[1:])
    step = 1 + (choice >> 3)
    if choice & 7 < 2:
        check_frames(FORMATS[choice & 1], data, step)
    elif choice & 7 < 4:
        check_request(FORMATS[choice & 1], data)
    elif choice & 7 == 4:
        with contextlib.suppress(CodecError):
            decode_protobuf_frame(data)
    elif choice & 7 == 5:
        check_compression(data, step)
    elif choice & 7 == 6:
        check_documents(data)
    else:
        check_regions(data, step)
