"""Bytes that mean harm: each is a typed error, or the right answer, within a second and 64 MB.

What is declared and never sent, what is nested without end, what is no id, what ends early or goes on, and
what unpacks to more than it may.
"""

import gzip
import zlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_core.compression import decompressor, hash_zstd_dict
from codec_core.exceptions import (
    CompressionError,
    CorruptBodyError,
    DecompressionBudgetError,
    FrameError,
    FrameTooLargeError,
    LeafTokenizationError,
    MalformedFrameError,
    NestingError,
    SafetyPolicyValidationError,
    TrailingDataError,
    VersionPolicyError,
)
from codec_core.frames import (
    MAX_FRAME_IDS,
    MAX_PROMPT_IDS,
    CodecRequest,
    decode_request,
    decoder,
    encode_request,
    encoder,
)
from codec_core.leaf import LEAF_TOKENIZATION, read_leaf
from codec_core.safety import descriptor_from_json
from codec_core.versions import parse_version_policy_document
from tests.cases import cases
from tests.core.mutations import mutated
from tests.limits import within

pytestmark = pytest.mark.memory

pack = msgspec.msgpack.encode

MOST = 2**32 - 1
DEEP = 100_000
LIMIT = 16 * 1024 * 1024


def behind_length(frame):
    return len(frame).to_bytes(4, "big") + frame


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, data, size=None):
    return varint(number << 3 | 2) + varint(len(data) if size is None else size) + data


def feed_in_steps(reader, data, step):
    """Feed a decoder or decompressor a body in pieces."""
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])


def read_whole(fmt, data, step):
    body = decoder(fmt)
    feed_in_steps(body, data, step)
    body.close()


def refused(fmt, data, error):
    """Hold a body to an error, whole and in pieces, and to what it may cost."""
    with within():
        for step in (len(data), 4099):
            with pytest.raises(error) as caught:
                read_whole(fmt, data, step)
            assert type(caught.value) is error


# Lengths of 2^32-1

WIDE = MOST.to_bytes(4, "big")


@pytest.mark.parametrize(
    ("fmt", "data"),
    [
        ("msgpack", b"\x82\xa3ids\xdd" + WIDE),
        ("msgpack", b"\x83\xa9ids_delta\xdd" + WIDE),
        ("msgpack", b"\xdf" + WIDE),
        ("msgpack", b"\x82\xadfinish_reason\xdb" + WIDE),
        ("msgpack", b"\x82\xdb" + WIDE),
        ("msgpack", b"\x82\xa1x\xdb" + WIDE),
        ("msgpack", b"\x82\xa1x\xc6" + WIDE),
        ("msgpack", b"\x82\xa1x\xc9" + WIDE),
        ("msgpack", b"\x82\xa1x\xdd" + WIDE),
        ("msgpack", b"\x82\xa1x\xdf" + WIDE),
        ("msgpack", b"\x01\x00\x00\x01"),
        ("protobuf", WIDE),
        ("protobuf", WIDE + b"\x0a\x01\x05"),
    ],
)
@pytest.mark.parametrize("more", [0, 100_000])
def test_a_length_of_all_ones_is_refused_before_anything_is_gathered(fmt, data, more):
    refused(fmt, data + bytes(more), FrameTooLargeError)


def test_an_unknown_map_needs_two_bytes_for_each_entry():
    with pytest.raises(FrameTooLargeError):
        decoder("msgpack", max_frame_bytes=16).feed(b"\x82\xa1x\xde\x00\x08")


@pytest.mark.parametrize("size", [MOST, 2**63, 2**64 - 1])
@pytest.mark.parametrize("number", [1, 3, 9])
def test_a_field_longer_than_its_message_is_refused(number, size):
    refused("protobuf", behind_length(field(number, b"\x05", size)), MalformedFrameError)


