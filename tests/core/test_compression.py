"""Content encodings: streamed both ways, bounded, and never guessed."""

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_core import compression
from codec_core.compression import (
    accept_encoding,
    choose_encoding,
    compressor,
    decompressor,
    encoding_headers,
    hash_zstd_dict,
    select_zstd_dict_for_response,
    train_zstd_dict,
)
from codec_core.exceptions import (
    CodecZstdDictError,
    CorruptBodyError,
    DecompressionBudgetError,
    MissingExtraError,
    TruncatedBodyError,
    UnsupportedEncodingError,
)
from codec_core.frames import encoder
from codec_core.versions import VARY

brotli = pytest.importorskip("brotli")
zstandard = pytest.importorskip("zstandard")


def sample_streams(count=200):
    random.seed(7)
    for _ in range(count):
        frames = encoder("msgpack")
        yield b"".join(frames.encode([random.randrange(500) ** 2 for _ in range(8)]) for _ in range(20))


DICTIONARY = train_zstd_dict(sample_streams())
NAME = hash_zstd_dict(DICTIONARY)
ENCODINGS = ("identity", "gzip", "deflate", "br", "zstd")


def reader(encoding, **options):
    named = NAME if encoding == "zstd" else None
    return decompressor(encoding, zstd_dict=named, dictionaries={NAME: DICTIONARY}, **options)


def writer(encoding):
    return compressor(encoding, DICTIONARY if encoding == "zstd" else None)


def compressed(encoding, *pieces):
    out = writer(encoding)
    return b"".join([out.feed(piece) for piece in pieces] + [out.flush()])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_piece_can_be_read_as_soon_as_it_is_written(encoding):
    out, back = writer(encoding), reader(encoding)
    for piece in (b"frame one", b"frame two" * 1000, b"x"):
        assert back.feed(out.feed(piece)) == piece
    assert back.feed(out.flush()) + back.flush() == b""


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(pieces=st.lists(st.binary(max_size=300), max_size=6), cut=st.integers(1, 50))
def test_how_the_body_was_cut_changes_nothing(encoding, pieces, cut):
    body = compressed(encoding, *pieces)
    back = reader(encoding)
    out = b"".join(back.feed(body[at : at + cut]) for at in range(0, len(body), cut))
    if body:
        assert out + back.flush() == b"".join(pieces)


@pytest.mark.parametrize("encoding", ENCODINGS[1:])
def test_a_truncated_body_is_an_error_at_every_byte(encoding):
    body = compressed(encoding, b"hello " * 20, b"world")
    for size in range(len(body)):
        back = reader(encoding)
        with pytest.raises((TruncatedBodyError, CorruptBodyError)):
            back.feed(body[:size]) + back.flush()


@pytest.mark.parametrize("encoding", ENCODINGS[1:])
def test_bytes_that_are_not_the_encoding_are_an_error_and_stay_one(encoding):
    back = reader(encoding)
    with pytest.raises(CorruptBodyError):
        back.feed(b"\xff\xfe certainly nothing compressed" * 10) + back.flush()
    with pytest.raises(CorruptBodyError):
        back.feed(b"")


def bomb_of(encoding):
    """Return a body of some kilobytes that would decompress to 64 MiB or more."""
    zeros = bytes(2**26)
    if encoding == "br":
        return brotli.compress(zeros, quality=1)
    if encoding == "zstd":
        shared = zstandard.ZstdCompressionDict(DICTIONARY)
        return zstandard.ZstdCompressor(dict_data=shared).compress(zeros)
    out = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    return out.compress(zeros) + out.flush()