@pytest.mark.parametrize("head", [b"\xdd", b"\xdb", b"\xdf", b"\xc6", b"\xc9"])
@pytest.mark.parametrize("name", [b"\xaaprompt_ids", b"\xa4stop", b"\xa1x"])
def test_a_request_that_declares_what_it_does_not_have_is_refused(head, name):
    with within(), pytest.raises(MalformedFrameError):
        decode_request(b"\x82" + name + head + WIDE)


# 100,000 deep


@pytest.mark.parametrize("opener", [b"\x91", b"\x81", b"\x81\xa1x"])
@pytest.mark.parametrize("before", [b"\x82\xa1x", b"\x82", b"\x82\xa3ids\x90"])
def test_values_nested_without_end_are_refused(opener, before):
    refused("msgpack", before + opener * DEEP, NestingError)
    refused("msgpack", behind_length(before + opener * DEEP), NestingError)


@pytest.mark.parametrize("data", [b"\x82\xa3ids" + b"\x91" * DEEP, b"\x91" * DEEP])
def test_nesting_where_none_may_be_is_malformed(data):
    refused("msgpack", data, MalformedFrameError)


def test_groups_nested_without_end_are_refused():
    refused("protobuf", behind_length(b"\x3b" * DEEP), NestingError)
    with within(), pytest.raises(NestingError):
        decode_request(b"\x3b" * DEEP, "protobuf")


def test_a_request_nested_without_end_is_refused():
    with within(), pytest.raises(NestingError):
        decode_request(b"\x82\xa1x" + b"\x91" * DEEP)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("read_document", "error"),
    [
        (lambda deep: read_leaf({LEAF_TOKENIZATION: deep}), LeafTokenizationError),
        (lambda deep: read_leaf({LEAF_TOKENIZATION: {"map_id": deep, "ids": []}}), LeafTokenizationError),
        (lambda deep: read_leaf({LEAF_TOKENIZATION: {"map_id": "x", "ids": deep}}), LeafTokenizationError),
        (descriptor_from_json, SafetyPolicyValidationError),
        (lambda deep: descriptor_from_json({"id": deep}), SafetyPolicyValidationError),
        (parse_version_policy_document, VersionPolicyError),
        (lambda deep: parse_version_policy_document({"minimum_version": deep}), VersionPolicyError),
    ],
)
def test_documents_nested_without_end_are_refused(read_document, error):
    with within(), pytest.raises(error):
        read_document(nested(DEEP))


# What is no id

NO_IDS = (-1, -(2**63), 2**32, 2**64 - 1, 1.0, 1.5, float("nan"), True, False, None, "1", b"1", [1])


@pytest.mark.parametrize("bad", NO_IDS, ids=repr)
@pytest.mark.parametrize("place", [0, 1, 4000])
@pytest.mark.parametrize("form", ["plain", "in another order", "nested beside", "behind a length"])
def test_what_is_no_id_is_refused_in_every_form_of_a_frame(bad, place, form):
    ids = [*range(place), bad, 7]
    frame = {
        "plain": {"ids": ids, "done": True},
        "in another order": {"done": True, "x": 1, "ids": ids},
        "nested beside": {"x": [[1]], "ids": ids, "done": True},
        "behind a length": {"ids": ids, "done": True},
    }[form]
    data = pack(frame)
    refused("msgpack", behind_length(data) if form == "behind a length" else data, MalformedFrameError)


@pytest.mark.parametrize("bad", [value for value in NO_IDS if value != 2**32], ids=repr)
def test_what_is_no_delta_is_refused(bad):
    refused("msgpack", pack({"base_id": 0, "ids_delta": [2, bad], "done": True}), MalformedFrameError)


@pytest.mark.parametrize("bad", NO_IDS, ids=repr)
def test_what_is_no_base_is_refused(bad):
    refused("msgpack", pack({"base_id": bad, "ids_delta": [2], "done": True}), MalformedFrameError)


@pytest.mark.parametrize(
    ("base", "deltas"), [(0, [1]), (MOST, [2]), (5, [0, 11]), (0, [2**33, 2**33 - 1, 1])]
)
def test_deltas_that_lead_to_no_id_are_refused(base, deltas):
    refused("msgpack", pack({"base_id": base, "ids_delta": deltas, "done": True}), MalformedFrameError)


@pytest.mark.parametrize("number", [2**32, 2**35, 2**63, 2**64 - 1])
@pytest.mark.parametrize("before", [0, 1, 4000])
def test_a_varint_that_is_no_id_is_refused_packed_and_not(number, before):
    ids = b"\x05" * before
    refused("protobuf", behind_length(field(1, ids + varint(number))), MalformedFrameError)
    refused("protobuf", behind_length(b"\x08\x05" * before + b"\x08" + varint(number)), MalformedFrameError)
    with within(), pytest.raises(MalformedFrameError):
        decode_request(field(1, ids + varint(number)), "protobuf")


@pytest.mark.parametrize("bad", NO_IDS, ids=repr)
def test_what_is_no_id_is_refused_in_requests_and_tool_results(bad):
    with pytest.raises(FrameError):
        decode_request(pack({"prompt_ids": [1, bad]}))
    with pytest.raises(LeafTokenizationError):
        read_leaf({LEAF_TOKENIZATION: {"map_id": "sha256:" + "0" * 64, "ids": [1, bad]}})


# What ends early, and what goes on

REQUEST = CodecRequest(prompt_ids=(1, 70_000), max_tokens=5, temperature=0.5, stop=("a",), stream_format="x")


def test_a_request_cut_anywhere_is_refused():
    data = encode_request(REQUEST)
    for size in range(len(data)):
        with pytest.raises(FrameError):
            decode_request(data[:size])


def test_a_protobuf_request_cut_within_a_field_is_refused():
    data = encode_request(REQUEST, "protobuf")
    whole = [0]  # where its fields end, and a shorter message is one too
    for part in ({"prompt_ids": (1, 70_000)}, {"max_tokens": 5}, {"temperature": 0.5}, {"stop": ("a",)}):
        whole.append(whole[-1] + len(encode_request(CodecRequest(**{"prompt_ids": ()} | part), "protobuf")))
    for size in range(len(data)):
        if size in whole:
            decode_request(data[:size], "protobuf")
        else:
            with pytest.raises(FrameError):
                decode_request(data[:size], "protobuf")


def test_bytes_after_a_request_are_refused():
    with pytest.raises(FrameError):
        decode_request(encode_request(REQUEST) + b"\x00")


@pytest.mark.parametrize("fmt", ["msgpack", "protobuf"])
def test_a_megabyte_after_done_is_refused(fmt):
    refused(fmt, encoder(fmt).encode([1], done=True) + bytes(2**20), TrailingDataError)


# Frames that are nearly nothing


@pytest.mark.parametrize(
    ("fmt", "frame"),
    [
        ("msgpack", pack({"ids": [5], "done": False})),
        ("msgpack", pack({"done": False, "x": 1, "ids": [5]})),
        ("msgpack", pack({"ids": [5], "done": False, "x": [1]})),
        ("msgpack-delta", encoder("msgpack-delta").encode([5])),
        ("protobuf", encoder("protobuf").encode([5])),
        ("protobuf", behind_length(b"\x08\x05")),
        ("protobuf-delta", encoder("protobuf-delta").encode([5])),
    ],
)
@pytest.mark.slow
def test_a_chunk_of_tiny_frames_is_read(fmt, frame):
    count = 2**18 // len(frame)
    with within():
        frames = decoder(fmt).feed(frame * count)
    assert len(frames) == count
    assert set(frames) == {frames[0]}