@pytest.mark.parametrize("encoding", ENCODINGS[1:])
def test_a_bomb_is_rejected_within_the_budget(encoding):
    import tracemalloc

    bomb = bomb_of(encoding)
    back = reader(encoding, budget=1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(DecompressionBudgetError) as caught:
            back.feed(bomb)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.budget == 1_000_000


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_budget_itself_may_be_used_up(encoding):
    body = compressed(encoding, b"x" * 1000)
    assert len(reader(encoding, budget=1000).feed(body)) == 1000
    with pytest.raises(DecompressionBudgetError):
        reader(encoding, budget=999).feed(body)


def test_gzip_may_have_several_members():
    back = decompressor("x-gzip")
    assert back.feed(gzip.compress(b"one", mtime=0) + gzip.compress(b"two")) + back.flush() == b"onetwo"


def test_raw_deflate_is_read_too():
    out = zlib.compressobj(wbits=-15)
    back = decompressor("deflate")
    assert back.feed(out.compress(b"hello") + out.flush()) + back.flush() == b"hello"


@pytest.mark.parametrize("encoding", ["deflate", "br"])
def test_nothing_may_follow_the_end_mark(encoding):
    back = reader(encoding)
    back.feed(compressed(encoding, b"hello"))
    with pytest.raises(CorruptBodyError):
        back.feed(b"more")


@pytest.mark.parametrize("encoding", ["compress", "gzip, br", "nonsense"])
def test_unknown_encodings_are_refused_both_ways(encoding):
    with pytest.raises(UnsupportedEncodingError):
        decompressor(encoding)
    with pytest.raises(UnsupportedEncodingError):
        compressor(encoding)


@pytest.mark.parametrize(("encoding", "package"), [("br", "brotli"), ("zstd", "zstandard")])
def test_a_missing_package_is_named_with_the_extra(monkeypatch, encoding, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtraError, match=r"codec-agents\[compression\]"):
        reader(encoding)
    with pytest.raises(MissingExtraError):
        writer(encoding)


# Dictionaries


def test_a_response_names_its_dictionary():
    headers = encoding_headers("zstd", DICTIONARY)
    assert headers == {"Vary": VARY, "Content-Encoding": "zstd", "Codec-Zstd-Dict": NAME}
    assert select_zstd_dict_for_response(headers, loaded_dicts={NAME: DICTIONARY}) == DICTIONARY
    back = decompressor({k.lower(): v for k, v in headers.items()}, dictionaries={NAME: DICTIONARY})
    assert back.feed(compressed("zstd", b"hello")) == b"hello"


def test_a_response_that_is_not_zstd_needs_none():
    assert select_zstd_dict_for_response({"content-encoding": "gzip"}, loaded_dicts={}) is None
    assert encoding_headers("identity") == {"Vary": VARY}


@pytest.mark.parametrize(
    ("headers", "loaded"),
    [
        ({"Content-Encoding": "zstd"}, {NAME: DICTIONARY}),
        ({"Codec-Zstd-Dict": NAME}, {NAME: DICTIONARY}),
        ({"Content-Encoding": "gzip", "Codec-Zstd-Dict": NAME}, {NAME: DICTIONARY}),
        ({"Content-Encoding": "zstd", "Codec-Zstd-Dict": NAME}, {}),
        ({"Content-Encoding": "zstd", "Codec-Zstd-Dict": NAME}, {NAME: b"other bytes"}),
    ],
)
def test_every_mismatch_is_an_error(headers, loaded):
    with pytest.raises(CodecZstdDictError):
        select_zstd_dict_for_response(headers, loaded_dicts=loaded)
    with pytest.raises(CodecZstdDictError):
        decompressor(headers, dictionaries=loaded)


def test_a_body_of_another_dictionary_is_an_error():
    random.seed(8)
    other = train_zstd_dict(
        random.choice([b"lorem", b"ipsum", b"dolor"]) * 50 + bytes([n]) for n in range(200)
    )
    with pytest.raises(CodecZstdDictError):
        reader("zstd").feed(compressor("zstd", other).feed(b"hello" * 10))


def test_zstd_without_a_dictionary_is_refused():
    with pytest.raises(CodecZstdDictError):
        compressor("zstd")


@pytest.mark.parametrize("samples", [[], [b"a"] * 3, [b""] * 20])
def test_training_on_too_little_says_so(samples):
    with pytest.raises(CodecZstdDictError):
        train_zstd_dict(samples)


# Negotiation


@pytest.mark.parametrize(
    ("accepted", "dictionary", "chosen"),
    [
        (None, True, "identity"),
        ("", True, "identity"),
        ("gzip, br", False, "br"),
        ("gzip, br, zstd", True, "zstd"),
        ("gzip, br, zstd", False, "br"),
        ("gzip;q=1, br;q=0", False, "gzip"),
        ("*", False, "br"),
        ("*;q=0, gzip;q=0.1", True, "gzip"),
        ("gzip;q=what", False, "identity"),
        ("identity", True, "identity"),
        ("X-GZIP", True, "gzip"),
    ],
)
def test_a_server_chooses_by_its_preference_among_what_is_accepted(accepted, dictionary, chosen):
    assert choose_encoding(accepted, dictionary=dictionary) == chosen


def test_a_client_accepts_what_it_can_read(monkeypatch):
    assert accept_encoding() == "br, gzip"
    assert accept_encoding(dictionaries=True) == "zstd, br, gzip"
    monkeypatch.setattr(compression, "find_spec", lambda name: None)
    assert accept_encoding(dictionaries=True) == "gzip"