@pytest.mark.parametrize("id_bytes", [b"\x05", b"\xff\xff\xff\xff\x0f", b"\x85\x80\x80\x80\x80\x00"])
def test_packed_ids_cost_no_more_for_how_they_are_written(id_bytes):
    count = MAX_FRAME_IDS // len(id_bytes)
    with within():
        (frame,) = decoder("protobuf").feed(behind_length(field(1, id_bytes * count)))
    assert len(frame.ids) == count
    assert len(set(frame.ids)) == 1


# Frames of many ids


def array(count, element):
    return b"\xdd" + count.to_bytes(4, "big") + element * count


def msgpack_ids(element, count):
    return b"\x82\xa3ids" + array(count, element) + b"\xa4done\xc3"


def msgpack_other_order(element, count):
    return b"\x83\xa4done\xc3\xa1x\x91\x01\xa3ids" + array(count, element)


def msgpack_deltas(element, count):
    return b"\x83\xa7base_id\xcd\x10\x00\xa9ids_delta" + array(count, element) + b"\xa4done\xc3"


def msgpack_behind_length(element, count):
    return behind_length(msgpack_ids(element, count))


def protobuf_packed(element, count):
    return behind_length(field(1, element * count) + b"\x10\x01")


def protobuf_deltas(element, count):
    return behind_length(b"\x20\x80\x20" + protobuf_packed(element, count)[4:])


def protobuf_in_parts(element, count):
    half = count // 2
    return behind_length(field(1, element * half) + field(1, element * (count - half)) + b"\x10\x01")


def protobuf_unpacked(element, count):
    return behind_length((b"\x08" + element) * count + b"\x10\x01")


MANY = [
    (msgpack_ids, b"\xcd\x10\x00"),
    (msgpack_other_order, b"\xcd\x10\x00"),
    (msgpack_deltas, b"\x02"),
    (msgpack_behind_length, b"\xcd\x10\x00"),
    (protobuf_packed, b"\x80\x20"),
    (protobuf_deltas, b"\x02"),
    (protobuf_in_parts, b"\x80\x20"),
]
"""Forms of a frame of many ids, each with an id that is an integer of its own, not one that Python shares."""

STEPS = [2**30, pytest.param(2**16, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("form", "element"), MANY)
@pytest.mark.parametrize("step", STEPS)
def test_a_frame_of_as_many_ids_as_there_may_be_is_read(form, element, step):
    data = form(element, MAX_FRAME_IDS)
    with within():
        body = decoder(form.__name__.partition("_")[0])
        frames = [frame for at in range(0, len(data), step) for frame in body.feed(data[at : at + step])]
    assert [len(frame.ids) for frame in frames] == [MAX_FRAME_IDS]
    body.close()


@pytest.mark.parametrize(("form", "element"), [*MANY, (protobuf_unpacked, b"\x05")])
@pytest.mark.parametrize("smallest", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("step", STEPS)
def test_a_frame_of_more_ids_is_refused_before_they_are_made(form, element, smallest, step):
    """Also where all 16 MiB of it are ids of a byte."""
    count = LIMIT - 100 if smallest and form is not protobuf_unpacked else MAX_FRAME_IDS + 1
    data = form(b"\x05" if smallest else element, count)
    with within(), pytest.raises((FrameTooLargeError, MalformedFrameError)) as caught:
        read_whole(form.__name__.partition("_")[0], data, step)
    if form is not protobuf_unpacked:  # whose fields are counted, and fewer
        assert (caught.value.limit, caught.value.unit) == (MAX_FRAME_IDS, "ids")


@pytest.mark.parametrize(("form", "element"), MANY)
def test_how_many_ids_a_frame_may_have_can_be_said(form, element):
    fmt = form.__name__.partition("_")[0]
    few, many = form(element, 1000), form(element, MAX_FRAME_IDS + 1)
    assert len(decoder(fmt, max_frame_ids=1000).feed(few)[0].ids) == 1000
    with pytest.raises(FrameTooLargeError, match="the limit is 999 ids"):
        decoder(fmt, max_frame_ids=999).feed(few)
    assert len(decoder(fmt, max_frame_ids=MAX_FRAME_IDS + 1).feed(many)[0].ids) == MAX_FRAME_IDS + 1


def test_a_prompt_of_more_ids_is_refused_before_they_are_made():
    for element, fmt in ((b"\xcd\x10\x00", "msgpack"), (b"\x80\x20", "protobuf")):

        def body(count, element=element, fmt=fmt):
            if fmt == "protobuf":
                return field(1, element * count)
            return b"\x81\xaaprompt_ids" + array(count, element)

        with within():
            assert len(decode_request(body(MAX_PROMPT_IDS), fmt).prompt_ids) == MAX_PROMPT_IDS
        with within(), pytest.raises(FrameError):
            decode_request(body(MAX_PROMPT_IDS + 1), fmt)
        assert len(decode_request(body(1000), fmt, max_prompt_ids=1000).prompt_ids) == 1000
        with pytest.raises(FrameError, match="999"):
            decode_request(body(1000), fmt, max_prompt_ids=999)


def test_a_long_reason_costs_no_more():
    data = msgpack_ids(b"\xcd\x10\x00", MAX_FRAME_IDS)
    reason = b"\xadfinish_reason\xdb" + (12 * 2**20).to_bytes(4, "big") + b"x" * (12 * 2**20)
    body = b"\x83" + data[1:] + reason
    with within():
        (frame,) = decoder("msgpack").feed(body)
    assert len(frame.finish_reason) == 12 * 2**20


# Bombs

brotli = pytest.importorskip("brotli")
zstandard = pytest.importorskip("zstandard")

DICTIONARY = b"a dictionary of plain content, which zstd takes as well as a trained one"
NAME = hash_zstd_dict(DICTIONARY)
ENCODINGS = ("gzip", "deflate", "br", "zstd")


def reader(encoding, **options):
    named = NAME if encoding == "zstd" else None
    return decompressor(encoding, zstd_dict=named, dictionaries={NAME: DICTIONARY}, **options)


def fast_brotli(data):
    return brotli.compress(data, quality=1)


def written(encoding, data):
    if encoding == "zstd":
        shared = zstandard.ZstdCompressionDict(DICTIONARY)
        return zstandard.ZstdCompressor(dict_data=shared).compress(data)
    return {"gzip": gzip.compress, "deflate": zlib.compress, "br": fast_brotli}[encoding](data)


@pytest.fixture(scope="module", params=ENCODINGS)
def bomb(request):
    """Give an encoding and a body of it that unpacks to four times the budget."""
    return request.param, written(request.param, bytes(4 * LIMIT))


@pytest.mark.parametrize("step", [100, 2**30])
@pytest.mark.slow
def test_a_bomb_costs_its_budget_and_no_more(bomb, step):
    encoding, body = bomb
    with within(), pytest.raises(DecompressionBudgetError):
        feed_in_steps(reader(encoding), body, step)


def test_a_gzip_body_of_nothing_but_members_is_refused():
    with within(), pytest.raises(CorruptBodyError):
        reader("gzip").feed(gzip.compress(b"", mtime=0) * 200_000)


def test_a_zstd_body_of_nothing_but_frames_is_read():
    with within():
        assert reader("zstd").feed(written("zstd", b"") * 50_000) == b""


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=cases(150))
@given(data=st.data(), cut=st.integers(1, 50))
def test_a_mutated_body_is_read_or_refused_however_cut(encoding, data, cut):
    body = data.draw(mutated(st.just(written(encoding, bytes(range(200)) * 3))))
    assert outcome(encoding, body, max(len(body), 1)) == outcome(encoding, body, cut)


def outcome(encoding, body, step):
    back, out = reader(encoding), b""
    try:
        for at in range(0, len(body), step):
            out += back.feed(body[at : at + step])
        return out + back.flush()
    except CompressionError as error:
        return type(error)
